"""The language gate line by line: the share of an answer's lines that are in the language asked for.

A document has one language to a detector, however it is mixed: with one stray line of four it passes whole, with three
it earns nothing. By lines the gate is 3/4 and 1/4, so that each line brought back to the language pays. Lines are
those of `evaluation.fidelity_rules` (five words or more, code and links blanked), which evaluation's `lpr` counts too.

Ours, not the paper's. A line on which the detector abstains is left out; an answer without a line that can be told is
gated as a document. With gate `separate`, an answer with any right line passes, and its reward has the share in it.
"""

from __future__ import annotations

from collections.abc import Sequence

from lrpo_bench.evaluation.fidelity_rules import CORRECTED
from lrpo_bench.evaluation.judging import Judgement
from lrpo_bench.language_id.base import LanguageDetector, language_verdict
from lrpo_bench.lrpo.rewards import GateConfig, language_gate


def gate_values(
    texts: Sequence[str],
    asked: Sequence[str],
    judgements: Sequence[Judgement],
    detector: LanguageDetector,
    config: GateConfig,
) -> list[float]:
    """The gate of each of N answers, NaN where it is left unscored; all lines go through one call of the detector.

    Args:
        texts: the answers.
        asked: language that each was asked for.
        judgements: of the answers as documents.
        detector: decides on lines.
        config: mode, abstention, and whether documents or lines are gated.
    """
    gates = [language_gate(judgement.detection, judgement.language_ok, config) for judgement in judgements]
    if config.unit == "document" or config.mode == "none":
        return gates
    kept = [CORRECTED.lines(text, lang) for text, lang in zip(texts, asked, strict=True)]
    distinct = list(dict.fromkeys(line for lines in kept for line in lines))
    found = dict(zip(distinct, detector.detect(distinct), strict=True))
    for i, (lines, lang) in enumerate(zip(kept, asked, strict=True)):
        verdicts = [(found[line], language_verdict(found[line], lang, detector)[0]) for line in lines]
        told = [language_gate(detection, ok, config) for detection, ok in verdicts if ok is not None]
        if told:
            gates[i] = sum(told) / len(told)
    return gates
