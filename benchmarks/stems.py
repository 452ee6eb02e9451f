"""Reading a question once for all of its tags: processor time of a step's rollouts, with and without shared stems.

    python benchmarks/stems.py            # under a minute on 2 quiet cores

The embedded policy, 8 questions a step, rollouts in four languages of which the tag alone differs. Greedy, so that both
sides decode the same tokens, which is checked. Short and long questions: those of the world's word problems, and the
same with as many worked examples' worth of text before them as a longer benchmark has.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

from measure import machine, machine_line, median_ratio, table, write

LANGS = ("bn", "en", "sw", "th")


def main() -> None:
    """Measures and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--questions", type=int, default=8)
    arguments = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    from lrpo_bench.models.load import ModelSpec, load_hf_model

    model = load_hf_model(ModelSpec("embedded:default", device="cpu"))
    found = []
    for words in (0, 100):
        for each in (1, 2):  # rollouts a language
            prompts = prompts_of(model, arguments.questions, words)
            found.append({"words": words, "each": each} | measured(model, prompts, each, arguments.rounds))
    values = {"machine": machine("torch", "transformers"), "rounds": arguments.rounds, "points": found}
    write("stems", markdown(values, arguments.questions), values)


def prompts_of(model: Any, n: int, words: int) -> list[list[int]]:
    """Token prompts of `n` questions in each language, question by question."""
    from lrpo_bench.models.prompting import build_prompt
    from lrpo_bench.tasks.registry import load_samples, load_task

    task = load_task("arithmetic", None, ())
    samples = load_samples(task, "en", "test", None, n + 1)
    # Text of other questions, so that every question of the step has a beginning of its own.
    others = " ".join(sample.question for sample in load_samples(task, "en", "test", None, 200)).split()
    prompts = []
    for number, sample in enumerate(samples[:n]):
        before = " ".join(others[number * words : (number + 1) * words])
        for lang in LANGS:
            (message,) = build_prompt(task, sample, lang, "tag")
            prompts.append(({"role": "user", "content": f"{before} {message['content']}".strip()},))
    return [ids for ids, _ in model._encode_prompts(prompts, 56)]


def measured(model: Any, prompts: list[list[int]], each: int, rounds: int) -> dict[str, Any]:
    """Processor seconds of decoding, by both ways in turns; raises `SystemExit` where tokens differ."""
    from lrpo_bench.models.generation import Ends, Loop
    from lrpo_bench.models.stems import batch_by_stems, find_stems

    sources = [i for i in range(len(prompts)) for _ in range(each)]
    seconds: dict[str, list[float]] = {"whole": [], "stems": []}
    tokens: dict[str, Any] = {}
    for number in range(rounds + 1):
        for way in seconds if number % 2 == 0 else list(seconds)[::-1]:
            loop = Loop(model.model, Ends(tuple(model.decoder.eos_ids)), 0)
            if way == "stems":
                loop.new_batch = batch_by_stems
            started = time.process_time()
            tokens[way] = loop.sample(prompts, sources, 56, lambda logits, _: logits.argmax(-1))
            if number:  # the first round warms up
                seconds[way].append(time.process_time() - started)
    if tokens["whole"] != tokens["stems"]:
        raise SystemExit("the tokens are not the same")
    return {
        "prompt_tokens": round(statistics.mean(map(len, prompts))),
        "shares": find_stems(prompts) is not None,
        "ratio": median_ratio(seconds["whole"], seconds["stems"]),
        **{way: statistics.median(times) for way, times in seconds.items()},
    }


def markdown(values: dict[str, Any], n: int) -> str:
    """The page."""
    rows = [
        (
            point["prompt_tokens"], 4 * point["each"], f"{1000 * point['whole']:.0f}", f"{1000 * point['stems']:.0f}",
            f"{point['ratio']:.2f}",
        )
        for point in values["points"]
    ]  # fmt: skip
    header = ("tokens of a prompt", "rollouts of a question", "read whole, ms", "by stems, ms", "times as fast")
    return "\n".join([
        "# One reading of a question for its rollouts", "",
        f"`python benchmarks/stems.py`: the embedded policy, {n} questions asked in four languages by their tags,",
        f"up to 56 greedy tokens each, by both ways. Processor time, medians of {values['rounds']} rounds in turns.",
        "", table(header, rows), "", machine_line(values["machine"]), "",
    ])  # fmt: skip


if __name__ == "__main__":
    main()
