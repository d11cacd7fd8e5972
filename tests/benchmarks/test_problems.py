"""The problems of the suite."""

import keras
import numpy as np
import pytest


@pytest.fixture(scope="module")
def problems(script):
    return script("problems")


def test_r2_of_several_targets_is_that_of_all_their_variance(problems, rng):
    targets = rng.normal(size=(50, 3)) * [1, 5, 0.1]
    predictions = targets + rng.normal(size=(50, 3))
    metric = problems.r2()
    metric.update_state(targets.astype("float32"), predictions.astype("float32"))
    residual = ((targets - predictions) ** 2).sum()
    total = ((targets - targets.mean(0)) ** 2).sum()
    # Sums of 50 squares in float32.
    assert float(metric.result()) == pytest.approx(1 - residual / total, rel=1e-4)


def test_no_pixel_of_the_autoencoder_is_constant(problems):
    for inputs, targets in problems.digits_to_themselves():
        assert inputs.shape[1] == 58
        assert inputs.std(0).min() > 0
        np.testing.assert_array_equal(inputs, targets)


@pytest.mark.parametrize("name", ["autoencoder_digits", "gru_digits"])
def test_model_takes_its_data_for_at_most_500_steps(problems, name):
    problem = problems.PROBLEMS[name]
    (x, y), _ = problem.load()
    model = problem.build_model("sgd")
    loss = keras.losses.get(problem.loss)(y[:20], model(x[:20]))
    assert np.isfinite(float(np.mean(loss)))
    assert 400 <= problem.epochs * len(x) / problem.batch_size <= 500
