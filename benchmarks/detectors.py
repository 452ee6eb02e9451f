"""Accuracy of the language detectors by language and length of text, and their speed.

    python benchmarks/detectors.py --data DIR             # writes results/benchmarks/detectors.md and .json
    python benchmarks/detectors.py --data DIR --quick

DIR holds `lid_sentences/sentences/CODE.txt`, one sentence a line (the lingua project's own test sentences, so they may
favour lingua), and for the second table `language_confusion/outputs/*.csv`, answers of
real models with the columns `completion`, `task` and `language` (the Language Confusion Benchmark's). Neither is
redistributed here; only rates are stored.

`langdetect.detect` is langdetect as its users call it: one text at a time, all of its languages. It is seeded, since it
is random otherwise. The others are this project's: cleaning, script rules and abstention in front of the model.
`profiles` has all of langdetect's languages as candidates, as `langdetect.detect` has; the others have those of the
sentences and the common ones. About 4 minutes on 2 quiet cores.
"""

from __future__ import annotations

import argparse
import csv
import functools
import random
import statistics
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from measure import interleaved, machine, machine_line, median_ratio, table, write

from lrpo_bench.language_id.base import Detection, LanguageDetector
from lrpo_bench.language_id.detectors import langdetect_languages
from lrpo_bench.language_id.registry import get_detector
from lrpo_bench.language_id.segmentation import count_words

PLAIN, NAMES = "langdetect.detect", ("profiles", "lingua", "langdetect", "consensus")
SEED = 0
LENGTHS: Mapping[str, Callable[[str], str]] = {
    "sentence": lambda text: text,
    "half": lambda text: _beginning(text, 0.5),
    "quarter": lambda text: _beginning(text, 0.25),
    "two words": lambda text: _beginning(text, 2.0 / max(2.0, count_words(text))),
}
_PLAIN_CODES = {"zh-cn": "zh", "zh-tw": "zh", "no": "nb"}


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds lid_sentences")
    parser.add_argument("--n", type=int, default=100, help="sentences a language (100)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of timing (3)")
    parser.add_argument("--quick", action="store_true", help="20 sentences a language, one round")
    parser.add_argument("--name", default="detectors", help="name of the files written")
    arguments = parser.parse_args()
    n, rounds = (20, 1) if arguments.quick else (arguments.n, arguments.rounds)
    sentences = read_sentences(arguments.data / "lid_sentences" / "sentences", n)
    every = sorted(langdetect_languages())
    detectors = {name: get_detector(name, every if name == "profiles" else sorted(sentences)) for name in NAMES}
    accuracy, paired = measure_accuracy(sentences, detectors)
    values: dict[str, Any] = {
        "n_per_language": n,
        "seed": SEED,
        "accuracy": accuracy,
        "paired_with_plain": paired,
        "speed": measure_speed(sentences, detectors, rounds),
        "confused": measure_confused(arguments.data / "language_confusion" / "outputs", detectors, n),
        "known": {PLAIN: sorted(detectors["langdetect"].languages & sentences.keys())}
        | {name: sorted(detector.languages & sentences.keys()) for name, detector in detectors.items()},
        "machine": machine("lingua-language-detector", "langdetect", "numpy"),
    }
    write(arguments.name, markdown(values, sorted(sentences)), values)


def read_sentences(folder: Path, n: int) -> dict[str, list[str]]:
    """`n` sentences of each language, drawn by a fixed seed; our codes are the file names."""
    found, rng = {}, random.Random(SEED)
    for path in sorted(folder.glob("*.txt")):
        lines = path.read_text(encoding="utf-8").splitlines()
        found[path.stem] = [line.strip() for line in rng.sample(lines, min(n, len(lines)))]
    if not found:
        raise SystemExit(f"detectors: no CODE.txt files in {folder}; give --data the folder above lid_sentences")
    return found


def plain_langdetect(texts: Sequence[str]) -> list[str | None]:
    """What `langdetect.detect` says of one text after another, by our codes; None where it raises."""
    from langdetect import DetectorFactory, LangDetectException, detect

    DetectorFactory.seed = 0
    found: list[str | None] = []
    for text in texts:
        try:
            code = detect(text)
        except LangDetectException:
            found.append(None)
        else:
            found.append(_PLAIN_CODES.get(code, code))
    return found


