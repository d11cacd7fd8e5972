"""The problems of the long suite."""

import numpy as np
import pytest


@pytest.fixture(scope="module")
def long_problems(long_script):
    return long_script("long_problems")


@pytest.mark.slow
def test_trainings_have_real_length(long_problems):
    for problem in long_problems.EMBEDDED:
        assert 3000 <= problem.steps <= 20000, problem.name
        assert 15 <= problem.epochs <= 60, problem.name


def test_a_fifth_of_the_training_labels_is_wrong(long_problems):
    (_, noisy), (_, test) = long_problems.noisy_labels()
    (_, clean), (_, clean_test) = long_problems.small_mnist()
    # Three standard deviations of a binomial share of 3000.
    assert np.mean(noisy != clean) == pytest.approx(0.2, abs=0.022)
    assert set(noisy) == set(range(10))
    assert np.array_equal(test, clean_test)


def test_classes_weigh_the_same_and_a_row_one_on_average(long_problems):
    (_, y, weights), (_, test) = long_problems.imbalanced()
    counts = np.bincount(y)
    assert (counts[0], counts[9]) == (280, round(280 * 0.7**9))
    totals = np.bincount(y, weights)
    np.testing.assert_allclose(totals, len(y) / 10, rtol=1e-5)
    assert np.bincount(test).min() > 150


def test_half_of_the_variance_of_the_regression_is_noise(long_problems):
    from sklearn.datasets import make_friedman1

    _, noisy = make_friedman1(25000, noise=5.0, random_state=0)
    _, clean = make_friedman1(25000, random_state=0)
    (x, y), _ = long_problems.friedman()
    assert np.var(clean) / np.var(noisy) == pytest.approx(0.5, abs=0.02)
    np.testing.assert_allclose([x.mean(), y.mean(), y.std()], [0, 0, 1], atol=1e-4)


def test_housing_is_standardized_and_clipped(long_problems, tmp_path, rng):
    path = tmp_path / "housing.npz"
    x = rng.standard_cauchy(size=(17000, 8))
    np.savez(path, x=x, y=x.sum(1))
    (x_train, y_train), (x_test, _) = long_problems.housing(path)
    assert (len(x_train), len(x_test)) == (16000, 1000)
    assert (abs(x_train).max(), abs(x_test).max()) <= (4, 4)
    assert y_train.std() == pytest.approx(1, rel=1e-3)
    problem = long_problems.problems(path)["california"]
    assert problem.steps == 40 * 16000 // 128


def test_half_of_a_digit_is_the_mean_of_four_pixels(long_problems):
    (full, _), _ = long_problems.short.mnist5k()
    (half, _), _ = long_problems.small_mnist()
    image = full[7].reshape(28, 28)
    assert half[7].reshape(14, 14)[6, 5] == pytest.approx(
        image[12:14, 10:12].mean(), rel=1e-6
    )


@pytest.mark.slow
def test_convolutions_are_frozen_at_the_pretrained_weights(long_problems, monkeypatch):
    monkeypatch.setattr(long_problems, "PRETRAINING_EPOCHS", 1)
    long_problems.first_classes.cache_clear()
    problem = long_problems.problems()["fine_tune_frozen_mnist"]
    model = problem.build_model(problem.make_optimizer("sgd"), seed=1)
    pretrained = long_problems.first_classes(1)
    other = long_problems.first_classes(2)
    long_problems.first_classes.cache_clear()
    for weight, expected in zip(model.get_weights(), pretrained, strict=True):
        assert np.array_equal(weight, expected)
    assert not np.array_equal(pretrained[0], other[0])
    # Kernel and bias of both dense layers.
    assert [weight.shape[-1] for weight in model.trainable_weights] == [64, 64, 10, 10]
