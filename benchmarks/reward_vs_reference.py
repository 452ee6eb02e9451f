"""The reward path of one of the paper's steps, ours against a restatement of the public implementation's.

    python benchmarks/reward_vs_reference.py --data DIR    # DIR: one text file a language, line by line parallel
    python benchmarks/reward_vs_reference.py --quick       # without DIR, rows that the embedded world writes itself

A step is 256 questions x 8 rollouts. A question is a line of the corpus in a source language, its reference that line;
a rollout is the same line, or another one, in the language it was asked for or, one time in ten, in another. Both ways
judge the same texts with the same encoder and the same calibration table.

- ours: `SimilarityReward` as training calls it, for the first step in which its references appear, and for the next
  epoch's, when their vectors are known; with the detector `profiles` and with lingua (`auto`). Detection over the
  batch, distinct texts once, texts of like length together, batches that fit the processor's cache.
- reference: what METHOD.md, section 7, says of the public code, restated by us and not run from it: every reference is
  encoded again for each rollout, in the order of arrival, cut at 512 tokens; the language of one text after another by
  `langdetect.detect`; the calibration looked up rollout by rollout. To be fair, its encoder works in batches of 32.

How much faster ours is depends on the encoder: detection is the same for any, and encoding gains its repeated
references and padding, which the page gives as tokens. So the parts are given apart.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from detectors import plain_langdetect
from measure import machine, machine_line, median_ratio, table, write

from lrpo_bench.calibration.corpus import read_corpus
from lrpo_bench.calibration.pairs import PairSettings, all_samples, encode_lines
from lrpo_bench.language_id.registry import get_detector
from lrpo_bench.lrpo.calibration import CalibrationTable, Calibrator, EncoderIdentity, pair_key
from lrpo_bench.lrpo.calibration_fit import fit_table
from lrpo_bench.models.encoder import HFEncoder, cosines, load_encoder
from lrpo_bench.tasks.base import Row, Sample, Score, Task, TaskInfo
from lrpo_bench.training.reward_functions.similarity import SimilarityReward

LANGUAGES = ("ar", "de", "en", "es", "fr", "hi", "ja", "ko", "ru", "sw", "zh")
REFERENCE_BATCH, REFERENCE_TOKENS = 32, 512
DETECTORS = ("profiles", "auto")
EPOCHS = ("first", "next epoch")
PARTS = ("detection", "encoding", "rest")


@dataclass(frozen=True)
class Step:
    """The rollouts of one step, in the order in which a trainer has them."""

    samples: Sequence[Sample]
    texts: Sequence[str]
    langs: Sequence[str]


class Open(Task):
    """Open answers, which only similarity can judge."""

    def sample(self, row: Row, lang: str, index: int) -> Sample:
        """A line and its translation as question and reference."""
        name = f"open/{lang}/{index}"
        return Sample(name, f"open/{index}", lang, row["text"], row["text"], topic="chat", reference=row["text"])

    def score(self, sample: Sample, completion: str, rollout_lang: str) -> Score:
        """Nothing that can be verified."""
        return Score(None, "unscored", None, "open answer")


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a folder of parallel text, CODE.txt; the world's own when absent")
    parser.add_argument("--encoder", default="embedded:default", help="any Hugging Face encoder (embedded:default)")
    parser.add_argument("--questions", type=int, default=256)
    parser.add_argument("--group-size", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="32 questions, one round")
    parser.add_argument("--name", default="reward_vs_reference", help="name of the files written")
    arguments = parser.parse_args()
    questions, rounds = (32, 1) if arguments.quick else (arguments.questions, arguments.rounds)
    lines = read_lines(arguments.data)
    encoder = load_encoder(arguments.encoder, device="cpu")
    if not isinstance(encoder, HFEncoder):
        raise SystemExit("reward_vs_reference: the encoder must be a Hugging Face one")
    step = make_step(lines, questions, arguments.group_size)
    values = measure(step, encoder, make_table(lines, encoder), rounds)
    values |= {
        "questions": questions,
        "group_size": arguments.group_size,
        "languages": sorted(lines),
        "text": "world" if arguments.data is None else "corpus",
        "encoder": {"name": arguments.encoder.rpartition("/")[2], "dimension": encoder.info.dimension},
        "machine": machine("torch", "transformers", "lingua-language-detector", "langdetect"),
    }
    write(arguments.name, markdown(values), values)


def read_lines(folder: Path | None) -> dict[str, tuple[str, ...]]:
    """Parallel lines by language."""
    if folder is None:
        from lrpo_bench.calibration.world_corpus import embedded_corpus

        corpus = embedded_corpus(400, 0, None)
        return {lang: corpus.lines[lang] for lang in corpus.lines}
    corpus = read_corpus(folder)
    return {lang: corpus.lines[lang] for lang in LANGUAGES if lang in corpus.lines}


def make_step(lines: dict[str, tuple[str, ...]], questions: int, group_size: int) -> Step:
    """Rollouts by a fixed seed: two of a group in the source language, half of all the right line."""
    rng = np.random.default_rng(0)
    langs, n_lines = sorted(lines), len(next(iter(lines.values())))
    task = Open(TaskInfo("open", "1", "Open answers", "generate", "chat", tuple(langs), "none", "none"), {})
    samples, texts, asked = [], [], []
    for number in range(questions):
        source = langs[number % len(langs)]
        sample = task.sample({"text": lines[source][number % n_lines]}, source, number % n_lines)
        for k in range(group_size):
            lang = source if k < 2 else langs[rng.integers(len(langs))]
            written = lang if rng.random() > 0.1 else langs[rng.integers(len(langs))]
            line = number % n_lines if rng.random() < 0.5 else int(rng.integers(n_lines))
            samples.append(sample)
            asked.append(lang)
            texts.append(lines[written][line])
    return Step(samples, texts, asked)


def make_table(lines: dict[str, tuple[str, ...]], encoder: HFEncoder) -> CalibrationTable:
    """A calibration table of the corpus, small: its size does not matter to the time."""
    from lrpo_bench.calibration.corpus import ParallelCorpus

    kept = {lang: found[:60] for lang, found in lines.items()}
    settings = PairSettings(n=20, pool=60, audit=0)
    corpus = ParallelCorpus(Path("lines"), kept, {}, tuple(sorted(kept)))
    info = encoder.info
    identity = EncoderIdentity(info.name, info.weights_hash, info.dimension)
    encoded = encode_lines(corpus, list(range(60)), encoder)
    return fit_table(all_samples(encoded, settings), identity)


def measure(step: Step, encoder: HFEncoder, calibration: CalibrationTable, rounds: int) -> dict[str, Any]:
    """Seconds of each part of each way by round, and whether the rewards agree."""
    calibrator = Calibrator("mean", calibration, missing="global")
    detectors = {name: get_detector(name, sorted(set(step.langs))) for name in DETECTORS}
    for detector in detectors.values():
        detector.detect(step.texts)  # a language's models are loaded when it first occurs, once a process, not a step
    plain_langdetect(step.texts[:8])
    ways = [f"{name}, {epoch}" for name in DETECTORS for epoch in EPOCHS]
    seconds: dict[str, list[dict[str, float]]] = {way: [] for way in (*ways, "reference")}
    ours: dict[str, list[float | None]] = {}
    for _ in range(rounds):
        task = Open(
            TaskInfo("open", "1", "Open answers", "generate", "chat", tuple(sorted(set(step.langs))), "", ""), {}
        )
        samples = {sample.id: (task, sample) for sample in step.samples}
        for name, detector in detectors.items():
            spent = Clock(detector, encoder)
            reward = SimilarityReward(samples, spent, encoder=spent, calibrator=calibrator)  # type: ignore[arg-type]
            for epoch in EPOCHS:
                started = time.perf_counter()
                ours[name] = reward(step.texts, [sample.id for sample in step.samples], step.langs)
                seconds[f"{name}, {epoch}"].append(spent.parts(time.perf_counter() - started))
        theirs, parts = reference_rewards(step, encoder, calibration)
        seconds["reference"].append(parts)
    return {
        "agreement": {name: agreement(found, theirs) for name, found in ours.items()},
        "tokens": count_tokens(step, encoder),
        "seconds": seconds,
        "ratio": {
            name: {
                part: median_ratio([r[part] for r in seconds["reference"]], [r[part] for r in rows])
                for part in (*PARTS[:2], "total")
            }
            for name, rows in seconds.items()
        },
    }


def agreement(ours: Sequence[float | None], theirs: Sequence[float]) -> dict[str, float]:
    """The share of rollouts that both gate alike, and how far apart the rewards of those are at most."""
    mine, other = np.array([math.nan if reward is None else reward for reward in ours]), np.array(theirs)
    alike = (mine > 0) == (other > 0)
    return {"same_gate": float(alike.mean()), "largest_difference": float(np.abs(mine - other)[alike].max())}


def count_tokens(step: Step, encoder: HFEncoder) -> dict[str, int]:
    """Tokens that each way gives to the encoder, padding included, and those of the distinct texts."""
    rows = [(text, str(sample.reference)) for text, sample in zip(step.texts, step.samples, strict=True)]
    of = _lengths([text for row in rows for text in row], encoder)
    half, limit = REFERENCE_BATCH // 2, min(REFERENCE_TOKENS, encoder.info.max_tokens)
    batches = [[text for row in rows[i : i + half] for text in row] for i in range(0, len(rows), half)]
    return {
        "reference": sum(min(limit, max(of[text] for text in batch)) * len(batch) for batch in batches),
        "completions": sum(of[text] for text in {text for text, _ in rows}),
        "references": sum(of[text] for text in {reference for _, reference in rows}),
    }


def _lengths(texts: Sequence[str], encoder: HFEncoder) -> dict[str, int]:
    distinct = list(dict.fromkeys(texts))
    return {text: len(ids) for text, ids in zip(distinct, encoder.tokenizer(distinct)["input_ids"], strict=True)}


class Clock:
    """Detector and encoder at once, that say how long they took."""

    def __init__(self, detector: Any, encoder: HFEncoder) -> None:
        self._detector, self._encoder = detector, encoder
        self.languages, self.signature, self.info = detector.languages, detector.signature, encoder.info
        self._spent = dict.fromkeys(PARTS, 0.0)

    def detect(self, texts: Sequence[str]) -> Any:
        """The detector's."""
        return self._timed("detection", lambda: self._detector.detect(texts))

    def encode(self, texts: Sequence[str]) -> Any:
        """The encoder's."""
        return self._timed("encoding", lambda: self._encoder.encode(texts))

    def parts(self, total: float) -> dict[str, float]:
        """Seconds since the last call, by part, given the seconds of all."""
        found = self._spent | {"total": total}
        found["rest"] = total - found["detection"] - found["encoding"]
        self._spent = dict.fromkeys(PARTS, 0.0)
        return found

    def _timed(self, part: str, work: Callable[[], Any]) -> Any:
        started = time.perf_counter()
        result = work()
        self._spent[part] += time.perf_counter() - started
        return result


