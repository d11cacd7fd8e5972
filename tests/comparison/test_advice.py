import math

import pytest

from keras_lr.comparison.advice import advice
from keras_lr.comparison.run_record import RunRecord
from keras_lr.comparison.summary import summarize


def record(policy, seed, metrics, **kwargs):
    return RunRecord(policy, seed, "val_acc", "max", {"val_acc": metrics}, **kwargs)


def constant(rate, seed, metrics, **kwargs):
    given = {"kind": "constant", "start": rate, **kwargs}
    return record(f"constant {rate:g}", seed, metrics, **given)


def sentences(*records):
    return advice(summarize(records), "max")


def test_advice_names_best_ties_constants_default_cost_and_the_lost():
    said = sentences(
        constant(0.1, 0, [0.5], gradient_evaluations=100),
        constant(0.1, 1, [0.75], gradient_evaluations=100),
        constant(10, 0, [math.nan], diverged=True),
        constant(1, 0, [0.25], diverged=True, gradient_evaluations=100),
        record("marthe", 0, [0.375], gradient_evaluations=175),
        record("default", 0, [0.875], gradient_evaluations=100, kind="default"),
        record("default", 1, [0.25], gradient_evaluations=100, kind="default"),
        RunRecord("broken", 0, "val_acc", "max", error="ValueError: no"),
    )
    # The spread of the best one is |0.75 - 0.5| / sqrt(2) = 0.18.
    assert said == [
        "constant 0.1 did best: 0.625 ± 0.18.",
        "Within twice its spread over seeds: default, marthe.",
        "The rate of constant 0.1 was picked by these very data; default picks none.",
        "Among constant rates, 0.1 is best (0.625 ± 0.18); the worst, 10, ends without "
        "a finite metric.",
        "The rate that the model was compiled with ends 0.0625 below the best.",
        "A run cost 100 gradient evaluations; marthe 175.",
        "Diverged: constant 1 in 1 of 1 runs, constant 10 in 1 of 1 runs.",
        "broken failed in 1 runs: ValueError: no",
    ]


def test_advice_warns_of_a_single_seed_and_says_that_nothing_diverged():
    first, second, last = sentences(record("a", 0, [0.5]))
    assert first == "a did best: 0.5."
    assert second.startswith("With one seed")
    assert last == "No run diverged."


def test_method_that_wins_is_not_told_to_be_picked():
    said = sentences(*(record("walk", seed, [0.5 + seed / 8]) for seed in (0, 1)))
    assert not [sentence for sentence in said if "picked" in sentence]


def test_constant_rate_that_failed_is_the_worst_one():
    said = sentences(
        constant(0.1, 0, [0.5]),
        constant(1, 0, [], error="ValueError: no"),
        # What only looks like a constant rate is none.
        record("constant 10", 0, [0.25]),
    )
    assert said[2] == (
        "Among constant rates, 0.1 is best (0.5); the worst, 1, ends without a finite "
        "metric."
    )


def test_cheaper_method_that_is_as_good_is_named():
    costs = {"marthe": 175, "lipschitz": 100, "walk": 110}
    said = sentences(
        *(
            record(name, seed, [0.5 + seed / 8 - cost / 1e5], gradient_evaluations=cost)
            for name, cost in costs.items()
            for seed in (0, 1)
        ),
        record("marthe", 2, [1.0], gradient_evaluations=175),
    )
    assert said[2] == (
        "lipschitz costs less than marthe: 100 gradient evaluations in place of 175."
    )


@pytest.mark.parametrize("costs", [(100, 100), (100, 101)])
def test_equal_costs_are_said_once(costs):
    runs = [
        record(str(number), 0, [0.5], gradient_evaluations=cost)
        for number, cost in enumerate(costs)
    ]
    assert "A run cost 100 gradient evaluations." in sentences(*runs)


@pytest.mark.parametrize(("cost", "is_short"), [(99, True), (100, False)])
def test_short_runs_are_called_short(cost, is_short):
    said = sentences(record("a", 0, [0.5], gradient_evaluations=cost))
    assert any(text.startswith("That is short") for text in said) == is_short


def test_advice_says_if_nothing_worked_and_why():
    def failed(policy, seed, error="ValueError: no"):
        return RunRecord(policy, seed, "val_acc", "max", error=error)

    assert sentences(
        *(failed(name, seed) for name in "ab" for seed in (0, 1)),
        failed("c", 0, "TypeError: x"),
    ) == [
        "No policy finished.",
        "a, b failed in 4 runs: ValueError: no",
        "c failed in 1 runs: TypeError: x",
    ]
    assert sentences(record("lost", 0, [math.nan]), failed("a", 0))[0] == (
        "No policy finished with a finite metric: look at the model or data."
    )


def test_run_that_diverged_is_recommended_nowhere():
    """Its metric is that of a network which says the first class to everything."""
    said = sentences(
        constant(1000, 0, [0.875], diverged=True),
        constant(1000, 1, [0.875], diverged=True),
        record("walk", 0, [0.75], gradient_evaluations=200),
        record("walk", 1, [0.875], gradient_evaluations=200),
        constant(0.1, 0, [0.5], gradient_evaluations=200),
        constant(0.1, 1, [0.5], gradient_evaluations=200),
    )
    assert said == [
        "walk did best: 0.8125 ± 0.088.",
        "Among constant rates, 0.1 is best (0.5 ± 0); the worst, 1e+03, diverged.",
        "A run cost 200 gradient evaluations.",
        "Diverged: constant 1000 in 2 of 2 runs.",
    ]


def test_nothing_is_recommended_if_all_diverged():
    said = sentences(constant(1000, 0, [0.875], diverged=True))
    assert said == [
        "No policy is recommended. Diverged: constant 1000 in 1 of 1 runs. Try smaller "
        "rates."
    ]


def equals(number, **kwargs):
    return [
        record(f"p{place}", seed, [1.0], **kwargs)
        for place in range(number)
        for seed in (0, 1)
    ]


def test_equal_policies_cannot_be_told_apart():
    said = sentences(*equals(8), record("last", 0, [0.5]), record("last", 1, [0.5]))
    assert said[0] == (
        "8 policies cannot be told apart, 1 ± 0: p0, p1, p2, p3, p4, 3 more."
    )
    assert said[1] == "No run diverged."


def test_what_decides_between_equal_policies_is_said():
    runs = equals(3, gradient_evaluations=200)
    for run in runs:
        run.logs["val_loss"] = [0.25 if run.policy == "p1" else 0.5]
    said = sentences(*runs)
    assert said[:2] == [
        "3 policies cannot be told apart, 1 ± 0: p1, p0, p2.",
        "The first of them has the lowest validation loss: p1.",
    ]
    cheaper = equals(2, gradient_evaluations=200)
    cheaper += [
        record("cheap", seed, [1.0], gradient_evaluations=100) for seed in (0, 1)
    ]
    assert sentences(*cheaper)[1] == "The first of them costs least: cheap."


def test_constant_rates_that_are_as_good_are_all_named():
    runs = [constant(rate, 0, [1.0]) for rate in (0.01, 0.1)]
    assert "Constant rates from 0.01 to 0.1 are as good." in sentences(*runs)
    said = sentences(*runs, constant(1, 0, [0.5]))
    assert (
        "Among constant rates, 0.01, 0.1 are best (1); the worst, 1, ends at 0.5."
    ) in said


def test_default_among_the_equals_is_not_behind_the_best():
    said = sentences(*equals(1), record("default", 0, [1.0], kind="default"))
    assert not [text for text in said if text.startswith("The rate that the model")]
