"""What answering in a language is worth, known from how the world was made: the yardstick for routers.

`Truth` gives, for a kind of question asked in a language, the chance that an answer in language a is right; from it
follow the best languages and the regret of a routing distribution, max_a p_a - sum_a probs_a * p_a.

What is exact and what is not:

- exposure is exact: the expected number of training rows of each (kind, region, q, a), by the formula of `corpus.py`;
- accuracy is an approximation. Where the profile's weights were built, a cell's measured accuracy (greedy answers of
  the untrained-on test questions, see `measure.py`) is drawn towards a fit of accuracy on exposure, as if the fit were
  `FIT_WEIGHT` further questions; a measured cell has 3 to 50 questions. The fit is logistic in the logarithms of three
  exposures (of questions in q, of answers in a - for regional questions: of the region's facts in a - and of the pair).
- it is the truth about the policy before optimization and at temperature 0. Training changes it.

Without built weights the fit of another profile can be passed; there is no built-in one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lrpo_bench.errors import ConfigError, DataError, UnknownNameError
from lrpo_bench.world.corpus import pair_probabilities
from lrpo_bench.world.facts import REGIONS
from lrpo_bench.world.measure import Cell
from lrpo_bench.world.profile import Profile, load_profile
from lrpo_bench.world.questions import KINDS, WORLD_LANGUAGES, Kind

FIT_WEIGHT = 4.0
"""Questions that the fit counts for beside a cell's measured ones."""
RIDGE = 0.05
"""Keeps the logistic fit finite where a feature separates right from wrong."""

Fit = dict[str, list[float]]
"""Kind -> intercept and the weights of the three log exposures."""


@dataclass(frozen=True, slots=True)
class AskedAbout:
    """What the worth of a language may depend on."""

    kind: Kind
    source_lang: str
    regions: tuple[str, ...] = ()


class Truth:
    """Exposure, expected accuracy and regret for one profile."""

    def __init__(self, profile: Profile, fit: Fit | None = None, cells: Sequence[Cell] = ()) -> None:
        """Prepares the tables; without a fit only exposures can be asked for."""
        self.profile, self.fit = profile, fit
        self._tables = {kind: _expected_rows(profile, kind) for kind in KINDS}
        self._measured = {(cell.kind, cell.region, cell.source_lang, cell.rollout_lang): cell for cell in cells}

    @classmethod
    def load(cls, folder: Path) -> Truth:
        """The truth about the built world in a folder, measurements included."""
        path = folder / "eval.json"
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            cells = [Cell(*row) for row in stored["cells"]]
            return cls(load_profile(folder / "profile.yaml"), stored["fit"], cells)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{path}: no readable evaluation of a world model ({error}); build the world again"
            ) from error

    def exposure(self, asked: AskedAbout, rollout_lang: str) -> float:
        """Expected training rows with this kind, region, question language and answer language; exact."""
        source, rollout = _index(asked.source_lang), _index(rollout_lang)
        return float(np.mean([self._table(asked.kind, region)[source, rollout] for region in _regions(asked)]))

    def accuracy(self, asked: AskedAbout) -> dict[str, float]:
        """Expected accuracy for each answer language, in [0, 1]; the mean over regions where there are several."""
        return {
            lang: float(np.mean([self._cell_accuracy(asked, region, lang) for region in _regions(asked)]))
            for lang in WORLD_LANGUAGES
        }

    def best_languages(self, asked: AskedAbout, tolerance: float = 0.0) -> tuple[str, ...]:
        """Answer languages whose accuracy is within `tolerance` of the best one's, best first."""
        accuracy = self.accuracy(asked)
        best = max(accuracy.values())
        chosen = [lang for lang in WORLD_LANGUAGES if accuracy[lang] >= best - tolerance]
        return tuple(sorted(chosen, key=lambda lang: -accuracy[lang]))

    def regret(self, probs: Mapping[str, float], asked: AskedAbout) -> float:
        """Accuracy that a routing distribution gives away against always choosing the best language; at least 0.

        The best is taken over the languages that `probs` names, so a language that a router may not choose costs
        nothing; give it probability 0 to count it.
        """
        values = np.array(list(probs.values()), dtype=float)
        if not len(values) or (values < 0).any() or abs(values.sum() - 1) > 1e-6:
            raise ConfigError(f"probs must be non-negative and sum to 1, got a sum of {values.sum():g}")
        for lang in probs:
            _index(lang)
        accuracy = self.accuracy(asked)
        return max(accuracy[lang] for lang in probs) - sum(accuracy[lang] * share for lang, share in probs.items())

    def _cell_accuracy(self, asked: AskedAbout, region: str, lang: str) -> float:
        fitted = self._fitted(asked.kind, region, asked.source_lang, lang)
        cell = self._measured.get((asked.kind, region, asked.source_lang, lang))
        return fitted if cell is None else (cell.correct + FIT_WEIGHT * fitted) / (cell.n + FIT_WEIGHT)

    def _fitted(self, kind: Kind, region: str, source_lang: str, rollout_lang: str) -> float:
        if self.fit is None:
            raise ConfigError(
                f"profile {self.profile.name!r} has no fit of accuracy on exposure; "
                f'run "lrpo-bench world build --profile {self.profile.name} --out DIR" and load that folder'
            )
        if kind not in self.fit:
            return 0.0  # the profile's mixture leaves this kind out: the policy has never seen it
        features = exposure_features(self._table(kind, region), source_lang, rollout_lang)
        return float(1 / (1 + np.exp(-(np.array(self.fit[kind]) @ features))))

    def _table(self, kind: Kind, region: str) -> np.ndarray:
        return self._tables[kind][region]


