"""Reading numbers, labels and option letters. Expected values are written by hand."""

import json
import re
import time
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrpo_bench.languages import LANGUAGES
from lrpo_bench.tasks.extraction import read_final_number, read_final_span, read_numbers
from lrpo_bench.tasks.final_phrases import final_phrases, phrase_languages
from lrpo_bench.tasks.labels import read_choice, read_option_letter
from lrpo_bench.tasks.number_words import find_numerals
from lrpo_bench.tasks.text_cleaning import clean

MGSM = Path(__file__).parents[2] / "shared" / "data" / "mgsm"


def values(text: str, lang: str = "en") -> list[Decimal]:
    return [span.value for span in read_numbers(text, lang)]


@pytest.mark.parametrize(
    ("lang", "text", "expected"),
    [
        # native digits
        ("bn", "উত্তর হল ১২৫।", 125),
        ("ar", "الجواب هو ١٢٥.", 125),
        ("fa", "پاسخ نهایی: ۱۲۵", 125),
        ("th", "คำตอบคือ ๑๒๕", 125),
        ("hi", "उत्तर १२५ है।", 125),
        ("te", "సమాధానం ౧౨౫.", 125),
        ("my", "၁၂၅", 125),
        ("ja", "答えは１２５です。", 125),
        # grouping
        ("en", "1,500", 1500),
        ("de", "1.500", 1500),
        ("fr", "1 500 euros", 1500),
        ("fr", "1\u00a0500 euros", 1500),
        ("fr", "1\u202f500 euros", 1500),
        ("de", "CHF 1'500", 1500),
        ("de", "1’500 Franken", 1500),
        ("hi", "₹1,00,000", 100_000),
        ("hi", "12,34,567", 1_234_567),
        ("ar", "١٬٥٠٠", 1500),
        ("ja", "１，５００円", 1500),
        ("en", r"1{,}500", 1500),
        ("de", "1,500,000", 1_500_000),
        ("en", "1.500.000", 1_500_000),
        # decimals
        ("en", "12.5", "12.5"),
        ("de", "12,5", "12.5"),
        ("de", "12.5", "12.5"),
        ("en", "12,5", "12.5"),
        ("ar", "١٢٫٥", "12.5"),
        ("en", "1,500.50", "1500.5"),
        ("de", "1.500,50", "1500.5"),
        ("fr", "1 500,50", "1500.5"),
        ("de", "1'500.50", "1500.5"),
        ("en", "18.00", 18),
        ("en", "$.50", "0.5"),
        ("de", "0.500", "0.5"),
        ("en", "3.14159", "3.14159"),
        # ambiguous: by the language's convention
        ("en", "1.500", "1.5"),
        ("de", "1,500", "1.5"),
        # signs
        ("en", "-5", -5),
        ("en", "The answer is −5.", -5),
        ("en", "-$5", -5),
        ("en", "$-5", -5),
        ("en", "5-7", 7),
        ("en", "20 -12", 12),
        ("en", "- 5 apples", 5),
        ("en", "x = -3", -3),
        ("zh", "答案是负5", -5),
        # fractions and percent
        ("en", "3/4", "0.75"),
        ("en", "1½ cups", "1.5"),
        ("en", "1 1/2 cups", "1.5"),
        ("en", r"\frac{3}{4}", "0.75"),
        ("en", r"1\frac{1}{2}", "1.5"),
        ("en", "25%", 25),
        ("tr", "%25", 25),
        ("en", "12/05/2024", 2024),
        # units and currency, on either side
        ("en", "12km", 12),
        ("ja", "5個", 5),
        ("zh", "18元", 18),
        ("ko", "18개입니다", 18),
        ("en", "Rs500", 500),
        ("pt", "R$18", 18),
        ("de", "18 €", 18),
        ("en", "$18", 18),
        ("tr", "18'dir", 18),
        # Chinese and Japanese numerals
        ("zh", "答案是十二。", 12),
        ("zh", "三百五十", 350),
        ("zh", "两千块", 2000),
        ("ja", "1万2千円", 12_000),
        ("zh", "3.5万", 35_000),
        ("zh", "5千克", 5),
        ("zh", "他一共有 39 块，一样多", 39),
        # punctuation is not part of a number
        ("en", "So 7 ...", 7),
        ("en", "It is 18.", 18),
        ("bn", "11।", 11),
        ("zh", "11。", 11),
        ("en", "**18**", 18),
        ("en", "_18_", 18),
        ("en", "1,2,3", 3),
    ],
)
def test_final_number(lang: str, text: str, expected: float | str) -> None:
    assert read_final_number(text, lang) == Decimal(str(expected))


