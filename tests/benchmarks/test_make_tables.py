import math

import pytest


@pytest.fixture(scope="module")
def tables(script):
    return script("make_tables")


@pytest.fixture(scope="module")
def results(script):
    return script("results")


@pytest.fixture
def table(table_of):
    """One case: a grid of four rates, a cosine, a method with and without rates."""
    rows = """
    constant 0.1 0 90 0|constant 0.1 1 92 0
    constant 1 0 91 0|constant 1 1 90.5 0
    constant 0.01 0 50 0|constant 0.01 1 52 0
    constant 10 0 nan 1|constant 10 1 95 0
    cosine_decay 1 0 93 0|cosine_decay 1 1 95 0
    default - 0 88 0|default - 1 90 1
    method 0.1 0 80 0|method 1 0 91 0|method 10 0 90 0
    """
    lines = [
        f"p,sgd,{run.strip().replace(' -', ' ').replace(' ', ',')},,"
        for row in rows.strip().splitlines()
        for run in row.split("|")
    ]
    return table_of(*lines, "p,sgd,default,,2,,,,ValueError: no")


def test_best_constant_is_the_best_mean_over_seeds(results, table):
    cell = results.best(table["p", "sgd"]["constant"])
    # 91 and 90.75; the run without a finite metric does not make 10 the best.
    assert (cell.rate, cell.mean) == (0.1, 91)
    assert cell.text == f"91.0 ± {math.sqrt(2):.1f}"


def test_scores_are_differences_of_means(results, table):
    policies = table["p", "sgd"]
    assert results.score(policies["default"], policies["constant"]) == 89 - 91
    assert results.score(policies["default"], policies["cosine_decay"]) == 89 - 94
    assert math.isnan(results.score(policies["default"], None))


def test_method_with_rates_only_is_scored_by_its_best_one(results, table):
    """91 minus the 90 of the constant's first seed, the only one it has."""
    policies = table["p", "sgd"]
    assert results.score(policies["method"], policies["constant"]) == 1


def test_only_shared_seeds_are_compared(results):
    cell = results.Cell(0.1, (3.0, 5.0), 0, 0, (1, 2))
    reference = results.Cell(0.1, (0.0, 1.0, 100.0), 0, 0, (2, 1, 0))
    assert results.difference(cell, reference) == ((3 - 1) + (5 - 0)) / 2
    assert math.isnan(results.difference(cell, results.Cell(0.1, (0.0,), 0, 0, (0,))))
    broken = results.Cell(0.1, (math.nan, 5.0), 1, 0, (1, 2))
    assert results.difference(broken, reference) == -math.inf


def test_best_rate_is_one_of_those_with_all_seeds(results):
    """A grid may have been run at all rates with the first seed only."""
    few = results.Cell(0.1, (9.0,), 0, 0, (0,))
    all_seeds = results.Cell(1.0, (7.0, 8.0), 0, 0, (0, 1))
    assert results.best([few, all_seeds]) is all_seeds


def test_range_holds_the_neighbors_within_a_point_of_the_best(results, table):
    policies = table["p", "sgd"]
    assert results.holding_range(policies["constant"]) == [0.1, 1]
    assert results.holding_range(policies["method"]) == [1, 10]
    assert results.holding_range(policies["default"]) == []


def test_tables_tell_scores_divergence_and_failures(tables, table):
    _, row = tables.score_table(table, "constant")
    assert row == [
        *("p", "sgd"),
        "-2.0 (89.0 ± 1.4), 1/2 diverged, 1 failed",
        "+1.0 (91.0)",
    ]
    assert tables.range_table(table)[1] == ["p", "sgd", "1 to 10"]
    assert tables.baseline_table(table)[1][2:5] == ["91.0 ± 1.4", "0.1", "0.1 to 1"]


def test_starts_are_counted_in_decades_from_the_best_constant_rate(tables, table):
    """Which is 0.1, with 90 at the seed that the method has."""
    rows = tables.start_table(table)
    assert rows[1:] == [
        ["`method`", "0.316 or 1", "1", "-10.0", "-10.0", "0/1"],
        ["`method`", "3.16 or 10", "1", "+1.0", "+1.0", "0/1"],
        ["`method`", "31.6 or 100", "1", "+0.0", "+0.0", "0/1"],
    ]


@pytest.mark.parametrize(("rate", "text"), [(0.316, "3.16 or 10"), (0.0316, "0.316")])
def test_half_decades_count_with_the_next_one(tables, table_of, rate, text):
    runs = [("constant", 0.1), ("method", rate)]
    table = table_of(*(f"p,sgd,{policy},{each},0,91,0,," for policy, each in runs))
    assert tables.start_table(table)[1][1].startswith(text)


def test_summary_counts_cases_and_runs(tables, table):
    rows = tables.summary_table(table)
    assert rows[1:] == [
        ["default", "sgd", "89.0", "-2.0", "-2.0", "-2.0", "0/1", "-5.0", "1/2"],
        ["method", "sgd", "91.0", "+1.0", "+1.0", "+1.0", "1/1", "-2.0", "0/3"],
    ]


def test_summary_tells_mean_median_and_worst_apart(tables, suite_of):
    table = suite_of(
        {
            "constant": {"p": [91], "q": [91], "r": [91]},
            "method": {"p": [90], "q": [91], "r": [95]},
        }
    )
    row = tables.summary_table(table)[1]
    assert row[2:7] == ["92.0", "+1.0", "+0.0", "-1.0", "2/3"]


def test_variants_stand_beside_the_method_on_the_same_cases(tables, suite_of):
    suite = suite_of(
        {
            "constant": {"p": [90], "q": [90]},
            "cosine_decay": {"p": [92], "q": [92]},
            "method": {"p": [91], "q": [91]},
        }
    )
    variants = suite_of({"method:a=1": {"p": [89]}})
    made = tables.variants_table(suite, variants, "method").splitlines()
    assert [line.split(" | ")[1:4] for line in made[2:]] == [
        ["sgd", "91.0", "+1.0"],
        ["sgd", "89.0", "-1.0"],
    ]
