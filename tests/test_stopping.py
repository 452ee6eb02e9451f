"""Stop strings: one rule for all backends, lm-eval's, and what it means for a response."""

from __future__ import annotations

from conftest import make_tiny_model, make_tiny_tokenizer
from hypothesis import given
from hypothesis import strategies as st

from lrpo_bench.evaluation.evaluator import EvaluationSettings, evaluate, plan_chunks
from lrpo_bench.language_id.base import Detection
from lrpo_bench.models.base import ModelInfo, Sampling
from lrpo_bench.models.fake import MockModel
from lrpo_bench.models.hf import HFModel
from lrpo_bench.models.stopping import cut
from lrpo_bench.tasks.base import Sample, Score, Task, TaskInfo

TEXTS = st.text(alphabet="abQ:\n ", max_size=30)
STOPS = st.lists(st.text(alphabet="abQ:\n", max_size=3), max_size=4)


def lm_evals_rule(text: str, stops: list[str]) -> str:
    """As `HFLM.generate_until` of lm-eval 0.4.13 cuts its responses."""
    for term in stops:
        if len(term) > 0:
            text = text.split(term)[0]
    return text


@given(TEXTS, STOPS)
def test_cut_is_lm_evals(text, stops):
    kept, was_cut = cut(text, stops)
    assert kept == lm_evals_rule(text, stops)
    assert was_cut == any(stop and stop in text for stop in stops)
    assert cut(kept, stops) == (kept, False), "nothing is left to cut"
    assert text.startswith(kept)


def test_by_hand():
    assert cut("18\n\nFrage: Und", ("Frage:", "\n\n")) == ("18", True)
    assert cut("", ("x",)) == ("", False)
    assert cut("x", ("x",)) == ("", True)
    assert cut("abc", ("", "")) == ("abc", False)


def test_a_mock_stops():
    model = MockModel(lambda prompt, draw: "one two Q: three four")
    (found,) = model.generate([({"role": "user", "content": "?"},)], Sampling(stop=("Q:",)))[0]
    assert (found.text, found.finish_reason) == ("one two ", "stop")
    (early,) = model.generate([({"role": "user", "content": "?"},)], Sampling(2, stop=("Q:",)))[0]
    assert (early.text, early.finish_reason) == ("one two", "length"), "the limit came first"


def test_a_model_stops_where_its_text_says(tmp_path):
    """The same greedy text, cut at a piece of its own; a response cut at the limit before is whole after."""
    tokenizer = make_tiny_tokenizer()
    info = ModelInfo("tiny", None, "none", 0, "float32", 256, chat_template=True)
    model = HFModel(make_tiny_model(tokenizer), tokenizer, info)
    prompts = [({"role": "user", "content": text},) for text in ("Hi", "What is 3 + 4?")]
    whole = [row[0] for row in model.generate(prompts, Sampling(16))]
    stop = whole[0].text[3:5]
    stopped = [row[0] for row in model.generate(prompts, Sampling(16, stop=(stop,)))]
    assert whole[0].finish_reason == "length"
    assert stopped[0].text == lm_evals_rule(whole[0].text, [stop]) != whole[0].text
    assert stopped[0].finish_reason == "stop"
    assert stopped[1].text == lm_evals_rule(whole[1].text, [stop])


class Stopping(Task):
    """Wants a full stop, and says where responses end in each language."""

    def sample(self, row, lang, index):
        return Sample(f"stopping/{lang}/{index}", f"stopping/{index}", lang, row["q"], "1")

    def score(self, sample, completion, rollout_lang):
        return Score.of("1" in completion, completion)

    def stop(self, lang):
        return {"de": ("Frage:",), "en": ("Question:",), "sw": ()}[lang]


class Blind:
    signature, languages = "blind|1", frozenset()

    def detect(self, texts):
        return [Detection(None, reason="blind") for _ in texts]


def test_each_language_stops_at_its_own_strings():
    """No call of the model mixes languages with different strings, and records hold what stands before them."""
    info = TaskInfo("stopping", "1", "t", "generate", "reasoning", ("de", "en", "sw"), "l", "c")
    task = Stopping(info, {"default": dict.fromkeys(info.languages, "{question}")})
    samples = [task.sample({"q": f"{i}?"}, lang, i) for lang in info.languages for i in range(2)]
    settings = EvaluationSettings("prompt", draws=0, chunk_size=100)
    chunks = plan_chunks([(task, samples)], settings)
    assert [sorted({s.lang for s in chunk.samples}) for chunk in chunks] == [["sw"], ["de"], ["en"]]
    model = MockModel(lambda prompt, draw: "1 Frage: 2 Question: 3")
    found = {r.rollout_lang: r.completion for rows in evaluate(model, chunks, Blind(), settings) for r in rows}
    assert found == {"de": "1 ", "en": "1 Frage: 2 ", "sw": "1 Frage: 2 Question: 3"}
