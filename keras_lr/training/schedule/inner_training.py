"""The loss after a whole training, as a function of its schedule."""

import zlib
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import tree

from keras_lr import _keras
from keras_lr._keras.identity import model_digests
from keras_lr._typing import FloatArray
from keras_lr.rules import lrs_opt
from keras_lr.training.schedule import schedule_gradient
from keras_lr.training.schedule.final_loss import FinalLoss
from keras_lr.training.schedule.minibatches import minibatches
from keras_lr.training.schedule.schedule_gradient import Batches
from keras_lr.training.schedule.training_step import TrainingState, TrainingStep

Draw = tuple[int, int]

SEARCH, JUDGMENT = 0, 1
"""First numbers of a draw, which say what it is for. The second counts them."""


class InnerTraining:
    """Trains a model again and again, each time by another schedule.

    A draw says what a training starts from, and the batches it gets. Draws with the
    same numbers are the same.

    Args:
        build_model: Function which returns a new compiled model.
        train_data: Training data, as `minibatches` takes them.
        validation_data: Validation data, as `FinalLoss` takes them.
        steps: Number of steps of a training.
        every: Steps for which a value of the schedule holds.
        batch_size: Rows of a minibatch; `None` for the default.
        redraws_batches: Whether each draw has its own minibatches and random masks.
        redraws_weights: Whether each draw has its own initial weights.
        memory_limit: Bytes for stored states; `None` for forward mode, which stores
            none.
        seed: Seed of all draws.
        owner: Name of the caller, for messages.

    Raises:
        ValueError: If the training cannot be differentiated.
    """

    def __init__(
        self,
        build_model: Callable[[], keras.Model],
        train_data: Any,
        validation_data: Any,
        *,
        steps: int,
        every: int,
        batch_size: int | None,
        redraws_batches: bool,
        redraws_weights: bool,
        memory_limit: int | None,
        seed: int,
        owner: str,
    ) -> None:
        self._build_model = build_model
        self._steps = steps
        self.every = every
        self.values = -(-steps // every)
        """Number of values of a schedule."""
        self._redraws_batches = redraws_batches
        self._redraws_weights = redraws_weights
        self._seed = seed
        self._owner = owner
        self._batches = minibatches(train_data, batch_size, steps)
        self._fixed_batches: Batches | None = None
        model = self._new_model(0)
        self._step = TrainingStep(model, self._batches.example, owner)
        self._final_loss = FinalLoss(
            self._step, validation_data, self._batches.batch_size
        )
        self._capacity = None
        if memory_limit is not None:
            self._capacity = _capacity(memory_limit, self._step.nbytes, steps)
        self._fixed_start = self._step.state()
        self.learning_rate = _keras.get_learning_rates(model.optimizer)["learning_rate"]
        """The rate that the model was compiled with."""

    @property
    def is_fixed(self) -> bool:
        """Whether all draws are the same."""
        return not (self._redraws_batches or self._redraws_weights)

    def settings(self) -> dict[str, Any]:
        """Return what distinguishes this training from others, for JSON."""
        start, example = self._fixed_start, self._batches.example
        arrays = [each for each in tree.flatten([start, example]) if each is not None]
        checksum = 0
        for each in arrays:
            checksum = zlib.crc32(keras.ops.convert_to_numpy(each).tobytes(), checksum)
        return {
            "steps": self._steps,
            "every": self.every,
            "learning_rate": self.learning_rate,
            "redraws_batches": self._redraws_batches,
            "redraws_weights": self._redraws_weights,
            "seed": self._seed,
            "checksum of model and data": checksum,
            **model_digests(self._step.model),
            **optimizer_settings("inner optimizer", self._step.model.optimizer),
        }

    def gradient(self, values: FloatArray, draw: Draw) -> tuple[float, FloatArray]:
        """Return E after a training, and its gradient with respect to the values."""
        rates, start, batches = self._inputs(values, draw)
        arguments = self._step, self._final_loss, start, rates, batches
        if self._capacity is None:
            return schedule_gradient.forward(*arguments, every=self.every)
        loss, slopes = schedule_gradient.reverse(*arguments, capacity=self._capacity)
        return loss, lrs_opt.gathered(slopes, self.every)

    def loss(self, values: FloatArray, draw: Draw) -> float:
        """Return E after a training."""
        rates, start, batches = self._inputs(values, draw)
        whole = 0, self._steps
        state = schedule_gradient.train(self._step, start, rates, batches, whole)
        return float(self._final_loss.value(state.floats))

    def _inputs(
        self, values: FloatArray, draw: Draw
    ) -> tuple[Any, TrainingState, Batches]:
        rates = self._step.rates(lrs_opt.expanded(values, self.every, self._steps))
        generator = np.random.default_rng([self._seed, *draw])
        start = self._fixed_start
        if self._redraws_weights:
            start = self._new_start(int(generator.integers(2**31)))
        if not self._redraws_batches:
            return rates, start, self._same_batches()
        batches = self._batches.draw(generator)
        return rates, self._step.with_other_seeds(start, generator), batches

    def _same_batches(self) -> Batches:
        batches = self._fixed_batches
        if batches is None:
            batches = self._batches.draw(np.random.default_rng(self._seed))
            self._fixed_batches = batches
        return batches

    def _new_start(self, seed: int) -> TrainingState:
        model, new_model = self._step.model, self._new_model(seed)
        parts = _keras.parts_that_train(model)
        _keras.require_new_model("build_model", new_model, parts)
        pairs = zip(_all_variables(model), _all_variables(new_model), strict=True)
        for variable, value in pairs:
            variable.assign(value)
        return self._step.state()

    def _new_model(self, number: int) -> keras.Model:
        """Return a model with initial weights, built, and checked."""
        keras.utils.set_random_seed(self._seed + number)
        model = self._build_model()
        _require_compiled(model)
        _require_plain_step(model, self._owner)
        _keras.build(model, self._batches.example, model.train_step)
        _keras.build_optimizer(model)
        return model


def optimizer_settings(
    owner: str, optimizer: keras.optimizers.Optimizer
) -> dict[str, str]:
    """Return the class and the arguments of an optimizer, for `settings`."""
    arguments = optimizer.get_config()
    arguments.pop("name", None)
    texts = {f"{owner}.{name}": repr(value) for name, value in arguments.items()}
    return {owner: type(optimizer).__name__, **texts}


def _all_variables(model: keras.Model) -> list[keras.Variable]:
    return [*model.variables, *model.optimizer.variables]


def _capacity(memory_limit: int, nbytes: int, steps: int) -> int:
    """Return how many states can be stored."""
    capacity = min(memory_limit // max(nbytes, 1), steps)
    needed = lrs_opt.smallest_capacity(steps)
    if capacity < needed:
        raise ValueError(
            f"`memory_limit` must hold {needed} states of weights and optimizer of "
            f"{nbytes} bytes each, {needed * nbytes} bytes, for {steps} steps. "
            f"Received: memory_limit={memory_limit}. Raise it, or take fewer steps."
        )
    return capacity


def _require_compiled(model: Any) -> None:
    if not isinstance(model, keras.Model) or not model.compiled:
        raise ValueError(
            "`build_model` must return a compiled `keras.Model`. Received: "
            f"<{type(model).__name__}>. Call `compile` before returning it."
        )


def _require_plain_step(model: keras.Model, owner: str) -> None:
    """Raise a `ValueError` unless the training is the one that is differentiated."""
    _keras.require_settable_learning_rate(model.optimizer, owner)
    leaf = _keras.require_single_update(model.optimizer, owner)
    reasons = {
        "a `train_step` of its own": not _keras.has_standard_step(model),
        "an optimizer with `use_ema=True`": leaf.use_ema,
        "a `LossScaleOptimizer`": leaf is not model.optimizer,
        "a strategy of several devices": (
            model.distribute_strategy.num_replicas_in_sync > 1
        ),
    }
    for reason, applies in reasons.items():
        if applies:
            raise ValueError(
                f"`{owner}` differentiates Keras's own training step, on one device "
                "and without a scale of the loss or averaged weights. Received: a "
                f"model with {reason}. Build it without, and use the schedule with it."
            )
