"""Detectors by name, and the candidate languages that a run gives them."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata

from lrpo_bench.errors import UnknownNameError
from lrpo_bench.language_id.base import LanguageDetector
from lrpo_bench.language_id.consensus import ConsensusDetector

ENTRY_POINTS = "lrpo_bench.detectors"
"""Third parties register `factory(languages) -> LanguageDetector` under this group."""

COMMON_LANGUAGES = (
    *("ar", "bn", "de", "en", "es", "fr", "hi", "id", "it", "ja"),
    *("ko", "nl", "pl", "pt", "ru", "th", "tr", "uk", "vi", "zh"),
)
"""Candidates besides the languages asked for: what a model slips into. All of lingua's 75 would confuse close relatives
on short answers (Hindi falls from 99.0% to 94.7% on sentences) at eight times the cost."""


def get_detector(name: str, asked: Sequence[str], *, early: bool = False) -> LanguageDetector:
    """The detector called `name`, with the languages `asked` and the common ones as candidates.

    A language it does not know is left out of its candidates; responses asked for in it are then reported as not
    measurable. `auto` is lingua; `profiles` is langdetect's model read in batches, the fastest and a little less
    accurate than lingua; `consensus` is what lingua and langdetect agree on. With `early`, the caller has seconds of
    other work to do before the first text, and lingua loads meanwhile (`language_id.beside`).

    Raises:
        UnknownNameError: for a name that is neither ours nor registered.
    """
    wanted = tuple(dict.fromkeys((*asked, *COMMON_LANGUAGES)))
    if name in ("auto", "lingua"):
        return _lingua(wanted, early=early)
    if name == "langdetect":
        return _langdetect(wanted)
    if name == "profiles":
        return _profiles(wanted)
    if name == "consensus":
        return ConsensusDetector([_lingua(wanted), _langdetect(wanted)])
    plugins = {entry.name: entry for entry in metadata.entry_points(group=ENTRY_POINTS)}
    if name not in plugins:
        raise UnknownNameError("detector", name, ("auto", "lingua", "langdetect", "profiles", "consensus", *plugins))
    detector: LanguageDetector = plugins[name].load()(wanted)
    return detector


def _lingua(wanted: Sequence[str], *, early: bool = False) -> LanguageDetector:
    from lrpo_bench.language_id import beside, detectors

    make = beside.LinguaBeside if early and beside.is_useful() else detectors.LinguaDetector
    known = detectors.lingua_languages().keys()
    return make([code for code in wanted if code in known])


def _langdetect(wanted: Sequence[str]) -> LanguageDetector:
    from lrpo_bench.language_id import detectors

    known = detectors.langdetect_languages()
    return detectors.LangdetectDetector([code for code in wanted if code in known])


def _profiles(wanted: Sequence[str]) -> LanguageDetector:
    from lrpo_bench.language_id import detectors

    known = detectors.langdetect_languages()
    return detectors.ProfilesDetector([code for code in wanted if code in known])
