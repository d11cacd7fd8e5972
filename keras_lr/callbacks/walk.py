"""`LearningRateWalk`: raise the rate a little if that helps, else lower it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras

from keras_lr import _keras
from keras_lr._checks import (
    LEARNING_RATE,
    decay_rate,
    factor_above_one,
    fraction,
    learning_rate_first,
    one_of,
    optional,
    ordered_limits,
    positive_integer,
    positive_number,
)
from keras_lr.callbacks.base import FLOOR, LearningRateCallback
from keras_lr.rules import walk
from keras_lr.training.fit.annealed_rate import AnnealedRate
from keras_lr.training.fit.hyperparameter import Hyperparameter
from keras_lr.training.fit.online_fit import OnlineFit
from keras_lr.training.walk.around_step import PROBES, WalkStep, probed
from keras_lr.training.walk.walked_hyperparameter import WalkRule, memory_of

# Steps from one trial to the next, and the factor for each of them.
EVERY, PERCENT = 10, 1.01
# Highest factor of a trial.
LARGEST = 1.3
# The walk starts from this part of the optimizer's rate: a start that is too low costs
# a few trials, one that is too high the training.
START = 0.01
# Part of the training over which the rate falls to zero.
ANNEAL = 0.4


@keras.saving.register_keras_serializable(package="keras_lr")
class LearningRateWalk(LearningRateCallback):
    r"""Raise the learning rate a little where that is better, else lower it a little.

    In each step, or in every n-th, the optimizer's own step is tried at the rate and at
    a slightly higher one, from the same state and by the same gradient. If the loss of
    the batch is lower after the second, the rate is multiplied by the factor, else
    divided by it:

    .. math::
        \eta_{t+1} = \begin{cases}
        f \eta_t & \text{if } L_t(w_{t+1}(f \eta_t)) < L_t(w_{t+1}(\eta_t)) \\
        \eta_t / f & \text{otherwise}
        \end{cases}

    A trial costs two passes forward and one more step of the optimizer; the slope costs
    a gradient and, except for plain `SGD`, the step's derivative. With the default of
    every tenth step, a step costs a tenth of that. Memory: one more copy of the
    weights, and with `"auto"` three more: the weights before the last step, and two
    to roll back to.

    Args:
        factor: f, what the rate is multiplied or divided by. A number is the source's
            rule, as printed. Defaults to `"auto"`: one percent for each step from trial
            to trial, and up to 30 % while decisions agree. An optimizer with a momentum
            m, or a beta_1, gets a lower rate: a step should remove only the part
            ``sqrt(1 - m)`` of the slope, because it will be repeated. As long as the
            rate is far from there, there is a trial in each step. Slopes are averages
            over the last trials, the factor grows upwards only while the next batches
            descend along the steps too, and while losses are clearly higher than
            before, the rate falls by three percent a step. A step whose gradient is
            larger than 1.5 times the root mean square of those before is taken at a
            rate that is lower in proportion, without a trial. It starts from a
            hundredth of the rate of an optimizer that has not taken a step. A training
            that diverges is rolled back, and continues with a tenth of the rate.
        every: Steps from one trial to the next. Defaults to `None`: 10 if `factor` is
            `"auto"`, else 1.
        probe: `"slope"` for the sign of the derivative of the loss after the step with
            respect to the rate, to which the comparison tends for factors near 1;
            `"loss"` for the comparison itself. In half precision, and at rates that are
            far too low, two losses may differ by less than their last digit, where the
            slope still has a sign. Defaults to `None`: `"slope"` if `factor` is
            `"auto"`, else `"loss"`.
        smoothing: Decay of the average that the optimizer gets in place of the
            gradients, at least 0 and below 1. Defaults to `0.0`: the gradients
            themselves.
        hyperparameters: Names of what walks: `"learning_rate"` and any positive float
            attribute of the optimizer, such as `"momentum"`, which moves by its
            distance from 1. Each has a trial of its own, with the others as they are.
        anneal: Part of the training over which the rate falls linearly to zero at the
            end. There are no trials in it: a step that is made shorter says that it
            ought to be longer. Defaults to `None`: 0.4 if `factor` is `"auto"`, else 0.
        initial_learning_rate: The rate to start from. Defaults to `None`: the
            optimizer's own, or a hundredth of it, see `factor`.
        min_learning_rate: Lower limit of the rate, before annealing. An automatic rate
            does not fall below a thousandth of the first one either.
        max_learning_rate: Upper limit of the rate.
        total_epochs: Epochs of a training that is cut into several fits, each of which
            gets this callback. Defaults to `None`: each fit is a training.
        backup_dir: Directory for the state at the end of each epoch. A fit that
            `keras.callbacks.BackupAndRestore` resumes continues exactly with it.
        verbose: `1` prints the rate that the next epoch starts with.
        log_diagnostics: Whether the last number of each list in `history` goes into
            the logs of an epoch too. Defaults to `False`: the learning rate alone, and
            what else is tuned.

    Attributes:
        history: Lists with an entry per step t: `learning_rate` (that was taken),
            `factor` (of the trial after it), `loss` (of its batch, before it) and,
            NaN where there is no trial, `loss_after` (of the same batch after the step)
            and `raised_loss` (after a step at the raised rate) or `slope` (the
            derivative of `loss_after` with respect to the rate). For another
            hyperparameter, `momentum` and `momentum_raised_loss` or `momentum_slope`.
        restarts: The steps after which `"auto"` noticed that the training diverges.

    Raises:
        ValueError: For arguments out of range, and in `fit` for an optimizer with a
            schedule, with accumulated gradients, or a step that cannot be tried.

    Example:
        >>> import keras, keras_lr, numpy as np
        >>> model = keras.Sequential([keras.layers.Dense(1)])
        >>> model.compile(keras.optimizers.SGD(), loss="mse", jit_compile=False)
        >>> x, y = np.ones((64, 3)), np.ones((64, 1))
        >>> walk = keras_lr.LearningRateWalk(factor=1.5)
        >>> _ = model.fit(x, y, epochs=2, verbose=0, callbacks=[walk])
        >>> rates = walk.history["learning_rate"]
        >>> len(rates), rates[0] < rates[-1]  # four steps, upwards
        (4, True)

    Notes:
        The source's own form is `LearningRateWalk(1.01)`, and `LearningRateWalk(1.1,
        every=10)`. It decreases by one percent; here the rate is divided by the
        factor, so that a step up and one down cancel. The step is the first of the two
        trials: what is decided is the rate of the next one. The average of `smoothing`
        is corrected for the zero that it starts from.
        Near the edge of what a network stands, one long step leads to a larger gradient
        and that to a longer step: loss spikes. `"auto"` shortens such steps by what is
        known as clipping the gradient's norm, at a limit that follows from the norms
        themselves.
        Equal losses lower the rate, and so does a trial that is not finite. A step that
        a `LossScaleOptimizer` leaves out decides nothing.
        Losses are those of `compute_loss` in training mode, regularizers included, with
        the dropout masks and the statistics of the step; a user's own `train_step` must
        have this loss. Replicas decide by the loss of the global batch.
        After a fit the optimizer has its last rate, without the annealing; one that has
        fallen below 1e-7 of the first is left as a thousandth of the first. A
        checkpoint in mid-fit has the annealed rate: pass `initial_learning_rate` after
        loading it, or set `model.optimizer.learning_rate`.

    References:
        - Jon, [Best learning
          rates](https://henryjon.blog/2019/10/28/best-learning-rates/), 2019.
    """

    def __init__(
        self,
        factor: float | str = "auto",
        *,
        every: int | None = None,
        probe: str | None = None,
        smoothing: float = 0.0,
        hyperparameters: tuple[str, ...] = ("learning_rate",),
        anneal: float | None = None,
        initial_learning_rate: float | None = None,
        min_learning_rate: float = 0.0,
        max_learning_rate: float = 10.0,
        total_epochs: int | None = None,
        backup_dir: str | Path | None = None,
        verbose: int = 0,
        log_diagnostics: bool = False,
    ) -> None:
        super().__init__(
            initial_learning_rate=optional(
                positive_number, "initial_learning_rate", initial_learning_rate
            ),
            total_epochs=total_epochs,
            backup_dir=backup_dir,
            verbose=verbose,
            log_diagnostics=log_diagnostics,
        )
        self.factor = factor_above_one("factor", factor)
        self.every = optional(positive_integer, "every", every)
        self.probe = None if probe is None else one_of("probe", probe, tuple(PROBES))
        self.smoothing = decay_rate("smoothing", smoothing)
        self.hyperparameters = learning_rate_first("hyperparameters", hyperparameters)
        self.anneal = optional(fraction, "anneal", anneal)
        limits = ordered_limits(min_learning_rate, max_learning_rate)
        self.min_learning_rate, self.max_learning_rate = limits
        self._reset()

    @property
    def steps_per_trial(self) -> int:
        """Steps from one trial to the next, even where `every` is `None`."""
        return self.every or (EVERY if self._is_automatic else 1)

    @property
    def probe_used(self) -> str:
        """The probe that is used, even where `probe` is `None`."""
        return self.probe or ("slope" if self._is_automatic else "loss")

    @property
    def _is_automatic(self) -> bool:
        return self.factor == "auto"

    def _start_factor(self) -> float:
        return START if self._is_automatic else 1.0

    def _columns(self) -> Sequence[str]:
        names = self.hyperparameters
        trials = (probed(name, self.probe_used) for name in names)
        return [*names, "factor", "loss", "loss_after", *trials]

    def _columns_to_log(self) -> Sequence[str]:
        return self.hyperparameters[1:]

    def _rule(self, name: str) -> WalkRule:
        if not isinstance(self.factor, str):
            return WalkRule(self.factor, self.factor)
        share = 1.0
        if name == LEARNING_RATE:
            share = walk.share(memory_of(self.model.optimizer))
        # Rare trials are to leave room for a factor that grows.
        factor = min(PERCENT**self.steps_per_trial, LARGEST**0.5)
        return WalkRule(factor, LARGEST, share)

    def _make_fit(self) -> OnlineFit:
        model, owner = self.model, type(self).__name__
        step = _keras.pure_step_of(model, self.hyperparameters[1:], owner)
        anneal = self.anneal
        if anneal is None:
            anneal = ANNEAL if self._is_automatic else 0.0
        rate = AnnealedRate(
            model,
            anneal=anneal,
            limits=(self.min_learning_rate, self.max_learning_rate),
            floor=FLOOR if self._is_automatic else 0.0,
        )
        around_step = WalkStep(
            model,
            step,
            rate,
            [Hyperparameter(model, x, rate.dtype) for x in self.hyperparameters[1:]],
            rules=[self._rule(name) for name in self.hyperparameters],
            probe=self.probe_used,
            every=self.steps_per_trial,
            smoothing=self.smoothing,
            anneals=anneal > 0.0,
        )
        return OnlineFit(
            model,
            around_step,
            self._columns(),
            owner=owner,
            guards=self._is_automatic,
        )

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return super().get_config() | {
            "factor": self.factor,
            "every": self.every,
            "probe": self.probe,
            "smoothing": self.smoothing,
            "hyperparameters": self.hyperparameters,
            "anneal": self.anneal,
            "min_learning_rate": self.min_learning_rate,
            "max_learning_rate": self.max_learning_rate,
        }
