"""A model from `ModelCheckpoint`, whose file has the annealed rate, trains again.

What is done here is what docs/troubleshooting.md says, "A loaded checkpoint trains
slowly".
"""

import keras
import pytest

import keras_lr
from tests.small_problem import STEPS, compiled, fit

RATE, EPOCHS = 0.05, 4


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Give a model that was trained, and the file of its last epoch."""
    path = tmp_path_factory.mktemp("loaded") / "best.keras"
    model = compiled(optimizer=keras.optimizers.SGD(RATE), jit_compile=False)
    checkpoint = keras.callbacks.ModelCheckpoint(path)
    fit(model, [keras_lr.LipschitzLR(), checkpoint], EPOCHS)
    return model, path


def loaded(trained):
    _, path = trained
    return keras.models.load_model(path)


def rate_of(model):
    return float(model.optimizer.learning_rate)


def test_file_has_the_annealed_rate_and_memory_the_other(trained):
    # One step of the 24 is left, of the half over which it falls.
    assert rate_of(loaded(trained)) == pytest.approx(rate_of(trained[0]) / 12, rel=1e-5)


def test_rate_that_is_set_is_that_of_a_plain_fit(trained):
    model, recorder = loaded(trained), keras_lr.LearningRateRecorder()
    model.optimizer.learning_rate = RATE
    fit(model, [recorder], 1)
    assert recorder.history["learning_rate"] == pytest.approx([RATE], rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["MARTHE", "LearningRateWalk"])
def test_rate_that_is_passed_is_that_of_a_fit_with_ours(trained, kind):
    model = loaded(trained)
    callback = getattr(keras_lr, kind)(initial_learning_rate=RATE, anneal=0.0)
    fit(model, [callback], 1)
    rates = callback.history["learning_rate"]
    assert len(rates) == STEPS
    # The first step decides on the second one; not a hundredth, nor what the file has.
    assert rates[0] == pytest.approx(RATE, rel=0.02)


@pytest.mark.slow
def test_lipschitz_constant_sets_the_rate_whatever_the_file_has(trained):
    histories = []
    for rate in (None, rate_of(trained[0])):
        model, callback = loaded(trained), keras_lr.LipschitzLR()
        if rate is not None:
            model.optimizer.learning_rate = rate
        fit(model, [callback], 2)
        histories.append(callback.history)
    first, second = histories
    assert first == second
    # 2 / L, by which a factor of a sixth of the annealing goes in the last step.
    constants = first["lipschitz_constant"]
    last = 2.0 / max(constants) / 6.0
    assert first["learning_rate"][-1] == pytest.approx(last, rel=1e-5)
