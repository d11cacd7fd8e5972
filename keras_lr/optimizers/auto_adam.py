"""`AutoAdam`: Adam at the ratio of the constants that bound its two averages."""

from typing import Any, ClassVar

import keras
from keras import ops

from keras_lr._checks import decay_rate, positive_number
from keras_lr._typing import Tensor
from keras_lr.optimizers.base import AdaptiveOptimizer
from keras_lr.rules import adaptive_rmsprop, auto_adam


@keras.saving.register_keras_serializable(package="keras_lr")
class AutoAdam(AdaptiveOptimizer):
    r"""Adam at the ratio of the constants that bound its two averages.

    No rate has to be found: one weight's step is as long as its share of the norm of
    all gradients, and shortens as the gradients do.

    .. math::
        \eta = \frac{\sqrt{K_2}}{K_1}, \qquad
        K_1 = \max(\tfrac{9 + t}{10 + t} K_1, \|g\|), \qquad
        K_2 = \beta_1 K_2 + (1 - \beta_1) \, \overline{g^2}, \qquad
        w \leftarrow w - \eta \, \hat v / (\sqrt{\hat s} + \epsilon)

    where t counts the norms from 0, and the bar is the mean over all n weights, so that
    the rate is `1 / sqrt(n)` where all norms are alike, and falls with them. Costs no
    gradient evaluation; memory as Adam, 2 numbers a weight.

    Args:
        learning_rate: Multiple of the adaptive rate, a float or a schedule. Defaults
            to `1.0`.
        beta_1: Decay of the average of g, and of K_2 (of K_1 in the paper's variant).
        beta_2: Decay of the average of g^2 (and of K_2 in the paper's variant).
        epsilon: Keeps the division finite. Defaults to `1e-7`.
        variant: `"supremum"`, or `"paper"` for Algorithm 3 as printed.
        lipschitz: `"gradient"` measures the gradients of each step; `"analytic"` takes
            K_1 and K_2 from the formula of the last layer, which
            `keras_lr.LipschitzLR` in the callbacks of `fit` measures, for each batch or
            for each epoch, or which is given to `observe_constant`.
        bias_correction: With `variant="paper"`, whether averages and constants are
            divided by `1 - decay**t`, section 6.4; t counts steps for the averages and
            observations for the constants. Defaults to `False`.
        initial_norm: With `variant="paper"`, what K_1 starts from; section 9 takes 1.
            Defaults to 0, and to 1 with `lipschitz="analytic"`.
        initial_square: Likewise K_2, 1e-6 in section 9. Defaults to 0, and to 1e-6
            with `lipschitz="analytic"`.
        kwargs: The other arguments of every Keras optimizer: `weight_decay`,
            `clipnorm`, `clipvalue`, `global_clipnorm`, `use_ema`, `ema_momentum`,
            `ema_overwrite_frequency`, `loss_scale_factor`,
            `gradient_accumulation_steps`, `name`.

    Attributes:
        effective_learning_rate: The rate of the last step; 0 if it was left out.
        lipschitz_constant: K_1.

    Example:
        >>> import keras, keras_lr, numpy as np
        >>> optimizer = keras_lr.AutoAdam()
        >>> weights = keras.Variable(np.zeros(4, "float32"))
        >>> optimizer.apply([ops.ones(4)], [weights])
        >>> optimizer.effective_learning_rate  # 1 / sqrt(4)
        0.5

    Notes:
        Algorithm 3 multiplies Adam's rate by some hundred, and more and more as
        gradients shrink: K_1 forgets faster than K_2, and their ratio, about
        ||g||_4 / ||g||_2, is a number without a unit. Here K_1 is a supremum, as the
        theory says, to which an older norm counts less, and K_2 the mean of g^2 with
        the decay of V. Both averages are corrected for their start, and `epsilon` is
        outside the root, as in Keras. With `lipschitz="analytic"` and
        `variant="paper"`, K_2 averages the squared constant without the product of its
        two terms, section 6.3.
        Weight decay follows the effective rate. Norms are those of the gradients that
        the step uses: of the whole batch, summed over replicas and accumulated steps,
        unscaled and clipped. A step with a gradient that is not finite is left out:
        only `iterations` counts it.

    References:
        - Yedida et al., [LipschitzLR](https://arxiv.org/abs/1902.07399), 2019,
          sections 6.3, 6.4 and 9, Algorithm 3.
    """

    _FORMS: ClassVar = {"supremum": auto_adam.Supremum, "paper": auto_adam.Paper}
    _SLOTS = ("velocity", "square")
    _FIRST: ClassVar = {"initial_norm": 1.0, "initial_square": 1e-6}

    def __init__(
        self,
        learning_rate: Any = 1.0,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
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
        self.beta_1 = decay_rate("beta_1", beta_1)
        self.beta_2 = decay_rate("beta_2", beta_2)
        self.epsilon = positive_number("epsilon", epsilon)

    def _first_rate(self, norm: Tensor, square: Tensor) -> Tensor:
        return adaptive_rmsprop.paper_learning_rate(square, norm, self.epsilon)

    def _step(
        self,
        rate: Tensor,
        prepared: Tensor,
        velocity: keras.Variable,
        square: keras.Variable,
    ) -> Tensor:
        gradient = ops.cast(prepared, velocity.dtype)
        v = self._average(velocity, gradient, self.beta_1)
        s = self._average(square, ops.square(gradient), self.beta_2)
        return self._rule.step(rate, v, s, self._steps.value)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return super().get_config() | {
            "beta_1": self.beta_1,
            "beta_2": self.beta_2,
            "epsilon": self.epsilon,
        }
