"""`MARTHE`: hypergradients of the validation loss move the learning rate."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras

from keras_lr import _keras
from keras_lr._checks import (
    fraction,
    fraction_or,
    learning_rate_first,
    nonnegative_number,
    nonnegative_number_or,
    one_of,
    optional,
    ordered_limits,
    part_or_number_of_rows,
    positive_integer,
    positive_number,
)
from keras_lr.callbacks.base import FLOOR, LearningRateCallback
from keras_lr.rules.marthe import SAFE_DISCOUNT
from keras_lr.training.fit.annealed_rate import AnnealedRate
from keras_lr.training.fit.hyperparameter import Hyperparameter
from keras_lr.training.fit.online_fit import OnlineFit
from keras_lr.training.hypergradient.around_step import (
    RULE_COLUMNS,
    HypergradientStep,
    hypergradient_of,
)
from keras_lr.training.hypergradient.next_batch import NextBatch
from keras_lr.training.hypergradient.tuned_hyperparameter import HypergradientRule
from keras_lr.training.hypergradient.validation_loss import ValidationLoss

# kappa of the log update, which has no scale: one value serves every optimizer.
LOG_STEP = 0.3
# First beta of the additive update: far too high nearly everywhere, and lowered where a
# training diverges.
HIGHEST_STEP = 1.0
# The log update starts from this part of the optimizer's rate: a start that is too low
# costs a few steps, one that is too high the training.
START = 0.01
# With the automatic discount: the part of the training that the tangent looks back, the
# share of a new tangent in the average, and of a new norm of the gradient, or of new
# votes, in theirs, and the overshoot from which the rate may not rise. Validation data
# don't show what a high rate spoils in the training batches: the overshoot does.
MEMORY, AVERAGE, BRAKE, BRAKE_OF_VALIDATION = 0.2, 0.01, 0.3, 0.1
# With an optimizer that divides each entry of a gradient by its size: no entry of the
# tangent is larger than this part of the path of the fastest weight.
REACH = 1.0
# Part of the training over which the rate falls to zero.
ANNEAL = 0.4


@keras.saving.register_keras_serializable(package="keras_lr")
class MARTHE(LearningRateCallback):
    r"""Move the learning rate along the hypergradient of the validation loss.

    With each step of any optimizer, the tangent Z of its whole state with respect to
    the learning rate is advanced, discounted by :math:`\mu`. Its product with the
    gradient of the loss E says which way to move the rate:

    .. math::
        Z_{t+1} = \mu A_t Z_t + B_t, \qquad
        \Delta_{t+1} = \langle Z_{t+1}, \nabla E(w_{t+1}) \rangle

    .. math::
        \text{log:} \quad \eta_{t+1} = \eta_t \exp \left( -\kappa
        \frac{\Delta_{t+1}}{\|Z_{t+1}\| \|\nabla E\|} \right), \qquad
        \text{additive:} \quad \eta_{t+1} = \max(\eta_t - \beta \Delta_{t+1}, 0)

    with :math:`A_t` and :math:`B_t` the derivatives of the optimizer's own step with
    respect to its state and to the rate. By default :math:`\mu = 1 - 5 / T` in a
    training of T steps, a moving average of Z decides, batches count by the size of
    their gradients, and the rate does not rise after a step that ran up the other side
    of the valley. With an optimizer that divides each entry of a gradient by its size,
    as Adam does, each weight votes with the size of its product with the gradient, in
    place of the norms, and no entry of Z is larger than the path of the fastest weight.

    Costs one Hessian-vector product a step, of a quarter of the batch, and the gradient
    of a validation batch (none without validation data): about 1.8 and 2.8 plain steps
    of arithmetic. Memory: one more copy of the optimizer's state, and three of the
    weights.

    Args:
        validation_data: What E is measured on: (x, y) or (x, y, sample_weight) as
            arrays, or a finite `tf.data.Dataset` or `PyDataset` of batches; read once,
            also for later fits of the model with the same objects, and kept in memory.
            Defaults to `None`: the loss of the next training batch, which costs nothing
            and takes no data away.
        update: `"log"`, or `"additive"` as in the paper.
        hyper_learning_rate: kappa of the log update, beta of the additive one. `0.0`
            leaves the rate as it is, and only measures. Defaults to `"auto"`: 0.3 for
            the log update, which then starts from a hundredth of the rate of an
            optimizer that has not taken a step. The additive one starts with 1. A
            training that diverges is rolled back, and continues with a tenth of the
            rate (log) or of beta (additive).
        hyper_learning_rate_adaptation: Step size of the hyper-learning rate itself
            (kappa in the paper's section 4); `0.0` keeps it fixed.
        discount: mu, from 0 (hypergradient descent, HD) to 1 (RTHO), or `"adaptive"`
            for the paper's rule. Defaults to `"auto"`: Z looks back a fifth of the
            training (0.99 as long as nobody knows how long it is). In the log update,
            averages over a tenth of the steps so far, at most 100, then stand for Z and
            for the norm of grad E, which for a rise is at least its own; and the rate
            does not rise where the cosine of the last step with the training gradient
            after it is above 0.3 (0.1 with validation data). With an optimizer that
            divides each entry of a gradient by its size, the sum of the sizes of all
            products Z_i (grad E)_i replaces the norms, and no entry of Z is larger than
            the path of the fastest weight.
        hyperparameters: Names of what is tuned: `"learning_rate"` and any positive
            float attribute of the optimizer, such as `"weight_decay"` or `"momentum"`.
            Each costs as much as the first.
        anneal: Part of the training over which the rate falls linearly to zero at the
            end. Defaults to `None`: 0.4 if `hyper_learning_rate` is `"auto"`, else 0.
        validation_batch_size: Rows of a batch of E. With as many as the data have, or
            more, each batch is the whole set, in order.
        curvature_batch_size: Rows of the training batch whose Hessian is used; a float
            is a part of the batch, but at least 8 rows. `None` for the whole batch.
        every: Steps from one update of the rate to the next.
        initial_learning_rate: The rate to start from. Defaults to `None`: the
            optimizer's own, or a hundredth of it, see `hyper_learning_rate`.
        min_learning_rate: Lower limit of the rate, before annealing. An automatic rate
            does not fall below a thousandth of the first one either.
        max_learning_rate: Upper limit of the rate.
        total_epochs: Epochs of a training that is cut into several fits, each of which
            gets this callback. Defaults to `None`: each fit is a training.
        backup_dir: Directory for the tangents at the end of each epoch. A fit that
            `keras.callbacks.BackupAndRestore` resumes continues exactly with it.
            Without it, it resumes with the rate, and tangents of zero.
        verbose: `1` prints the rate that the next epoch starts with.
        log_diagnostics: Whether the last number of each list in `history` goes into
            the logs of an epoch too. Defaults to `False`: the learning rate alone, and
            what else is tuned.

    Attributes:
        history: Lists with an entry per step t: `learning_rate` (of the step),
            `hypergradient` (Delta after it), `discount` (mu in it),
            `hyper_learning_rate` (of the update after it), `loss` (of its batch, before
            it) and, with validation data, `validation_loss` (E after it). Without such
            data, Delta after the last step is unknown, NaN. For another hyperparameter,
            `weight_decay` and `weight_decay_hypergradient`.
        restarts: The steps after which `"auto"` noticed that the training diverges.

    Raises:
        ValueError: For arguments out of range, and in `fit` for an optimizer with a
            schedule, with accumulated gradients, or a step without derivatives.

    Example:
        >>> import keras, keras_lr, numpy as np
        >>> model = keras.Sequential([keras.layers.Dense(1)])
        >>> model.compile(keras.optimizers.SGD(), loss="mse", jit_compile=False)
        >>> x, y = np.ones((64, 3)), np.ones((64, 1))
        >>> marthe = keras_lr.MARTHE()
        >>> _ = model.fit(x, y, epochs=3, verbose=0, callbacks=[marthe])
        >>> rates = marthe.history["learning_rate"]
        >>> len(rates), rates[0] < rates[-1]  # six steps, upwards
        (6, True)

    Notes:
        Deviations from the paper, see `docs/methods/marthe.md`: Z starts at 0, not B;
        beta moves by plus, not minus, the product of two hypergradients; E leaves out
        the regularizers. The paper's own form is `MARTHE(data,
        update="additive", discount="adaptive", hyper_learning_rate=0.0,
        hyper_learning_rate_adaptation=1e-6, curvature_batch_size=None)`.
        Moving statistics of batch normalization are constants in E. Replicas use the
        same part of their own rows for the curvature. After a fit the optimizer has
        its last rate, without the annealing, and the last value of what else is tuned.
        A rate that has fallen below 1e-7 of the first one, as the additive update may
        take it to 0, is left as a thousandth of the first, so that a later fit can
        train; fits that continue have their first rate, and its limit, in common.
        A checkpoint in mid-fit has the annealed rate: pass `initial_learning_rate`
        after loading it, or set `model.optimizer.learning_rate`.
        Version 0.1.0 had a discount of 0.99 and none of the rest of `"auto"`:
        `discount=0.99` is its rule. `hyper_learning_rate="auto"` holds two more copies
        of the weights to roll back to and, with the additive update, of the optimizer's
        state.

    References:
        - Donini et al., [MARTHE](https://arxiv.org/abs/1910.08525), 2020, Algorithm 1.
    """

    def __init__(
        self,
        validation_data: Any = None,
        *,
        update: str = "log",
        hyper_learning_rate: float | str = "auto",
        hyper_learning_rate_adaptation: float = 0.0,
        discount: float | str = "auto",
        hyperparameters: tuple[str, ...] = ("learning_rate",),
        anneal: float | None = None,
        validation_batch_size: int = 32,
        curvature_batch_size: float | None = 0.25,
        every: int = 1,
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
        self.validation_data = validation_data
        self.update = one_of("update", update, ("log", "additive"))
        self.hyper_learning_rate = nonnegative_number_or(
            "hyper_learning_rate", hyper_learning_rate, "auto"
        )
        self.hyper_learning_rate_adaptation = nonnegative_number(
            "hyper_learning_rate_adaptation", hyper_learning_rate_adaptation
        )
        self.discount = fraction_or("discount", discount, ("auto", "adaptive"))
        self.hyperparameters = learning_rate_first("hyperparameters", hyperparameters)
        self.anneal = optional(fraction, "anneal", anneal)
        self.validation_batch_size = positive_integer(
            "validation_batch_size", validation_batch_size
        )
        self.curvature_batch_size = part_or_number_of_rows(
            "curvature_batch_size", curvature_batch_size
        )
        self.every = positive_integer("every", every)
        limits = ordered_limits(min_learning_rate, max_learning_rate)
        self.min_learning_rate, self.max_learning_rate = limits
        self._reset()

    @property
    def _is_automatic(self) -> bool:
        return self.hyper_learning_rate == "auto"

    def _start_factor(self) -> float:
        return START if self._is_automatic and self.update == "log" else 1.0

    def _columns(self) -> Sequence[str]:
        of_objective = [] if self.validation_data is None else ["validation_loss"]
        of_step = [*self.hyperparameters, *self._columns_of_rule()]
        return [*of_step, "loss", *of_objective]

    def _columns_to_log(self) -> Sequence[str]:
        return self.hyperparameters[1:]

    def _late_columns(self) -> Sequence[str]:
        return self._columns_of_rule() if self.validation_data is None else ()

    def _columns_of_rule(self) -> list[str]:
        return [*RULE_COLUMNS, *map(hypergradient_of, self.hyperparameters[1:])]

    def _rule(self, step: _keras.PureStep) -> HypergradientRule:
        beta = self.hyper_learning_rate
        if isinstance(beta, str):
            beta = LOG_STEP if self.update == "log" else HIGHEST_STEP
        rule = HypergradientRule(
            update=self.update,
            hyper_learning_rate=beta,
            adaptation=self.hyper_learning_rate_adaptation,
            discount=None if isinstance(self.discount, str) else self.discount,
        )
        if self.discount != "auto":
            return rule
        rule = dataclasses.replace(rule, discount=SAFE_DISCOUNT, memory=MEMORY)
        if self.update == "additive":
            return rule
        brake = BRAKE if self.validation_data is None else BRAKE_OF_VALIDATION
        rule = dataclasses.replace(rule, average=AVERAGE, brake=brake)
        if not step.divides_entries:
            return rule
        # There, a unit that is hardly ever active makes all of the norm of Z.
        return dataclasses.replace(rule, has_votes=True, reach=REACH)

    def _make_fit(self) -> OnlineFit:
        model, owner = self.model, type(self).__name__
        step = _keras.pure_step_of(model, self.hyperparameters[1:], owner)
        anneal = ANNEAL if self._is_automatic else 0.0
        rate = AnnealedRate(
            model,
            anneal=anneal if self.anneal is None else self.anneal,
            limits=(self.min_learning_rate, self.max_learning_rate),
            floor=FLOOR if self._is_automatic else 0.0,
        )
        others = [
            Hyperparameter(model, x, rate.dtype) for x in self.hyperparameters[1:]
        ]
        objective = NextBatch()
        if self.validation_data is not None:
            objective = ValidationLoss(
                model, self.validation_data, self.validation_batch_size
            )
        around_step = HypergradientStep(
            model,
            step,
            rate,
            others,
            rule=self._rule(step),
            objective=objective,
            curvature_batch_size=self.curvature_batch_size,
            every=self.every,
        )
        return OnlineFit(
            model,
            around_step,
            self._columns(),
            owner=owner,
            guards=self._is_automatic,
        )

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments, without `validation_data`."""
        return super().get_config() | {
            "update": self.update,
            "hyper_learning_rate": self.hyper_learning_rate,
            "hyper_learning_rate_adaptation": self.hyper_learning_rate_adaptation,
            "discount": self.discount,
            "hyperparameters": self.hyperparameters,
            "anneal": self.anneal,
            "validation_batch_size": self.validation_batch_size,
            "curvature_batch_size": self.curvature_batch_size,
            "every": self.every,
            "min_learning_rate": self.min_learning_rate,
            "max_learning_rate": self.max_learning_rate,
        }
