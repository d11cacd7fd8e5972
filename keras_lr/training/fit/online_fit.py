"""One fit in which hyperparameters move in each step: recorded, saved, rolled back."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_lr import _keras, _warnings
from keras_lr._keras import replicas, step_hook
from keras_lr._sole_writer import SoleWriter
from keras_lr._typing import Gradients, Tensor
from keras_lr.rules.divergence import FEW
from keras_lr.training.derivatives.batches import leaves
from keras_lr.training.derivatives.tensors import dense, sum_of, zeros_unless
from keras_lr.training.fit import state_file
from keras_lr.training.fit.around_step import (
    CUT,
    FIRST_CUT,
    AroundStep,
    OptimizerStep,
    unknown,
)
from keras_lr.training.fit.copies import PREFIX as GUARD_PREFIX
from keras_lr.training.fit.divergence import COLUMNS as GUARD_COLUMNS
from keras_lr.training.fit.divergence import MOST_RESTARTS, DivergenceGuard
from keras_lr.training.fit.fit import Fit
from keras_lr.training.fit.horizon import FitLength
from keras_lr.training.fit.hyperparameter import ROUNDING
from keras_lr.training.fit.ingredients import what_trains
from keras_lr.training.fit.step_log import CAPACITY, StepLog

# Steps from one look at their losses to the next: each waits for the device, and a few
# steps more of a diverging training are rolled back all the same.
PATIENCE = 16
_FLOOR = f"{GUARD_PREFIX}floor"
_FIRST = "highest_start"


class OnlineFit(Fit):
    """What lives for one fit in which hyperparameters move in each step.

    The optimizer's `apply` is intercepted while the training step runs or is traced,
    and `around_step` is called in its place. What it does is recorded, and the state is
    written to disk, and rolled back if the training diverges.

    Args:
        model: A built, compiled model.
        around_step: Method, with the rate that it moves.
        columns: Names of what is recorded in each step.
        owner: Name of the callback, for messages.
        guards: Whether a training that diverges is rolled back; `loss` must be among
            the columns.

    Raises:
        ValueError: If the model has no trainable weights, several optimizers, or one
            that does not step at each batch; if the guard has no loss to watch.
    """

    def __init__(
        self,
        model: keras.Model,
        around_step: AroundStep,
        columns: Sequence[str],
        *,
        owner: str,
        guards: bool,
    ) -> None:
        super().__init__(around_step.rate)
        if guards and "loss" not in columns:
            raise ValueError(
                "`columns` must have 'loss' with `guards=True`: the guard watches it. "
                f"Received: columns={tuple(columns)} of `{owner}`."
            )
        _keras.require_trainable_weights(model, owner)
        self.model = model
        self.around_step = around_step
        self._owner = owner
        self._optimizer = _keras.require_single_update(model.optimizer, owner)
        _keras.build_optimizer(model)
        self._others = around_step.others
        self._batches_per_execution = int(model.steps_per_execution)
        internal = ("failed", *(GUARD_COLUMNS if guards else ()))
        self._columns = tuple(columns)
        self._log = StepLog(
            model,
            (*columns, *internal),
            dtype=self.rate.dtype,
            capacity=max(CAPACITY, 2 * self._batches_per_execution),
        )
        self._guard = None
        if guards:
            values = [each.value for each in (self.rate.rate, *self._others)]
            self._guard = DivergenceGuard(
                model, values, renews_optimizer=around_step.renews_optimizer
            )
        self._has_loss = False
        self._batches_fetched = 0
        self._writer = SoleWriter(state_file.ONE_WRITER)

    def wrapped(self, step: step_hook.Step) -> step_hook.Step:
        """Return the training step with the method around the optimizer's step."""

        def moving_step(data: Any) -> Any:
            self._require_same_weights()
            looks = {} if self._guard is None else self._guard.look(data)
            with self._intercepting(data) as row:
                logs = step(data)
            self._log.append(row | looks)
            self.rate.advance()
            return logs

        return moving_step

    def _require_same_weights(self) -> None:
        """Raise if weights were frozen where only the step itself can notice it."""
        # It runs where the step runs eagerly, or is traced.
        if self.trains and self.trains != what_trains(self.model):
            raise ValueError(
                "The weights that are trained must not change between the start of a "
                f"batch, as `{self._owner}` sees it, and its step. Received: model="
                f"{self.model.name!r}, of which layers were frozen or unfrozen there, "
                "or which was compiled. Do it in `on_epoch_begin` or "
                f"`on_train_batch_end`, or list the callback before `{self._owner}`."
            )

    def start(self, rate: float | None = None, scale: float = 1.0) -> None:
        """Set the state to what it is before the first step."""
        self._clear()
        super().start(rate, scale)
        self._start_method()

    def resume(self, epoch: int, length: FitLength) -> None:
        """Set the state from a restored model and optimizer."""
        self._clear()
        super().resume(epoch, length)
        self._start_method()

    def _clear(self) -> None:
        """Forget an earlier fit."""
        for each in self.around_step.variables().values():
            each.assign(ops.zeros_like(each))
        self._log.clear()
        if self._guard is not None:
            self._guard.forget()

    def _start_method(self) -> None:
        for each in self._others:
            each.read_from(self._optimizer)
        self.around_step.start()
        self._writer.start_over()
        self._steps = self._failed = 0
        self._has_spoken = False
        self._notice: str | None = None
        if self._guard is not None:
            self._guard.start()

    def start_epoch(self, epoch: int, length: FitLength) -> None:
        """Say where in the fit the next step is."""
        super().start_epoch(epoch, length)
        self._batches_fetched = 0
        self._length = length
        self._is_last_epoch = epoch + 1 >= length.epochs

    def is_due(self, batches: int) -> bool:
        """Return whether the host has to `fetch` now."""
        limit = self._log.capacity - self._batches_per_execution
        if self._guard is not None:
            patience = FEW if self._guard.probes else PATIENCE
            limit = min(limit, patience - 1)
        return batches - self._batches_fetched > limit

    def fetch(self, batches: int) -> dict[str, list[float]]:
        """Return what the steps recorded since the last time, by columns."""
        rows = self._log.fetch()
        self._batches_fetched = batches
        for failed in rows["failed"]:
            self._steps += 1
            if failed and not self._failed:
                self._failed = self._steps
        self._notice = self.around_step.look_at(rows) or self._notice
        # A user's own training step may not report its loss.
        if self._guard is not None and self._has_loss:
            self._guard.observe(rows)
            if self._is_last_epoch and self._length.is_epoch_complete:
                self._guard.conclude()
        return {name: rows[name] for name in self._columns}

    def restart_if_diverged(self) -> str | None:
        """Roll the training back if it diverges; say what it continues with."""
        if self._guard is None or not self._guard.has_diverged():
            return None
        factor = FIRST_CUT if self._guard.is_at_beginning else CUT
        self._guard.restore()
        outcome = self.around_step.restart(factor)
        self._guard.accept_values()
        self.rate.write_on_host()
        if self._guard.is_off:
            outcome += (
                f". It has diverged {MOST_RESTARTS + 1} times now without getting any "
                "further, and is not rolled back any more. Either the learning rate is "
                "not the reason, or all that are tried, down to a thousandth of the "
                "first one, are too high: standardize inputs and targets that are not "
                "scaled, and compile with a lower rate"
            )
        return outcome

    def remark(self) -> str | None:
        """Say once what the method noticed, and that there were steps left out."""
        if self._notice is not None:
            notice, self._notice = self._notice, None
            return notice
        is_open = self._guard is not None and self._guard.is_suspicious
        if not self._failed or self._has_spoken or is_open:
            return None
        self._has_spoken = True
        reason = "NaN or infinity in the data, or weights that have grown too large"
        if self._guard is not None and self._guard.knows_no_cure:
            reason = "NaN or infinity in the data: no learning rate helps against that"
        return (
            f"met a batch after {self._failed - 1} steps whose loss or gradient is not "
            f"finite, and has left its step out. Look for {reason}. This is said once "
            "in a fit."
        )

    def end_epoch(self) -> None:
        """Set the optimizer's hyperparameters."""
        self._write_others()

    def release(self) -> None:
        """Remove the annealing of the rate, unless the user has set another."""
        super().release()
        if self._others:
            self._write_others()
            # It was traced with their old values.
            step_hook.forget_plain_function(self.model)

    def forget(self) -> None:
        """Let go of the copies of the state."""
        if self._guard is not None:
            self._guard.forget()

    def write(self, directory: Path, epoch: int) -> None:
        """Write the state at the end of an epoch."""
        copies = {}
        if self._guard is not None:
            floor = state_file.array(self.rate.rate.floor.value)
            copies = self._guard.arrays() | {_FLOOR: floor}
        path, variables = self._file(directory), self._saved_variables()
        with self._writer.writing(path):
            state_file.write(path, variables, epoch, copies, updates=self._updates())

    def read(self, directory: Path, epoch: int) -> None:
        """Read the state of the end of an epoch, if it is there."""
        path = self._file(directory)
        arrays = state_file.read(
            path,
            self._saved_variables(),
            epoch,
            prefix=GUARD_PREFIX,
            added=[*self.around_step.added_variables(), _FIRST],
            updates=self._updates(),
            accepts=self._accepts,
        )
        if self._guard is None:
            return
        self._guard.accept_values()
        # Version 0.1.0 wrote none.
        if arrays:
            self._read_guard(self._guard, arrays, path)

    def _read_guard(
        self, guard: DivergenceGuard, arrays: Mapping[str, np.ndarray], path: Path
    ) -> None:
        try:
            guard.set_arrays(arrays)
            self._set_floor(float(arrays[_FLOOR]))
        # A broken file holds anything.
        except Exception:
            guard.start()
            _warnings.warn(
                f"The guard against divergence begins anew: {path.name} does not hold "
                "its state."
            )

    def _set_floor(self, floor: float) -> None:
        # The rate never falls below it.
        if not 0.0 <= floor <= _keras.to_float(self.rate.rate.value) * (1 + ROUNDING):
            raise ValueError(f"floor={floor}")
        self.rate.rate.floor.assign(floor)

    def _saved_variables(self) -> dict[str, keras.Variable]:
        return self.around_step.variables() | {_FIRST: self.rate.firsts[0]}

    def _updates(self) -> int:
        return int(_keras.to_float(self._optimizer.iterations))

    def _accepts(self, name: str, array: np.ndarray) -> bool:
        """Return whether what is read for a variable can be its value."""
        if name == _FIRST:
            return float(array) > 0.0 and self.rate.rate.accepts(float(array))
        variable = self.around_step.variables()[name]
        hyperparameters = [self.rate.rate, *self._others]
        return self.around_step.accepts(name, array) and all(
            each.accepts(float(array))
            for each in hyperparameters
            if each.value is variable
        )

    def _file(self, directory: Path) -> Path:
        return directory / f"keras_lr_{self.around_step.name}.npz"

    def _write_others(self) -> None:
        for each in self._others:
            each.write_to(self._optimizer)

    @contextlib.contextmanager
    def _intercepting(self, data: Any) -> Iterator[dict[str, Tensor]]:
        """Let the method take part in the training step that is called in this context.

        Args:
            data: Batch of the training step.

        Yields:
            A dict that holds afterwards what is recorded of the step, in scalars.
        """
        row: dict[str, Tensor] = {}
        calls: list[None] = []

        def scale_loss(plain: Callable[..., Any], loss: Tensor) -> Tensor:
            # The step's loss comes first; those of further passes follow.
            if not row:
                row["loss"] = replicas.sum_over_replicas(_keras.total(loss))
            return plain(loss)

        def apply(
            plain: Callable[..., Any], grads: Any, trainable_variables: Any = None
        ) -> None:
            calls.append(None)
            _require_one_call(len(calls))
            self._has_loss = "loss" in row
            loss = row.setdefault("loss", unknown(self.rate.dtype))
            # A `LossScaleOptimizer` leaves steps out by itself, and has to see them.
            is_scaled = _keras.loss_scale(self.model.optimizer) is not None
            is_finite = self._is_finite(loss, [] if is_scaled else grads)
            row["failed"] = ops.logical_not(is_finite)
            if not is_scaled:
                grads = zeros_unless(is_finite, grads)

            def apply_plainly(gradients: Gradients | None) -> None:
                if gradients is None:
                    plain(grads, trainable_variables)
                else:
                    plain(gradients, self.model.trainable_variables)

            step = OptimizerStep(
                self.model,
                self.rate,
                self._others,
                gradients=self._aligned(grads, trainable_variables),
                loss=loss,
                is_finite=is_finite,
                recording=recording,
                apply=apply_plainly,
            )
            # Where a data set runs out, not even what needs no data may move.
            with _after(data):
                row.update(self.around_step.around(step))
            row.update(step.values)

        optimizer = self.model.optimizer
        with (
            self.around_step.recording(data) as recording,
            _keras.intercepted(optimizer, apply=apply, scale_loss=scale_loss),
        ):
            yield row
        _require_one_call(len(calls))

    def _is_finite(self, loss: Tensor, grads: Any) -> Tensor:
        """Return whether the loss, where it is known, and gradients are finite."""
        total = replicas.sum_over_replicas(sum_of(grads, self.rate.dtype))
        if self._has_loss:
            total = total + ops.cast(loss, total.dtype)
        return ops.isfinite(total)

    def _aligned(self, grads: Any, variables: Any) -> Gradients:
        """Return a dense gradient, or `None`, for each of the weights."""
        weights = self.model.trainable_variables
        pairs = zip(variables or weights, grads, strict=True)
        by_weight = {id(variable): grad for variable, grad in pairs}
        return dense([by_weight.get(id(each)) for each in weights])


def _after(batch: Any) -> contextlib.AbstractContextManager[None]:
    """Return a context whose operations wait until a batch is there."""
    import tensorflow as tf

    parts = tf.nest.flatten(leaves(batch), expand_composites=True)
    return tf.control_dependencies([each for each in parts if tf.is_tensor(each)])


def _require_one_call(number: int) -> None:
    if number != 1:
        raise ValueError(
            "The learning rate is tuned around a training step that calls its "
            "optimizer's `apply` once. Received: a `train_step` that calls it "
            f"{number} times."
        )
