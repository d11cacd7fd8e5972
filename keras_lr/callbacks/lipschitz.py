"""`LipschitzLR`: the inverse Lipschitz constant of the loss as learning rate."""

import math
from collections.abc import Sequence
from typing import Any, cast

import keras
import numpy as np
import numpy.typing as npt

from keras_lr import _warnings
from keras_lr._checks import (
    fraction,
    fraction_or,
    one_of,
    ordered_limits,
    positive_integer,
    positive_number,
    real,
)
from keras_lr._typing import Bound
from keras_lr.callbacks.base import LearningRateCallback
from keras_lr.training.fit.annealed_rate import AnnealedRate
from keras_lr.training.lipschitz.fits import ForwardPassFit, LipschitzFit
from keras_lr.training.lipschitz.forward_pass import ForwardPass
from keras_lr.training.lipschitz.gradient_meter import LEFT_OUT, GradientMeter
from keras_lr.training.lipschitz.inverse_rate import (
    InverseRate,
    warn_unless_gradient_descent,
)
from keras_lr.training.lipschitz.lipschitz_constant import BOUNDS
from keras_lr.training.lipschitz.meter import LipschitzMeter

_GRADIENT = "gradient"
_HISTORY = ("learning_rate", "lipschitz_constant")
_OF_BOUNDS = ("activation_norm", "weight_term")
# A rate below which a training of scaled data gets nowhere.
_SMALL = 1e-5


