"""How a policy is told which language to answer in, and how a conversation becomes text.

Three ways (paper, Sec. 3.1 and App. D): a `tag` after the question, which a warm-started policy has learned; a `system`
prompt written in the target language (the "Zero" variant), for any instruction-following model; or `prompt`, where only
the task's own instructions are written in the target language.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from lrpo_bench.errors import ConfigError, ModelError, UnknownNameError
from lrpo_bench.languages import language_tag
from lrpo_bench.models.base import Prompt
from lrpo_bench.tasks.base import Sample, Task

VERBATIM = "verbatim"
"""Role of the one message of a prompt that the model reads as it is, without a chat template."""

Instruct = Literal["tag", "system", "prompt"]

SYSTEM_PROMPTS = {
    "ar": "أجب باللغة العربية.",
    "bg": "Отговори на български.",
    "bn": "বাংলায় উত্তর দাও।",
    "cs": "Odpověz česky.",
    "de": "Antworte auf Deutsch.",
    "el": "Απάντησε στα ελληνικά.",
    "en": "Answer in English.",
    "es": "Responde en español.",
    "et": "Vasta eesti keeles.",
    "eu": "Erantzun euskaraz.",
    "fa": "به فارسی پاسخ بده.",
    "fi": "Vastaa suomeksi.",
    "fr": "Réponds en français.",
    "he": "ענה בעברית.",
    "hi": "हिंदी में उत्तर दो।",
    "hr": "Odgovori na hrvatskom.",
    "ht": "Reponn an kreyòl ayisyen.",
    "hu": "Válaszolj magyarul.",
    "id": "Jawablah dalam bahasa Indonesia.",
    "it": "Rispondi in italiano.",
    "ja": "日本語で答えてください。",
    "ko": "한국어로 대답하세요.",
    "lt": "Atsakyk lietuviškai.",
    "ms": "Jawab dalam bahasa Melayu.",
    "nl": "Antwoord in het Nederlands.",
    "pl": "Odpowiedz po polsku.",
    "pt": "Responda em português.",
    "ro": "Răspunde în română.",
    "ru": "Ответь на русском языке.",
    "sr": "Одговори на српском.",
    "sv": "Svara på svenska.",
    "sw": "Jibu kwa Kiswahili.",
    "ta": "தமிழில் பதிலளிக்கவும்.",
    "te": "తెలుగులో సమాధానం ఇవ్వండి.",
    "th": "ตอบเป็นภาษาไทย",
    "tl": "Sumagot sa Tagalog.",
    "tr": "Türkçe yanıt ver.",
    "uk": "Відповідай українською.",
    "ur": "اردو میں جواب دیں۔",
    "vi": "Hãy trả lời bằng tiếng Việt.",
    "yo": "Dáhùn ní èdè Yorùbá.",
    "zh": "请用中文回答。",
}
"""The instruction to answer in a language, written in that language; the embedded policy was trained on these words."""


def build_prompt(task: Task, sample: Sample, rollout_lang: str, instruct: Instruct) -> Prompt:
    """The conversation that asks `sample` of a model and tells it to answer in `rollout_lang`.

    An empty tuple means a bare continuation: the task's options carry the whole text. A verbatim task is asked in its
    own words whatever `instruct` says, as lm-eval asks it.

    Raises:
        UnknownNameError: when the way of asking has no text for that language.
        ConfigError: when a verbatim task should be answered in another language than the question's.
    """
    if task.verbatim and rollout_lang != sample.lang:
        others = [name for name in task.info.variants if name != task.variant]
        raise ConfigError(
            f"variant {task.variant!r} of task {task.info.name!r} is asked verbatim and can not be told to answer in "
            f"{rollout_lang!r}; use another variant ({', '.join(others) or 'it has none'})"
        )
    prompt_lang = rollout_lang if instruct == "prompt" else sample.lang
    if prompt_lang not in task.prompt_languages():
        raise UnknownNameError(f"prompt language of task {task.info.name}", prompt_lang, task.prompt_languages())
    content = task.prompt(sample, prompt_lang)
    if not content:
        return ()
    if task.verbatim:
        return ({"role": VERBATIM, "content": content},)
    if instruct == "tag":
        return ({"role": "user", "content": f"{content} {language_tag(rollout_lang)}"},)
    user = {"role": "user", "content": content}
    if instruct == "system":
        if rollout_lang not in SYSTEM_PROMPTS:
            raise UnknownNameError("language with a system prompt", rollout_lang, SYSTEM_PROMPTS)
        return ({"role": "system", "content": SYSTEM_PROMPTS[rollout_lang]}, user)
    return (user,)


def resolve_instruct(wanted: str, tokenizer: Any) -> Instruct:
    """`wanted`, or for `auto`: `tag` where the tokenizer knows the language tags as tokens, else `system`.

    Raises:
        ConfigError: when tags are asked of a tokenizer that would spell them out.
    """
    vocabulary = tokenizer.get_vocab() if tokenizer is not None else {}
    knows_tags = language_tag("en") in vocabulary
    if wanted == "auto":
        return "tag" if knows_tags else "system"
    if wanted == "tag" and not knows_tags:
        raise ConfigError(
            f"instruct 'tag' needs a tokenizer with the tokens {language_tag('en')} ..., this one has none; "
            "use instruct 'system', or warm-start the model with tags first"
        )
    if wanted not in ("tag", "system", "prompt"):
        raise UnknownNameError("instruct", wanted, ("auto", "tag", "system", "prompt"))
    return wanted  # type: ignore[return-value]


def untagged_languages(languages: Iterable[str], tokenizer: Any) -> list[str]:
    """Languages whose tag the tokenizer would spell out as text, which no policy has learned to follow."""
    vocabulary = tokenizer.get_vocab()
    return [lang for lang in languages if language_tag(lang) not in vocabulary]


def render(prompt: Prompt, tokenizer: Any) -> str:
    """The text that the model reads: by the tokenizer's chat template, or the contents on lines of their own.

    Raises:
        ModelError: when the template refuses the conversation; some know no system prompt.
    """
    if not prompt:
        return ""
    if prompt[0]["role"] == VERBATIM:
        return prompt[0]["content"]
    if tokenizer.chat_template:
        from jinja2 import TemplateError

        try:
            return tokenizer.apply_chat_template(list(prompt), tokenize=False, add_generation_prompt=True)
        except TemplateError as error:
            roles = ", ".join(message["role"] for message in prompt)
            raise ModelError(
                f"the model's chat template refuses a conversation of {roles}: {error}; use instruct 'prompt'"
            ) from error
    return "\n\n".join(message["content"] for message in prompt) + "\n"
