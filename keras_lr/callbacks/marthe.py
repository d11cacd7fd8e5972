"""`MARTHE`: hypergradients of the validation loss move the learning rate."""

import math
from pathlib import Path
from typing import Any

import keras

from keras_lr.callbacks.hypergradient import HypergradientCallback
from keras_lr.callbacks.marthe_arguments import CHECKS
from keras_lr.callbacks.online_arguments import LEARNING_RATE, checked
from keras_lr.training.fit.online_fit import OnlineFit
from keras_lr.training.fit.online_tuning import LARGEST_AVERAGE, moves_by_complement
from keras_lr.training.hypergradient.fit import hypergradient_fit
from keras_lr.training.hypergradient.tuned_hyperparameter import HypergradientRule

# Of the update in log space: it has no scale, and one value serves every optimizer.
LOG_STEP = 0.3
# "auto" of the additive update: far too high nearly everywhere, and divided from there.
HIGHEST_STEP = 1.0
# The log update starts that much below the optimizer's rate: a start that is too low
# costs a few steps, one that is too high the training.
START = 0.01
# Part of the training over which the rate falls to zero.
ANNEAL = 0.4


@keras.saving.register_keras_serializable(package="keras_lr")
class MARTHE(HypergradientCallback):
    r"""Move the learning rate along the hypergradient of the validation loss.

    Beside each step of any optimizer goes the tangent Z of its whole state with respect
    to the learning rate, discounted by :math:`\mu`. Its product with the gradient of
    the loss E says which way to move the rate:

    .. math::
        Z_{t+1} = \mu A_t Z_t + B_t, \qquad
        \Delta_{t+1} = \langle Z_{t+1}, \nabla E(w_{t+1}) \rangle

    .. math::
        \text{log:} \quad \eta_{t+1} = \eta_t \exp \left( -\kappa
        \frac{\Delta_{t+1}}{\|Z_{t+1}\| \|\nabla E\|} \right), \qquad
        \text{additive:} \quad \eta_{t+1} = \max(\eta_t - \beta \Delta_{t+1}, 0)

    with :math:`A_t` and :math:`B_t` the derivatives of the optimizer's own step by its
    state and by the rate. Costs one Hessian-vector product a step, of a quarter of the
    batch, and the gradient of a validation batch (none without validation data): about
    1.8 and 2.8 plain steps of arithmetic. Memory: one more copy of the weights and of
    the optimizer's state.

    Args:
        validation_data: What E is measured on: (x, y) or (x, y, sample_weight) as
            arrays, or a finite `tf.data.Dataset` or `PyDataset` of batches; read once
            and kept in memory. Defaults to `None`: the loss of the next training
            batch, which costs nothing and takes no data away.
        update: `"log"`, or `"additive"` as in the paper.
        hyper_learning_rate: kappa of the log update, beta of the additive one. `0.0`
            keeps the rate as it is, and measures. Defaults to `"auto"`: 0.3 for the
            log update, which then starts from a hundredth of the rate of an optimizer
            that has not taken a step. The additive one starts with 1. A training that
            diverges is put back as it was, and goes on with a tenth: of the rate the
            one, of beta the other.
        hyper_learning_rate_adaptation: Step size of the hyper-learning rate itself
            (kappa in the paper's section 4); `0.0` keeps it fixed.
        discount: mu, from 0 (hypergradient descent, HD) to 1 (RTHO), or `"adaptive"`
            for the paper's rule.
        hyperparameters: Names of what is tuned: `"learning_rate"` and any positive
            float attribute of the optimizer, such as `"weight_decay"` or `"momentum"`.
            Each costs as much as the first.
        anneal: Part of the training over which the rate falls linearly to zero at the
            end. Defaults to `None`: 0.4 if `hyper_learning_rate` is `"auto"`, else 0.
        validation_batch_size: Rows of a batch of E. At least as many as there are: the
            whole set, in order, each step.
        curvature_batch_size: Rows of the training batch whose Hessian is used; a float
            is a part of the batch, but at least 8 rows. `None` for the whole batch.
        every: Steps from one update of the rate to the next.
        initial_learning_rate: The rate to start from. Defaults to `None`: the
            optimizer's own, or a hundredth of it, see `hyper_learning_rate`.
        min_learning_rate: Lower limit of the rate, before annealing.
        max_learning_rate: Upper limit of the rate.
        backup_dir: Directory for the tangents at the end of each epoch. A fit that
            `keras.callbacks.BackupAndRestore` resumes goes on exactly with it. Without
            it, it resumes with the rate, and tangents of zero.
        verbose: `1` prints the rate that the next epoch starts with.

    Attributes:
        history: Lists with an entry per step t: `learning_rate` (of the step),
            `hypergradient` (Delta after it), `discount` (mu in it),
            `hyper_learning_rate` (of the update after it), `loss` (of its batch, before
            it) and, with validation data, `validation_loss` (E after it). Without them,
            Delta after the last step is unknown, NaN. For another hyperparameter,
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
        Moving statistics of batch normalization are taken as given in E. Replicas take
        the same part of their own rows for the curvature. After a fit the optimizer has
        its last rate, without the annealing, and the last value of what else is tuned.
        `"auto"` keeps two more copies of the weights and of the optimizer's state.

    References:
        - Donini et al., [MARTHE](https://arxiv.org/abs/1910.08525), 2020, Algorithm 1.
    """

    # As `__init__` was given them; the rest is declared in the base.
    update: str
    hyper_learning_rate: float | str
    hyper_learning_rate_adaptation: float
    discount: float | str
    anneal: float | None
    validation_batch_size: int
    curvature_batch_size: float | None
    every: int
    min_learning_rate: float
    max_learning_rate: float

    def __init__(
        self,
        validation_data: Any = None,
        *,
        update: str = "log",
        hyper_learning_rate: float | str = "auto",
        hyper_learning_rate_adaptation: float = 0.0,
        discount: float | str = 0.99,
        hyperparameters: tuple[str, ...] = ("learning_rate",),
        anneal: float | None = None,
        validation_batch_size: int = 32,
        curvature_batch_size: float | None = 0.25,
        every: int = 1,
        initial_learning_rate: float | None = None,
        min_learning_rate: float = 0.0,
        max_learning_rate: float = 10.0,
        backup_dir: str | Path | None = None,
        verbose: int = 0,
    ) -> None:
        arguments = checked(
            CHECKS,
            update=update,
            hyper_learning_rate=hyper_learning_rate,
            hyper_learning_rate_adaptation=hyper_learning_rate_adaptation,
            discount=discount,
            hyperparameters=hyperparameters,
            anneal=anneal,
            validation_batch_size=validation_batch_size,
            curvature_batch_size=curvature_batch_size,
            every=every,
            initial_learning_rate=initial_learning_rate,
            min_learning_rate=min_learning_rate,
            max_learning_rate=max_learning_rate,
        )
        super().__init__(
            validation_data, arguments, backup_dir=backup_dir, verbose=verbose
        )

    @property
    def _is_automatic(self) -> bool:
        return self.hyper_learning_rate == "auto"

    def _start_factor(self) -> float:
        return START if self._is_automatic and self.update == "log" else 1.0

    def _rule(self, name: str) -> HypergradientRule:
        is_rate = name == LEARNING_RATE
        is_log = self.update == "log"
        beta = self.hyper_learning_rate
        if isinstance(beta, str):
            beta = LOG_STEP if is_log else HIGHEST_STEP
        is_average = moves_by_complement(name)
        maximum = LARGEST_AVERAGE if is_average else math.inf
        return HypergradientRule(
            update="log_complement" if is_log and is_average else self.update,
            hyper_learning_rate=beta,
            adaptation=self.hyper_learning_rate_adaptation,
            discount=None if isinstance(self.discount, str) else self.discount,
            minimum=self.min_learning_rate if is_rate else 0.0,
            maximum=self.max_learning_rate if is_rate else maximum,
        )

    def _make_fit(self) -> OnlineFit:
        anneal = self.anneal
        if anneal is None:
            anneal = ANNEAL if self._is_automatic else 0.0
        return hypergradient_fit(
            self.model,
            {name: self._rule(name) for name in self.hyperparameters},
            owner=type(self).__name__,
            validation_data=self.validation_data,
            validation_batch_size=self.validation_batch_size,
            curvature_batch_size=self.curvature_batch_size,
            every=self.every,
            anneal=anneal,
            guards=self._is_automatic,
        )

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments, without `validation_data`."""
        backup = None if self.backup_dir is None else str(self.backup_dir)
        own = {name: getattr(self, name) for name in self._arguments}
        return super().get_config() | own | {"backup_dir": backup}
