"""A search over constant rates as a policy of the suite.

`Zooming` and `BLiE` search the range of the nine rates of the grid, by the metric that
also picks the best one of the grid. Their trainings have other seeds: what is reported
is one more training at the resulting rate, with the seed of the row. So the luck of a
seed is not picked with the rate.
"""

import dataclasses
from collections.abc import Callable, Sequence

from keras_lr.comparison import RunRecord
from keras_lr.rules.bandit import Pull
from keras_lr.rules.blie import BLiE
from keras_lr.rules.loss_signal import loss_signal
from keras_lr.rules.zooming import Zooming

SEARCHES: dict[str, Callable[[int, str], Zooming | BLiE]] = {
    "zooming": Zooming,
    "blie": BLiE,
}
"""The rules of the searches, by the name in the table."""
TRAININGS = 5
"""Trainings of a search, without the last one."""
FIRST_SEED = 1000

Train = Callable[[float, int], RunRecord]


def search(name: str, train: Train, rates: Sequence[float], seed: int) -> RunRecord:
    """Search, and return a training at the resulting rate, with the cost of all.

    Args:
        name: Name of the search.
        train: Function of a rate and a seed, which returns the record of a training.
        rates: Rates of which the first and the last one are the ends of the axis.
        seed: Seed of the row.
    """
    rule = SEARCHES[name](TRAININGS, "max")
    pulls: list[Pull] = []
    records: list[RunRecord] = []
    while len(pulls) < TRAININGS:
        position = rule.propose(pulls)
        if position is None:
            break
        search_seed = FIRST_SEED + TRAININGS * seed + len(pulls)
        records.append(train(rate_at(position, rates), search_seed))
        pulls.append(as_pull(position, records[-1]))
    best = rule.best(pulls)
    records.append(train(rate_at(best.position if best else 0.5, rates), seed))
    return dataclasses.replace(
        records[-1],
        seconds=sum(record.seconds for record in records),
        gradient_evaluations=sum(record.gradient_evaluations for record in records),
    )


def rate_at(position: float, rates: Sequence[float]) -> float:
    """Return the rate at a position from 0 to 1."""
    return rates[0] * (rates[-1] / rates[0]) ** position


def as_pull(position: float, record: RunRecord) -> Pull:
    """Return what the rule is told of a training."""
    signal = loss_signal(record.initial_loss, record.final("loss"))
    return Pull(position, record.final_metric, signal)
