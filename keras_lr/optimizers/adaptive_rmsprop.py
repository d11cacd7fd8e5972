"""`AdaptiveRMSprop`: RMSprop at a rate that undoes its division for all weights."""

from typing import Any, ClassVar

import keras
from keras import ops

from keras_lr._checks import decay_rate, positive_number
from keras_lr._typing import Tensor
from keras_lr.optimizers.base import AdaptiveOptimizer
from keras_lr.rules import adaptive_rmsprop


@keras.saving.register_keras_serializable(package="keras_lr")
class AdaptiveRMSprop(AdaptiveOptimizer):
    r"""RMSprop at a rate that undoes, for all weights, its division for each.

    No rate has to be found: one weight's step is half as long as its share of the norm
    of all gradients, and shortens as the gradients do.

    .. math::
        \eta = \frac{\sqrt{K}}{2 L}, \qquad
        L = \max(\tfrac{9 + t}{10 + t} L, \|g\|), \qquad
        K = \rho K + (1 - \rho) \, \overline{g^2}, \qquad
        w \leftarrow w - \eta \, g / (\sqrt{\hat s} + \epsilon)

    where t counts the norms from 0, and the bar is the mean over all n weights, so that
    the rate is `0.5 / sqrt(n)` where all norms are alike, and falls with them. Costs no
    gradient evaluation; memory as RMSprop, 1 number a weight.

    Args:
        learning_rate: Multiple of the adaptive rate, a float or a schedule. Defaults
            to `1.0`.
        rho: Decay of the average of g^2, and of K.
        epsilon: Keeps the division finite. Defaults to `1e-7`.
        variant: `"supremum"`, or `"paper"` for Algorithm 2 as printed.
        lipschitz: `"gradient"` measures the gradients of each step; `"analytic"` takes
            max ||g|| and K from the formula of the last layer, which
            `keras_lr.LipschitzLR` in the callbacks of `fit` measures, for each batch or
            for each epoch, or which is given to `observe_constant`.
        bias_correction: With `variant="paper"`, whether averages and constants are
            divided by `1 - decay**t`, section 6.4; t counts steps for the averages and
            observations for the constants. Defaults to `False`.
        initial_norm: With `variant="paper"` and `lipschitz="analytic"`, max ||g||
            before the first observation. Defaults to 1.
        initial_square: With `variant="paper"`, what K starts from. Defaults to 0, and
            with `lipschitz="analytic"` to 1e-6: a first rate of 1e-3, as in section 8.
        kwargs: The other arguments of every Keras optimizer: `weight_decay`,
            `clipnorm`, `clipvalue`, `global_clipnorm`, `use_ema`, `ema_momentum`,
            `ema_overwrite_frequency`, `loss_scale_factor`,
            `gradient_accumulation_steps`, `name`.

    Attributes:
        effective_learning_rate: The rate of the last step; 0 if it was left out.
        lipschitz_constant: L, the largest norm by age; the last one in the paper's
            variant.

    Example:
        >>> import keras, keras_lr, numpy as np
        >>> optimizer = keras_lr.AdaptiveRMSprop()
        >>> weights = keras.Variable(np.zeros(4, "float32"))
        >>> optimizer.apply([ops.ones(4)], [weights])
        >>> optimizer.effective_learning_rate  # 0.5 / sqrt(4)
        0.25

    Notes:
        The body of Algorithm 2 is missing in the published text; `variant="paper"`
        follows its words and Algorithm 3: `(sqrt(K) + eps) / max ||g||` with K the
        average of max ||g^2||. That ratio is about ||g||_4 / ||g||_2, a number without
        a unit. Here max ||g|| is a supremum, as the theory says, to which an older norm
        counts less, and K the mean of g^2; the factor 1/2 was chosen by experiment. The
        average of g^2 is corrected for its start, and `epsilon` is outside the root, as
        in Keras.
        Weight decay follows the effective rate. Norms are those of the gradients that
        the step uses: of the whole batch, summed over replicas and accumulated steps,
        unscaled and clipped. A step with a gradient that is not finite is left out:
        only `iterations` counts it.

    References:
        - Yedida et al., [LipschitzLR](https://arxiv.org/abs/1902.07399), 2019,
          sections 6.2, 6.4 and 8, Algorithm 2.
    """

    _FORMS: ClassVar = {
        "supremum": adaptive_rmsprop.Supremum,
        "paper": adaptive_rmsprop.Paper,
    }
    _SLOTS = ("square",)
    _FIRST: ClassVar = {"initial_norm": 1.0, "initial_square": 1e-6}

    def __init__(
        self,
        learning_rate: Any = 1.0,
        rho: float = 0.9,
        epsilon: float = 1e-7,
        *,
        variant: str = "supremum",
        lipschitz: str = "gradient",
        bias_correction: bool = False,
        initial_norm: float | None = None,
        initial_square: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            learning_rate,
            variant=variant,
            lipschitz=lipschitz,
            bias_correction=bias_correction,
            initial_constants={
                "initial_norm": initial_norm,
                "initial_square": initial_square,
            },
            **kwargs,
        )
        self.rho = decay_rate("rho", rho)
        self.epsilon = positive_number("epsilon", epsilon)

    def _first_rate(self, norm: Tensor, square: Tensor) -> Tensor:
        return adaptive_rmsprop.paper_learning_rate(square, norm, self.epsilon)

    def _step(self, rate: Tensor, prepared: Tensor, square: keras.Variable) -> Tensor:
        gradient = ops.cast(prepared, square.dtype)
        average = self._average(square, ops.square(gradient), self.rho)
        return self._rule.step(rate, gradient, average, self._steps.value)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return super().get_config() | {"rho": self.rho, "epsilon": self.epsilon}
