"""How time and memory of log-likelihoods grow with rows, options and prompt length.

    python benchmarks/eval_scaling.py           # writes results/benchmarks/eval_scaling.{md,json,svg}, about 8 minutes
    python benchmarks/eval_scaling.py --quick   # rows to 1,000, about 3 minutes

The embedded model, both tools, at the level where the model is asked: prompts and options in, log-likelihoods out. Each
point is a process of its own, so that its memory is its own. Rows grow until a point would take longer than its share
of the time limit; what is larger is extrapolated on the line through the two largest measured points, and labelled so.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import time
import warnings
from typing import Any

from common import WORDS, peak_mib, run_child
from measure import RESULTS, machine, machine_line, table, write

CHUNK = 256
LM_EVAL_BATCH = 64
ROWS, OPTIONS, LENGTHS = (100, 1_000, 10_000, 100_000), (2, 4, 6, 8, 10), (32, 128, 384)
"""The longest prompts have 900 tokens: beyond the context, of 1,024, they lose their beginning and what they share."""
LIMIT_S = {"lrpo-bench": 150.0, "lm-eval": 60.0}
"""A point by rows that would take longer is extrapolated."""
Point = dict[str, Any]


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer points, and rows to 1,000 only")
    parser.add_argument("--name", default="eval_scaling", help="name of the files written")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    if arguments.child:
        print(json.dumps(answer(**json.loads(arguments.child))))
    else:
        measure_scaling(arguments.name, quick=arguments.quick)


def measure_scaling(name: str, *, quick: bool) -> None:
    """Measures, extrapolates, and writes table and plot."""
    options, lengths = (OPTIONS[::2], LENGTHS[:2]) if quick else (OPTIONS, LENGTHS)
    n = 50 if quick else 200
    points = [each for tool in LIMIT_S for each in _rows(tool, 0.0 if quick else LIMIT_S[tool])]
    for tool in LIMIT_S:
        points += [_measured(tool, "options", n, count, 64) | {"x": count} for count in options]
        points += [_measured(tool, "prompt words", n, 4, words) | {"x": words} for words in lengths]
    values = {"points": points, "machine": machine("torch", "transformers", "lm-eval")}
    write(name, _markdown(values, name), values)
    _plot(points, name)


def _rows(tool: str, limit_s: float) -> list[Point]:
    """Points by number of rows, measured while they are expected to fit into the limit."""
    points: list[Point] = []
    for n in ROWS:
        if len(points) < 2 or points[-1]["seconds"] * n / points[-1]["x"] <= limit_s:
            points.append(_measured(tool, "rows", n, 3, 8) | {"x": n})
        else:
            before, last = [point for point in points if point["measured"]][-2:]
            slope = (last["seconds"] - before["seconds"]) / (last["x"] - before["x"])
            seconds = last["seconds"] + slope * (n - last["x"])
            points.append(last | {"x": n, "seconds": seconds, "peak_mib": None, "measured": False})
    return points


def _measured(tool: str, varied: str, n: int, n_options: int, words: int) -> Point:
    wanted = {"tool": tool, "n": n, "options": n_options, "words": words}
    found = run_child(__file__, ["--child", json.dumps(wanted)])
    print(f"{tool}, {varied}: {wanted}: {found['seconds']:.1f} s, {found['peak_mib']:.0f} MiB", flush=True)
    return {"tool": tool, "varied": varied, "measured": True, **found}


def answer(tool: str, n: int, options: int, words: int) -> Point:
    """The child's part: seconds, and MiB at the end and after loading."""
    from lrpo_bench.models.load import ModelSpec, load_hf_model

    model = load_hf_model(ModelSpec("embedded:default", device="cpu", batch_size=128))
    loaded = peak_mib()
    run = _ours if tool == "lrpo-bench" else _theirs
    started = time.perf_counter()
    run(model, n, options, words)
    return {"seconds": time.perf_counter() - started, "peak_mib": peak_mib(), "loaded_mib": loaded}


def _question(i: int, options: int, words: int) -> tuple[str, list[str]]:
    # A digit is a token of its own in any world: what follows it can not merge into the prompt, which lm-eval refuses.
    rng = random.Random(i)
    prompt = " ".join([*rng.choices(WORDS, k=words), "7"])
    return prompt, [" " + " ".join(rng.choices(WORDS, k=2)) for _ in range(options)]


def _ours(model: Any, n: int, options: int, words: int) -> None:
    for start in range(0, n, CHUNK):
        asked = [_question(i, options, words) for i in range(start, min(n, start + CHUNK))]
        prompts = [({"role": "verbatim", "content": text},) for text, _ in asked]
        model.loglikelihood(prompts, [choices for _, choices in asked])


def _theirs(model: Any, n: int, options: int, words: int) -> None:
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    lm = HFLM(pretrained=model.model, tokenizer=model.tokenizer, batch_size=LM_EVAL_BATCH, device="cpu")
    asked = [_question(i, options, words) for i in range(n)]
    requests = [
        Instance("loglikelihood", {}, (text, choice), i)
        for i, (text, choices) in enumerate(asked)
        for choice in choices
    ]
    lm.loglikelihood(requests, disable_tqdm=True)


def _markdown(values: dict[str, Any], name: str) -> str:
    rows = [
        (
            point["varied"], point["x"], point["tool"], f"{point['seconds']:.2f}",
            "-" if point["peak_mib"] is None else f"{point['peak_mib']:.0f}",
            "measured" if point["measured"] else "extrapolated",
        )
        for point in values["points"]
    ]  # fmt: skip
    return "\n\n".join(
        (
            "# How evaluation grows",
            "Log-likelihoods of the embedded model, options of two words. `rows`: 3 options after 8 words; `options`: "
            "after 64 words; `prompt words`: 4 options, 200 questions (50 with `--quick`). A point is a process of its "
            "own. Written by `python benchmarks/eval_scaling.py`.",
            table(("varied", "value", "tool", "seconds", "peak MiB", ""), rows),
            f"![seconds]({name}.svg)",
            machine_line(values["machine"]),
        )
    )


def _plot(points: list[Point], name: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(11, 3.4), constrained_layout=True)
    for axis, varied in zip(axes, ("rows", "options", "prompt words"), strict=True):
        for tool, color in (("lrpo-bench", "tab:blue"), ("lm-eval", "tab:orange")):
            line = [point for point in points if point["varied"] == varied and point["tool"] == tool]
            known = [point for point in line if point["measured"]]
            axis.plot([p["x"] for p in line], [p["seconds"] for p in line], ":", color=color)
            axis.plot([p["x"] for p in known], [p["seconds"] for p in known], "o-", color=color, label=tool)
        axis.set_xlabel(varied)
        axis.set_ylabel("seconds")
    axes[0].set_xscale("log")
    axes[0].set_yscale("log")
    axes[0].legend(frameon=False)
    figure.suptitle("Log-likelihoods of the embedded model; dotted: extrapolated", fontsize=10)
    figure.savefig(RESULTS / f"{name}.svg")
    plt.close(figure)


if __name__ == "__main__":
    main()
