import pytest

from keras_lr.comparison.header import header_facts, policy_facts, rollbacks
from keras_lr.comparison.policies import NAMED
from keras_lr.comparison.run_record import RunRecord
from keras_lr.comparison.summary import summarize


def record(policy, seed=0, **kwargs):
    return RunRecord(policy, seed, "val_loss", "min", {"val_loss": [0.5]}, **kwargs)


@pytest.mark.parametrize(
    ("restarts", "text"),
    [
        ([("a", 0), ("a", 0), ("b", 0)], "0 of 3 runs"),
        ([("a", 0), ("a", 2), ("b", 1)], "a in 1 of 2 runs, b in 1 of 1 runs"),
        ([("a", 0), ("b", None)], "0 of 1 runs, unknown for 1 runs, whose records"),
        ([("a", None), ("a", None)], "unknown for 2 runs, whose records do not say"),
    ],
)
def test_rollbacks_are_counted_and_what_is_unknown_is_said(restarts, text):
    runs = [record(name, seed, restarts=n) for seed, (name, n) in enumerate(restarts)]
    assert rollbacks(summarize(runs)).startswith(text)


def test_records_alone_say_what_they_know():
    runs = [record("a", seed, learning_rates=[0.1, 0.2], restarts=0) for seed in (3, 1)]
    assert header_facts(runs, summarize(runs), None) == [
        ("Training", "2 epochs, seeds 1, 3"),
        ("Ranked by", "val_loss after the last epoch, less is better"),
        ("Rolled back", "0 of 2 runs"),
    ]


def test_each_policy_is_described_once_with_its_starting_rates():
    runs = [
        record("mine"),
        *(record(f"constant {rate:g}", start=rate) for rate in (0.1, 0.01)),
        record("cosine_decay"),
        record("cosine_decay", seed=1),
    ]
    *facts, last = policy_facts(runs, None)
    assert facts == [
        ("constant", f"{NAMED['constant'].description} Rates: 0.01, 0.1."),
        ("cosine_decay", NAMED["cosine_decay"].description),
        ("mine", "A policy that is not one of keras_lr's."),
    ]
    assert last[0] == "starting rate"


@pytest.mark.parametrize("name", NAMED)
def test_each_policy_of_ours_has_a_sentence(name):
    description = NAMED[name].description
    assert description[0].isupper()
    assert description.endswith(".")
