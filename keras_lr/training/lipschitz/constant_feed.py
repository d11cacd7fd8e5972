"""Give measured Lipschitz constants to the optimizers that ask for them."""

from typing import Any

import keras

from keras_lr import _keras
from keras_lr._typing import Tensor


class ConstantFeed:
    """The optimizers of a model that take their constant from outside.

    It builds them, since their constants are part of their state.

    Args:
        model: A built, compiled model.
    """

    def __init__(self, model: keras.Model) -> None:
        leaves = _keras.leaf_optimizers(model.optimizer)
        self._takers = [leaf for leaf in leaves if takes_constants(leaf)]
        if self._takers and not model.optimizer.built:
            with model.distribute_strategy.scope():
                model.optimizer.build(model.trainable_variables)
        for optimizer in self._takers:
            optimizer.expect_constants()

    def give(self, constant: Tensor, weight_term: Tensor) -> None:
        """Pass on a constant and the regularizers' part of it, in a step or outside."""
        for optimizer in self._takers:
            optimizer.observe_constant(constant, weight_term)


def takes_constants(optimizer: Any) -> bool:
    """Return whether an optimizer was made with `lipschitz="analytic"`."""
    return getattr(optimizer, "lipschitz", None) == "analytic"
