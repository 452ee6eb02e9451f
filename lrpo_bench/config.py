"""One typed configuration for evaluation, training and runs, from YAML and `--set key=value`.

Every option of the command line lives here too. An unknown key or a bad value is one line that names it, says what is
allowed and suggests the nearest; nothing is read from anywhere else.

Example:
    >>> config = parse_config({"tasks": ["arithmetic"], "train": {"steps": 3}})
    >>> config.train.steps, config.tasks[0].name
    (3, 'arithmetic')
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field, ValidationError, model_validator

from lrpo_bench.config_base import Section
from lrpo_bench.errors import ConfigError, UnknownNameError
from lrpo_bench.languages import parse_languages
from lrpo_bench.offline_config import OfflineConfig, WarmStartConfig
from lrpo_bench.reward_config import EvalJudgeConfig, RewardConfig
from lrpo_bench.router_config import Labels, LabelsConfig, RouterConfig
from lrpo_bench.scale_config import ScaleConfig


def _codes(value: Any) -> Any:
    if isinstance(value, str):
        value = [part for part in value.split(",") if part.strip()]
    if not isinstance(value, Iterable) or isinstance(value, Mapping):
        return value
    try:
        return parse_languages(str(item) for item in value)
    except UnknownNameError as error:
        raise ValueError(error) from error  # pydantic adds the key to a ValueError only


Languages = Annotated[tuple[str, ...], BeforeValidator(_codes), Field(min_length=1)]


_SHOWN = 80  # characters of a wrong value in a message


class ModelConfig(Section):
    """The policy."""

    name: str = "embedded:default"
    """`embedded:PROFILE`, a local folder, a hub id, or `mock`."""
    revision: str | None = None
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    device: str = "auto"
    batch_size: int = Field(default=128, ge=1)
    """Sequences decoded or scored at once during evaluation."""
    trust_remote_code: bool = False
    """Run code that comes with the model; off unless you ask for it by name."""
    generation: Literal["auto", "loop", "generate", "static", "compiled", "continuous"] = "auto"
    """How an evaluation decodes: our loop, transformers' `generate` (its static cache, compiled), continuous batching;
    `auto` takes what is fastest in a short trial with equal greedy tokens."""
    backend: Literal["hf", "vllm"] = "hf"
    """What evaluates: transformers, or vLLM (the extra `vllm`); training always loads with transformers."""
    tensor_parallel: int = Field(default=1, ge=1)
    """Devices over which backend vllm splits the weights."""
    gpu_memory_share: float = Field(default=0.9, gt=0, le=1)
    """Share of a device's memory that backend vllm may take; lower it where a run also trains on the device."""

    @model_validator(mode="after")
    def _backend(self) -> ModelConfig:
        if self.backend == "hf" and (self.tensor_parallel, self.gpu_memory_share) != (1, 0.9):
            raise ConfigError("model.tensor_parallel and model.gpu_memory_share are of model.backend vllm; got hf")
        if self.backend == "vllm" and (self.generation, self.device) != ("auto", "auto"):
            raise ConfigError(
                "model.backend vllm decodes in its own way and place; leave model.generation and model.device at "
                f"auto, got {self.generation} and {self.device}"
            )
        return self


class TaskConfig(Section):
    """One task and where its data comes from."""

    name: str
    variant: str | None = None
    languages: Languages | None = None
    """Languages to evaluate; all of the task's when absent."""
    data: Path | None = None
    """A local file or folder; the task's own rows or its hub data set when absent."""
    split: str | None = None
    """Split to evaluate; the task's own evaluation split when absent."""
    limit: int | None = Field(default=None, ge=1)
    """Questions per language: the first ones, so that translations stay parallel."""