@keras.saving.register_keras_serializable(package="keras_lr")
class LipschitzLR(LearningRateCallback):
    r"""Set the learning rate to the inverse Lipschitz constant of the loss.

    The constant L is the supremum of the gradient's norm over the weights that training
    visits. By default it is measured: the largest norm of a batch's gradient so far,
    for any model and any loss. Or it follows from what enters the last layer, a `Dense`
    one, by a closed form: loss, last layer, number of classes, batch size and
    regularizers are read from the compiled model.

    .. math::
        \eta = factor \, (1 - \beta) / L, \qquad
        L_{gradient} = \max_{s \le t} \sqrt{\tfrac{10 + s}{10 + t}} \,
        \|\nabla \ell_s(w_s)\|, \qquad
        L_{paper} = c \, K_z / m + \lambda \max \|w\|, \qquad
        L_{strict} = \frac{D}{m} \sum_i \sqrt{\|a_i\|^2 + 1} + 2 \lambda \|W\|

    for a batch with m rows a_i of norm K_z in all; `beta` is the momentum of
    `keras.optimizers.SGD`. Costs no gradient evaluation: a sum over the gradients, or
    next to nothing with a closed form, and a few scalars of memory.

    The defaults never diverged in the suites of `examples/benchmarks`. The paper's
    rule:
    `LipschitzLR(bound="paper", update="epoch", factor=1.0, memory=0.0, anneal=0.0)`.

    Args:
        bound: `"gradient"` measures the norm of the whole gradient. `"strict"` is a
            closed form that the gradient of the last layer never exceeds, `"paper"` one
            that it often does.
        update: `"batch"` sets the rate from the current batch before its update;
            `"epoch"` once per epoch from the largest values of the one before, as the
            paper does (the first epoch, with none before it, uses batches).
        factor: Multiple of 1/L.
        memory: Part of the largest L so far that counts at the next one: `1.0` holds
            it, as L is a supremum, and the rate never rises; `0.0` uses the last L
            alone. `"auto"` grows with the training: of an L that is measured in step s,
            or in the epoch that ends there, sqrt((10 + s) / (10 + t)) counts in step t.
        anneal: Part of the training over which the rate falls linearly to zero at the
            end; `0.0` for never. Counted in batches, but in epochs as long as nobody
            knows how many batches there are.
        min_learning_rate: Lower limit of the rate, before annealing. A rate that it
            holds above factor/L may diverge.
        max_learning_rate: Upper limit of the rate. 1/L has no limit where gradients or
            activations vanish.
        source: `"training_step"`, or `"forward_pass"` for the authors' own way: before
            each epoch a forward pass over `data` in inference mode. Needs
            `update="epoch"` and a closed form.
        data: For `source="forward_pass"`: x or (x, y) as arrays, a `tf.data.Dataset` or
            a `PyDataset` of batches.
        batch_size: Rows of a batch, where `data` are arrays. Defaults to `32`, as in
            `fit`.
        layer: The last layer, or its name, where a closed form cannot find it.
        constant: D, for a loss without a formula: a bound on the norm of the gradient
            of one example's loss with respect to the last layer's output before its
            activation. Needs `bound="strict"`.
        tikhonov: Gamma of a term `||Gamma w||^2` on the last layer's kernel that is
            added to the loss by hand; a matrix or a factor. Needs a closed form. The
            layers' own regularizers are read from the model.
        total_epochs: Epochs of a training that is cut into several fits, each of which
            gets this callback. Defaults to `None`: each fit is a training.
        verbose: `1` prints the rate that the next epoch starts with.
        log_diagnostics: Whether the last number of each list in `history` goes into
            the logs of an epoch too. Defaults to `False`: the learning rate alone.

    Attributes:
        history: A list with an entry per epoch of each of `learning_rate` (of its last
            step) and `lipschitz_constant` (L, the largest of its batches); with a
            closed form also of `activation_norm` (K_z, the largest too) and
            `weight_term` (the regularizers' part of L at its end).

    Raises:
        ValueError: For arguments out of range, and in `fit` for an optimizer with a
            schedule, and for a model without the closed form that was asked for.

    Example:
        >>> import keras, keras_lr, numpy as np
        >>> model = keras.Sequential([keras.layers.Dense(1, activation="sigmoid")])
        >>> model.compile(keras.optimizers.SGD(), loss="binary_crossentropy")
        >>> callback = keras_lr.LipschitzLR(bound="strict", factor=1.0, anneal=0.0)
        >>> x, y = np.ones((8, 3)), np.ones((8, 1))
        >>> _ = model.fit(x, y, epochs=2, verbose=0, callbacks=[callback])
        >>> callback.history["learning_rate"]  # 1 / sqrt(3 + 1)
        [0.5, 0.5]

    Notes:
        1/L means something for gradient descent, with or without momentum. An optimizer
        that divides the gradient by its size, as Adam does, keeps its compiled rate,
        annealed, and a warning says so. `keras_lr.AdaMo(lipschitz="analytic")` and its
        kin get L itself, without factor, memory and limits, which are not in the
        paper, nor is annealing. After a fit the optimizer has its last rate, without
        the annealing. A checkpoint in mid-fit has it with the annealing: for an
        optimizer other than SGD, set `model.optimizer.learning_rate` after loading.

    References:
        - Yedida et al., [LipschitzLR](https://arxiv.org/abs/1902.07399), sections 3-5.
    """

    history_unit = "epoch"
    takes_step = False

    changing = (*LearningRateCallback.changing, "_held", "_has_warned", "_has_looked")

    def __init__(
        self,
        *,
        bound: str = _GRADIENT,
        update: str = "batch",
        factor: float = 2.0,
        memory: float | str = "auto",
        anneal: float = 0.5,
        min_learning_rate: float = 1e-12,
        max_learning_rate: float = 10.0,
        source: str = "training_step",
        data: Any = None,
        batch_size: int = 32,
        layer: str | keras.Layer | None = None,
        constant: float | None = None,
        tikhonov: float | npt.ArrayLike | None = None,
        total_epochs: int | None = None,
        verbose: int = 0,
        log_diagnostics: bool = False,
    ) -> None:
        super().__init__(
            total_epochs=total_epochs, verbose=verbose, log_diagnostics=log_diagnostics
        )
        self.bound = one_of("bound", bound, (_GRADIENT, *BOUNDS))
        self.update = one_of("update", update, ("batch", "epoch"))
        self.source = one_of("source", source, ("training_step", "forward_pass"))
        _require_fitting_data(source, data, update)
        _require_fitting_constant(constant, bound)
        _require_closed_form(bound, layer=layer, tikhonov=tikhonov, source=source)
        self.data = data
        self.factor = positive_number("factor", factor)
        self.memory = fraction_or("memory", memory, ("auto",))
        self.anneal = fraction("anneal", anneal)
        limits = ordered_limits(min_learning_rate, max_learning_rate, has_floor=True)
        self.min_learning_rate, self.max_learning_rate = limits
        self.batch_size = positive_integer("batch_size", batch_size)
        self.layer = layer
        self.constant = constant
        self.tikhonov = tikhonov
        self._held = (0.0, 0.0, 0.0)
        self._has_warned = self._has_looked = False
        self._reset()

    def _columns(self) -> Sequence[str]:
        return _HISTORY if self.bound == _GRADIENT else (*_HISTORY, *_OF_BOUNDS)

    def _make_fit(self) -> LipschitzFit:
        model = self.model
        inverse = InverseRate(
            model,
            # 1/L may be far from the compiled rate.
            AnnealedRate(model, anneal=self.anneal, vanished=0.0),
            factor=self.factor,
            memory=None if isinstance(self.memory, str) else self.memory,
            limits=(self.min_learning_rate, self.max_learning_rate),
            feeds_batches=self.update == "batch",
        )
        if self.bound == _GRADIENT:
            meter = GradientMeter(model)
            return LipschitzFit(meter, inverse, by_batches=self.update == "batch")
        meter = LipschitzMeter(
            model,
            bound=cast(Bound, self.bound),  # Checked.
            layer=self.layer,
            row_bound=self.constant,
            tikhonov=self.tikhonov,
            owner=type(self).__name__,
        )
        if self.source == "forward_pass":
            forward_pass = ForwardPass(model, meter, self.data, self.batch_size)
            return ForwardPassFit(meter, inverse, forward_pass)
        return LipschitzFit(meter, inverse, by_batches=self.update == "batch")

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Read loss, head and regularizers, and wrap the training step."""
        super().on_train_begin(logs)
        self._has_looked = False
        warn_unless_gradient_descent(self.model.optimizer, type(self).__name__)

    def on_train_batch_end(
        self, batch: int, logs: dict[str, Any] | None = None
    ) -> None:
        """Look at the constant of the first step, before more time is lost."""
        super().on_train_batch_end(batch, logs)
        if not self._has_looked and self._fit is not None:
            self._has_looked = True
            self._warn_unless_low(self._fit.inverse.constant)

    def _start(self, fit: LipschitzFit, epoch: int) -> None:
        super()._start(fit, epoch)
        is_continued = epoch > 0 and not self._is_restored(epoch)
        if is_continued and self.history["learning_rate"]:
            # It continues the last fit, so the largest constant still holds.
            fit.inverse.start(*self._held)

    def _release(self, fit: LipschitzFit) -> None:
        self._held = fit.inverse.state
        super()._release(fit)

    def _record(self, rows: dict[str, list[float]]) -> None:
        super()._record(rows)
        if any(rows.get(LEFT_OUT, ())):
            self._say_once(
                "`LipschitzLR` met a batch whose gradient is not finite, or too large "
                "to tell, and has left its step out. Look for NaN or infinity in the "
                "data, or weights that have grown too large. This is said once."
            )
        for constant in rows.get("lipschitz_constant", ()):
            self._warn_unless_usable(constant)

    def _warn_unless_low(self, constant: float) -> None:
        if _SMALL * constant > self.factor and constant < math.inf:
            self._say_once(
                "`LipschitzLR` measures a Lipschitz constant of the loss whose inverse "
                "is too low a learning rate to train with, as in the callback's "
                '`history["lipschitz_constant"]`. Inputs or targets that are not '
                "scaled are the usual reason: standardize them, or put a normalization "
                "layer before the last layer."
            )

    def _warn_unless_usable(self, constant: float) -> None:
        self._warn_unless_low(constant)
        if not 0.0 < constant < math.inf and not self._has_warned:
            self._has_warned = True
            reason = "All gradients of an epoch were zero, or not finite."
            if self.bound != _GRADIENT:
                reason = (
                    "The last layer's input was zero or not finite, or the layer was "
                    "not called in the training step."
                )
            _warnings.warn(
                f"`LipschitzLR` measured a Lipschitz constant of {constant} and "
                f"keeps the last learning rate. {reason}"
            )

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments, without `data`."""
        layer, gamma = self.layer, self.tikhonov
        return {
            "total_epochs": self.total_epochs,
            "verbose": self.verbose,
            "log_diagnostics": self.log_diagnostics,
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


def _require_fitting_data(source: str, data: Any, update: str) -> None:
    """Raise unless `data` is given for a forward pass once per epoch, and only then."""
    if (source == "forward_pass") != (data is not None):
        raise ValueError(
            '`data` must be given with `source="forward_pass"` and only with it. '
            f"Received: source={source!r}, data=<{type(data).__name__}>."
        )
    if source == "forward_pass" and update != "epoch":
        raise ValueError(
            '`update` must be "epoch" with `source="forward_pass"`. Received: '
            f"update={update!r}."
        )


def _require_closed_form(bound: str, *, layer: Any, tikhonov: Any, source: str) -> None:
    """Raise if an argument of the closed forms is given where L is measured."""
    used = {
        "layer": layer is not None,
        "tikhonov": tikhonov is not None,
        "source": source != "training_step",
    }
    names = [name for name, is_used in used.items() if is_used]
    if bound == _GRADIENT and names:
        raise ValueError(
            f'`bound` must be "strict" or "paper" with `{names[0]}`, which only the '
            f"closed forms look at. Received: bound={bound!r}, with {names[0]}."
        )


def _require_fitting_constant(constant: float | None, bound: str) -> None:
    """Raise unless a user's own constant is positive, and the bound strict."""
    is_positive = constant is None or 0.0 < real(constant) < math.inf
    if not is_positive or (constant is not None and bound != "strict"):
        raise ValueError(
            '`constant` must be a positive number, with `bound="strict"`. '
            f"Received: constant={constant!r}, bound={bound!r}."
        )