def fit_accuracy(profile: Profile, cells: Sequence[Cell]) -> Fit:
    """Logistic fits of accuracy on exposure, one for each kind that was measured, weighted by the cells' questions."""
    measured = {kind: [cell for cell in cells if cell.kind == kind] for kind in KINDS}
    return {kind: _logistic_fit(_expected_rows(profile, kind), found) for kind, found in measured.items() if found}


def exposure_features(rows: np.ndarray, source_lang: str, rollout_lang: str) -> np.ndarray:
    """1 and the logarithms of one plus the rows asked in q, answered in a, and both; `rows` is (L, L)."""
    source, rollout = _index(source_lang), _index(rollout_lang)
    counts = [rows[source].sum(), rows[:, rollout].sum(), rows[source, rollout]]
    return np.array([1.0, *np.log1p(counts)])


def _logistic_fit(tables: Mapping[str, np.ndarray], cells: Sequence[Cell], iterations: int = 30) -> list[float]:
    features = np.array([exposure_features(tables[c.region], c.source_lang, c.rollout_lang) for c in cells])
    n, correct = np.array([c.n for c in cells]), np.array([c.correct for c in cells])
    weights = np.zeros(features.shape[1])
    penalty = RIDGE * np.eye(len(weights))
    for _ in range(iterations):  # Newton's method on the penalised log-likelihood
        p = 1 / (1 + np.exp(-features @ weights))
        gradient = features.T @ (correct - n * p) - penalty @ weights
        hessian = (features * (n * p * (1 - p))[:, None]).T @ features + penalty
        step = np.linalg.solve(hessian, gradient)
        weights = weights + step / max(1.0, float(np.abs(step).max()))
    return [float(weight) for weight in weights]


def _expected_rows(profile: Profile, kind: Kind) -> dict[str, np.ndarray]:
    """Expected rows of each (q, a), an (L, L) array for each region of the kind."""
    regions, probabilities = pair_probabilities(profile, kind)
    return dict(zip(regions, profile.policy.rows * profile.mixture.kinds[kind] * probabilities, strict=True))


def _regions(asked: AskedAbout) -> tuple[str, ...]:
    if asked.kind != "regional":
        return ("",)
    for region in asked.regions:
        if region not in REGIONS:
            raise UnknownNameError("region", region, REGIONS)
    if not asked.regions:
        raise ConfigError("a regional question needs its regions to know what an answer language is worth; got none")
    return asked.regions


def _index(lang: str) -> int:
    if lang not in WORLD_LANGUAGES:
        raise UnknownNameError("world language", lang, WORLD_LANGUAGES)
    return WORLD_LANGUAGES.index(lang)
