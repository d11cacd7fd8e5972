"""Which runs the long suite consists of, and how its problems are divided."""

import json
from collections import Counter

import pytest


@pytest.fixture(scope="module")
def long_plan(long_script):
    return long_script("long_plan")


@pytest.fixture(scope="module")
def embedded(long_script):
    return {problem.name: problem for problem in long_script("long_problems").EMBEDDED}


def runs(long_plan, *arguments):
    return list(long_plan.plan(long_plan.parse("", arguments)))


def test_every_problem_is_in_exactly_one_half(long_plan, embedded):
    text = long_plan.SPLIT.read_text(encoding="utf-8")
    names = [name for name, _ in json.loads(text, object_pairs_hook=list)]
    # California housing needs a file.
    assert Counter(names) == Counter(["comment", "california", *embedded])
    assert set(long_plan.halves().values()) == set(long_plan.HALVES)


def test_halves_have_the_same_number_of_problems_and_of_optimizers(long_plan, embedded):
    of_half = long_plan.halves()
    problems, optimizers = Counter(), Counter()
    for problem in embedded.values():
        half = of_half[problem.name]
        problems[half] += 1
        for optimizer in problem.optimizers:
            optimizers[half, optimizer.removesuffix("w")] += 1
    assert problems == {"choose": 6, "report": 6}
    expected = {"sgd": 2, "momentum": 3, "adam": 3}
    for half in long_plan.HALVES:
        assert {name: optimizers[half, name] for name in expected} == expected


def test_baselines_are_run_at_nine_rates_and_schedule_free_with_adam(long_plan):
    planned = runs(long_plan, "--seeds", "0")
    counts = Counter(run.policy for run in planned)
    assert counts == {
        "default": 16,
        **dict.fromkeys(["constant", "cosine_decay", "linear_decay"], 16 * 9),
        "warmup_cosine": 9,
        "schedule_free": 6 * (1 + 9),
    }
    assert len(set(planned)) == len(planned)
    warmed_up = {run[:2] for run in planned if run.policy == "warmup_cosine"}
    assert warmed_up == {("transformer_characters", "adamw")}


def test_rates_are_half_decades_around_those_of_keras(long_plan):
    planned = runs(long_plan, "--problems", "gru_mnist", "--policies", "constant")
    rates = [float(run.learning_rate) for run in planned if run.seed == 0]
    assert rates == pytest.approx([10 ** (k / 2 - 5) for k in range(9)], rel=2e-3)


def test_method_is_run_from_the_rate_of_keras_on_the_selected_half(long_plan):
    planned = runs(long_plan, "--policies", "marthe", "--half", "report")
    assert len(planned) == 8 * 3
    assert {long_plan.halves()[run.problem] for run in planned} == {"report"}
    assert {run.learning_rate for run in planned} == {""}


def test_starts_are_multiples_of_the_rate_of_keras_for_methods_only(long_plan):
    arguments = (
        "--problems",
        "residual_decay",
        "--seeds",
        "0",
        "--starts",
        "0.1",
        "10",
    )
    planned = runs(long_plan, *arguments, "--policies", "marthe", "default")
    assert [(run.policy, run.learning_rate) for run in planned] == [
        ("marthe", ""),
        ("marthe", "0.0001"),
        ("marthe", "0.01"),
        ("default", ""),
    ]


def test_optimizer_takes_the_place_of_its_kind_only(long_plan):
    adam = runs(long_plan, "--policies", "auto_adam", "--seeds", "0")
    momentum = runs(long_plan, "--policies", "adamo:momentum=0.8", "--seeds", "0")
    assert Counter(run.optimizer for run in adam) == {"adam": 4, "adamw": 2}
    assert Counter(run.optimizer for run in momentum) == {"momentum": 6}


@pytest.mark.parametrize("name", ["california", "no_such_problem"])
def test_problem_without_its_data_is_refused(long_plan, name, capsys):
    with pytest.raises(SystemExit):
        long_plan.parse("", ["--problems", name])
    assert f"unknown problems, or without --data: {name}" in capsys.readouterr().err


def test_unknown_policy_is_refused_before_the_first_run(long_plan):
    with pytest.raises(ValueError, match="Received: nothing"):
        long_plan.parse("", ["--policies", "nothing"])


def test_every_policy_of_the_registry_can_be_run(long_plan):
    from keras_lr.comparison.policies import NAMED

    planned = runs(long_plan, "--problems", "gru_mnist", "--policies", *NAMED)
    assert {run.policy for run in planned} == set(NAMED) - {"adamo", "adamo_cosine"}


def test_quick_form_is_two_problems_at_three_rates(long_plan):
    selected = long_plan.parse("", ["--quick"])
    planned = list(long_plan.plan(selected))
    assert selected.output.name == "long_quick.csv"
    # Four cases, of which Schedule-Free is run in one.
    assert len(planned) == 4 * (1 + 3 * 3) + 1 + 3
    assert {run.problem for run in planned} == set(long_plan.QUICK)


def test_only_the_best_rate_of_the_first_seed_and_its_neighbors_are_run(
    long_plan, tmp_path
):
    path = tmp_path / "runs.csv"
    rates = long_plan.rates_of("constant", "adam", is_quick=False)
    # The third is best at the end, the seventh on average, another one at seed 1.
    best = {(0, 2): (90, 0), (0, 6): (0, 90), (1, 4): (99, 99)}
    rows = [
        f"gru_mnist,adam,constant,{rate},{seed},{end},{area},0,,1"
        for seed in (0, 1)
        for index, rate in enumerate(rates)
        for end, area in [best.get((seed, index), (0, 0))]
    ]
    header = (
        "problem,optimizer,policy,learning_rate,seed,final_metric,area,diverged,"
        "error,gradient_evaluations"
    )
    path.write_text("\n".join([header, *rows]) + "\n")
    planned = runs(
        long_plan,
        *("--problems", "gru_mnist", "--policies", "default", "constant"),
        *("--seeds", "2", "--around-best", "--output", str(path)),
    )
    expected = ["", *(rates[index] for index in (1, 2, 3, 5, 6, 7))]
    assert [run.learning_rate for run in planned] == expected