def measure_accuracy(
    sentences: Mapping[str, Sequence[str]], detectors: Mapping[str, LanguageDetector]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Counts of right, wrong and abstained by length, detector and language; and those of `discordant`."""
    found: dict[str, dict[str, dict[str, dict[str, int]]]] = {}
    paired: dict[str, dict[str, dict[str, list[int]]]] = {}
    for length, cut in LENGTHS.items():
        langs = [lang for lang, texts in sentences.items() for _ in texts]
        texts = [cut(text) for group in sentences.values() for text in group]
        said = {PLAIN: plain_langdetect(texts)}
        said |= {name: [d.lang for d in detector.detect(texts)] for name, detector in detectors.items()}
        found[length] = {name: _counts(langs, answers) for name, answers in said.items()}
        known = detectors["langdetect"].languages
        paired[length] = {
            name: discordant(langs, said[name], said[PLAIN], known & detector.languages)
            for name, detector in detectors.items()
        }
    return found, paired


def discordant(
    langs: Sequence[str], ours: Sequence[str | None], plain: Sequence[str | None], known: frozenset[str]
) -> dict[str, list[int]]:
    """By language that both know: texts that only ours reads right, and texts that only the plain one does."""
    found: dict[str, list[int]] = {lang: [0, 0] for lang in langs if lang in known}
    for lang, one, other in zip(langs, ours, plain, strict=True):
        if lang in found and (one == lang) != (other == lang):
            found[lang][0 if one == lang else 1] += 1
    return found


def _counts(langs: Sequence[str], answers: Sequence[str | None]) -> dict[str, dict[str, int]]:
    counts = {lang: Counter({"right": 0, "wrong": 0, "abstained": 0}) for lang in langs}
    for lang, answer in zip(langs, answers, strict=True):
        counts[lang]["abstained" if answer is None else "right" if answer == lang else "wrong"] += 1
    return {lang: dict(counter) for lang, counter in counts.items()}


def measure_speed(
    sentences: Mapping[str, Sequence[str]], detectors: Mapping[str, LanguageDetector], rounds: int
) -> dict[str, Any]:
    """Microseconds a text, and how many times faster than `langdetect.detect`, on whole sentences of all languages."""
    texts = [text for group in sentences.values() for text in group[:50]]
    processor: dict[str, list[float]] = {name: [] for name in (PLAIN, *detectors)}

    def timed(name: str, detect: Callable[[Sequence[str]], object]) -> None:
        started = time.process_time()
        detect(texts)
        processor[name].append(time.process_time() - started)

    ways: dict[str, Callable[[], object]] = {PLAIN: functools.partial(timed, PLAIN, plain_langdetect)}
    ways |= {name: functools.partial(timed, name, detector.detect) for name, detector in detectors.items()}
    seconds = interleaved(ways, rounds)
    return {
        name: {
            "us_per_text": statistics.median(times) / len(texts) * 1e6,
            "times_faster": median_ratio(seconds[PLAIN], times),
            "processor_us_per_text": statistics.median(processor[name]) / len(texts) * 1e6,
            "times_less_processor": median_ratio(processor[PLAIN], processor[name]),
            "n_texts": len(texts),
            "rounds": rounds,
        }
        for name, times in seconds.items()
    }


def measure_confused(folder: Path, detectors: Mapping[str, LanguageDetector], n: int) -> dict[str, Any]:
    """Of real answers, by detector: how many are in the asked language, in another, or could not be told."""
    asked, texts = [], []
    counted: Counter[tuple[str, str]] = Counter()
    for path in sorted(folder.glob("*.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                if row["task"] == "monolingual" and counted[path.stem, row["language"]] < n:
                    counted[path.stem, row["language"]] += 1
                    asked.append(row["language"])
                    texts.append(row["completion"])
    if not texts:
        return {}
    said: dict[str, list[Detection]] = {name: detector.detect(texts) for name, detector in detectors.items()}
    counts = {name: _counts(asked, [d.lang for d in found]) for name, found in said.items()}
    both = [(a.lang, b.lang) for a, b in zip(said["lingua"], said["langdetect"], strict=True) if a.lang and b.lang]
    return {"counts": counts, "both_claim": len(both), "differ": sum(a != b for a, b in both), "n": len(texts)}


def markdown(values: Mapping[str, Any], langs: Sequence[str]) -> str:
    """The page."""
    accuracy, speed, known = values["accuracy"], values["speed"], values["known"]
    names = (PLAIN, *NAMES)
    overall = [
        (
            f"{name}, {length}",
            *_shares(accuracy[length][name], langs),
            *_shares(accuracy[length][name], known[name])[:1],
        )
        for length in LENGTHS
        for name in names
    ]
    by_language = [
        (lang, *(_right(accuracy[length][name][lang]) for length in ("sentence", "quarter") for name in names))
        for lang in langs
    ]
    header = ["language", *(f"{name}{', quarter' if i else ''}" for i in range(2) for name in names)]
    speeds = [
        (
            name,
            f"{row['us_per_text']:.0f}",
            f"{row['times_faster']:.1f}x",
            f"{row['processor_us_per_text']:.0f}",
            f"{row['times_less_processor']:.1f}x",
        )
        for name, row in speed.items()
    ]
    against = [
        _against(name, length, values["paired_with_plain"][length][name]) for length in LENGTHS for name in NAMES
    ]
    parts = [
        "# Language detectors: accuracy and speed",
        f"{values['n_per_language']} sentences of each of {len(langs)} languages (drawn by seed {values['seed']}), and "
        "their beginnings. Shares of all texts; a detector knows fewer languages than these: "
        f"{', '.join(f'{name} {len(found)}' for name, found in known.items())}. "
        "`langdetect.detect` is langdetect as it comes, one text at a time; the others are this project's.",
        table(["detector, text", "right", "wrong", "abstained", "right, of languages it knows"], overall),
        "Against `langdetect.detect`, text by text, in the languages that both know. An abstention is not right. The "
        "last columns are the languages in which an exact sign test (5%, Holm over the languages) finds a difference:",
        table(["detector, text", "only it is right", "only plain is right", "p", "better in", "worse in"], against),
        "`profiles` is langdetect's own model, every n-gram read once for a whole batch instead of drawn at random; "
        "what makes langdetect slow is Python, n-gram by n-gram. lingua adds up five orders of n-grams for every "
        "candidate, which bounds it: its time grows with the number of candidates.",
        f"Speed on whole sentences, {speed[PLAIN]['n_texts']} texts at once, median of {speed[PLAIN]['rounds']}:",
        table(["detector", "microseconds a text", "faster", "of all processors", "less work"], speeds),
        "The first pair is by the clock, and other work on the machine is in it; the second is processor time. "
        "Models are loaded before: a language's once a process.",
        "Share right by language:",
        table(header, by_language),
        *_confused(values["confused"]),
        machine_line(values["machine"]),
    ]
    return "\n\n".join(parts) + "\n"


def _against(name: str, length: str, counts: Mapping[str, Sequence[int]]) -> tuple[str, ...]:
    from scipy.stats import binomtest

    def p_value(pair: Sequence[int]) -> float:
        return float(binomtest(pair[0], sum(pair)).pvalue) if sum(pair) else 1.0

    better, worse = [], []
    for rank, lang in enumerate(sorted(counts, key=lambda lang: p_value(counts[lang]))):
        if p_value(counts[lang]) > 0.05 / (len(counts) - rank):
            break
        (better if counts[lang][0] > counts[lang][1] else worse).append(lang)
    sums = [sum(pair[side] for pair in counts.values()) for side in (0, 1)]
    listed = (", ".join(sorted(found)) or "none" for found in (better, worse))
    return (f"{name}, {length}", *map(str, sums), f"{p_value(sums):.2g}", *listed)


def _confused(found: Mapping[str, Any]) -> list[str]:
    if not found:
        return []
    langs = sorted(found["counts"]["lingua"])
    rows = [(lang, *(cell for name in NAMES for cell in _shares(found["counts"][name], [lang]))) for lang in langs]
    rows.append(("all", *(cell for name in NAMES for cell in _shares(found["counts"][name], langs))))
    header = ["asked", *(f"{name}: {what}" for name in NAMES for what in ("in it", "in another", "not told"))]
    text = (
        f"Real answers of a model with the wrong-language habit ({found['n']} monolingual answers of the Language "
        f"Confusion Benchmark). There is no gold language here. Where lingua and langdetect both name a language "
        f"({found['both_claim']}), they differ in {found['differ']}."
    )
    return [text, table(header, rows)]


def _shares(counts: Mapping[str, Mapping[str, int]], langs: Sequence[str]) -> tuple[str, str, str]:
    sums = Counter[str]()
    for lang in langs:
        sums.update(counts[lang])
    total = sums.total() or 1
    return (f"{sums['right'] / total:.3f}", f"{sums['wrong'] / total:.3f}", f"{sums['abstained'] / total:.3f}")


def _right(counts: Mapping[str, int]) -> str:
    return f"{counts['right'] / sum(counts.values()):.2f}"


def _beginning(text: str, share: float) -> str:
    """The first words, or characters where there are no spaces, that make up a share of the text."""
    parts = text.split(" ")
    if len(parts) < 4:
        return text[: max(1, round(share * len(text)))]
    return " ".join(parts[: max(1, round(share * len(parts)))])


if __name__ == "__main__":
    main()
