"""Profiles: what a world model is strong and weak at, as three independent knobs a language.

- `comprehension`: how often questions in a language were seen;
- `production`: how often answers in it were;
- `knowledge`: how often the facts of a region were seen answered in it.

Each is a share in [0, 1] and enters the sampling formula of `corpus.py` as a factor. A profile also holds the recipe
(sizes, steps, learning rates), so that its name and a seed say everything about a build. Profiles are YAML files in
`profiles/`; one language of one of them::

    languages:
      sw: {comprehension: 0.05, production: 1.0}    # answers well, but seldom saw its questions

A profile may say `extends: default` and list only what differs. Unknown fields, unknown languages and values out of
range are one-line `ConfigError`s. A language that a profile leaves out has no default: it is an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from lrpo_bench.errors import ConfigError, UnknownNameError
from lrpo_bench.world.facts import REGIONS
from lrpo_bench.world.questions import KINDS, WORLD_LANGUAGES, Kind

PROFILE_FOLDER = Path(__file__).parent / "profiles"

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LanguageKnobs(_Strict):
    """How well the model knows one language, in each direction."""

    comprehension: Share
    """How often questions in the language are seen, relative to the best-known language."""
    production: Share
    """How often answers in the language are seen, relative to the best-known language."""


class Knowledge(_Strict):
    """How often a region's facts are seen answered in a language: `overrides`, else `home`, else `en`, else `other`."""

    home: Share
    """In the home language of the region."""
    en: Share
    """In English, where it is not the home language."""
    other: Share
    """In any other language."""
    overrides: dict[str, dict[str, Share]] = Field(default_factory=dict)
    """Region -> language -> share, for single cells."""


class Mixture(_Strict):
    """What the pretraining rows are made of."""

    kinds: dict[Kind, Share]
    """Share of each kind of question; they sum to 1."""
    cross_lingual: Share
    """Share of rows whose answer is in another language than the question."""
    system_prompt: Share
    """Share of rows that name the answer language by a system prompt (the Zero variant) instead of a tag."""
    untagged: Share
    """Share of the monolingual rows without tag or system prompt."""


class SumsRecipe(_Strict):
    """Practice in bare calculations between the rows of the corpus (`sums.py`)."""

    rows: Count
    """Rows of four to eight calculations, each seen once."""
    until: Annotated[float, Field(gt=0, le=1)]
    """Share of the corpus over which they are spread, from its beginning."""


class PolicyRecipe(_Strict):
    """Size and training of the policy."""

    vocabulary: Count
    tokenizer_rows: Count
    """Rows that the tokenizer is trained on."""
    hidden_size: Count
    layers: Count
    heads: Count
    intermediate_size: Count
    rows: Count
    """Rows seen in training, each once."""
    batch_tokens: Count
    """Tokens a step, padding included."""
    learning_rate: Positive
    """Peak rate of Muon for the hidden matrices: linear warm-up, flat, then linear decay to 0."""
    embedding_learning_rate: Positive
    """Peak rate of AdamW for embeddings and norms, on the same schedule."""
    warmup_share: Share
    decay_share: Share
    weight_decay: Annotated[float, Field(ge=0)]
    question_weight: Share
    """Weight of a question token in the loss; an answer token has 1."""
    sums: SumsRecipe | None = None
    """Practice beside the corpus, if any."""


class EvaluationRecipe(_Strict):
    """How many problems the built model is measured on."""

    problems: Count
    """Problems of reasoning and of inference each, where one language asks and answers."""
    cross_problems: Annotated[int, Field(ge=0)]
    """The same per pair of different languages."""
    facts: Count
    """Facts of each region, where one language asks and answers."""
    cross_facts: Annotated[int, Field(ge=0)]
    """The same per pair of different languages."""
    max_completion_tokens: Count
    """Where an answer is cut."""


class EncoderRecipe(_Strict):
    """Size and training of the sentence encoder."""

    hidden_size: Count
    layers: Count
    heads: Count
    intermediate_size: Count
    steps: Count
    pairs: Count
    """Parallel pairs a step; the other pairs of the step are the negatives."""
    learning_rate: Positive
    temperature: Positive
    """Divides the cosines of the contrastive loss."""