@pytest.mark.parametrize(
    "text", ["", " ", "no idea", "x2 and CO2", "第一", "一起", "十分", "10x^"[2:], "\ud800", "---"]
)
def test_nothing_is_none(text: str) -> None:
    assert read_final_number(text, "en") is None


@pytest.mark.parametrize(
    ("lang", "text", "expected"),
    [
        ("en", "The answer is 18. She has 3 sisters.", 18),
        ("en", "The answer is 10 * 2 = 20. I took 5 steps.", 20),
        ("en", "The final answer is that she earns $18 per day, with 3 hens.", 18),
        ("en", "The answer is 5.\nWait, that is wrong.\nThe answer is 6. (step 2)", 6),
        ("en", "Answer: 18 dollars\n\nQuestion 2", 18),
        ("en", "Answer: Roger has 5 balls and buys 6. 5 + 6 = 11", 11),
        ("en", "Answer: 16 eggs less 3 are 13, and 13 * 2 makes 26", 26),
        ("en", "She can answer 5 questions.\nSo 3 * 5 = 15 in all.", 15),
        ("en", "So the answer: 18\nThat took 2 steps.", 18),
        ("en", "Answer 18\nThat took 2 steps.", 18),
        ("en", "**Final Answer:**\n\n**$18**\n\nFrom 16 eggs.", 18),
        ("en", r"So \boxed{18} dollars in 7 days", 18),
        ("en", r"\boxed{x = \frac{1}{2}} for 3", "0.5"),
        ("en", "#### 18\n\nGenerated in 2 steps", 18),
        ("en", "#### 1. Count the eggs\n16 - 3 = 13", 13),
        ("en", "It makes 18.\n1. Check", 18),
        ("de", "Die Antwort lautet: 18. Das sind 3 mehr.", 18),
        ("es", "La respuesta es 18. Son 3 más.", 18),
        ("fr", "La réponse est 18. C'est 3 de plus.", 18),
        ("fr", "Réponse : 18 œufs\n(2 étapes)", 18),
        ("ru", "Ответ — 18. Это на 3 больше.\n", 3),  # a label, with more numbers after it in the line: not trusted
        ("ru", "Ответ — 18.\nЭто на 3 больше.", 18),
        ("sw", "Jibu ni 18. Ni 3 zaidi.", 18),
        ("bn", "উত্তর হল 18। 3টি বেশি।", 18),
        ("te", "సమాధానం 18.\nఇది 3 ఎక్కువ.", 18),
        ("th", "คำตอบคือ 18\nมากกว่า 3", 18),
        ("ja", "答えは18です。3つ多いです。", 18),
        ("zh", "答案是 18。多了 3 个。", 18),
        ("ar", "الجواب هو 18. وهذا أكثر بـ 3.", 18),
        ("hi", "अंतिम उत्तर 18 है। 3 अधिक।", 18),
        ("ko", "정답은 18입니다. 3개 더 많습니다.", 18),
        ("vi", "Đáp án là 18. Nhiều hơn 3.", 18),
        ("tr", "Cevap: 18\n3 fazla.", 18),
        ("id", "Jawabannya adalah 18. Lebih 3.", 18),
        ("fa", "پاسخ نهایی ۱۸ است. ۳ تا بیشتر.", 18),
        ("he", "התשובה היא 18. זה 3 יותר.", 18),
        ("uk", "Відповідь: 18\nЦе на 3 більше.", 18),
        ("sw", "The answer is 18. It took 3 steps.", 18),  # a response in another language than asked for
    ],
)
def test_announced_answers_come_first(lang: str, text: str, expected: float | str) -> None:
    assert read_final_number(text, lang) == Decimal(str(expected))


def test_ambiguous_separator_keeps_both_readings() -> None:
    english, german = read_final_span("1.500", "en"), read_final_span("1.500", "de")
    assert english is not None and german is not None
    assert (english.value, english.other) == (Decimal("1.5"), Decimal(1500))
    assert (german.value, german.other) == (Decimal(1500), Decimal("1.5"))
    negative = read_final_span("-2,125", "de")
    assert negative is not None and negative.other == -2125
    plain = read_final_span("12.5", "en")
    assert plain is not None and plain.other is None


