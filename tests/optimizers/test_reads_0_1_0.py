"""Models that 0.1.0 saved continue as they did there."""

import inspect
import json

import keras
import pytest

from keras_lr.rules import gradient_norms
from tests.data.v0_1_0.write_optimizers import CASES, FOLDER, train
from tests.every_optimizer import EXACTLY, assert_same, values

# Six steps of a few dozen operations each, rounded by up to 6e-8 of numbers of size 1.
ROUNDING = {"rtol": 1e-5, "atol": 1e-5}


IS_OLD = "quantization_config" not in inspect.signature(keras.layers.Dense).parameters


@pytest.mark.skipif(IS_OLD, reason="Keras 3.12 cannot read what Keras 3.15 wrote")
@pytest.mark.parametrize(
    "case",
    [
        # Both variants of one, and the default of the others.
        pytest.param(
            case,
            marks=()
            if case.startswith("AdaMo") or case.endswith("supremum")
            else pytest.mark.slow,
        )
        for case in CASES
    ],
)
def test_saved_model_has_its_state_and_continues_alike(case, monkeypatch):
    # Since then `AdaptiveRMSprop` and `AutoAdam` forget the largest norm.
    monkeypatch.setattr(gradient_norms, "FORGETTING", 0.0)
    expected = json.loads((FOLDER / "expected.json").read_text(encoding="utf-8"))[case]
    model = keras.models.load_model(FOLDER / f"{case}.keras")
    saved, variables = expected["optimizer"], model.optimizer.variables
    for name, variable in zip(saved, variables, strict=True):
        # Keras leaves out the name of the model in a loaded one.
        assert name.removeprefix("sequential_") == variable.name
    assert_same(values(variables), list(saved.values()), **EXACTLY)
    train(model, constant=1.5)
    assert_same(values(model.weights), expected["weights"], **ROUNDING)
