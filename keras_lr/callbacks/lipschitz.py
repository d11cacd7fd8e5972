"""`LipschitzLR`: the inverse Lipschitz constant of the loss as learning rate."""

import dataclasses
import math
import warnings
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from keras_lr import _keras
from keras_lr._checks import fraction, one_of, positive_number
from keras_lr._keras import step_hook
from keras_lr._typing import Bound, Tensor
from keras_lr.callbacks.base import LearningRateCallback
from keras_lr.callbacks.lipschitz_arguments import (
    ordered_limits,
    require_fitting_constant,
    require_fitting_data,
)
from keras_lr.training.fit.horizon import FitLength
from keras_lr.training.lipschitz.inverse_rate import (
    InverseRate,
    warn_unless_gradient_descent,
)
from keras_lr.training.lipschitz.lipschitz_constant import BOUNDS
from keras_lr.training.lipschitz.meter import LipschitzMeter

_HISTORY = ("learning_rate", "lipschitz_constant", "activation_norm", "weight_term")


@dataclasses.dataclass
class _FitState:
    """What lives for one fit."""

    meter: LipschitzMeter
    rate: InverseRate


@keras.saving.register_keras_serializable(package="keras_lr")
class LipschitzLR(LearningRateCallback):
    r"""Set the learning rate to the inverse Lipschitz constant of the loss.

    The constant L follows from what enters the last layer, a `Dense` one, and is
    measured inside the training step, at no forward pass of its own. Loss, last layer,
    number of classes, batch size and regularizers are read from the compiled model.

    .. math::
        \eta = factor \, (1 - \beta) / L, \qquad
        L_{paper} = c \, K_z / m + \lambda \max \|w\|, \qquad
        L_{strict} = \frac{D}{m} \sum_i \sqrt{\|a_i\|^2 + 1} + 2 \lambda \|W\|

    for a batch with m rows a_i of norm K_z in all; `beta` is the momentum of
    `keras.optimizers.SGD`. Costs no gradient evaluation and a few scalars of memory.

    The defaults never diverged in the suite of `examples/benchmarks`. The paper's rule:
    `LipschitzLR(bound="paper", update="epoch", factor=1.0, memory=0.0, anneal=0.0)`.

    Args:
        bound: `"strict"`, which the gradient of the last layer never exceeds, or
            `"paper"`, which it often does.
        update: `"batch"` sets the rate from the current batch before its update;
            `"epoch"` once per epoch from the largest values of the one before, as the
            paper does (the first epoch goes by batches: it has none before).
        factor: Multiple of 1/L.
        memory: How much of the largest L seen so far counts: `1.0` holds it, as L is a
            supremum, and the rate never rises; `0.0` takes the last L alone.
        anneal: Part of the training over which the rate falls linearly to zero at the
            end; `0.0` for never. Counted in batches, but in epochs as long as nobody
            knows how many batches there are.
        min_learning_rate: Lower limit of the rate, before annealing.
        max_learning_rate: Upper limit of the rate. 1/L has none of its own where the
            activations vanish.
        source: `"training_step"`, or `"forward_pass"` for the authors' own way: before
            each epoch a forward pass over `data` in inference mode. Needs
            `update="epoch"`.
        data: For `source="forward_pass"`: x or (x, y) as arrays, a `tf.data.Dataset` or
            a `PyDataset` of batches.
        batch_size: Of `data` given as arrays. Defaults to `32`, as in `fit`.
        layer: The last layer, or its name, where it cannot be found.
        constant: D, for a loss without a formula: a bound on the norm of the gradient
            of one example's loss with respect to the last layer's output before its
            activation. Needs `bound="strict"`.
        tikhonov: Gamma of a term `||Gamma w||^2` on the last layer's kernel that is
            added to the loss by hand; a matrix or a factor. The layers' own
            regularizers are found by themselves.
        verbose: `1` prints the rate that the next epoch starts with.

    Attributes:
        history: A list with an entry per epoch of each of `learning_rate` (of its last
            step), `lipschitz_constant` (L, the largest of its batches),
            `activation_norm` (K_z, likewise) and `weight_term` (the regularizers' part
            of L at its end).

    Raises:
        ValueError: For arguments out of range, and in `fit` for an optimizer with a
            schedule and for a model without a formula.

    Example:
        >>> import keras, keras_lr, numpy as np
        >>> model = keras.Sequential([keras.layers.Dense(1, activation="sigmoid")])
        >>> model.compile(keras.optimizers.SGD(), loss="binary_crossentropy")
        >>> callback = keras_lr.LipschitzLR(factor=1.0, anneal=0.0)
        >>> x, y = np.ones((8, 3)), np.ones((8, 1))
        >>> _ = model.fit(x, y, epochs=2, verbose=0, callbacks=[callback])
        >>> callback.history["learning_rate"]  # 1 / sqrt(3 + 1)
        [0.5, 0.5]

    Notes:
        1/L means something for gradient descent, with or without momentum. An optimizer
        that divides the gradient by its size, as Adam does, keeps its compiled rate,
        annealed, and a warning says so. `keras_lr.AdaMo(lipschitz="analytic")` and its
        kin are given L itself, without factor, memory and limits, which are not in the
        paper, nor is annealing. After a fit the optimizer has its last rate, without
        the annealing.

    References:
        - Yedida et al., [LipschitzLR](https://arxiv.org/abs/1902.07399), sections 3-5.
    """

    def __init__(
        self,
        *,
        bound: Bound = "strict",
        update: str = "batch",
        factor: float = 2.0,
        memory: float = 1.0,
        anneal: float = 0.5,
        min_learning_rate: float = 1e-6,
        max_learning_rate: float = 10.0,
        source: str = "training_step",
        data: Any = None,
        batch_size: int = 32,
        layer: str | keras.Layer | None = None,
        constant: float | None = None,
        tikhonov: float | npt.ArrayLike | None = None,
        verbose: int = 0,
    ) -> None:
        super().__init__(verbose=verbose)
        one_of("bound", bound, BOUNDS)
        one_of("update", update, ("batch", "epoch"))
        one_of("source", source, ("training_step", "forward_pass"))
        require_fitting_data(source, data, update)
        require_fitting_constant(constant, bound)
        self.bound: Bound = bound
        self.update = update
        self.factor = positive_number("factor", factor)
        self.memory = fraction("memory", memory)
        self.anneal = fraction("anneal", anneal)
        limits = ordered_limits(min_learning_rate, max_learning_rate)
        self.min_learning_rate, self.max_learning_rate = limits
        self.source, self.data = source, data
        self.batch_size = batch_size
        self.layer = layer
        self.constant = constant
        self.tikhonov = tikhonov
        self.history = {key: [] for key in _HISTORY}
        self._epoch: int | None = None
        self._held = 0.0
        self._has_warned = False

    def _prepare(self) -> _FitState:
        meter = LipschitzMeter(
            self.model,
            bound=self.bound,
            layer=self.layer,
            row_bound=self.constant,
            tikhonov=self.tikhonov,
            data=self.data,
            batch_size=self.batch_size,
        )
        rate = InverseRate(
            self.model,
            factor=self.factor,
            memory=self.memory,
            anneal=self.anneal,
            limits=(self.min_learning_rate, self.max_learning_rate),
            feeds_batches=self.update == "batch",
        )
        state = _FitState(meter, rate)
        if self._epoch is not None:
            self._start_epoch(state, self._epoch, is_first=True)
        return state

    def _wrap_step(self, step: step_hook.Step) -> step_hook.Step:
        state: _FitState = self._fit_state

        def set_rate(constant: Tensor, weight_term: Tensor) -> None:
            state.rate.observe(constant, weight_term)
            state.rate.apply()

        def measured_step(data: Any) -> Any:
            with state.meter.watching(data, set_rate):
                logs = step(data)
            state.rate.advance()
            return logs

        def plain_step(data: Any) -> Any:
            state.rate.apply()
            logs = step(data)
            state.rate.advance()
            return logs

        return measured_step if self.data is None else plain_step

    def _release(self) -> None:
        self._held = self._fit_state.rate.constant
        self._fit_state.rate.release()

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Read loss, head and regularizers, and wrap the training step."""
        self._epoch = None
        self._length = FitLength(self.params)
        super().on_train_begin(logs)
        warn_unless_gradient_descent(self.model.optimizer)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Start the epoch's measurement; take it at once by a forward pass."""
        super().on_epoch_begin(epoch, logs)
        is_first, self._epoch = self._epoch is None, epoch
        if self._fit_state is not None:
            self._start_epoch(self._fit_state, epoch, is_first=is_first)

    def _start_epoch(self, state: _FitState, epoch: int, *, is_first: bool) -> None:
        state.meter.reset()
        state.rate.start_epoch(epoch, self._length)
        if is_first and _keras.restored_epoch(self.model) == epoch > 0:
            state.rate.restore()
        elif is_first:
            continues = epoch > 0 and bool(self.history["learning_rate"])
            state.rate.start(self._held if continues else 0.0)
        # An epoch that has no constant from one before it goes by its own batches.
        is_unknown = state.rate.constant == 0.0
        state.rate.listen(to_batches=self.update == "batch" or is_unknown)
        if self.data is not None:
            state.meter.run()
            state.rate.hold(*self._measured(state))

    def on_train_batch_end(
        self, batch: int, logs: dict[str, Any] | None = None
    ) -> None:
        """Take the epoch's constant at its last batch."""
        # Not in `on_epoch_end`: a `BackupAndRestore` listed before this callback has
        # saved the optimizer, with the rate to resume at, by then.
        if self._length.is_last(batch):
            self._end_epoch()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Take the epoch's constant, and log the rate it was trained with."""
        self._length.end_epoch()
        self._end_epoch()
        super().on_epoch_end(epoch, logs)

    def _end_epoch(self) -> None:
        state: _FitState | None = self._fit_state
        if self._rates_used is not None or self._epoch is None or state is None:
            return
        self._rates_used = _keras.get_learning_rates(self.model.optimizer)
        self.history["learning_rate"].append(next(iter(self._rates_used.values())))
        if self.data is None:
            measured = self._measured(state)
            if self.update == "epoch":
                state.rate.hold(*measured)
        state.rate.start_epoch(self._epoch + 1, self._length)
        state.rate.settle()

    def _measured(self, state: _FitState) -> tuple[float, float]:
        """Record the measurement since the last reset; return L and its weight term."""
        measured = state.meter.read()
        for key, value in measured.items():
            self.history[key].append(value)
        constant = measured["lipschitz_constant"]
        if not 0.0 < constant < math.inf and not self._has_warned:
            self._has_warned = True
            warnings.warn(
                f"`LipschitzLR` measured a Lipschitz constant of {constant} and "
                "keeps the last learning rate. The last layer's input was zero or not "
                "finite, or the layer was not called in the training step.",
                stacklevel=2,
            )
        return constant, measured["weight_term"]

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments, without `data`."""
        layer, gamma = self.layer, self.tikhonov
        return super().get_config() | {
            "bound": self.bound,
            "update": self.update,
            "factor": self.factor,
            "memory": self.memory,
            "anneal": self.anneal,
            "min_learning_rate": self.min_learning_rate,
            "max_learning_rate": self.max_learning_rate,
            "source": self.source,
            "batch_size": self.batch_size,
            "layer": getattr(layer, "name", layer),
            "constant": self.constant,
            "tikhonov": None if gamma is None else np.asarray(gamma).tolist(),
        }
