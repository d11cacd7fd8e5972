"""How far the last step ran up the other side, by hand."""

import keras
import numpy as np
import pytest

from keras_lr import _keras
from keras_lr.training.derivatives import optimizer_tangent
from keras_lr.training.derivatives.last_step import LastStep


@pytest.mark.parametrize("compiled_from", [1, 100])
def test_cosine_is_that_of_the_last_step_with_the_gradient(compiled_from, monkeypatch):
    """Twice, from new weights: steps of (3, 4) and (0, -2), a gradient of (1, 0)."""
    monkeypatch.setattr(optimizer_tangent, "COMPILED_FROM", compiled_from)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, use_bias=False)])
    model.compile(keras.optimizers.SGD(), "mse")
    weight = model.trainable_variables[0]
    overshoot = LastStep(model, _keras.pure_step_of(model, (), "MARTHE"))
    gradient = keras.ops.convert_to_tensor([[1.0], [0.0]])
    for step, cosine, largest in (([3.0, 4.0], 3 / 5, 4.0), ([0.0, -2.0], 0.0, 2.0)):
        overshoot.remember()
        weight.assign_add(np.reshape(step, (2, 1)))
        found = overshoot.cosine([gradient], "float32")
        assert float(found) == pytest.approx(cosine, abs=1e-6)
        assert float(overshoot.largest("float32")) == largest
