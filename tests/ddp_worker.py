"""One process of `test_two_processes`: trains the parity task and leaves what it saw; run by torch.distributed.run."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from conftest import LANGS, ParityTask, WordDetector
from test_trainer import settings, train

from lrpo_bench.tasks.base import Score, TaskInfo
from lrpo_bench.training.run import TrainingJob


class ByLanguage(ParityTask):
    """Right in German for even questions, in the other languages for odd ones: groups of several languages differ."""

    def score(self, sample, completion, rollout_lang):
        return Score.of((rollout_lang == "de") == (sample.gold == "0"), rollout_lang)


def parity_job(folder: Path, **train_settings) -> TrainingJob:
    info = TaskInfo("parity", "1", "Letters", "generate", "reasoning", LANGS, "Apache-2.0", "none")
    task = ByLanguage(info, {"default": dict.fromkeys(LANGS, "{question}")})
    rows = [{"letter": letter, "region": region} for letter, region in zip("abcdefgh", "xyxyxyxy", strict=True)]
    samples = {sample.id: (task, sample) for lang in LANGS for i, row in enumerate(rows)
               for sample in [task.sample(row, lang, i)]}  # fmt: skip
    return TrainingJob(settings(**train_settings), samples, LANGS, "tag", WordDetector(), folder)


def run(out: Path, model_folder: Path, extra: dict) -> None:
    job = parity_job(out / "run", **extra)
    _, steps = train(job, model_folder)
    if steps:  # the main process has the telemetry
        found = {"router": [step.router for step in steps], "rollouts": [step.rollouts for step in steps]}
        (out / "steps.json").write_text(json.dumps(found))


if __name__ == "__main__":
    run(Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3]))
