"""Training methods by name: who chooses the languages, what is optimized, and how near each is to its paper.

All online methods are the same code path: `grpo` is LRPO whose whole group is quota, to the bit. The others build their
training data once, from the policy's own rollouts or from references, and take as many optimizer steps on it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from lrpo_bench.errors import UnknownNameError

Objective = Literal["none", "grpo", "sft", "dpo", "mapo", "lidr", "mpo"]

LRPO_PAPER = "Guo et al. 2026, arXiv 2605.25360"
_CLIPPED = "group advantages and clipped loss (TRL's GRPO)"
_ROUTER_DEPARTS = "the router's departures are listed in `lrpo/router.py`"
_OWN_PAIRS = "pairs come from the policy's own rollouts, as many as an online method makes"
_STEPS = "constant learning rate and as many steps as the online methods"


@dataclass(frozen=True, slots=True)
class Method:
    """What a method name stands for."""

    name: str
    title: str
    routing: Literal["none", "source", "fixed", "learned", "offline"]
    """`none`: not trained; `source`: all rollouts in the source language; `fixed`: a constant mix; `learned`;
    `offline`: trained on data that is built before the first step."""
    mix: str | None = None
    """The constant mix, or the one that a learned router starts from (a uniform distribution when absent)."""
    zero: bool = False
    """Told the language by a system prompt, without a warm start on tags."""
    objective: Objective = "grpo"
    """The loss."""
    anneals: bool = True
    """Whether a learned router's temperature and exploration fall over the steps."""
    source: str = LRPO_PAPER
    """The paper that defines it."""
    exact: str = ""
    """What is as the paper has it."""
    departs: str = "nothing known"
    """What is not."""

    @property
    def is_offline(self) -> bool:
        """True where all data is built before the first step."""
        return self.routing == "offline"

    @property
    def needs_dominant(self) -> bool:
        """True where rollouts in one dominant language stand beside those of the others."""
        return self.objective in ("mapo", "lidr", "mpo")

    @property
    def makes_rollouts(self) -> bool:
        """False for what is not trained, or only on references."""
        return self.objective not in ("none", "sft")


def _fixed(mix: str, shares: str, *, zero: bool = False) -> Method:
    return Method(
        f"lrpo-fixed-{mix}{'-zero' if zero else ''}",
        f"fixed mix: {shares}{', language named by a system prompt' if zero else ''}",
        "fixed",
        mix,
        zero=zero,
        exact=f"the shares of Sec. 4; {_CLIPPED}",
        departs="the mix holds in expectation, draw by draw, not exactly in each group",
    )


_MIXES = (
    ("monolingual", "source language only"),
    ("input-dominant", "75% source, 25% English"),
    ("en-dominant", "25% source, 75% English"),
    ("uniform", "25% source, the rest evenly"),
)

_METHODS = (
    Method("vanilla", "the model as it is", "none", objective="none", exact="no training at all"),
    Method(
        "sft", "warm-start SFT on cross-lingual answers", "offline", objective="sft",
        exact="420 prompts x 2 answers in other languages, the language named as the policy is asked; loss on answers",
        departs="answers are the task's references in the answer language, not a stronger model's",
    ),
    Method(
        "grpo", "all rollouts in the source language", "source",
        source="Shao et al. 2024, arXiv 2402.03300", exact=_CLIPPED,
        departs="token-normalised loss (`dapo`) and no KL by default; both are settings",
    ),
    Method(
        "lrpo", "languages chosen by a learned router", "learned",
        exact=f"Alg. 1, Eq. 6 and 7; quota, annealing, gate; {_CLIPPED}", departs=_ROUTER_DEPARTS,
    ),
    Method(
        "lrpo-zero", "LRPO, language named by a system prompt", "learned", zero=True,
        exact="as lrpo, without a warm start", departs=_ROUTER_DEPARTS,
    ),
    *(_fixed(*mix) for mix in _MIXES),
    *(_fixed(*mix, zero=True) for mix in _MIXES),
    Method(
        "lrpo-prior", "ablation: the router starts from a hand-made mix, not uniform", "learned", "en-dominant",
        exact="as lrpo but for the router's first values",
        departs=f"the paper does not print its prior: here the logarithm of the en-dominant mix; {_ROUTER_DEPARTS}",
    ),
    Method(
        "lrpo-no-annealing", "ablation: temperature and exploration stay as they start", "learned", anneals=False,
        exact="as lrpo with both schedules constant", departs=_ROUTER_DEPARTS,
    ),
    Method(
        "dpo", "best against worst rollout of each group", "offline", objective="dpo",
        source="Rafailov et al. 2023, arXiv 2305.18290", exact="Eq. 7, beta 0.1 (TRL's DPOTrainer)",
        departs=f"{_OWN_PAIRS}, ranked by the reward instead of by people; {_STEPS}",
    ),
    Method(
        "mapo", "answers ranked by how well they translate into the dominant language's", "offline", objective="mapo",
        source="She et al. 2024, arXiv 2401.06838",
        exact="score 1/NLL under a translation model, mean over dominant answers; better answer right; DPO, beta 0.1",
        departs=f"in the world, chrF of the true translation; {_OWN_PAIRS} (20 samples each there); {_STEPS}",
    ),
    Method(
        "lidr", "the dominant language's translated answer against the own one", "offline", objective="lidr",
        source="Yang et al. 2024, arXiv 2410.08964",
        exact="pairs both ways (a translation is worse in the dominant language); DPO + NLL",
        departs="one iteration; beta and the weight of NLL are ours; translated by another model or the world's truth, "
        f"not by the policy itself; {_STEPS}",
    ),
    Method(
        "mpo", "reward gap of other languages drawn to the dominant one's", "offline", objective="mpo",
        source="Zhao et al. 2025, arXiv 2505.16869",
        exact="L1 on length-normalised gaps against the frozen model's, L2 on the dominant hidden states; beta 1",
        departs=f"answers of the task instead of safety; {_OWN_PAIRS}, not translated ones; {_STEPS}",
    ),
)  # fmt: skip

METHODS = {method.name: method for method in _METHODS}
"""All methods, in the order in which tables list them."""


def get_method(name: str) -> Method:
    """The method of that name; raises `UnknownNameError` with the nearest."""
    if name not in METHODS:
        raise UnknownNameError("method", name, METHODS, 'run "lrpo-bench list"')
    return METHODS[name]


def methods_text(methods: Iterable[Method] = _METHODS) -> str:
    """Methods one after another, each with its source, what is exact and what departs."""
    return "".join(
        f"{method.name}: {method.title}\n"
        f"  source   {method.source}\n"
        f"  exact    {method.exact}\n"
        f"  departs  {method.departs}\n"
        for method in methods
    )


def methods_markdown(methods: Iterable[Method] = _METHODS) -> str:
    """A Markdown table of methods: name, what it is, source, what is exact, what departs.

    Example:
        >>> print(methods_markdown([get_method("vanilla")]).splitlines()[-1])
        | `vanilla` | the model as it is | Guo et al. 2026, arXiv 2605.25360 | no training at all | nothing known |
    """
    rows = [
        f"| `{method.name}` | {method.title} | {method.source} | {method.exact} | {method.departs} |"
        for method in methods
    ]
    return "\n".join(["| method | what it is | source | exact | departs |", "|---|---|---|---|---|", *rows]) + "\n"