def test_spans_point_into_the_cleaned_text() -> None:
    text = "\u200fLe prix est de １２\u00a0500,50 € et 3/4."
    spans = read_numbers(text, "fr")
    assert [clean(text)[span.start : span.end] for span in spans] == ["12 500,50", "3/4"]
    assert [span.percent for span in read_numbers("5 %, 7", "fr")] == [True, False]


def test_runs_that_are_no_number_are_lists() -> None:
    assert values("1,2,3") == [1, 2, 3]
    assert values("(3, 4)") == [3, 4]
    assert values("12.05.2024", "de") == [12, 5, 2024]
    assert values("10 20 1,500") == [10, 20, 1500]
    assert values("1/0 and 5/3/2") == [1, 0, 5, 3, 2]
    assert values("2x + 3 = 7, 10^3, x_1, v3.1.2") == [2, 3, 7, 10]


def test_chinese_numerals_stay_out_of_words() -> None:
    text = "星期三他一起去了两次，十分高兴，第一，三角形，唯一，买了二十五个，一点，百分之三十，三四个，七面鳥。"
    assert [(numeral.text, numeral.value) for numeral in find_numerals(text)] == [
        ("两", 2),
        ("二十五", 25),
        ("三十", 30),
    ]


# ---- property: what is written is read, in every language and format

NATURAL = {
    "ar": "لديها الآن {} كتابا.",
    "bn": "তার কাছে {} টি বই আছে।",
    "de": "Sie hat jetzt {} Bücher.",
    "el": "Έχει {} βιβλία.",
    "en": "Now she has {} books.",
    "es": "Ahora tiene {} libros.",
    "fr": "Elle a {} livres.",
    "hi": "उसके पास {} किताबें हैं।",
    "ja": "本は{}冊あります。",
    "ko": "책이 {}권 있습니다.",
    "ru": "У неё {} книг.",
    "sw": "Ana vitabu {}.",
    "te": "{} పుస్తకాలు ఉన్నాయి.",
    "th": "เธอมีหนังสือ {} เล่ม",
    "tr": "Şimdi {} kitabı var.",
    "ur": "اس کے پاس {} کتابیں ہیں۔",
    "vi": "Cô ấy có {} quyển sách.",
    "zh": "她有{}本书。",
}


def write(whole: int, decimals: str, lang: str, group: str, native: bool, minus: str) -> str:
    language = LANGUAGES[lang]
    digits = f"{whole:,}".replace(",", group)
    text = digits + (language.decimal_separator + decimals if decimals else "")
    if native:
        text = "".join(chr(ord(language.zero) + int(char)) if char.isdigit() else char for char in text)
    return minus + text


@settings(max_examples=200, deadline=None)
@given(
    lang=st.sampled_from(sorted(LANGUAGES)),
    whole=st.integers(0, 10**9),
    decimals=st.sampled_from(["", "", "5", "00", "25", "1234"]),
    grouping=st.sampled_from(["", "conventional", " ", "\u00a0", "\u202f", "'", "’"]),
    native=st.booleans(),
    minus=st.sampled_from(["", "-", "−"]),
    sentence=st.sampled_from(sorted(NATURAL)),
)
def test_written_numbers_are_read(
    lang: str, whole: int, decimals: str, grouping: str, native: bool, minus: str, sentence: str
) -> None:
    group = grouping if grouping != "conventional" else "," if LANGUAGES[lang].decimal_separator == "." else "."
    text = NATURAL.get(lang, NATURAL[sentence]).format(" " + write(whole, decimals, lang, group, native, minus))
    expected = Decimal(f"{'-' if minus else ''}{whole}.{decimals or '0'}")
    assert read_final_number(text, lang) == expected


@settings(max_examples=60, deadline=None)
@given(
    phrase=st.sampled_from(sorted(phrase for phrase, is_label in final_phrases().items() if not is_label)),
    number=st.integers(-(10**6), 10**6),
    lang=st.sampled_from(sorted(phrase_languages())),
    closing=st.sampled_from(["", ".", " $.", "!\n", "。"]),
)
def test_every_phrase_announces(phrase: str, number: int, lang: str, closing: str) -> None:
    text = f"7 + 8 = 15. {phrase.capitalize()}: {number}{closing}\nThis took 3 of 4 minutes, see page 99 and page 100."
    assert read_final_number(text, lang) == number


