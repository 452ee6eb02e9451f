"""From a job to a trainer on stored pairs: rollouts, then pairs, then TRL's data set.

What lies in a run folder for it::

    offline/step-000001.json ...   rollouts as they are drawn; gone when the training is done
    offline/pairs.jsonl            all pairs, written at once; a resumed run trains on the very same
    offline/summary.json           how many groups gave how many pairs
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lrpo_bench.errors import ConfigError
from lrpo_bench.results.files import dumps, read_rows, write_bytes, write_json
from lrpo_bench.training.methods import Method, get_method
from lrpo_bench.training.offline.arguments import common_arguments
from lrpo_bench.training.offline.encoding import Encoder, training_model
from lrpo_bench.training.offline.pairs import Group, Pair, dpo_pairs, lidr_pairs, mapo_pairs, mpo_pairs
from lrpo_bench.training.offline.rollouts import RolloutCollector, collect_groups, parallel_by_id
from lrpo_bench.training.offline.translation import Answer, Translator, load_translator
from lrpo_bench.training.offline.warm_start import build_answer_trainer
from lrpo_bench.training.steps import OFFLINE, SUMMARY

if TYPE_CHECKING:
    from lrpo_bench.training.offline.pairs import Rollout
    from lrpo_bench.training.run import TrainingJob
    from lrpo_bench.training.trainer import Sink


def build_offline_trainer(
    job: TrainingJob, model: Any, tokenizer: Any, sink: Sink | None, callbacks: Sequence[Any], logged: int
) -> Any:
    """The trainer of an offline method; its data is built first, or read where it was built before.

    Args:
        job: what to train.
        model: the policy, which is also the frozen reference.
        tokenizer: the policy's.
        sink: takes the telemetry of rollouts.
        callbacks: for the trainer.
        logged: steps whose telemetry the run's logs have already.
    """
    method = get_method(job.config.train.method)
    if method.objective == "sft":
        return build_answer_trainer(job, model, tokenizer, job.folder / "checkpoints", callbacks)
    hf = training_model(job, model, tokenizer)
    order = question_order(job, method)
    collector = RolloutCollector(job, method, hf, order)
    translator = translator_of(job, method)
    groups = collect_groups(collector, job.folder / OFFLINE, job.config.train.steps, sink, logged)
    pairs = stored_pairs(job, method, groups, translator)
    return _pair_trainer(job, method, model, Encoder(job, hf), pairs, callbacks)


def question_order(job: TrainingJob, method: Method) -> list[str]:
    """The questions of all steps, in the order of an online method; without those of the dominant language."""
    from lrpo_bench.training.run import data_order

    train = job.config.train
    dominant = train.offline.dominant
    names = list(job.samples)
    if method.needs_dominant:
        names = [
            name
            for name, (_, sample) in job.samples.items()
            if sample.lang != dominant and dominant in job.parallel.get(sample.source_id, {})
        ]
        if not names:
            raise ConfigError(
                f"method {method.name!r} needs training questions in another language than {dominant!r} "
                "(train.offline.dominant) that exist in it too; check train.languages"
            )
    return data_order(names, train.steps * train.questions_per_step, job.config.seed)


def translator_of(job: TrainingJob, method: Method) -> Translator | None:
    """The translator of MAPO and LIDR, checked against the tasks and languages of the job; None for the others."""
    if method.objective not in ("mapo", "lidr"):
        return None
    offline = job.config.train.offline
    translator = load_translator(offline.translator, job.config.model.device)
    tasks = sorted({task.info.name for task, _ in job.samples.values()})
    translator.check(tasks, sorted({sample.lang for _, sample in job.samples.values()} | {offline.dominant}))
    return translator


def stored_pairs(
    job: TrainingJob, method: Method, groups: Sequence[Group], translator: Translator | None
) -> list[Pair]:
    """The run's pairs: read where they lie, else built and stored.

    Raises:
        ConfigError: where no group gives a pair.
    """
    path = job.folder / OFFLINE / "pairs.jsonl"
    if not path.exists():
        pairs = build_pairs(job, method, groups, translator)
        if not pairs:
            raise ConfigError(
                f"method {method.name!r} found no pair of a better and a worse answer in {len(groups)} groups; "
                "raise train.steps, train.group_size or train.sampling_temperature"
            )
        write_json(path.with_name(SUMMARY), {"groups": len(groups), "pairs": len(pairs)})
        write_bytes(path, "".join(dumps(pair.to_dict()) + "\n" for pair in pairs).encode())
    return [Pair.from_dict(row) for row in read_rows(path)]


def build_pairs(job: TrainingJob, method: Method, groups: Sequence[Group], translator: Translator | None) -> list[Pair]:
    """The pairs of a method from its groups."""
    if method.objective == "dpo":
        return dpo_pairs(groups)
    if method.objective == "mpo":
        return mpo_pairs(groups)
    if translator is None:
        raise ValueError(f"method {method.name!r} needs a translator")
    samples = {**job.samples, **parallel_by_id(job)}

    def answers(rollouts: Sequence[Rollout]) -> list[Answer]:
        return [Answer(*samples[one.sample_id], one.lang, one.text) for one in rollouts]

    if method.objective == "mapo":
        return mapo_pairs(groups, alignments(groups, answers, translator))
    dominant = job.config.train.offline.dominant
    to_own = [translator.translate(answers(group.dominant), group.own[0].lang) for group in groups]
    to_dominant = [translator.translate(answers(group.own), dominant) for group in groups]
    return lidr_pairs(groups, to_own, to_dominant)


def alignments(groups: Sequence[Group], answers: Any, translator: Translator) -> list[list[float]]:
    """MAPO's score of every own rollout: the mean over the right answers in the dominant language, each text once.

    Empty for a group without a right dominant answer, which the paper leaves out.
    """
    scores = []
    for group in groups:
        right = list({one.text: one for one in group.dominant if one.correct}.values())
        crossed = [(own, target) for own in group.own for target in right]
        found = translator.score(answers([own for own, _ in crossed]), answers([target for _, target in crossed]))
        size = len(right)
        scores.append([sum(found[i : i + size]) / size for i in range(0, len(found), size)] if size else [])
    return scores


def _pair_trainer(
    job: TrainingJob, method: Method, model: Any, encoder: Encoder, pairs: Sequence[Pair], callbacks: Sequence[Any]
) -> Any:
    from datasets import Dataset
    from transformers import PrinterCallback
    from trl import DPOConfig

    from lrpo_bench.training.offline.trainers import MPOCollator, MPOTrainer, PairTrainer
    from lrpo_bench.training.run import data_order

    train = job.config.train
    offline, per_step = train.offline, train.offline.pairs_per_step or train.questions_per_step
    order = data_order([f"{i:09d}" for i in range(len(pairs))], train.steps * per_step, job.config.seed)
    encoded = [encoder.pair(pair) for pair in pairs]
    is_mpo, is_lidr = method.objective == "mpo", method.objective == "lidr"
    common: dict[str, Any] = {
        "model": model,
        "ref_model": copy.deepcopy(model),
        "args": DPOConfig(
            **common_arguments(job.config, job.folder / "checkpoints", per_step),
            max_steps=train.steps,
            learning_rate=offline.learning_rate,
            beta=offline.mpo_beta if is_mpo else offline.beta,
            loss_type=["sigmoid", "sft"] if is_lidr else ["sigmoid"],
            loss_weights=[1.0, offline.nll_weight] if is_lidr else None,
            max_length=None,
            remove_unused_columns=False,
        ),
        "train_dataset": Dataset.from_list([encoded[int(i)] for i in order]),
        "processing_class": encoder.tokenizer,
        "callbacks": list(callbacks),
    }
    if is_mpo:
        collator = MPOCollator(encoder.tokenizer.pad_token_id)
        trainer = MPOTrainer(data_collator=collator, retain_weight=offline.retain_weight, **common)
    else:
        trainer = PairTrainer(**common)
    trainer.remove_callback(PrinterCallback)
    return trainer