class EvalConfig(Section):
    """How a model is evaluated."""

    draws: int = Field(default=4, ge=0)
    """Sampled completions per question for diversity and pass@k; 0 skips them."""
    draw_limit: int | None = Field(default=16, ge=1)
    """Questions per task and language that get sampled completions; all when absent."""
    sampling_temperature: float = Field(default=1.0, gt=0)
    top_p: float = Field(default=1.0, gt=0, le=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    """The task's own limit when absent."""
    detector: str = "auto"
    """Language detector: `auto` (lingua), `lingua`, `langdetect`, `profiles` (langdetect's model in batches, the
    fastest), or `consensus` of lingua and langdetect, abstaining where they disagree."""
    word_list: Path | None = None
    """English words, one a line, for the word pass rate (WPR); without a list it is not measured."""
    diversity_encoder: str | None = None
    """Encoder for Vendi scores of draws: `embedded:PROFILE`, a folder or a hub id; not measured when absent."""
    headroom: bool = False
    """Ask for each answer in every other evaluated language too: as many greedy responses again per language."""
    chunk_size: int = Field(default=256, ge=1)
    """Prompts between two writes to disk: what a crash can lose."""
    cache: Path | None = None
    """Folder of responses to reuse where weights, prompts and decoding are the same; nothing is reused when absent."""
    cache_gb: float = Field(default=5.0, gt=0)
    """Size of that folder above which what was used longest ago is deleted."""
    judge: EvalJudgeConfig = EvalJudgeConfig()
    """The LLM that grades the tasks `care` and `care_pro`; they need its url and model."""


class TrainConfig(Section):
    """How a policy is trained. Paper values are in the docs; these defaults suit the embedded model."""

    method: str = "lrpo"
    languages: Languages | None = None
    """Source languages of training questions; every other evaluated language is held out."""
    arms: Languages | None = None
    """Languages the router may choose; the training languages when absent."""
    steps: int = Field(default=60, ge=1)
    questions_per_step: int = Field(default=16, ge=1)
    """Groups per optimizer step (B)."""
    group_size: int = 8
    """Completions per question (G, the paper's K)."""
    quota: int = Field(default=2, ge=0)
    """Rollouts of each group that stay in the source language (K_on)."""
    learning_rate: float = Field(default=1e-4, gt=0)
    kl_beta: float = Field(default=0.0, ge=0)
    """KL coefficient; 0 needs no reference model (TRL's default), the paper uses 0.001."""
    clip_epsilon: float = Field(default=0.2, gt=0)
    loss_type: Literal["grpo", "bnpo", "dr_grpo", "dapo"] = "dapo"
    sampling_temperature: float = Field(default=1.0, gt=0)
    top_p: float = Field(default=1.0, gt=0, le=1)
    max_completion_tokens: int = Field(default=48, ge=1)
    max_prompt_tokens: int | None = Field(default=512, ge=1)
    """Longer prompts lose their beginning, and are counted."""
    micro_batch_size: int | None = Field(default=None, ge=1)
    """Rollouts per forward and backward pass; the whole step's when absent."""
    reward: RewardConfig = RewardConfig()
    gate: Literal["hard", "soft", "separate", "none"] = "hard"
    """Language gate: 0 or 1; the detector's confidence; 0 or 1, with advantages among what passes; or no gate."""
    gated_out: Literal["penalty", "minimum"] = "penalty"
    """With gate separate, the advantage of a wrong language: -gate_penalty, or the least of the rollouts that pass."""
    gate_penalty: float = Field(default=1.0, ge=0)
    baseline_mix: float = Field(default=0.0, ge=0, le=1)
    """Share of a rollout's own language's mean in its group's baseline: 0 is the paper, 1 compares within languages."""
    gate_abstain: Literal["fail", "pass", "unscored"] = "fail"
    """What a completion counts as when its language can not be told."""
    gate_unit: Literal["document", "line"] = "document"
    """What is gated: the whole answer, or the share of its lines in the routed language."""
    skip_zero_advantage: bool = True
    """Leave rollouts that move nothing out of the update: exact, so only done with kl_beta 0 and length_bucketed."""
    length_bucketed: bool = True
    """Compute the update without padding or unscored positions: TRL's values up to the order of their sums."""
    generation: Literal["trl", "loop"] = "trl"
    """Rollouts by TRL's generate, or by our loop: same random numbers, equal prompts once, ended rollouts leave."""
    resample_degenerate: int = Field(default=0, ge=0)
    """Rounds in which groups without advantages give way to other questions' groups: (1 + rounds) x B x G rollouts."""
    save_every: int = Field(default=20, ge=1)
    """Steps between checkpoints."""
    train_share: float = Field(default=0.5, gt=0, lt=1)
    """For tasks without a training split: share of questions kept for training and never evaluated."""
    questions: int | None = Field(default=None, ge=1)
    """Training questions per task and language; all when absent."""
    router: RouterConfig = RouterConfig()
    labels: Labels = LabelsConfig()
    """Topic and regions of training questions: `metadata`, `endpoint`, or a section of these keys."""
    warm_start: WarmStartConfig = WarmStartConfig()
    """Supervised steps before the method's own."""
    scale: ScaleConfig = ScaleConfig()
    """LoRA, checkpointed activations, vLLM, trackers."""
    offline: OfflineConfig = OfflineConfig()
    """Methods that build all their data before the first step."""

    @model_validator(mode="after")
    def _group(self) -> TrainConfig:
        if self.group_size < 2:
            raise ConfigError(f"train.group_size must be >= 2 to compute advantages, got {self.group_size}")
        if self.gate == "none" and self.gate_unit == "line":
            raise ConfigError("train.gate_unit line needs a gate, got train.gate none; set it to hard or soft")
        if self.quota > self.group_size:
            raise ConfigError(f"train.quota must be at most train.group_size ({self.group_size}), got {self.quota}")
        return self


def _task_entries(value: Any) -> Any:
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",") if part.strip()]
    if not isinstance(value, list | tuple):
        return value
    return [{"name": item} if isinstance(item, str) else item for item in value]


