"""Two builds of a world compared: Newcombe's published example, scipy's exact test, and counts made by hand."""

import pytest
from scipy.stats import fisher_exact

from lrpo_bench.cli import main
from lrpo_bench.errors import ConfigError, DataError
from lrpo_bench.world import shipped_profiles
from lrpo_bench.world.agreement import agreement_text, compare_builds, load_cells, newcombe
from lrpo_bench.world.measure import Cell


def cell(lang, n, correct, kind="reasoning", source="en"):
    return Cell(kind, "", source, lang, n, correct)


@pytest.mark.parametrize(
    ("counts", "expected"), [((48, 80, 56, 70), (0.0524, 0.3339)), ((0, 10, 10, 10), (0.6075, 1.0))]
)
def test_newcombe_by_the_published_method(counts, expected):
    """Examples (a) and (h) of the paper's Table II, method 10."""
    assert newcombe(*counts) == pytest.approx(expected, abs=2e-3)


def test_cells_of_a_language_are_pooled_and_tested_exactly():
    before = [cell("en", 60, 50), cell("en", 40, 40, source="de"), cell("sw", 100, 50)]
    after = [cell("en", 100, 88), cell("sw", 100, 20)]
    english, swahili = compare_builds(before, after)
    assert english.share == (0.9, 0.88) and english.n == (100, 100) and english.agrees
    smaller = fisher_exact([[50, 50], [20, 80]]).pvalue
    assert swahili.p_holm == pytest.approx(2 * smaller) and not swahili.agrees
    assert "they differ beyond chance in 1: reasoning in sw" in agreement_text([english, swahili])


def test_nothing_in_common_and_no_world(tmp_path):
    with pytest.raises(ConfigError, match="in common"):
        compare_builds([cell("en", 1, 1)], [cell("sw", 1, 1)])
    with pytest.raises(DataError, match="name a built folder"):
        load_cells(tmp_path)


@pytest.mark.skipif(not shipped_profiles(), reason="no weights ship")
def test_shipped_weights_agree_with_themselves(capsys):
    assert main(["world", "compare", "default", "default"]) == 0
    assert "none differs beyond chance" in capsys.readouterr().out


def test_an_unknown_world_is_one_line(capsys):
    assert main(["world", "compare", "default", "defualt"]) == 2
    assert "did you mean 'default'" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_recipe_reproduces_the_default_that_ships(tmp_path) -> None:
    """The whole recipe, a quarter of an hour on two quiet cores."""
    from lrpo_bench.world.build import BuildOptions, build, embedded_path

    report = build("default", 0, tmp_path / "default", BuildOptions(progress=False))
    rows = compare_builds(load_cells(embedded_path("default")), list(report.cells))
    assert not [row for row in rows if not row.agrees], agreement_text(rows)