class Profile(_Strict):
    """One world model: its knobs and its recipe."""

    name: str
    description: str
    languages: dict[str, LanguageKnobs]
    """Knobs for every one of `WORLD_LANGUAGES`."""
    held_out: tuple[str, ...]
    """Languages that optimization must not train on; they measure transfer."""
    knowledge: Knowledge
    mixture: Mixture
    policy: PolicyRecipe
    encoder: EncoderRecipe
    evaluation: EvaluationRecipe

    @model_validator(mode="after")
    def _consistent(self) -> Profile:
        missing = set(WORLD_LANGUAGES) - set(self.languages)
        if missing:
            raise ValueError(
                f"languages has no knobs for {', '.join(sorted(missing))}; every world language needs them"
            )
        for lang in (*self.languages, *self.held_out, *(a for row in self.knowledge.overrides.values() for a in row)):
            if lang not in WORLD_LANGUAGES:
                raise ValueError(f"language {lang!r} is not spoken in the world; allowed: {', '.join(WORLD_LANGUAGES)}")
        for region in self.knowledge.overrides:
            if region not in REGIONS:
                raise ValueError(f"knowledge.overrides names region {region!r}; allowed: {', '.join(sorted(REGIONS))}")
        total = sum(self.mixture.kinds.values())
        if set(self.mixture.kinds) != set(KINDS) or abs(total - 1) > 1e-6:
            raise ValueError(f"mixture.kinds must name {', '.join(KINDS)} and sum to 1, got a sum of {total:g}")
        for size, heads in ((self.policy, self.policy.heads), (self.encoder, self.encoder.heads)):
            if size.hidden_size % (2 * heads):
                raise ValueError(f"hidden_size {size.hidden_size} must be an even multiple of heads {heads}")
        return self

    def knowledge_of(self, region: str, lang: str) -> float:
        """How often the facts of `region` were seen answered in `lang`, in [0, 1]."""
        row = self.knowledge.overrides.get(region, {})
        if lang in row:
            return row[lang]
        if lang == home_language(region):
            return self.knowledge.home
        return self.knowledge.en if lang == "en" else self.knowledge.other

    def optimized(self) -> tuple[str, ...]:
        """Languages that optimization may train on, in the world's order."""
        return tuple(lang for lang in WORLD_LANGUAGES if lang not in self.held_out)


def home_language(region: str) -> str:
    """The language spoken in a region.

    Raises:
        UnknownNameError: for a region that the world does not have.
    """
    if region not in REGIONS:
        raise UnknownNameError("region", region, REGIONS)
    return REGIONS[region]


def profile_names() -> tuple[str, ...]:
    """Names of the profiles that ship with the package."""
    return tuple(sorted(path.stem for path in PROFILE_FOLDER.glob("*.yaml")))


def load_profile(name_or_path: str | Path) -> Profile:
    """The profile of this name, or in this YAML file.

    Raises:
        ConfigError: with one line that names the file, the field, the value and what is allowed.
    """
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        path = PROFILE_FOLDER / f"{name_or_path}.yaml"
        if not path.is_file():
            raise UnknownNameError("profile", str(name_or_path), profile_names(), "or give the path of a .yaml file")
    try:
        fields = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path.name}: not a readable YAML file: {' '.join(str(error).split())}") from error
    if isinstance(fields, dict) and "extends" in fields:
        base = load_profile(str(fields.pop("extends"))).model_dump(mode="json")
        fields = merged(base, fields)
    return parse_profile(fields, path.name)


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `changes` laid over it, mapping by mapping.

    Example:
        >>> merged({"a": {"x": 1, "y": 2}, "b": 3}, {"a": {"y": 5}})
        {'a': {'x': 1, 'y': 5}, 'b': 3}
    """
    result = dict(base)
    for key, value in changes.items():
        old = result.get(key)
        result[key] = merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return result


def parse_profile(fields: Any, where: str = "profile") -> Profile:
    """The profile of a mapping; `where` starts the error message."""
    if not isinstance(fields, Mapping):
        raise ConfigError(f"{where}: a profile is a mapping of fields, got {type(fields).__name__}")
    try:
        return Profile.model_validate(dict(fields))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        value = first["input"]
        got = f", got {value!r}" if field and isinstance(value, str | int | float) else ""
        more = f" (and {len(error.errors()) - 1} more)" if error.error_count() > 1 else ""
        message = first["msg"].removeprefix("Value error, ")
        raise ConfigError(f"{where}: {f'{field}: ' if field else ''}{message}{got}{more}") from None
