"""What the benchmarks of models share: a random model of about 100M parameters, rows, a child's peak memory."""

from __future__ import annotations

import json
import random
import resource
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

VOCABULARY = 50_000

WORDS = """
the of and to in that was for it with as his on be at by had are but from or have an they which one you were her
all she there would their we him been has when who will more no if out so said what up its about into than them
can only other new some could time these two may then do first any my now such like our over man me even most
made after also did many before must through back years where much your way well down should because each just
those people how too little state good very make world still own see men work long get here between both life
being under never day same another know while last might us great old year off come since against go came right
used take three house school farm eggs market duck apples buys sells costs dollars every week morning friends
total many left gives remaining
""".split()  # noqa: SIM905 (a list of 180 lines says no more)


def build_random_model(folder: Path) -> None:
    """Writes a Llama model of about 100M random parameters and a tokenizer with 50,000 tokens to `folder`."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = _tokenizer()
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=768, intermediate_size=2048, num_hidden_layers=9, num_attention_heads=12,
        num_key_value_heads=12, max_position_embeddings=1024, tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id, bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _tokenizer() -> Any:
    """Byte-level BPE learned from the words above in made-up sentences, filled up with tokens that no text has."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    special = ["<pad>", "<bos>", "<eos>"]
    trainer = trainers.BpeTrainer(
        vocab_size=4000,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(sentences(2000, seed=1, words=(6, 24)), trainer)
    trained = json.loads(core.to_str())
    vocabulary = trained["model"]["vocab"]
    vocabulary |= {f"unused{i}": i for i in range(len(vocabulary), VOCABULARY)}
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(trained)), pad_token="<pad>", bos_token="<bos>",
        eos_token="<eos>", padding_side="left", model_max_length=1024,
    )  # fmt: skip


def sentences(n: int, *, seed: int, words: tuple[int, int]) -> list[str]:
    """Made-up sentences: so many common words in random order."""
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=rng.randint(*words))).capitalize() + "." for _ in range(n)]


def xnli_rows(n: int) -> list[dict[str, Any]]:
    """Rows in the format of the hub's XNLI: three hypotheses a premise, of 9 words and 18, as in English there."""
    premises, hypotheses = sentences(n // 3 + 1, seed=2, words=(6, 30)), sentences(n, seed=3, words=(5, 14))
    return [
        {"premise": premises[i // 3], "hypothesis": hypothesis, "label": i % 3}
        for i, hypothesis in enumerate(hypotheses)
    ]


def mgsm_rows(n: int) -> list[dict[str, Any]]:
    """Rows in the format of the hub's MGSM test split."""
    rng = random.Random(4)
    stories = sentences(n, seed=5, words=(25, 70))
    return [
        {
            "question": f"{story} How many?",
            "answer": None,
            "answer_number": rng.randint(1, 99),
            "equation_solution": None,
        }
        for story in stories
    ]


def run_child(script: str, arguments: Sequence[str]) -> dict[str, Any]:
    """What a child process printed as its last line (JSON), with `peak_mib` as it saw itself."""
    command = [sys.executable, script, *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"a measuring process failed: {done.stderr.strip().splitlines()[-1:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def peak_mib() -> float:
    """The most memory this process has held, in MiB.

    Not `ru_maxrss` where Linux says better: that begins with what the process that started this one held.
    """
    status = Path("/proc/self/status")
    if status.exists():
        return next(int(line.split()[1]) for line in status.open() if line.startswith("VmHWM")) / 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