def reference_rewards(
    step: Step, encoder: HFEncoder, calibration: CalibrationTable
) -> tuple[list[float], dict[str, float]]:
    """Rewards as METHOD.md, section 7, describes the public code, and seconds by part."""
    started = time.perf_counter()
    found = plain_langdetect(step.texts)
    detected = time.perf_counter()
    half = REFERENCE_BATCH // 2
    similarities: list[float] = []
    for start in range(0, len(step.texts), half):
        rows = slice(start, start + half)
        references = [str(sample.reference) for sample in step.samples[rows]]
        vectors = encode_padded(encoder, [*step.texts[rows], *references])
        similarities += cosines(vectors[: len(references)], vectors[len(references) :]).tolist()
    encoded = time.perf_counter()
    rewards = []
    for i, similarity in enumerate(similarities):
        offset = calibration.mean(pair_key(step.langs[i], step.samples[i].lang)) - calibration.overall.mean
        rewards.append(min(1.0, max(0.0, similarity - offset)) * (found[i] == step.langs[i]))
    ended = time.perf_counter()
    parts = {"detection": detected - started, "encoding": encoded - detected, "rest": ended - encoded}
    return rewards, parts | {"total": ended - started}


def encode_padded(encoder: HFEncoder, texts: Sequence[str]) -> np.ndarray:
    """Mean-pooled vectors of length 1 of a batch as it comes, each text cut at 512 tokens."""
    import torch

    limit = min(REFERENCE_TOKENS, encoder.info.max_tokens)
    batch = encoder.tokenizer(list(texts), padding=True, truncation=True, max_length=limit, return_tensors="pt")
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        hidden = encoder.model(**inputs).last_hidden_state.float()
    mask = inputs["attention_mask"][:, :, None]
    pooled = (hidden * mask).sum(dim=1) / mask.sum(dim=1)
    return torch.nn.functional.normalize(pooled, dim=1).numpy()


