"""`find_learning_rate`: a learning rate for a model and its data in seconds."""

import math
import time
from collections.abc import Iterator
from typing import Any

import keras

from keras_lr import _keras, _warnings
from keras_lr._checks import (
    nonnegative_integer,
    optional,
    ordered_limits,
    positive_integer,
)
from keras_lr._keras.seeds import keeping_seeds
from keras_lr.optimizers.base import AdaptiveOptimizer
from keras_lr.range_test.compile_line import compile_line
from keras_lr.range_test.reasons import reason_of, warning_of
from keras_lr.range_test.suggestion import LearningRateSuggestion
from keras_lr.rules import range_test
from keras_lr.training.range_test.batches import first_batches
from keras_lr.training.range_test.restarts import Restarts, restarts

_OWNER = "find_learning_rate"
_FEWEST_STEPS = 10
_NO_RATES = (0.0, 1e-18)
"""Learning rates at which nothing is learned. Some optimizers divide by the rate, or by
its square, and unscaled inputs are learned from at 1e-10."""


def find_learning_rate(
    model: keras.Model,
    data: Any,
    y: Any = None,
    *,
    batch_size: int | None = None,
    min_learning_rate: float = 1e-6,
    max_learning_rate: float = 10.0,
    steps: int = 100,
    seed: int = 0,
    verbose: int = 1,
) -> LearningRateSuggestion:
    """Suggest a learning rate in seconds, and leave the model as it was.

    For a constant rate, or for the first one of a schedule that decays. Each rate of a
    ladder, half a decade from rung to rung, trains the model for 100 steps from its
    present weights, on the same batches. The suggestion is 0.7 times the rate at which
    the loss falls most, interpolated between rungs. It costs some 600 to 1000 training
    steps, and the memory of one more copy of the weights and the optimizer's state,
    plus the batches.

    Args:
        model: A compiled model, with any optimizer that has a float learning rate.
        data: What it will be trained on: (x, y) or (x, y, sample_weight) of arrays, or
            a `tf.data.Dataset`, a `PyDataset` or a generator of batches, endless or
            not. The weights of classes belong in `sample_weight`.
        y: Targets, if `data` are the inputs alone, as in `fit`. Defaults to `None`.
        batch_size: Rows of a batch of arrays, the same as in `fit`. Defaults to
            `None`: 32.
        min_learning_rate: Lowest rate to try. Defaults to `1e-6`.
        max_learning_rate: Highest rate to try. Defaults to `10.0`.
        steps: Batches at each rate; with `gradient_accumulation_steps`, updates.
            Defaults to `100`.
        seed: Seed of the rows that are drawn from arrays. Defaults to `0`.
        verbose: 0 for silence, 1 for a line for each rate and the result. Defaults to
            `1`.

    Returns:
        A `LearningRateSuggestion`: its `suggestion` is the rate, `print` says why, and
        `plot` shows it.

    Raises:
        ValueError: If the model is not compiled, has nothing to train, or has an
            optimizer without a float learning rate; if there are no data; if a loss is
            not finite before any training; or if an argument is out of range.

    Example:
        >>> import keras, keras_lr, numpy as np
        >>> x = np.linspace(-1.0, 1.0, 64, dtype="float32")[:, None]
        >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        >>> model.compile(keras.optimizers.SGD(momentum=0.9), "mse")
        >>> result = keras_lr.find_learning_rate(model, (x, 2 * x), verbose=0)
        >>> 0.003 < result.suggestion < 0.3
        True
        >>> model.optimizer.learning_rate = result.suggestion

    Notes:
        It says nothing about the rest of a training, where lower rates are better:
        see `MARTHE`, or let the rate decay.

        Weights, statistics, seeds, metrics and the optimizer's state are the same
        afterwards to the last bit, also after an exception or Ctrl-C. A model without
        weights is built, as `fit` would do. Two things cannot be undone: batches that
        are read from a generator are gone, and one more; and a `tf.data.Dataset` that
        shuffles anew in each epoch, or an operation of TensorFlow's that draws random
        numbers in the model without a seed of Keras's, is further in its sequence.

        Batches repeat if an epoch has fewer than `steps`, or `steps` of them more than
        half a GiB. A `train_step` of your own must return its loss as `"loss"`.

    References:
        - L. N. Smith, [Cyclical Learning Rates for Training Neural
          Networks](https://arxiv.org/abs/1506.01186), 2017, section 3.3. There, and in
          fastai, one training raises the rate in each step; here, each rate starts from
          the same weights.
    """
    start = time.perf_counter()
    steps = _enough_steps(steps)
    batch_size = optional(positive_integer, "batch_size", batch_size)
    seed = nonnegative_integer("seed", seed)
    low, high = _decade(min_learning_rate, max_learning_rate)
    leaf = _require_rate_to_set(model)
    present = _require_float_rate(leaf)
    count = steps * (leaf.gradient_accumulation_steps or 1)
    with keeping_seeds():
        batches, is_used_up = first_batches(
            _pair(data, y), count, batch_size=batch_size, seed=seed
        )
        _build(model, batches[0])
    rates = range_test.ladder(low, high)
    with restarts(model, batches, count, _OWNER) as training:
        untrained, trials = _climb(training, rates, present, verbose)
    verdict = range_test.verdict(trials, rates)
    # Rounding may leave the limits.
    rate = min(max(float(f"{verdict.learning_rate:.2g}"), low), high)
    result = LearningRateSuggestion(
        suggestion=rate,
        reason=reason_of(verdict, untrained, steps),
        warning=warning_of(verdict, low, high),
        code=compile_line(model.optimizer, rate),
        trials=tuple(trials),
        untrained_loss=untrained,
        steps=steps,
        seconds=time.perf_counter() - start,
    )
    if result.warning:
        _warnings.warn(result.warning)
    if is_used_up:
        _warnings.warn(
            f"`{_OWNER}` has read all {len(batches)} batches of an iterator, which has "
            "none left. Make a new one for `fit`."
        )
    if verbose:
        _keras.print_message(str(result))
    return result


