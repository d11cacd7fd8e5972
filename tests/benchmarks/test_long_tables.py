"""The tables of the long suite, from made-up runs of its problems."""

import pytest

from tests.benchmarks.conftest import HEADER

COSINE = """
    gru_mnist,adam,cosine_decay,0.01,0,90,0,100,,80
    gru_mnist,adam,cosine_decay,0.1,0,92,0,100,,70
    residual_decay,adamw,cosine_decay,0.1,0,70,0,100,,60
    dropout_mnist,momentum,cosine_decay,0.1,0,80,0,100,,80
"""


@pytest.fixture(scope="module")
def tables(long_script):
    return long_script("make_long_tables")


@pytest.fixture
def csv_of(tmp_path):
    def write(*texts):
        path = tmp_path / "long.csv"
        lines = [line.strip() for text in texts for line in text.strip().splitlines()]
        header = f"{HEADER},area,final_loss"
        path.write_text("\n".join([header, *(f"{line},1" for line in lines)]) + "\n")
        return path

    return write


def summary(tables, path):
    """The rows of the summary by half and policy."""
    return {tuple(row[:2]): row[2:] for row in tables.quick_table(path)[1:]}


def test_scores_are_minus_the_best_cosine_of_each_measure(tables, csv_of):
    methods = """
    gru_mnist,adam,marthe,,0,91,0,175,,81
    residual_decay,adamw,marthe,,0,73,1,175,,60.5
    dropout_mnist,momentum,marthe,,0,80.25,0,175,,78
    """
    rows = summary(tables, csv_of(COSINE, methods))
    cases, final, worst, close, area, diverged, cost = rows["report", "`marthe`"]
    # -1 and +3 at the end; +1, of the other rate, and +0.5 on average.
    assert (cases, worst, close, diverged, cost) == ("2", "-1.0", "1/2", "1/2", "1.75")
    assert final == "+1.00 (-1.00 to +3.00)"
    assert area == "+0.75 (+0.50 to +1.00)"
    assert rows["choose", "`marthe`"][1:5] == ["+0.25", "+0.2", "1/1", "-2.00"]


def test_best_rate_of_each_grid_is_an_entry_and_the_cosine_the_reference(
    tables, csv_of
):
    grid = """
    gru_mnist,adam,constant,0.01,0,89,0,100,,80
    gru_mnist,adam,constant,0.1,0,91.5,0,100,,80
    gru_mnist,adam,schedule_free,,0,88,0,100,,80
    gru_mnist,adam,schedule_free,0.1,0,93,0,100,,80
    """
    rows = summary(tables, csv_of(COSINE, grid))
    assert {name: row[1] for (_, name), row in rows.items()} == {
        "best `constant`": "-0.50",
        "best `schedule_free`": "+1.00",
        "`schedule_free`": "-4.00",
    }


def test_scores_are_of_the_seeds_that_both_have(tables, csv_of):
    more = """
    gru_mnist,adam,cosine_decay,0.1,1,96,0,100,,70
    gru_mnist,adam,cosine_decay,0.1,2,94,0,100,,70
    gru_mnist,adam,cosine_decay,0.01,1,90,0,100,,70
    gru_mnist,adam,cosine_decay,0.01,2,90,0,100,,70
    gru_mnist,adam,marthe,,2,95,0,175,,81
    """
    path = csv_of(COSINE, more)
    assert summary(tables, path)["report", "`marthe`"][1] == "+1.00"
    baselines = tables.baseline_table(tables.read(path))
    assert baselines[0] == ["problem", "optimizer", "best `cosine_decay`"]
    assert baselines[1] == ["gru_mnist", "adam", "94.0 ± 2.0 at 0.1"]


def test_rate_with_fewer_seeds_than_others_is_not_the_best(tables, csv_of):
    unfinished = """
    gru_mnist,adam,cosine_decay,0.01,1,90,0,100,,70
    gru_mnist,adam,marthe,,1,91,0,175,,81
    """
    path = csv_of(COSINE, unfinished)
    assert summary(tables, path)["report", "`marthe`"][1] == "+1.00"