def markdown(values: dict[str, Any]) -> str:
    """The page."""
    seconds, ratio, encoder = values["seconds"], values["ratio"], values["encoder"]
    rows = [
        (
            name,
            *(f"{statistics.median(r[part] for r in found):.3f}" for part in (*PARTS, "total")),
            *(f"{ratio[name][part]:.1f}x" for part in (*PARTS[:2], "total")),
        )
        for name, found in seconds.items()
    ]
    tokens = values["tokens"]
    needed = (tokens["completions"] + tokens["references"], tokens["completions"])
    bound = [tokens["reference"] / n for n in needed]
    header = ["way", *(f"{part}, s" for part in (*PARTS, "total")), "detection", "encoding", "whole path"]
    n = values["questions"] * values["group_size"]
    rounds = len(seconds["reference"])
    text = "lines of a parallel corpus" if values["text"] == "corpus" else "lines that the embedded world writes"
    return (
        "\n\n".join(
            [
                "# The reward path of one step, against the public implementation's way",
                f"{values['questions']} questions x {values['group_size']} rollouts = {n} texts in "
                f"{len(values['languages'])} languages ({text}); encoder {encoder['name']} ({encoder['dimension']} "
                f"dimensions). Medians of {rounds} rounds in turns; ratios are reference / ours, round by round.",
                table(header, rows),
                " ".join(
                    f"The gates of `{name}` and of the reference agree on {found['same_gate']:.1%} of the rollouts; "
                    f"where they do, rewards differ by at most {found['largest_difference']:.1e}."
                    for name, found in values["agreement"].items()
                ),
                f"The reference gives the encoder {tokens['reference']} tokens, padding included; the distinct "
                f"completions have {tokens['completions']}, the distinct references {tokens['references']}. "
                "Rewards that are equal need those, so saved tokens alone bound the encoding's gain by "
                f"{bound[0]:.1f}x in the first epoch and {bound[1]:.1f}x later; batches in cache can add to it.",
                "The reference is restated from METHOD.md, section 7, and not run from the public code.",
                machine_line(values["machine"]),
            ]
        )
        + "\n"
    )


if __name__ == "__main__":
    main()
