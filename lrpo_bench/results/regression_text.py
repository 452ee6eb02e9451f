"""A decision on a regression in words: for a terminal, for JUnit XML and for GitHub.

Models write whatever they like, and a log on GitHub obeys lines that begin with `::` or contain `##[`; so each line of
theirs stands behind a bar, control characters are shown as escapes, and `##[` is broken up.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from lrpo_bench.results.regression import Change, Decision, Regression
from lrpo_bench.results.untrusted import visible

SHOWN_QUESTIONS = 5
_SHOWN_CHARACTERS = 500
_BAR = "  |  "


def failure_text(decision: Decision, budget: str) -> str:
    """Why a check failed: values, difference, what was allowed, and the first questions that were lost.

    Args:
        decision: the failed one.
        budget: how its level came about, such as `0.05 over 20 tests`.
    """
    regression, test = decision.regression, decision.regression.test
    low, high = test.change.ci95
    down = "down" if test.worse == "lower" else "up"
    per_unit = f"{test.change.n_clusters} source questions"
    lines = [
        f"{_name(regression)} got worse: {number(test.before)} -> {number(test.after)}",
        f"  difference  {number(test.change.value, signed=True)}, 95% interval [{number(low, signed=True)}, "
        f"{number(high, signed=True)}], over {test.change.n} questions ({per_unit})",
        f"  allowed     {down} by {number(decision.allowed)}{_tolerance(regression)}; "
        f"p = {decision.p_holm:.2g}, fails at {decision.level:.2g} ({budget})",
        f"  noise       {_noise(regression)}",
        f"  baseline    {', '.join(map(str, regression.baselines))}",
        f"  run         {', '.join(map(str, regression.runs))}",
        f"  questions   {len(regression.lost)} got worse, {regression.gained} got better"
        + (f", {test.change.n_unscored} left out as unknown" if test.change.n_unscored else ""),
    ]
    for change in regression.lost[:SHOWN_QUESTIONS]:
        lines += _question(change)
    if len(regression.lost) > SHOWN_QUESTIONS:
        lines.append(f"  ... and {len(regression.lost) - SHOWN_QUESTIONS} more that got worse")
    return "\n".join(lines)


def summary_line(fields: Mapping[str, str]) -> str:
    """One check in one line, from its `properties`."""
    verdict = "worse" if fields["verdict"] == "failed" else "ok"
    before, after, allowed, seen = (number(float(fields[key])) for key in ("before", "after", "allowed", "detectable"))
    name = f"{fields['task']} {fields['language']} {fields['metric']}"
    sees = "" if seen == "nan" else f", a true change of {seen} is found with 80% power"
    return f"{verdict:<6}{name}: {before} -> {after}, may be {allowed} worse{sees}"


def properties(decision: Decision) -> dict[str, str]:
    """What JUnit XML records of a check."""
    regression, test = decision.regression, decision.regression.test
    numbers = {
        "before": test.before,
        "after": test.after,
        "difference": test.change.value,
        "ci95_low": test.change.ci95[0],
        "ci95_high": test.change.ci95[1],
        "p": test.p,
        "p_corrected": decision.p_holm,
        "level": decision.level,
        "allowed": decision.allowed,
        "detectable": test.detectable(decision.level),
    }
    return {
        "verdict": "failed" if decision.failed else "passed",
        "run": str(regression.check.run),
        "baseline": str(regression.check.baseline),
        "task": regression.task,
        "language": regression.check.language,
        "metric": regression.check.metric,
        "n": str(test.change.n),
    } | {name: f"{value:.6g}" for name, value in numbers.items()}


def github_annotation(path: str, line: int, title: str, message: str) -> str:
    r"""The workflow command that puts an error beside a line of a pull request.

    Example:
        >>> github_annotation("tests/test_a.py", 7, "a, b", "50%\nworse")
        '::error file=tests/test_a.py,line=7,title=a%2C b::50%25%0Aworse'
    """
    return f"::error file={_property(path)},line={line},title={_property(title)}::{_data(message)}"


def number(value: float, *, signed: bool = False) -> str:
    """A number for reading.

    Example:
        >>> number(0.41234), number(-0.5, signed=True), number(123.456)
        ('0.412', '-0.500', '123.5')
    """
    if abs(value) >= 10:
        return f"{value:+.1f}" if signed else f"{value:.1f}"
    return f"{value:+.3f}" if signed else f"{value:.3f}"


def quoted(text: str) -> list[str]:
    r"""Text that a model wrote, in lines that no terminal and no log takes for something else.

    Example:
        >>> quoted("a\x1b[31m\n::error::b")
        ['a\\x1b[31m', '::error::b']
    """
    cut = text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]} ... ({len(text)} characters)"
    return [visible(line).replace("##[", "## [") for line in cut.split("\n")]


def _question(change: Change) -> Iterator[str]:
    record = change.before
    yield f"  {visible(record.sample_id)} ({record.rollout_lang}): {number(change.was)} -> {number(change.now)}"
    for name, text in (
        ("question", record.question),
        ("expected", record.gold),
        ("before", record.completion),
        ("after", change.after.completion),
    ):
        for i, line in enumerate(quoted(text)):
            yield f"    {name if i == 0 else '':<8}{_BAR}{line}"


def _name(regression: Regression) -> str:
    check = regression.check
    return f"{check.metric} of {regression.task} in {check.language}"


def _tolerance(regression: Regression) -> str:
    tolerance = regression.check.tolerance
    return f", of which {number(tolerance)} is tolerance" if tolerance else ""


def _noise(regression: Regression) -> str:
    noise, repeats = regression.test.noise, (len(regression.baselines), len(regression.runs))
    error = f"standard error {number(noise.stderr)} of the paired difference"
    if not noise.repeats:
        return f"{error}, over questions; of one run on each side, so repeatability is not known"
    sides = f"{_count(repeats[0], 'baseline run')} and {_count(repeats[1], 'new run')}"
    return f"{error}, of which {number(noise.between_runs**0.5)} between runs ({sides})"


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'s' if n > 1 else ''}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
