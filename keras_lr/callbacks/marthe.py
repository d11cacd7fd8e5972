"""`MARTHE`: hypergradients of the validation loss move the learning rate."""

from pathlib import Path
from typing import Any

import keras

from keras_lr.callbacks.hypergradient import HypergradientCallback
from keras_lr.callbacks.marthe_arguments import (
    batch_part,
    discount_factor,
    number_or_word,
    ordered_limits,
    positive_integer,
)
from keras_lr.rules.array_checks import fraction, one_of, positive_number
from keras_lr.training.hypergradient_fit import HypergradientFit
from keras_lr.training.tuned_hyperparameter import HypergradientRule

# Of the update in log space: it has no scale, and one value serves every optimizer.
LOG_STEP = 0.3
# "auto" of the additive update: far too high nearly everywhere, and divided from there.
HIGHEST_STEP = 1.0
# The log update starts that much below the optimizer's rate: a start that is too low
# costs a few steps, one that is too high the training.
START = 0.01


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
        hyper_learning_rate: kappa of the log update, beta of the additive one. `"auto"`
            is 0.3 for the first. For the second it starts at 1 and is divided by ten,
            with everything put back as it was, whenever the training diverges.
        hyper_learning_rate_adaptation: Step size of the hyper-learning rate itself
            (kappa in the paper's section 4); `0.0` keeps it fixed.
        discount: mu, from 0 (hypergradient descent, HD) to 1 (RTHO), or `"adaptive"`
            for the paper's rule.
        anneal: Part of the training over which the rate falls linearly to zero at the
            end; `0.0` for never.
        validation_batch_size: Rows of a batch of E. At least as many as there are: the
            whole set, in order, each step.
        curvature_batch_size: Rows of the training batch whose Hessian is used; a float
            is a part of the batch, but at least 8 rows. `None` for the whole batch.
        every: Steps from one update of the rate to the next.
        initial_learning_rate: The rate to start from. Defaults to `None`: the
            optimizer's own, a hundredth of it for the log update.
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
            Delta after the last step is unknown, NaN.
        restarts: The steps after which `"auto"` noticed that the training diverges.

    Raises:
        ValueError: For arguments out of range, and in `fit` for an optimizer with a
            schedule, with accumulated gradients, or a step without derivatives.

    Example:
        >>> import keras, keras_lr, numpy as np
        >>> model = keras.Sequential([keras.layers.Dense(1)])
        >>> model.compile(keras.optimizers.SGD(), loss="mse", jit_compile=False)
        >>> x, y = np.ones((64, 3)), np.ones((64, 1))
        >>> marthe = keras_lr.MARTHE(anneal=0.0)
        >>> _ = model.fit(x, y, epochs=3, verbose=0, callbacks=[marthe])
        >>> rates = marthe.history["learning_rate"]
        >>> len(rates), rates[0] < rates[-1]  # six steps, upwards
        (6, True)

    Notes:
        Deviations from the paper, see `docs/methods/marthe.md`: Z starts at 0, not B;
        beta moves by plus, not minus, the product of two hypergradients; E leaves out
        the regularizers. The paper's own form is `MARTHE(data,
        update="additive", discount="adaptive", hyper_learning_rate=0.0,
        hyper_learning_rate_adaptation=1e-6, anneal=0.0, curvature_batch_size=None)`.
        Moving statistics of batch normalization are taken as given in E. Replicas take
        the same part of their own rows for the curvature. After a fit the optimizer has
        its last rate, without the annealing.

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
        discount: float | str = 0.99,
        anneal: float = 0.4,
        validation_batch_size: int = 32,
        curvature_batch_size: float | None = 0.25,
        every: int = 1,
        initial_learning_rate: float | None = None,
        min_learning_rate: float = 0.0,
        max_learning_rate: float = 10.0,
        backup_dir: str | Path | None = None,
        verbose: int = 0,
    ) -> None:
        one_of("update", update, ("log", "additive"))
        if initial_learning_rate is not None:
            positive_number("initial_learning_rate", initial_learning_rate)
        super().__init__(
            validation_data=validation_data,
            initial_learning_rate=initial_learning_rate,
            backup_dir=backup_dir,
            verbose=verbose,
        )
        self.update = update
        self._start_factor = START if update == "log" else 1.0
        self.hyper_learning_rate = number_or_word(
            "hyper_learning_rate", hyper_learning_rate, "auto"
        )
        self.hyper_learning_rate_adaptation = float(
            number_or_word(
                "hyper_learning_rate_adaptation", hyper_learning_rate_adaptation, "0"
            )
        )
        self.discount = discount_factor(discount)
        self.anneal = fraction("anneal", anneal)
        self.validation_batch_size = positive_integer(
            "validation_batch_size", validation_batch_size
        )
        self.curvature_batch_size = batch_part(
            "curvature_batch_size", curvature_batch_size
        )
        self.every = positive_integer("every", every)
        limits = ordered_limits(min_learning_rate, max_learning_rate)
        self.min_learning_rate, self.max_learning_rate = limits

    def _rule(self) -> HypergradientRule:
        beta = self.hyper_learning_rate
        if isinstance(beta, str):
            beta = LOG_STEP if self.update == "log" else HIGHEST_STEP
        return HypergradientRule(
            update=self.update,
            hyper_learning_rate=beta,
            adaptation=self.hyper_learning_rate_adaptation,
            discount=None if isinstance(self.discount, str) else self.discount,
            minimum=self.min_learning_rate,
            maximum=self.max_learning_rate,
        )

    def _make_fit(self) -> HypergradientFit:
        return HypergradientFit(
            self.model,
            {"learning_rate": self._rule()},
            owner=type(self).__name__,
            validation_data=self.validation_data,
            validation_batch_size=self.validation_batch_size,
            curvature_batch_size=self.curvature_batch_size,
            every=self.every,
            anneal=self.anneal,
            guards=self.hyper_learning_rate == "auto",
        )

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments, without `validation_data`."""
        names = (
            "update",
            "hyper_learning_rate",
            "hyper_learning_rate_adaptation",
            "discount",
            "anneal",
            "validation_batch_size",
            "curvature_batch_size",
            "every",
            "initial_learning_rate",
            "min_learning_rate",
            "max_learning_rate",
        )
        backup = None if self.backup_dir is None else str(self.backup_dir)
        own = {name: getattr(self, name) for name in names} | {"backup_dir": backup}
        return super().get_config() | own
