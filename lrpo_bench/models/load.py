"""Loading a model by name: `mock`, `embedded:PROFILE`, a local folder, or a hub id."""

from __future__ import annotations

import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrpo_bench.errors import ModelError
from lrpo_bench.models.base import ModelInfo

if TYPE_CHECKING:
    from lrpo_bench.models.hf import HFModel, TokenModel

EMBEDDED_PREFIX = "embedded:"
_MAX_SANE_CONTEXT = 1_000_000  # tokenizers without a limit say 1e30


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """What to load and how."""

    name: str
    """`embedded:PROFILE`, a folder, or a hub id."""
    revision: str | None = None
    dtype: str = "auto"
    """`auto` (float32 on CPU, bfloat16 on an accelerator), `float32` or `bfloat16`."""
    device: str = "auto"
    batch_size: int = 32
    trust_remote_code: bool = False
    generation: str = "auto"
    """`auto`, `loop`, `generate`, `static`, `compiled` or `continuous`; see `models.decoding`."""
    backend: str = "hf"
    """`hf` or `vllm`."""
    tensor_parallel: int = 1
    """Devices that share the weights; of vllm only."""
    gpu_memory_share: float = 0.9
    """Share of a device's memory that may be taken; of vllm only."""


def resolve_path(name: str, part: str = "policy") -> str:
    """The folder of an embedded model (its `part`: policy or encoder), or `name` itself."""
    if not name.startswith(EMBEDDED_PREFIX):
        return name
    from lrpo_bench import world

    profile = name.removeprefix(EMBEDDED_PREFIX)
    if profile in world.shipped_profiles():  # `world.build` knows it too, and takes a second to load
        return str(Path(world.__file__).parent / "weights" / profile / part)
    from lrpo_bench.world.build import embedded_path

    return str(embedded_path(profile) / part)


def load_tokenizer(spec: ModelSpec) -> Any:
    """The tokenizer, padding left and with a pad token; raises `ModelError` with the next step."""
    from transformers import AutoTokenizer

    path = resolve_path(spec.name)
    if Path(path).is_dir() and not any(Path(path).glob("tokenizer*")):
        raise ModelError(f"model folder {path!r} has no tokenizer (no tokenizer.json or tokenizer.model in it)")
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            path, revision=spec.revision, trust_remote_code=spec.trust_remote_code, padding_side="left"
        )
    except Exception as error:  # tokenizers raises bare Exceptions
        raise load_error("tokenizer", spec.name, path, error) from error
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_model(spec: ModelSpec) -> TokenModel:
    """The model by its backend; raises `ModelError` in one line for whatever fails to load."""
    if spec.backend == "vllm":
        require_vllm()
        from lrpo_bench.models.vllm import load_vllm_model

        return load_vllm_model(spec)
    return load_hf_model(spec)


def require_vllm() -> None:
    """Raises `ModelError` where vLLM is not installed."""
    if importlib.util.find_spec("vllm") is None:
        raise ModelError(
            "model.backend vllm needs the package vllm, which is not installed; "
            'pip install "lrpo-bench[vllm]" on a machine with an accelerator, or use model.backend hf'
        )


def load_hf_model(spec: ModelSpec) -> HFModel:
    """The model and its tokenizer on their device; raises `ModelError` in one line for whatever fails to load."""
    import torch
    from transformers import AutoModelForCausalLM

    from lrpo_bench.models.hf import HFModel

    tokenizer = load_tokenizer(spec)
    device = spec.device if spec.device != "auto" else ("cuda" if torch.cuda.is_available() else "cpu")
    dtype = spec.dtype if spec.dtype != "auto" else ("float32" if device == "cpu" else "bfloat16")
    path = resolve_path(spec.name)
    try:
        model = AutoModelForCausalLM.from_pretrained(
            path,
            revision=spec.revision,
            dtype=getattr(torch, dtype),
            trust_remote_code=spec.trust_remote_code,
            use_safetensors=True,
        )
        model = model.to(device)
    except (
        Exception
    ) as error:  # anything may be wrong with files that others wrote, and every loader has its own errors
        raise load_error("model", spec.name, path, error) from error
    info = ModelInfo(
        name=spec.name,
        revision=spec.revision or getattr(model.config, "_commit_hash", None),
        weights_hash=weights_hash(path, model),
        n_parameters=sum(parameter.numel() for parameter in model.parameters()),
        dtype=dtype,
        context_length=context_length(model, tokenizer),
        chat_template=bool(tokenizer.chat_template),
    )
    return HFModel(model, tokenizer, info, spec.batch_size, spec.generation)


def weights_hash(path: str, model: Any) -> str:
    """SHA-256 over a local folder's weight files, or `hub:<commit>` for a model of the hub."""
    files = sorted(Path(path).glob("*.safetensors")) if Path(path).is_dir() else []
    if not files:
        return f"hub:{getattr(model.config, '_commit_hash', None)}"
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.name.encode())
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return f"sha256:{digest.hexdigest()}"


def context_length(model: Any, tokenizer: Any) -> int:
    """Tokens that model and tokenizer can both take; 4096 where neither says."""
    limits = [getattr(model.config, "max_position_embeddings", None), tokenizer.model_max_length]
    known = [int(limit) for limit in limits if limit is not None and limit < _MAX_SANE_CONTEXT]
    return min(known) if known else 4096


def load_error(what: str, name: str, path: str, error: Exception) -> ModelError:
    """The one-line error for a folder or hub id that does not load."""
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    if not Path(path).exists():
        return ModelError(
            f"could not load {what} {name!r}: there is no such folder, and of the hub: {first}; "
            "pass a local folder, 'embedded:default', or download it first where there is a network"
        )
    return ModelError(f"could not load {what} from {name!r}: {first}")
