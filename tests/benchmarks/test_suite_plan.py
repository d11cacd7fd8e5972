"""Which runs the suite consists of."""

import pytest


@pytest.fixture(scope="module")
def suite(script):
    return script("plan")


def runs(suite, *arguments):
    return list(suite.plan(suite.parse("", arguments)))


def test_full_suite_has_every_policy_on_every_problem_with_its_optimizers(suite):
    planned = [run for run in runs(suite) if run.policy not in ("constant", "marthe")]
    adamo = [run for run in planned if run.policy == "adamo"]
    assert len(suite.FULL["problems"]) == 10
    assert {run.optimizer for run in adamo} == {"momentum"}
    assert len(adamo) == 10 * 3
    assert sum(run.policy == "cosine_decay" for run in planned) == 10 * 3 * 3 * 9
    assert sum(run.policy == "zooming" for run in planned) == 10 * 3 * 3


def test_full_suite_names_no_run_twice(suite):
    planned = runs(suite)
    assert len(set(planned)) == len(planned)


def test_robustness_is_run_at_the_decades_beside_the_rate_of_keras(suite):
    planned = [run for run in runs(suite) if run.policy == "walk" and run.learning_rate]
    assert len(planned) == 10 * 3 * 5
    assert {run.seed for run in planned} == {0}
    rates = [run.learning_rate for run in planned if run[:2] == ("gru_digits", "adam")]
    assert rates == ["1e-05", "0.0001", "0.01", "0.1", "1"]


def test_lipschitz_starts_at_both_ends(suite):
    planned = [run for run in runs(suite) if run[1:3] == ("momentum", "lipschitz")]
    rates = {run.learning_rate for run in planned if run.problem == "gru_digits"}
    assert rates == {"", "0.0001", "10"}


def test_selection_is_run_from_the_rate_of_keras_only(suite):
    planned = runs(suite, "--policies", "walk", "--problems", "gru_digits")
    assert len(planned) == 3 * 3
    assert {run.learning_rate for run in planned} == {""}


def test_quick_suite_is_small_and_has_a_file_of_its_own(suite):
    selected = suite.parse("", ["--quick"])
    planned = list(suite.plan(selected))
    assert selected.output.name == "quick.csv"
    # 2 problems; 1 default, 2 x 5 rates and 3 callbacks, for two optimizers one more.
    assert len(planned) == 2 * (14 + 15 + 15)
    assert {run.seed for run in planned} == {0}


def test_only_the_best_rate_of_each_grid_and_its_neighbors_are_run(suite, tmp_path):
    path = tmp_path / "runs.csv"
    rates = suite.rate_texts(suite.nine_rates("adam"))
    rows = [
        f"gru_digits,adam,constant,{rate},0,{90 if index == 2 else 0},0,,1"
        for index, rate in enumerate(rates)
    ]
    header = (
        "problem,optimizer,policy,learning_rate,seed,final_metric,diverged,error,"
        "gradient_evaluations"
    )
    path.write_text("\n".join([header, *rows]) + "\n")
    planned = runs(
        suite,
        *("--problems", "gru_digits", "--optimizers", "adam"),
        *("--policies", "default", "constant", "--seeds", "2", "--around-best"),
        *("--output", str(path)),
    )
    assert [run.learning_rate for run in planned] == ["", *rates[1:4]]