def test_training_that_breaks_down_costs_at_most_its_way_to_the_lowest(tables, csv_of):
    broken = """
    gru_mnist,adam,marthe,,0,nan,1,175,,-100
    residual_decay,adamw,marthe,,0,-1e9,1,175,,-100
    """
    _, final, worst, *_ = summary(tables, csv_of(COSINE, broken))["report", "`marthe`"]
    # -192 and -170.
    assert final.startswith("-181.00")
    assert worst == "below -100"


def test_problem_counts_once_however_many_optimizers_it_has(tables):
    scores = {("p", "sgd"): {0: 1.0}, ("p", "adam"): {0: 3.0}, ("q", "sgd"): {0: 8.0}}
    mean, low, high = tables.mean_and_interval(scores)
    assert (mean, low, high) == (5, 2, 8)


def test_page_has_no_table_of_methods_before_there_is_one(tables, csv_of):
    text = tables.page_tables(csv_of(COSINE))
    assert text.startswith("Seeds: 0.\n")
    assert "by case" not in text
    method = "gru_mnist,adam,marthe,,0,91,0,175,,81"
    text = tables.page_tables(csv_of(COSINE, method))
    assert text.count("by case") == 2
    assert "| gru_mnist | adam | report | -1.0 |" in text


def test_every_problem_is_in_the_table_with_its_half(tables):
    rows = tables.problem_table()
    assert len(rows) == 1 + 12
    assert [row[1] for row in rows[1:]] == 6 * ["choose"] + 6 * ["report"]
    steps = {row[0]: row[4] for row in rows}
    # 20000 rows in batches of 64, 24 times.
    assert steps["`regression_friedman`"] == "7512"


def test_page_holds_the_long_tables_of_the_committed_runs(tables, long_script):
    page = long_script("page")
    path = page.page_with(tables.SCRIPT, tables.FOLDER)
    text = path.read_text(encoding="utf-8")
    made = tables.page_tables(tables.CSV)
    assert page.replace_tables(text, made, tables.SCRIPT, tables.FOLDER) == text


def test_training_losses_are_compared_with_the_lowest_cosine_of_all(tables, csv_of):
    """At seed 0 alone, which all have; a training that broke down has no loss."""
    runs = """
    gru_mnist,adam,marthe,,0,0.30,0,175,,1
    gru_mnist,adam,marthe,,1,0.90,0,175,,1
    gru_mnist,adam,cosine_decay,0.01,0,0.32,0,100,,1
    gru_mnist,adam,cosine_decay,0.01,1,0.10,0,100,,1
    gru_mnist,adam,cosine_decay,0.1,0,0.31,0,100,,1
    gru_mnist,adam,cosine_decay,1,0,nan,1,100,,1
    dropout_mnist,momentum,marthe,,0,0.50,0,175,,1
    dropout_mnist,momentum,cosine_decay,0.1,0,0.40,0,100,,1
    """
    losses = tables.read(csv_of(runs))
    assert tables.loss_table(losses)[1:] == [
        ["gru_mnist", "adam", "report", "0.3", "0.31"],
        ["dropout_mnist", "momentum", "choose", "0.5", "0.4"],
        ["", "", "", "below: 1/2", ""],
    ]


def test_starts_are_compared_with_the_same_seeds_from_the_rate_of_keras(tables, csv_of):
    methods = """
    gru_mnist,adam,marthe,,0,91,0,175,,81
    gru_mnist,adam,marthe,,1,93,0,175,,81
    gru_mnist,adam,marthe,0.0001,0,90.5,0,175,,81
    gru_mnist,adam,marthe,0.1,0,92,0,175,,81
    gru_mnist,adam,marthe,0.1,1,93.5,0,175,,81
    dropout_mnist,momentum,marthe,,0,80,0,175,,78
    dropout_mnist,momentum,marthe,0.1,0,79,0,175,,78
    dropout_mnist,momentum,walk,,0,79,0,175,,78
    """
    assert tables.starts_table(tables.read(csv_of(COSINE, methods))) == [
        ["problem", "optimizer", "method", "0.1 times", "10 times", "100 times"],
        ["gru_mnist", "adam", "`marthe`", "-0.5", "", "+0.8"],
        ["dropout_mnist", "momentum", "`marthe`", "", "-1.0", ""],
        ["mean", "", "", "-0.5", "-1.0", "+0.8"],
    ]
