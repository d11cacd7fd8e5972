"""The policies of table 3 in Yedida et al., arXiv 1902.07399, and this package's own.

- `baseline`: the default rate, 0.01 or 0.001, all the time.
- `baseline, decayed`: the same divided by 1 + 0.001 t after t steps. The authors' code
  gives their weight decay as `decay=` to Keras's optimizers of the time, which is this,
  and no decay of weights: after 300 epochs the rate is a hundredth.
- `fixed`: another rate, all the time.
- `adaptive`: the paper's: 1/L from a forward pass over the training images before each
  epoch. Momentum is AdaMo, RMSprop and Adam are the paper's adaptive forms of them.
- `LipschitzLR()`, `AdaMo()`, `AdaptiveRMSprop()`, `AutoAdam()`: as they are here.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import keras
from images.experiments import Context, Policy
from keras.optimizers import SGD, Adam, RMSprop
from keras.optimizers.schedules import InverseTimeDecay

import keras_lr

BASELINES: dict[str, Callable[[Any], keras.optimizers.Optimizer]] = {
    "sgd": SGD,
    "momentum": functools.partial(SGD, momentum=0.9),
    "rmsprop": RMSprop,
    "adam": Adam,
}
DEFAULT_RATES = {"sgd": 0.01, "momentum": 0.01, "rmsprop": 0.001, "adam": 0.001}


def constant(
    optimizer: str, rate: float | None = None, published: float | None = None
) -> Policy:
    """Return a constant rate; the default one is the baseline."""
    rate = DEFAULT_RATES[optimizer] if rate is None else rate
    return Policy(lambda _: BASELINES[optimizer](rate), published=published)


def decayed(optimizer: str, decay: float, published: float | None = None) -> Policy:
    """Return the baseline as the authors ran it."""
    schedule = InverseTimeDecay(DEFAULT_RATES[optimizer], 1, decay)
    return Policy(lambda _: BASELINES[optimizer](schedule), published=published)


def papers_constant(context: Context) -> Sequence[keras.callbacks.Callback]:
    """Return the callback that measures L as the authors do, before each epoch."""
    callback = keras_lr.LipschitzLR(
        bound="paper",
        update="epoch",
        factor=1.0,
        memory=0.0,
        anneal=0.0,
        min_learning_rate=1e-8,
        source="forward_pass",
        data=context.batches(),
    )
    return [callback]


def adaptive(
    optimizer: str, published: float | None = None, first_rate: float | None = None
) -> Policy:
    """Return the paper's own form.

    Args:
        optimizer: Its name.
        published: Accuracy in percent.
        first_rate: x of section 7.3.1, for momentum.
    """
    paper = {"variant": "paper", "lipschitz": "analytic"}
    make = {
        "sgd": lambda _: SGD(0.01),
        "momentum": lambda _: keras_lr.AdaMo(**paper, initial_constant=first_rate),
        "rmsprop": lambda _: keras_lr.AdaptiveRMSprop(**paper),
        "adam": lambda _: keras_lr.AutoAdam(**paper),
    }
    return Policy(make[optimizer], papers_constant, published)


def ours(optimizer: str) -> dict[str, Policy]:
    """Return what this package has in its place, with defaults, by name."""
    lipschitz = {
        "LipschitzLR()": Policy(
            lambda _: BASELINES[optimizer](DEFAULT_RATES[optimizer]),
            lambda _: [keras_lr.LipschitzLR()],
        )
    }
    return {
        "sgd": lipschitz,
        "momentum": lipschitz | {"AdaMo()": Policy(lambda _: keras_lr.AdaMo())},
        "rmsprop": {"AdaptiveRMSprop()": Policy(lambda _: keras_lr.AdaptiveRMSprop())},
        "adam": {"AutoAdam()": Policy(lambda _: keras_lr.AutoAdam())},
    }[optimizer]
