"""What an evaluation's numbers depend on besides the model."""

from __future__ import annotations

from lrpo_bench.evaluation.answer_judge import judge_signature
from lrpo_bench.evaluation.evaluator import EvaluationSettings
from lrpo_bench.evaluation.fidelity_rules import FIDELITY_VERSION, WordList
from lrpo_bench.language_id.base import LanguageDetector
from lrpo_bench.models.prompting import SYSTEM_PROMPTS
from lrpo_bench.plan import Plan
from lrpo_bench.results.schema import Signature, TaskSignature
from lrpo_bench.tasks.extraction import EXTRACTION_VERSION


def signature_of(
    plan: Plan, settings: EvaluationSettings, detector: LanguageDetector, words: WordList | None
) -> Signature:
    """The signature of an evaluation by this plan: comparisons need equal ones."""
    tasks = {
        selection.task.info.name: TaskSignature(
            version=selection.task.info.version,
            variant=selection.task.variant,
            kind=selection.task.kind,
            languages=selection.languages,
            prompt_hash=selection.prompt_hash,
            data_hash=selection.data_hash,
            limit=entry.limit,
        )
        for selection, entry in zip(plan.selections, plan.config.tasks, strict=True)
    }
    decoding = {
        "instruct": settings.instruct,
        "system_prompts": sorted(SYSTEM_PROMPTS) if settings.instruct == "system" else [],
        "greedy": {"sampling_temperature": 0.0, "max_completion_tokens": settings.max_completion_tokens},
        "draws": {
            "n": settings.draws,
            "limit": settings.draw_limit,
            "sampling_temperature": settings.sampling_temperature,
            "top_p": settings.top_p,
        },
        "seed": settings.seed,
        # Only where there are any, so that results without them stay comparable with older ones.
        **({"stop": stops} if (stops := _stops(plan)) else {}),
        **({"judge": judge} if (judge := judge_signature(plan.tasks, plan.config.eval.judge)) else {}),
    }
    name, _, version = detector.signature.partition("|")
    listed = "" if words is None else words.signature
    return Signature(tasks, decoding, name, version, EXTRACTION_VERSION, FIDELITY_VERSION, listed)


def _stops(plan: Plan) -> dict[str, dict[str, list[str]]]:
    """Stop strings by task and language of the question, where there are any."""
    found = {
        s.task.info.name: {lang: list(s.task.stop(lang)) for lang in s.languages if s.task.stop(lang)}
        for s in plan.selections
        if s.task.kind == "generate"
    }
    return {name: stops for name, stops in found.items() if stops}
