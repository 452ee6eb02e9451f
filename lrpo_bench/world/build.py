"""Builds a world: tokenizer, policy, sentence encoder, evaluation and model card, from a profile and a seed.

A build writes one folder, atomically (a temporary folder beside it, renamed at the end)::

    policy/         LlamaForCausalLM and tokenizer, as transformers saves them (safetensors)
    encoder/        ModernBertModel and tokenizer
    profile.yaml    the profile as built
    eval.json       measured accuracy by cell, its fit on exposure, retrieval accuracy of the encoder, losses
    card.md         the model card
    hashes.json     SHA-256 of every other file

Weights are stored in float16, which changes no measured accuracy, and load as float32. On one machine, with one number
of threads, the same profile and seed give the same bytes; nothing that varies (times, paths) is written.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.utils.logging import disable_progress_bar

from lrpo_bench.errors import ConfigError, ModelError, StorageError, UnknownNameError
from lrpo_bench.world import shipped_profiles
from lrpo_bench.world.card import model_card
from lrpo_bench.world.corpus import Corpus
from lrpo_bench.world.encoder import SentenceEncoder, build_encoder, retrieval_accuracy, train_encoder
from lrpo_bench.world.measure import Cell, measure_cells
from lrpo_bench.world.policy import TrainingReport, build_policy, train_policy
from lrpo_bench.world.profile import LanguageKnobs, Profile, load_profile, profile_names
from lrpo_bench.world.sizes import sized
from lrpo_bench.world.tokenizer import train_tokenizer
from lrpo_bench.world.truth import fit_accuracy

STORED_DTYPE = torch.float16
RETRIEVAL_PROBLEMS = 100
WEIGHTS_FOLDER = Path(__file__).parent / "weights"
_STREAMS = ("tokenizer", "policy", "encoder", "evaluation")


@dataclass(frozen=True, slots=True)
class BuildReport:
    """What a build made, and how long it took."""

    folder: Path
    training: TrainingReport
    encoder_loss: float
    """Mean contrastive loss of the last tenth of the steps, in nats."""
    cells: tuple[Cell, ...]
    seconds: dict[str, float]
    """Wall-clock time of each stage."""


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """Departures from the profile's recipe; they are written into the built `profile.yaml`."""

    rows: int | None = None
    """Rows that the policy is trained on; about 5,000 a minute on one core."""
    encoder_steps: int | None = None
    parameters: int | None = None
    """Size of the policy, about (`sizes.py`)."""
    device: str = "cpu"
    """Where the policy is trained and measured: a name of torch. Only builds on a CPU give the same bytes again."""
    overwrite: bool = False
    """Replace a folder that exists."""
    progress: bool = True
    """Show a progress bar with the time left."""


def build(profile: str | Path | Profile, seed: int, out: Path, options: BuildOptions | None = None) -> BuildReport:
    """Builds a world into the folder `out`.

    Raises:
        ConfigError: for a profile, a size or a device that can not be used.
        StorageError: if `out` exists and `options.overwrite` is not set, or can not be written.
    """
    options = options or BuildOptions()
    chosen = _with_options(profile if isinstance(profile, Profile) else load_profile(profile), options)
    _check_device(options.device)
    if out.exists() and not options.overwrite:
        raise StorageError(f"{out} exists already; name another folder or pass --overwrite")
    disable_progress_bar()  # transformers' own bars, one for each file that is saved or loaded
    with _temporary_folder_beside(out) as folder, _progress_bar(options.progress) as progress:
        report = _build_into(folder, chosen, seed, options.device, progress)
        _write_hashes(folder)
        _replace(folder, out)
    return BuildReport(out, report.training, report.encoder_loss, report.cells, report.seconds)


def embedded_path(name: str) -> Path:
    """The folder of the weights that ship with the package for a profile.

    Raises:
        UnknownNameError: if there is no such profile.
        ModelError: if the profile's weights are not shipped.
    """
    if name in shipped_profiles():
        return WEIGHTS_FOLDER / name
    if name not in profile_names():
        raise UnknownNameError("profile", name, profile_names())
    raise ModelError(
        f"the weights of profile {name!r} are not shipped (shipped: {', '.join(shipped_profiles()) or 'none'}); "
        f'run "lrpo-bench world build --profile {name} --out DIR"'
    )


def stream(seed: int, name: str) -> np.random.Generator:
    """The random numbers of one stage; stages do not shift one another."""
    return np.random.default_rng([seed, _STREAMS.index(name)])


def world_tokenizer(profile: Profile, seed: int) -> PreTrainedTokenizerFast:
    """A tokenizer trained on a sample in which all languages are equally frequent, whatever the knobs.

    Otherwise answers in the weak languages would be twice as long.
    """
    even = LanguageKnobs(comprehension=1, production=1)
    sample = profile.model_copy(update={"languages": dict.fromkeys(profile.languages, even)})
    rows = Corpus(sample, stream(seed, "tokenizer")).rows(profile.policy.tokenizer_rows)
    return train_tokenizer(rows, profile.policy.vocabulary)


