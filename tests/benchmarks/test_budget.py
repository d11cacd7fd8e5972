"""What the replay of searches pays and gets."""

import pytest


@pytest.fixture(scope="module")
def budget(script):
    return script("budget")


@pytest.fixture
def table(table_of):
    """Nine constant rates on one problem, two seeds; 0.001 to 10."""
    metrics = {
        0: [10, 20, 30, 40, 80, 85, 88, 20, "nan"],
        1: [10, 20, 30, 40, 82, 89, 84, 20, 10],
    }
    lines = [
        f"p,sgd,{policy},{10 ** (place / 2 - 3):.3g},{seed},{metric},0,100,"
        for policy in ("constant", "cosine_decay")
        for seed, values in metrics.items()
        for place, metric in enumerate(values)
    ]
    lines += [f"p,sgd,default,,{seed},60,0,100," for seed in (0, 1)]
    lines += [f"p,sgd,costly,,{seed},86,0,175," for seed in (0, 1)]
    return table_of(*lines)


def test_seed_is_judged_at_the_rate_that_the_other_one_picks(budget, table):
    cells = table["p", "sgd"]["constant"]
    # Seed 0 picks the seventh rate, seed 1 the sixth one.
    assert budget.replay(cells, range(9)) == {0: 85, 1: 84}
    assert budget.replay(cells, (1, 4, 7)) == {0: 80, 1: 82}


def test_scores_are_from_the_best_constant_of_both_seeds(budget, table):
    """Which is the sixth rate, with 85 and 89."""
    assert budget.grid_scores(table, "sgd", "constant, 9 rates") == [-2.5]
    assert budget.grid_scores(table, "sgd", "constant, 3 rates") == [-6]
    assert budget.method_scores(table, "sgd", "costly") == [-1]


def test_cost_is_in_plain_trainings(budget, table):
    assert budget.cost(table, "costly") == 1.75
    lines = budget.page_table(table).splitlines()[2:]
    cells = [line.strip("| ").split(" | ") for line in lines]
    assert [(row[0], row[1]) for row in cells][:3] == [
        ("`default`", "1.00"),
        ("`costly`", "1.75"),
        ("constant, 3 rates", "4.00"),
    ]
    assert cells[1][2] == "-1.0, -1.0"
