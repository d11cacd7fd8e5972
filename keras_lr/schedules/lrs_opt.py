"""`optimize_schedule`: LRS-OPT, descent on a whole learning-rate schedule."""

import os
from collections.abc import Callable
from typing import Any, Literal

import keras

from keras_lr._checks import (
    nonnegative_integer,
    one_of,
    optional,
    path_or_none,
    positive_integer,
)
from keras_lr.schedules.descent import Descent
from keras_lr.schedules.optimized import OptimizedSchedule
from keras_lr.schedules.search import Candidate, ScheduleSearch
from keras_lr.schedules.tabulated import TabulatedSchedule
from keras_lr.training.schedule.inner_training import InnerTraining


def optimize_schedule(
    build_model: Callable[[], keras.Model],
    train_data: Any,
    validation_data: Any,
    *,
    steps: int,
    batch_size: int | None = None,
    every: int = 1,
    outer_steps: int = 50,
    optimizer: keras.optimizers.Optimizer | None = None,
    minibatches: Literal["redrawn", "fixed"] = "redrawn",
    initial_weights: Literal["kept", "redrawn"] = "kept",
    mode: Literal["reverse", "forward"] = "reverse",
    memory_limit: int = 2**31,
    backup_dir: str | os.PathLike[str] | None = None,
    seed: int = 0,
    verbose: int = 1,
) -> OptimizedSchedule:
    r"""Find the learning rate of each training step by gradient descent on all of them.

    Offline, and for many times the cost of a training: to see what a good schedule
    looks like, to measure others by it, or to train again and again by it. Each outer
    step trains the model once and takes the gradient of the final validation loss
    with respect to every rate,

    .. math:: \eta \leftarrow \max(\eta - \beta \nabla_\eta E(w_T(\eta)), 0)

    through the optimizer's own code, whatever it is. It costs about four trainings;
    in memory, what `memory_limit` allows.

    Args:
        build_model: Function without arguments which returns a new compiled model. The
            float learning rate of its optimizer is what the search starts from.
        train_data: (x, y) or (x, y, sample_weight) as arrays, of which each training
            draws batches, or a `tf.data.Dataset` or `PyDataset` of batches, which are
            taken as they come.
        validation_data: (x, y) or (x, y, sample_weight) as arrays, or a finite
            `tf.data.Dataset` or `PyDataset`. All of them make the objective, the loss
            without regularizers in inference mode.
        steps: Number of steps of a training.
        batch_size: Rows of a batch, where `train_data` are arrays. Defaults to 32.
        every: Steps for which a rate holds: there are ``ceil(steps / every)`` of
            them. Defaults to `1`.
        outer_steps: Number of outer steps, each a training. Defaults to `50`.
        optimizer: Optimizer that moves the rates, with a float learning rate. Defaults
            to Adam with a learning rate that is always the same part of the mean rate.
        minibatches: `"redrawn"`, the default: each training has its own, and its own
            random masks, so that the schedule does not fit one order of examples.
            `"fixed"`: all have the same.
        initial_weights: `"kept"`, the default: all trainings start from the same.
            `"redrawn"`: each from its own, which `build_model` makes.
        mode: `"reverse"`, or `"forward"` to store no states, at the cost of two more
            trainings for each rate: for one or two rates in all.
        memory_limit: Bytes for the states, weights and optimizer, that are stored of a
            training. The fewer there are, the more steps are run twice, up to all of
            them at about ``2 sqrt(steps)`` states, the least. Defaults to 2 GiB.
        backup_dir: Directory in which each outer step is saved. A search with the same
            arguments, or with more `outer_steps`, continues from there. Defaults to
            `None`, for no directory.
        seed: Seed of the initial weights, the batches and the masks. Defaults to `0`.
        verbose: 0 for silence, 1 for a progress bar. Defaults to `1`.

    Returns:
        An `OptimizedSchedule`: its `schedule` goes into any optimizer.

    Raises:
        ValueError: If the training cannot be differentiated or does not start at a
            rate at which it is finite, if `memory_limit` is too small, or if
            `backup_dir` holds another search.

    Example:
        >>> import keras, keras_lr, numpy as np
        >>> x = np.linspace(-1.0, 1.0, 64, dtype="float32")[:, None]
        >>> def build_model():
        ...     model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        ...     model.compile(keras.optimizers.SGD(0.01), "mse")
        ...     return model
        >>> result = keras_lr.optimize_schedule(
        ...     build_model, (x, 2 * x), (x, 2 * x), steps=8, outer_steps=20, verbose=0)
        >>> result.history["objective"][0] > 1.0, result.objective < 0.1
        (True, True)
        >>> optimizer = keras.optimizers.SGD(result.schedule)

    Notes:
        A training that is not finite, or ends at more than one and a half times the
        lowest loss so far, is rolled back: the next one takes half the step from the
        same rates.

        What is returned is never worse than the schedule that the search started from,
        nor than any that it tried, by this measure: with fixed minibatches and kept
        weights, the loss itself. Otherwise losses of different outer steps are of
        different batches. Then the first schedule, the last one and the four with the
        lowest loss are trained by three more times, on the same three draws for all,
        and the lowest mean is the best. After Ctrl-C, the lowest loss is.

        Batches from arrays all have `batch_size` rows: where the rows of an epoch run
        out, a batch continues with the next. A search that is resumed reads a
        `tf.data.Dataset` from its start again.

        The global seeds of Python, NumPy and Keras are set.

        The paper descends by plain gradient descent, 5000 outer steps; the default
        here is made for some dozens.

    References:
        - Donini et al., [MARTHE](https://arxiv.org/abs/1910.08525), 2020, problem (1),
          equation 4 and section 5, where it is called LRS-OPT.
        - Griewank and Walther, [Revolve](https://doi.org/10.1145/347837.347846), 2000,
          for checkpoints in reverse mode; here they have a single level.
    """
    outer_steps = positive_integer("outer_steps", outer_steps)
    one_of("minibatches", minibatches, ("redrawn", "fixed"))
    one_of("initial_weights", initial_weights, ("kept", "redrawn"))
    one_of("mode", mode, ("reverse", "forward"))
    memory_limit = positive_integer("memory_limit", memory_limit)
    backup_dir = path_or_none("backup_dir", backup_dir)
    training = InnerTraining(
        build_model,
        train_data,
        validation_data,
        steps=positive_integer("steps", steps),
        every=positive_integer("every", every),
        batch_size=optional(positive_integer, "batch_size", batch_size),
        redraws_batches=minibatches == "redrawn",
        redraws_weights=initial_weights == "redrawn",
        memory_limit=memory_limit if mode == "reverse" else None,
        seed=nonnegative_integer("seed", seed),
        owner="optimize_schedule",
    )
    search = ScheduleSearch(training, Descent(optimizer, training.values), backup_dir)
    best, interrupted = _run(search, outer_steps, verbose)
    schedule = TabulatedSchedule(best.values, training.every)
    return OptimizedSchedule(
        schedule,
        best.objective,
        search.history,
        training.learning_rate,
        interrupted,
    )


def _run(
    search: ScheduleSearch, outer_steps: int, verbose: int
) -> tuple[Candidate, bool]:
    """Return the best schedule, and whether Ctrl-C ended the search early."""
    names = ("objective", "best")
    bar = keras.utils.Progbar(outer_steps, verbose=verbose, stateful_metrics=names)
    try:
        while search.steps < outer_steps:
            search.step()
            objective = search.history["objective"][-1]
            numbers = (objective, search.best_objective)
            bar.update(search.steps, list(zip(names, numbers, strict=True)))
        return search.best(), False
    except KeyboardInterrupt:
        if not search.steps:
            raise
        return search.lowest(), True
