"""A detector that claims a language only where lingua and langdetect, which err in different ways, both claim it.

It trades answers for certainty: what it says is wrong more rarely than what either says, and it abstains more often, so
fidelities by it rest on fewer responses. `results/benchmarks/detectors.md` has the rates. langdetect decides its speed.
"""

from __future__ import annotations

from collections.abc import Sequence

from lrpo_bench.language_id.base import Detection, LanguageDetector

DISAGREE = "detectors disagree"


class ConsensusDetector:
    """Agreement of several detectors, each with its own candidates; knows the languages that all of them know."""

    def __init__(self, detectors: Sequence[LanguageDetector]) -> None:
        """Takes the detectors, the fastest first: the others see only what it claims a language for."""
        if len(detectors) < 2:
            raise ValueError(f"a consensus needs two detectors or more, got {len(detectors)}")
        self._detectors = tuple(detectors)

    @property
    def languages(self) -> frozenset[str]:
        """Languages that every detector can tell apart; in any other there can be no consensus."""
        return frozenset.intersection(*(detector.languages for detector in self._detectors))

    @property
    def signature(self) -> str:
        """`consensus(names with candidates)|versions`, in the order of the detectors."""
        parts = [detector.signature.partition("|") for detector in self._detectors]
        return f"consensus({' & '.join(name for name, _, _ in parts)})|{'+'.join(version for _, _, version in parts)}"

    def detect(self, texts: Sequence[str]) -> list[Detection]:
        """One detection per text: the language all claim, with the lowest confidence, or why there is none."""
        found = self._detectors[0].detect(texts)
        for detector in self._detectors[1:]:
            claimed = [i for i, detection in enumerate(found) if detection.lang is not None]
            for i, other in zip(claimed, detector.detect([texts[i] for i in claimed]), strict=True):
                found[i] = _agreement(found[i], other)
        return found


def _agreement(a: Detection, b: Detection) -> Detection:
    """What two detections of one text agree on.

    Example:
        >>> _agreement(Detection("de", 0.9), Detection("de", 0.8)).confidence
        0.8
        >>> _agreement(Detection("de", 0.9), Detection("nl", 0.8)).reason
        'detectors disagree'
    """
    if a.lang is None or b.lang is None:
        return a if a.lang is None else b
    if a.lang != b.lang:
        return Detection(None, reason=DISAGREE)
    return Detection(a.lang, min(a.confidence, b.confidence))