def _build_into(folder: Path, profile: Profile, seed: int, device: str, progress: Progress | None) -> BuildReport:
    seconds: dict[str, float] = {}
    with _timed(seconds, "tokenizer"):
        tokenizer = world_tokenizer(profile, seed)
    with _timed(seconds, "policy"):
        policy = build_policy(profile.policy, tokenizer, seed).to(device)
        corpus = Corpus(profile, stream(seed, "policy"))
        training = train_policy(policy, corpus, tokenizer, profile.policy, progress)
        policy = LlamaForCausalLM.from_pretrained(_save(policy, tokenizer, folder / "policy"), dtype=torch.float32)
    with _timed(seconds, "encoder"):
        encoder = build_encoder(profile.encoder, tokenizer, seed)
        encoder_loss = train_encoder(encoder, profile.encoder, stream(seed, "encoder"), progress)
        encoder = SentenceEncoder.load(_save(encoder.model, tokenizer, folder / "encoder"))
    with _timed(seconds, "evaluation"):
        rng = stream(seed, "evaluation")
        asked = [kind for kind, share in profile.mixture.kinds.items() if share]  # what was never seen is not measured
        cells = measure_cells(policy.to(device).eval(), tokenizer, profile.evaluation, rng, asked, progress)
        retrieval = retrieval_accuracy(encoder, RETRIEVAL_PROBLEMS, rng)
    evaluation = {
        "seed": seed,
        "threads": torch.get_num_threads(),
        "training": asdict(training),
        "encoder_loss": encoder_loss,
        "retrieval": {f"{query}-{other}": value for (query, other), value in retrieval.items()},
        "fit": fit_accuracy(profile, cells),
        "cells": [list(asdict(cell).values()) for cell in cells],
    }
    (folder / "eval.json").write_text(_compact_json(evaluation), encoding="utf-8")
    text = yaml.safe_dump(profile.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    (folder / "profile.yaml").write_text(text, encoding="utf-8")
    sizes = {"policy": policy.num_parameters(), "encoder": encoder.model.num_parameters()}
    (folder / "card.md").write_text(model_card(profile, seed, sizes, evaluation), encoding="utf-8")
    return BuildReport(folder, training, encoder_loss, tuple(cells), seconds)


def _with_options(profile: Profile, options: BuildOptions) -> Profile:
    policy, encoder = profile.policy, profile.encoder
    if options.rows is not None:
        policy = policy.model_copy(update={"rows": options.rows})
    if options.parameters is not None:
        policy = sized(policy, options.parameters)
    if options.encoder_steps is not None:
        encoder = encoder.model_copy(update={"steps": options.encoder_steps})
    return Profile.model_validate({**dict(profile), "policy": policy, "encoder": encoder})


def _check_device(name: str) -> None:
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError) as error:  # torch asserts that it was compiled with CUDA
        reason = str(error).splitlines()[0].rstrip(".")
        raise ConfigError(
            f"device is {name!r}, which can not be used here ({reason}); use cpu, or cuda where there is a GPU"
        ) from None


def _save(model: Any, tokenizer: PreTrainedTokenizerFast, folder: Path) -> Path:
    """Saves weights in `STORED_DTYPE`; the config says float32, which is what transformers then loads them as."""
    model.to(STORED_DTYPE).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["dtype"] = "float32"
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return folder


def _compact_json(evaluation: dict[str, Any]) -> str:
    """JSON with one line a field, and one a cell."""
    lines = [f" {json.dumps(key)}: {json.dumps(value)}" for key, value in evaluation.items() if key != "cells"]
    cells = ",\n  ".join(json.dumps(cell) for cell in evaluation["cells"])
    return "{\n" + ",\n".join([*lines, f' "cells": [\n  {cells}\n ]']) + "\n}\n"


def _write_hashes(folder: Path) -> None:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    hashes = {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    (folder / "hashes.json").write_text(json.dumps(hashes, indent=2) + "\n", encoding="utf-8")


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[stage] = time.perf_counter() - start


@contextmanager
def _progress_bar(shown: bool) -> Iterator[Progress | None]:
    if not shown:
        yield None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TextColumn("left"))
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as progress:
        yield progress


@contextmanager
def _temporary_folder_beside(out: Path) -> Iterator[Path]:
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    except OSError as error:
        raise StorageError(f"{out} can not be written ({error.strerror}); name another folder") from error
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _replace(folder: Path, out: Path) -> None:
    """Moves `folder` to `out`; an old `out` is put aside first, so that there is always a whole one."""
    if not out.exists():
        folder.replace(out)
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{out.name}-old-", dir=out.parent))
    out.replace(aside / out.name)
    folder.replace(out)
    shutil.rmtree(aside)
