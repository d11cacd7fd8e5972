"""`AdaMo`: momentum at the inverse of a Lipschitz constant."""

from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar

import keras
from keras import ops

from keras_lr import _keras
from keras_lr._checks import decay_rate
from keras_lr._typing import Tensor
from keras_lr.optimizers.base import AdaptiveOptimizer
from keras_lr.rules import adamo


@keras.saving.register_keras_serializable(package="keras_lr")
class AdaMo(AdaptiveOptimizer):
    r"""Momentum at the inverse of a constant that bounds the gradient.

    No rate has to be found: the rate is set by the largest gradient so far and by how
    far the gradients of successive steps agree.

    .. math::
        V &= \beta V + (1 - \beta) g, \qquad
        K = \max_{s \le t} \max_l \|g_{s,l}\| \\
        r &= \|\hat V\| / \sqrt{\widehat{\|g\|^2}}, \qquad
        W \leftarrow W - \frac{3 \, r^{3/4}}{K} (\beta V + (1 - \beta) g)

    where l counts the weight tensors, hats are averages with the weights of V, and r is
    1 where all gradients agree and about `sqrt((1 - beta) / (1 + beta))` in pure noise.
    Costs no gradient evaluation; memory as momentum, 1 number a weight.

    Args:
        learning_rate: Multiple of the adaptive rate, a float or a schedule. Defaults
            to `1.0`.
        momentum: beta. Defaults to `0.9`.
        variant: `"supremum"`, or `"paper"` for Algorithm 1 as printed.
        lipschitz: `"gradient"` measures the gradients of each step; `"analytic"` takes
            K from the formula of the last layer, which `keras_lr.LipschitzLR` in the
            callbacks of `fit` measures, for each batch or for each epoch, or which is
            given to `observe_constant`.
        bias_correction: With `variant="paper"`, whether V and K are divided by
            `1 - beta**t`, section 6.4. It cancels unless `lipschitz="analytic"`, where
            t counts steps for V and observations for K. Defaults to `False`.
        initial_constant: With `variant="paper"`, what K starts from. With
            `lipschitz="analytic"` it is also the first rate itself, the paper's x of
            section 7.3.1. Defaults to 0, and to 0.1 with `lipschitz="analytic"`.
        kwargs: The other arguments of every Keras optimizer: `weight_decay`,
            `clipnorm`, `clipvalue`, `global_clipnorm`, `use_ema`, `ema_momentum`,
            `ema_overwrite_frequency`, `loss_scale_factor`,
            `gradient_accumulation_steps`, `name`.

    Attributes:
        effective_learning_rate: The rate of the last step; 0 if it was left out.
        lipschitz_constant: K.

    Example:
        >>> import keras, keras_lr, numpy as np
        >>> optimizer = keras_lr.AdaMo(variant="paper")
        >>> weights = keras.Variable(np.zeros(2, "float32"))
        >>> optimizer.apply([keras.ops.array([3.0, 4.0])], [weights])
        >>> np.round(weights.numpy(), 6).tolist()  # A step of length 1.
        [-0.6, -0.8]

    Notes:
        Algorithm 1 averages the norms of the gradients in K. A step is then about 1
        long, however small the gradients are. Here K is a supremum, as the
        theory says, the agreement r takes the noise out of the last steps, and V looks
        ahead, as Nesterov's does. The factor 3 and the power 3/4 were chosen by
        experiment.
        max ||g|| runs over the weight tensors, biases included.
        Weight decay follows the effective rate. Norms are those of the gradients that
        the step uses: of the whole batch, summed over replicas and accumulated steps,
        unscaled and clipped. A step with a gradient that is not finite is left out:
        only `iterations` counts it.

    References:
        - Yedida et al., [LipschitzLR](https://arxiv.org/abs/1902.07399), 2019,
          sections 6.1, 6.4 and 7.3.1, Algorithm 1.
    """

    _FORMS: ClassVar = {"supremum": adamo.Supremum, "paper": adamo.Paper}
    _SLOTS = ("decayed_momentum",)
    _FIRST: ClassVar = {"initial_constant": 0.1}

    def __init__(
        self,
        learning_rate: Any = 1.0,
        momentum: float = 0.9,
        *,
        variant: str = "supremum",
        lipschitz: str = "gradient",
        bias_correction: bool = False,
        initial_constant: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            learning_rate,
            variant=variant,
            lipschitz=lipschitz,
            bias_correction=bias_correction,
            initial_constants={"initial_constant": initial_constant},
            **kwargs,
        )
        self.momentum = decay_rate("momentum", momentum)

    def build(self, variables: Sequence[Any]) -> None:
        """Make the state: one slot a variable, and a few scalars."""
        if self.built:
            return
        super().build(variables)
        self._mean_square = self._scalar("mean_square")
        self._agreement = self._scalar("agreement")

    def _prepared(
        self, gradients: Sequence[Tensor], variables: Sequence[Any], square: Tensor
    ) -> Sequence[Any]:
        """Return pairs of g and M = V / (1 - beta); note how far gradients agree."""
        pairs = []
        for each, variable in zip(gradients, variables, strict=True):
            decayed = self._slots[0][self.variable_index(variable)]
            gradient = ops.cast(each, decayed.dtype)
            pairs.append((gradient, adamo.momentum(decayed.value, gradient)))
        mean_square, agreement = self._rule.mean_square_and_agreement(
            (self._mean_square.value, self._agreement.value),
            square,
            partial(_keras.squared_norms, [m for _, m in pairs], self._precision),
            self._counts.value,
            self._steps.value,
        )
        self._mean_square.assign(mean_square)
        self._agreement.assign(agreement)
        return pairs

    def _adaptive_rate(self) -> Tensor:
        constants = [each.value for each in self._constants]
        agreement, observations = self._agreement.value, self._observations.value
        return self._rule.rate(constants, agreement, observations)

    def _first_rate(self, constant: Tensor) -> Tensor:
        # Section 7.3.1: K starts from a value that is itself the first rate.
        return constant

    def _step(
        self, rate: Tensor, prepared: tuple[Tensor, Tensor], decayed: keras.Variable
    ) -> Tensor:
        gradient, momentum = prepared
        # A step that is left out has added zeros and must not decay them.
        beta = ops.convert_to_tensor(self.momentum, dtype=self._precision)
        beta = ops.where(self._counts.value > 0.0, beta, ops.ones_like(beta))
        self.assign(decayed, momentum * ops.cast(beta, momentum.dtype))
        return self._rule.step(
            rate, gradient, momentum, decayed.value, self._steps.value
        )

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return super().get_config() | {"momentum": self.momentum}