def _climb(
    training: Restarts, rates: list[float], present: float, verbose: int
) -> tuple[float, list[range_test.Trial]]:
    """Return the loss without training, and the trials, from the lowest rate on."""
    for no_rate in _NO_RATES:
        losses = training.losses(no_rate)
        is_lost = not training.leave_finite_weights()
        if not is_lost and all(map(math.isfinite, losses)):
            break
    if not all(map(math.isfinite, losses)):
        raise ValueError(
            "The loss must be finite before any training. Received: data and a model "
            f"whose loss is {losses[-1]} in batch {len(losses)}. Look for missing "
            "values in the data, or for weights that have diverged."
        )
    # Not all processors pass a NaN in the data on to the loss.
    if is_lost:
        raise ValueError(
            "The gradient must be finite before any training. Received: data and a "
            "model whose losses are finite, but not the weights after a step at a "
            "rate of nearly 0. Look for missing values in the data."
        )
    trials: list[range_test.Trial] = []
    rung = range_test.next_rung(trials, rates, present)
    while rung is not None:
        rate = rates[rung]
        tried = training.losses(rate)
        if not training.leave_finite_weights():
            tried.append(math.nan)
        trials.append(range_test.trial(rate, tried, losses))
        if verbose:
            _keras.print_message(
                f"learning rate {rate:.3g}: loss {trials[-1].loss:.4g}"
            )
        rung = range_test.next_rung(trials, rates, present)
    # Of the same steps as that of the trials.
    untrained = range_test.trial(0.0, losses, losses).loss
    return untrained, sorted(trials, key=lambda each: each.learning_rate)


def _pair(data: Any, y: Any) -> Any:
    import tensorflow as tf

    if y is None:
        return data
    if isinstance(data, tf.data.Dataset | keras.utils.PyDataset | Iterator):
        raise ValueError(
            "`y` must be left out where `data` are batches, which have their targets. "
            f"Received: data=<{type(data).__name__}> and y=<{type(y).__name__}>."
        )
    return data, y


def _enough_steps(steps: int) -> int:
    steps = positive_integer("steps", steps)
    if steps < _FEWEST_STEPS:
        raise ValueError(
            f"`steps` must be at least {_FEWEST_STEPS}, for a loss in fewer says "
            f"little. Received: steps={steps}."
        )
    return steps


def _decade(minimum: float, maximum: float) -> tuple[float, float]:
    """Return the limits as floats, or raise unless they are a decade apart."""
    low, high = ordered_limits(minimum, maximum, has_floor=True)
    if high < 10.0 * low:
        raise ValueError(
            "`max_learning_rate` must be at least ten times `min_learning_rate`. "
            f"Received: min_learning_rate={low}, max_learning_rate={high}."
        )
    return low, high


def _require_rate_to_set(model: keras.Model) -> Any:
    """Return the optimizer that owns the learning rate, or raise."""
    optimizer = getattr(model, "optimizer", None)
    if optimizer is None:
        raise ValueError(
            f"`{_OWNER}` trains a compiled model. Received: model={model!r}, which has "
            "no optimizer. Call `compile` with one first."
        )
    leaves = _keras.leaf_optimizers(optimizer)
    further = _keras.further_optimizers(model)
    if len(leaves) > 1 or further:
        several = [leaf.name for leaf in leaves] + list(further)
        raise ValueError(
            f"`{_OWNER}` finds one learning rate, so the model must have one optimizer."
            f" Received: model {model.name!r} with {', '.join(several)}. Compile with "
            "a single one, and use it for every step."
        )
    if isinstance(leaves[0], AdaptiveOptimizer):
        raise ValueError(
            f"`{_OWNER}` needs an optimizer with a learning rate to choose. Received: "
            f"optimizer=<{type(leaves[0]).__name__}>, which sets its rate itself. "
            "Train without it, or compile with one of Keras's."
        )
    return leaves[0]


def _require_float_rate(optimizer: Any) -> float:
    """Return a rate to begin at, that of the optimizer; raise if it is not a float."""
    rate = _keras.learning_rate_variable(optimizer)
    if not isinstance(rate, keras.Variable):
        kind = getattr(rate, "__name__", type(rate).__name__)
        name = type(optimizer).__name__
        raise ValueError(
            f"`{_OWNER}` tries learning rates one by one, so the optimizer needs a "
            f"float `learning_rate`. Received: learning_rate=<{kind}>. Compile with "
            f"`{name}(0.01)`, whatever the number, and start the schedule from the "
            "suggestion, as in `CosineDecay(result.suggestion, decay_steps)`."
        )
    value = _keras.to_float(rate)
    # What it is does not matter much: the trials only begin there.
    return value if 0.0 < value < math.inf else 1e-3


def _build(model: keras.Model, batch: Any) -> None:
    """Make all weights and the optimizer's state, as the first step would."""
    if not _keras.is_built(model):
        _keras.build(model, batch, model.train_step)
    _keras.require_trainable_weights(model, _OWNER)
    _keras.build_optimizer(model)
