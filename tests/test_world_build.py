"""Building a world: tokenizer, training, storage, determinism, and the truth about the result."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
from tokenizers import Regex, pre_tokenizers  # noqa: E402
from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: E402

from lrpo_bench.errors import ConfigError, DataError, ModelError, StorageError, UnknownNameError  # noqa: E402
from lrpo_bench.world import shipped_profiles  # noqa: E402
from lrpo_bench.world.build import BuildOptions, build, embedded_path, stream  # noqa: E402
from lrpo_bench.world.card import model_card  # noqa: E402
from lrpo_bench.world.corpus import Corpus, chat_text, prompt_messages  # noqa: E402
from lrpo_bench.world.encoded import EncodedRow  # noqa: E402
from lrpo_bench.world.encoder import SentenceEncoder  # noqa: E402
from lrpo_bench.world.measure import Asked, Cell, count_cells, is_right  # noqa: E402
from lrpo_bench.world.muon import Muon, orthogonalise  # noqa: E402
from lrpo_bench.world.policy import batch_loss, batches_by_length, encode_rows, learning_rate_factor  # noqa: E402
from lrpo_bench.world.profile import load_profile  # noqa: E402
from lrpo_bench.world.questions import WORLD_LANGUAGES  # noqa: E402
from lrpo_bench.world.reasoning import problems  # noqa: E402
from lrpo_bench.world.tokenizer import native_digits, slot_pattern, slot_words  # noqa: E402
from lrpo_bench.world.truth import AskedAbout, Truth, fit_accuracy  # noqa: E402

QUIET = BuildOptions(progress=False)


@pytest.fixture(scope="module", autouse=True)
def _one_thread():  # type: ignore[no-untyped-def]
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):  # type: ignore[no-untyped-def]
    """The tiny world as its profile says."""
    return build("tiny", 0, tmp_path_factory.mktemp("world") / "tiny", QUIET)


@pytest.fixture(scope="module")
def tokenizer(tiny):  # type: ignore[no-untyped-def]
    return AutoTokenizer.from_pretrained(tiny.folder / "policy")


@pytest.fixture(scope="module")
def policy(tiny):  # type: ignore[no-untyped-def]
    return AutoModelForCausalLM.from_pretrained(tiny.folder / "policy")


def hashes(folder: Path) -> dict[str, str]:
    return json.loads((folder / "hashes.json").read_text())


# the folder


def test_every_file_is_listed_with_its_hash_and_nothing_is_pickled(tiny) -> None:  # type: ignore[no-untyped-def]
    files = {p.relative_to(tiny.folder).as_posix() for p in tiny.folder.rglob("*") if p.is_file()}
    assert files == {*hashes(tiny.folder), "hashes.json"}
    assert {"policy/model.safetensors", "encoder/model.safetensors", "profile.yaml", "eval.json", "card.md"} <= files
    assert not [name for name in files if name.endswith((".bin", ".pt", ".pkl"))]
    content = (tiny.folder / "eval.json").read_bytes()
    assert hashes(tiny.folder)["eval.json"] == hashlib.sha256(content).hexdigest()
    assert not list(tiny.folder.parent.glob(".tiny*")), "a temporary folder is left"


def test_the_built_profile_can_be_loaded_again(tiny) -> None:  # type: ignore[no-untyped-def]
    assert load_profile(tiny.folder / "profile.yaml") == load_profile("tiny")


def test_same_seed_same_bytes_other_seed_other_bytes(tmp_path: Path) -> None:
    short = BuildOptions(rows=120, encoder_steps=2, progress=False)
    profile = load_profile("tiny")
    profile = profile.model_copy(update={"policy": profile.policy.model_copy(update={"tokenizer_rows": 300})})
    one, two, other = (build(profile, seed, tmp_path / name, short) for name, seed in (("a", 1), ("b", 1), ("c", 2)))
    assert hashes(one.folder) == hashes(two.folder)
    assert hashes(one.folder)["policy/model.safetensors"] != hashes(other.folder)["policy/model.safetensors"]
    assert load_profile(one.folder / "profile.yaml").policy.rows == 120, "options are written down"


def test_a_folder_that_exists_is_kept_unless_told_otherwise(tiny, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(StorageError, match="exists already; name another folder or pass --overwrite"):
        build("tiny", 0, tiny.folder, QUIET)
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="can not be written"):
        build("tiny", 0, tmp_path / "file" / "out", QUIET)


def test_card_has_knobs_and_intervals(tiny) -> None:  # type: ignore[no-untyped-def]
    card = (tiny.folder / "card.md").read_text()
    assert "# World model `tiny`" in card and "| sw | 0.05 | 0.05 |" in card and "{" not in card
    evaluation = json.loads((tiny.folder / "eval.json").read_text())
    evaluation["cells"] = [["reasoning", "", "en", "en", 10, 5]]
    # Wilson's interval for 5 of 10, from R: prop.test(5, 10, correct = FALSE) -> 0.2366, 0.7634
    assert "50 (24 to 76; n 10)" in model_card(load_profile("tiny"), 0, {"policy": 1, "encoder": 1}, evaluation)


# the policy


def test_it_learns(tiny, tokenizer, policy) -> None:  # type: ignore[no-untyped-def]
    uniform = math.log(len(tokenizer))
    assert tiny.training.rows == load_profile("tiny").policy.rows
    assert tiny.training.first_loss < uniform * 1.1
    assert tiny.training.last_loss < 0.4 * uniform
    questions = [problem.render("en") for problem in problems(np.random.default_rng(0), 20, "test")]
    predicted, targets = [], []
    for question in questions:
        prompt = tokenizer(chat_text(prompt_messages(question, "en")), add_special_tokens=False).input_ids
        answer = tokenizer(question.reference, add_special_tokens=False).input_ids
        with torch.no_grad():
            logits = policy(torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1]
        predicted += logits.argmax(-1).tolist()
        targets += answer
    chance = Counter(targets).most_common(1)[0][1] / len(targets)
    accuracy = np.mean([p == t for p, t in zip(predicted, targets, strict=True)])
    assert accuracy > 0.45 > 2 * chance


def test_it_loads_in_single_precision_and_stores_in_half(tiny, policy) -> None:  # type: ignore[no-untyped-def]
    assert policy.dtype == torch.float32
    assert policy.num_parameters() * 2 < (tiny.folder / "policy/model.safetensors").stat().st_size
    assert policy.num_parameters() * 3 > (tiny.folder / "policy/model.safetensors").stat().st_size
    assert policy.config.tie_word_embeddings and policy.config.max_position_embeddings == 1024


def test_question_tokens_have_no_loss_and_padding_changes_nothing(policy) -> None:  # type: ignore[no-untyped-def]
    short = EncodedRow([1, 30, 31, 32, 2], [0, 0, 0, 1, 1])
    long = EncodedRow([1, 40, 41, 42, 43, 44, 45, 2], [0, 0, 0, 0, 1, 1, 1, 1])
    with torch.no_grad():
        together = batch_loss(policy, [short, long]).item()
        alone = [batch_loss(policy, [row]).item() for row in (short, long)]
        logps = torch.log_softmax(policy(torch.tensor([short.ids])).logits[0], -1)
    assert together == pytest.approx((2 * alone[0] + 4 * alone[1]) / 6, rel=1e-4)
    assert alone[0] == pytest.approx(-(logps[2, 32] + logps[3, 2]).item() / 2, rel=1e-4)


def test_batches_hold_every_row_once_and_keep_to_the_size() -> None:
    rows = [EncodedRow([0] * n, [1.0] * n) for n in [5, 90, 7, 30, 31, 5, 64, 12] * 4]
    batches = list(batches_by_length(rows, 100, np.random.default_rng(0)))
    assert sorted(len(r.ids) for b in batches for r in b) == sorted(len(r.ids) for r in rows)
    assert all(len(b) * max(len(r.ids) for r in b) <= 100 for b in batches)


def test_learning_rate_schedule_by_hand() -> None:
    recipe = load_profile("tiny").policy.model_copy(update={"warmup_share": 0.1, "decay_share": 0.4})
    factors = [learning_rate_factor(progress, recipe) for progress in (0.05, 0.1, 0.5, 0.6, 0.8, 1.0)]
    assert factors == pytest.approx([0.5, 1, 1, 1, 0.5, 0])


def test_orthogonalised_matrices_have_singular_values_near_one() -> None:
    matrices = torch.randn(3, 24, 10, generator=torch.Generator().manual_seed(0))
    spread = torch.linalg.svdvals(orthogonalise(matrices))
    assert spread.min() > 0.5 and spread.max() < 1.3
    left, _, right = torch.linalg.svd(matrices, full_matrices=False)
    cosine = torch.nn.functional.cosine_similarity((left @ right).flatten(1), orthogonalise(matrices).flatten(1))
    assert cosine.min() > 0.97, "the nearest orthogonal matrix is U V^T"


def test_muon_agrees_with_torch() -> None:
    if not hasattr(torch.optim, "Muon"):
        pytest.skip("torch.optim.Muon needs torch 2.9")
    start = torch.randn(16, 8, generator=torch.Generator().manual_seed(1))
    ours, theirs = torch.nn.Parameter(start.clone()), torch.nn.Parameter(start.clone())
    options = {"lr": 0.02, "momentum": 0.95, "weight_decay": 0.1}
    optimizers = (Muon([ours], **options), torch.optim.Muon([theirs], adjust_lr_fn="match_rms_adamw", **options))
    for step in range(3):
        gradient = torch.randn(16, 8, generator=torch.Generator().manual_seed(step))
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        for optimizer in optimizers:
            optimizer.step()
    # torch iterates in bfloat16, so the moves agree to about 1%
    assert torch.norm(ours - theirs) < 0.03 * torch.norm(ours - start)


# the tokenizer


@settings(max_examples=60, deadline=None)
@given(text=st.text(max_size=80))
def test_any_text_survives(tokenizer, text: str) -> None:  # type: ignore[no-untyped-def]
    ids = tokenizer(text, add_special_tokens=False).input_ids
    assert tokenizer.decode(ids, clean_up_tokenization_spaces=False) == text


def test_every_digit_is_its_own_token(tokenizer) -> None:  # type: ignore[no-untyped-def]
    for digit in native_digits():
        text = f"ab {digit}{digit} c"
        ids = tokenizer(text, add_special_tokens=False).input_ids
        alone = tokenizer(digit, add_special_tokens=False).input_ids
        assert len(alone) == 1 and ids.count(alone[0]) == 2
    assert len(native_digits()) == 50  # ASCII, Bengali, Devanagari, Thai, full-width


def test_slot_words_are_isolated_as_whole_words() -> None:
    split = pre_tokenizers.Split(Regex(slot_pattern(["Max", "Maxine", "球", "মা"])), "isolated")
    pieces = [piece for piece, _ in split.pre_tokenize_str("Max und Maxine, Maximum: 大球。মা মামা")]
    assert pieces == ["Max", " und ", "Maxine", ", Maximum: 大", "球", "。", "মা", " মামা"]


def test_slot_words_cover_persons_and_things() -> None:
    words = set(slot_words())
    assert {"Maria", "Марии", "Лизы", "apples", "яблок", "马克斯", "в коробке", "กล่อง"} <= words
    assert all(word == word.strip() and word for word in words)


def test_chat_template_gives_the_training_text(tokenizer) -> None:  # type: ignore[no-untyped-def]
    rows = Corpus(load_profile("tiny"), np.random.default_rng(1)).rows(60)
    assert {row.messages[0]["role"] for row in rows} == {"system", "user"}
    for row, encoded in zip(rows, encode_rows(rows, tokenizer, 0.0), strict=True):
        messages = list(row.messages)
        prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        assert prompt == chat_text(row.messages)
        assert tokenizer(prompt, add_special_tokens=False).input_ids == encoded.ids[: encoded.weights.index(1.0)]
        whole = tokenizer.apply_chat_template([*messages, {"role": "assistant", "content": row.answer}], tokenize=False)
        assert whole == chat_text(row.messages, row.answer)
        assert encoded.ids[-1] == tokenizer.eos_token_id


def test_special_tokens(tokenizer) -> None:  # type: ignore[no-untyped-def]
    assert tokenizer.pad_token_id == 0 and tokenizer.padding_side == "left"
    for lang in WORLD_LANGUAGES:
        assert len(tokenizer(f"<|out_lang_{lang}|>", add_special_tokens=False).input_ids) == 1
    assert tokenizer("x <|out_lang_sw|>", add_special_tokens=False).input_ids[-1] < len(tokenizer)


# measuring


def test_references_are_right_and_other_answers_wrong() -> None:
    problem = problems(np.random.default_rng(2), 1, "test")[0]
    other = next(p for p in problems(np.random.default_rng(3), 50, "test") if p.answer != problem.answer)
    for lang in WORLD_LANGUAGES:
        assert is_right(problem, lang, problem.render(lang).reference)
        assert not is_right(problem, lang, other.render(lang).reference)
    assert not is_right(problem, "en", "")


def test_cells_count_by_language_pair() -> None:
    one, two = problems(np.random.default_rng(4), 2, "test")
    asked = [Asked(one, "en", "sw"), Asked(two, "en", "sw"), Asked(one, "sw", "sw")]
    assert count_cells(asked, [True, False, True]) == [
        Cell("reasoning", "", "en", "sw", 2, 1),
        Cell("reasoning", "", "sw", "sw", 1, 1),
    ]


# the encoder


def test_embeddings_are_unit_vectors_that_padding_does_not_change(tiny) -> None:  # type: ignore[no-untyped-def]
    encoder = SentenceEncoder.load(tiny.folder / "encoder")
    texts = ["Tom has 3 apples.", "", "Kisw. 4", "Tom has 3 apples and a great many other things besides, of course."]
    vectors = encoder.embed(texts)
    assert vectors.shape == (4, 32)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1, 0, 1, 1], abs=1e-5)
    assert encoder.embed(texts[:1])[0] == pytest.approx(vectors[0], abs=1e-5)


# truth

FLAT_FIT = {kind: [0.0, 0.0, 0.0, 0.0] for kind in ("reasoning", "regional", "inference")}  # accuracy .5 everywhere


def test_measured_cells_are_drawn_towards_the_fit() -> None:
    cells = [Cell("reasoning", "", "sw", "en", 6, 6), Cell("reasoning", "", "sw", "sw", 12, 0)]
    accuracy = Truth(load_profile("tiny"), FLAT_FIT, cells).accuracy(AskedAbout("reasoning", "sw"))
    assert accuracy["en"] == pytest.approx((6 + 4 * 0.5) / 10)
    assert accuracy["sw"] == pytest.approx((0 + 4 * 0.5) / 16)
    assert accuracy["zh"] == pytest.approx(0.5)


def test_regret_by_hand() -> None:
    cells = [Cell("reasoning", "", "sw", "en", 6, 6), Cell("reasoning", "", "sw", "sw", 12, 0)]
    truth, asked = Truth(load_profile("tiny"), FLAT_FIT, cells), AskedAbout("reasoning", "sw")
    assert truth.best_languages(asked) == ("en",)
    assert truth.best_languages(asked, tolerance=0.31)[0] == "en" and "zh" in truth.best_languages(asked, 0.31)
    assert truth.regret({"en": 1.0}, asked) == pytest.approx(0)
    assert truth.regret({"en": 0.25, "sw": 0.75}, asked) == pytest.approx(0.75 * (0.8 - 0.125))
    assert truth.regret({"sw": 1.0, "en": 0.0}, asked) == pytest.approx(0.8 - 0.125)
    with pytest.raises(ConfigError, match=r"sum to 1, got a sum of 0\.5"):
        truth.regret({"en": 0.5}, asked)
    with pytest.raises(UnknownNameError, match="world language 'ko'"):
        truth.regret({"ko": 1.0}, asked)


def test_exposure_is_expected_rows() -> None:
    profile = load_profile("tiny")  # 3000 rows, .4 inference, .1 cross-lingual
    truth = Truth(profile)
    total = sum(truth.exposure(AskedAbout("inference", q), a) for q in WORLD_LANGUAGES for a in WORLD_LANGUAGES)
    assert total == pytest.approx(3000 * 0.4)
    same = sum(truth.exposure(AskedAbout("inference", lang), lang) for lang in WORLD_LANGUAGES)
    assert same == pytest.approx(3000 * 0.4 * 0.9)
    with pytest.raises(ConfigError, match="needs its regions"):
        truth.exposure(AskedAbout("regional", "en"), "en")
    with pytest.raises(ConfigError, match="no fit of accuracy on exposure"):
        truth.accuracy(AskedAbout("inference", "en"))


def test_the_fit_is_the_maximum_of_its_likelihood() -> None:
    from scipy.optimize import minimize

    from lrpo_bench.world.corpus import pair_probabilities
    from lrpo_bench.world.truth import RIDGE, exposure_features

    profile, rng = load_profile("default"), np.random.default_rng(0)
    cells = [
        Cell(k, "", q, a, 30, int(rng.integers(5, 28)))
        for k in ("reasoning", "inference")
        for q in WORLD_LANGUAGES
        for a in WORLD_LANGUAGES
    ]
    cells += [
        Cell("regional", r, q, q, 9, int(rng.integers(1, 8))) for r in ("china", "japan") for q in WORLD_LANGUAGES
    ]
    fit = fit_accuracy(profile, cells)
    rows = profile.policy.rows * profile.mixture.kinds["reasoning"] * pair_probabilities(profile, "reasoning")[1][0]
    chosen = [c for c in cells if c.kind == "reasoning"]
    x = np.array([exposure_features(rows, c.source_lang, c.rollout_lang) for c in chosen])
    k = np.array([c.correct for c in chosen])

    def loss(w: np.ndarray) -> float:
        return float((30 * np.logaddexp(0, x @ w) - k * (x @ w)).sum() + RIDGE / 2 * w @ w)

    assert loss(np.array(fit["reasoning"])) <= minimize(loss, np.zeros(4)).fun + 1e-3


def test_truth_of_a_built_world(tiny, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    truth = Truth.load(tiny.folder)
    accuracy = truth.accuracy(AskedAbout("regional", "en", ("east_africa", "china")))
    assert set(accuracy) == set(WORLD_LANGUAGES) and all(0 <= value <= 1 for value in accuracy.values())
    with pytest.raises(DataError, match="no readable evaluation of a world model"):
        Truth.load(tmp_path)


# shipped weights


def test_unshipped_profiles_say_how_to_build_them() -> None:
    with pytest.raises(ModelError, match=r'run "lrpo-bench world build --profile tiny --out DIR"'):
        embedded_path("tiny")
    with pytest.raises(UnknownNameError, match="did you mean 'default'"):
        embedded_path("defualt")


@pytest.mark.parametrize("name", shipped_profiles())
def test_shipped_weights_are_whole_and_small(name: str) -> None:
    folder = embedded_path(name)
    stored = hashes(folder)
    assert {path for path in stored if not (folder / path).is_file()} == set()
    for path, digest in stored.items():
        assert hashlib.sha256((folder / path).read_bytes()).hexdigest() == digest, path
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 12e6
    assert Truth.load(folder).profile.name == name


def test_a_kind_that_was_never_seen_is_not_measured_and_never_expected_to_be_right() -> None:
    folder = embedded_path("production_weak")
    truth = Truth.load(folder)
    assert set(truth.accuracy(AskedAbout("regional", "en", ("east_africa",))).values()) == {0.0}
    reasoning = truth.accuracy(AskedAbout("reasoning", "bn"))
    assert reasoning["en"] > 0.5 > reasoning["bn"]
    cells = json.loads((folder / "eval.json").read_text())["cells"]
    assert {kind for kind, *_ in cells} == {"reasoning"}


def test_stages_have_their_own_random_numbers() -> None:
    assert stream(0, "policy").random() != stream(0, "encoder").random()
    assert stream(0, "policy").random() == stream(0, "policy").random()
