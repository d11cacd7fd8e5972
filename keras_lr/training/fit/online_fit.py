"""One fit in which hyperparameters move in each step: recorded, saved, rolled back."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
from keras import ops

from keras_lr import _keras
from keras_lr._keras import replicas, step_hook
from keras_lr._typing import Gradients, Tensor
from keras_lr.training.derivatives.batches import leaves
from keras_lr.training.derivatives.tensors import dense
from keras_lr.training.fit import state_file
from keras_lr.training.fit.around_step import AroundStep, OptimizerStep, unknown
from keras_lr.training.fit.divergence import DivergenceGuard
from keras_lr.training.fit.fit import Fit
from keras_lr.training.fit.horizon import FitLength
from keras_lr.training.fit.step_log import CAPACITY, StepLog

# Steps from one look at their losses to the next: each waits for the device, and a few
# steps more of a diverging training are rolled back all the same.
PATIENCE = 16


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
        ValueError: If the model has several optimizers, or one that does not step at
            each batch; if the guard has no loss to watch.
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
        self.model = model
        self.around_step = around_step
        self._optimizer = _keras.require_single_update(model.optimizer, owner)
        _keras.build_optimizer(model)
        self._others = around_step.others
        self._batches_per_execution = int(model.steps_per_execution)
        self._log = StepLog(
            model,
            columns,
            dtype=self.rate.dtype,
            capacity=max(CAPACITY, 2 * self._batches_per_execution),
        )
        self._guard = None
        if guards:
            values = [each.value for each in (self.rate.rate, *self._others)]
            self._guard = DivergenceGuard(model, values)
        self._has_loss = False
        self._batches_fetched = 0

    def wrapped(self, step: step_hook.Step) -> step_hook.Step:
        """Return the training step with the method around the optimizer's step."""

        def moving_step(data: Any) -> Any:
            with self._intercepting(data) as row:
                logs = step(data)
            self._log.append(row)
            self.rate.advance()
            return logs

        return moving_step

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
        if self._guard is not None:
            self._guard.save()

    def start_epoch(self, epoch: int, length: FitLength) -> None:
        """Say where in the fit the next step is."""
        super().start_epoch(epoch, length)
        self._batches_fetched = 0

    def is_due(self, batches: int) -> bool:
        """Return whether the host has to `fetch` now."""
        limit = self._log.capacity - self._batches_per_execution
        if self._guard is not None:
            limit = min(limit, PATIENCE - 1)
        return batches - self._batches_fetched > limit

    def fetch(self, batches: int) -> dict[str, list[float]]:
        """Return what the steps recorded since the last time, by columns."""
        rows = self._log.fetch()
        self._batches_fetched = batches
        # A user's own training step may not report its loss.
        if self._guard is not None and self._has_loss:
            self._guard.observe(rows["loss"])
        return rows

    def restart_if_diverged(self) -> str | None:
        """Roll the training back if it diverges; say what it continues with."""
        if self._guard is None or not self._guard.has_diverged():
            return None
        self._guard.restore(renews_optimizer=self.around_step.renews_optimizer)
        outcome = self.around_step.restart()
        self._guard.accept_values()
        self.rate.write_on_host()
        return outcome

    def end_epoch(self) -> None:
        """Copy the state to go back to, and set the optimizer's hyperparameters."""
        if self._guard is not None:
            self._guard.save()
        self._write_others()

    def release(self) -> None:
        """Remove the annealing of the rate, unless the user has set another."""
        super().release()
        if self._guard is not None:
            self._guard.forget()
        if self._others:
            self._write_others()
            # It was traced with their old values.
            step_hook.forget_plain_function(self.model)

    def write(self, directory: Path, epoch: int) -> None:
        """Write the state at the end of an epoch."""
        state_file.write(self._file(directory), self.around_step.variables(), epoch)

    def read(self, directory: Path, epoch: int) -> None:
        """Read the state of the end of an epoch, if it is there."""
        state_file.read(self._file(directory), self.around_step.variables(), epoch)
        if self._guard is not None:
            self._guard.accept_values()

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
                row["loss"] = replicas.sum_over_replicas(loss)
            return plain(loss)

        def apply(
            plain: Callable[..., Any], grads: Any, trainable_variables: Any = None
        ) -> None:
            calls.append(None)
            _require_one_call(len(calls))
            self._has_loss = "loss" in row

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
                loss=row.setdefault("loss", unknown(self.rate.dtype)),
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