def test_phrase_languages_are_known_and_many() -> None:
    languages = set(phrase_languages())
    asked = set(re.findall("..", "bndeenesfrjaruswtethzharbgelhitrurviptitkoidnlplukfahe"))
    assert languages <= set(LANGUAGES)
    assert languages >= asked


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet=st.characters(), max_size=60), st.sampled_from(["en", "de", "zh", "ar", "hi"]))
def test_any_text_is_safe(text: str, lang: str) -> None:
    for span in read_numbers(text, lang):
        assert span.value.is_finite()
    read_final_number(text, lang)
    read_choice(text, {"a": ["yes"], "b": ["no"]})
    read_option_letter(text, "ABCD", lang)


@pytest.mark.parametrize(
    "unit",
    [
        "1",
        "1,",
        "1 ",
        "1,500,",
        "1.5/",
        "1万",
        "一",
        "a1",
        "1 ½",
        "\ud800",
        "a\u0301\u0316",
        "\u0315\u0300",
        "\u200f5",
        "答",
        "answer is ",
        "answer: 1 = 1 ",
        "\\boxed{",
        "1 + ",
        "####1",
        "1. a\n",
        " ",
        "1_",
        "\\frac{",
        "点一",
        "亿一",
        "yes no ",
        "A) ",
    ],
)
def test_long_degenerate_texts_take_linear_time(unit: str) -> None:
    text = unit * (100_000 // len(unit))
    start = time.process_time()
    read_final_number(text, "en")
    read_choice(text, {"a": ["yes"], "b": ["no"]})
    read_option_letter(text, "ABCD", "en")
    assert time.process_time() - start < 5  # measured: below 0.6 s; a quadratic reading takes minutes


@pytest.mark.skipif(not MGSM.is_dir(), reason="needs the published MGSM files")
def test_published_exemplars_and_golds() -> None:
    data = json.loads((MGSM / "exemplars_data.json").read_text(encoding="utf-8"))
    golds = data["EXEMPLAR_NUMBER_ANSWERS"]
    for lang, exemplars in data["MGSM_EXEMPLARS"].items():
        assert [read_final_number(exemplars[str(i + 1)]["a"], lang) for i in range(len(golds))] == golds, lang


# ---- labels and letters

NLI = {
    "entailment": ["entailment", "蕴含", "Folgerung"],
    "neutral": ["neutral", "中立"],
    "contradiction": ["contradiction", "矛盾", "Widerspruch", "แย้ง"],
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Entailment", "entailment"),
        ("**neutral**.", "neutral"),
        ("两句话矛盾。", "contradiction"),
        ("ข้อความขัดแย้งกัน", "contradiction"),
        ("WIDERSPRUCH!", "contradiction"),
        ("Das ist neutralisiert.", None),
        ("entailment or neutral", None),
        ("It is not entailment. The answer is contradiction.", "contradiction"),
        ("Final answer: neutral or contradiction", None),
        ("", None),
        ("maybe", None),
    ],
)
def test_read_choice(text: str, expected: str | None) -> None:
    assert read_choice(text, NLI) == expected


@pytest.mark.parametrize(
    ("lang", "text", "expected"),
    [
        ("en", "B", "B"),
        ("en", "B.", "B"),
        ("en", "(B)", "B"),
        ("en", "**B**", "B"),
        ("en", "B) Nairobi", "B"),
        ("en", "The answer is (C), not A.", "C"),
        ("en", "A is wrong and B is wrong.\nAnswer: D", "D"),
        ("en", r"\boxed{A}", "A"),
        ("en", "A cat sat.", None),
        ("en", "I think A or B.", None),
        ("en", "I choose B because it is larger.", "B"),
        ("en", "Apple", None),
        ("zh", "我选择B，因为", "B"),
        ("zh", "答案：Ｂ", "B"),
        ("ru", "Ответ: C", "C"),
        ("ar", "الجواب هو B", "B"),
        ("ja", "BかCです", None),
        ("en", "b", None),
    ],
)
def test_read_option_letter(lang: str, text: str, expected: str | None) -> None:
    assert read_option_letter(text, "ABCD", lang) == expected