class RunConfig(Section):
    """A whole run: evaluate, train, evaluate again, compare, report."""

    out: Path = Path("results/run")
    seed: int = Field(default=0, ge=0, lt=2**32)
    instruct: Literal["auto", "tag", "system", "prompt"] = "auto"
    """How the policy is told the language: see `lrpo_bench.models.prompting`."""
    tasks_dirs: tuple[Path, ...] = ()
    """Extra folders of tasks."""
    model: ModelConfig = ModelConfig()
    tasks: Annotated[tuple[TaskConfig, ...], BeforeValidator(_task_entries)] = Field(min_length=1)
    eval: EvalConfig = EvalConfig()
    train: TrainConfig = TrainConfig()

    @model_validator(mode="after")
    def _tasks_once(self) -> RunConfig:
        names = [task.name for task in self.tasks]
        for name in names:
            if names.count(name) > 1:
                raise ConfigError(f"task {name!r} is listed twice; give it once, a second variant in a run of its own")
        return self


def parse_config(values: Mapping[str, Any]) -> RunConfig:
    """The validated configuration; raises `ConfigError` for the first thing that is wrong."""
    try:
        return RunConfig.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_one_line(error)) from error


def _one_line(error: ValidationError) -> str:
    errors = error.errors(include_url=False)
    # A misspelt key is also a missing one: the spelling is what the user must change.
    first = next((each for each in errors if each["type"] == "extra_forbidden"), errors[0])
    path = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        known = list(_section_at(first["loc"][:-1]).model_fields)
        close = difflib.get_close_matches(str(first["loc"][-1]), known, n=1)
        guess = f"; did you mean {close[0]!r}?" if close else ";"
        return f"unknown config key {path!r}{guess} allowed here: {', '.join(known)}"
    if first["type"] == "missing":
        return f"config key {path!r} is missing"
    if first["type"] == "value_error":
        return f"config key {path!r}: {first['ctx']['error']}"
    got = repr(first["input"])
    shown = got if len(got) <= _SHOWN else f"{got[:_SHOWN]}..."
    if first["type"] == "model_type":
        return f"config key {path!r} must be a section of keys, got {shown}"
    return f"config key {path!r}: {first['msg']}, got {shown}"


def _section_at(loc: tuple[int | str, ...]) -> type[BaseModel]:
    section: type[BaseModel] = RunConfig
    for part in loc:
        if isinstance(part, int):
            continue
        annotation = section.model_fields[part].annotation if part in section.model_fields else None
        if part == "tasks":
            section = TaskConfig
        elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
            section = annotation
    return section
