"""The examples beside the numbers of the MARTHE paper's experiments."""

import numpy as np
import pytest

from tests.example_scripts import scripts_of


@pytest.fixture(scope="module")
def example():
    with scripts_of(".") as scripts:
        yield scripts("plot_hypergradients")


@pytest.fixture(scope="module")
def marthe(scripts):
    return scripts("marthe_section5")


@pytest.fixture(scope="module")
def section5(scripts):
    return scripts("section5")


@pytest.fixture
def problems(example):
    return {problem.name: problem for problem in (example.BEALE, example.BUKIN)}


def test_lowest_value_of_beale_is_at_its_minimizer(example):
    assert example.beale(3.0, 0.5) == 0.0
    nearby = 1e-3 * np.array([[1, 0], [-1, 0], [0, 1], [0, -1], [1, 1], [-1, 1]])
    assert np.all(example.beale(3.0 + nearby[:, 0], 0.5 + nearby[:, 1]) > 0.0)


@pytest.mark.parametrize("x", [-10.0, 0.0, 7.0])
def test_lowest_value_of_bukin_is_all_along_its_valley(example, x):
    floor = np.sqrt(np.sqrt(1e-3) + 1e-3)
    assert floor == pytest.approx(0.1806, abs=5e-5)
    y = 0.01 * x + np.array([-1e-3, 0.0, 1e-3])
    above, bottom, below = example.bukin(x, y)
    assert bottom == pytest.approx(floor, rel=1e-14)
    assert min(above, below) > floor


@pytest.mark.parametrize(
    ("name", "value"),
    [
        # (1, 1, 0.25), the three terms.
        ("Beale", 1 + 1 + 0.25**2),
        # y - 0.01 x is 3.1.
        ("Bukin", ((3.1**2 + 1e-3) ** 0.5 + 1e-3) ** 0.5),
    ],
)
def test_start_of_a_path_has_its_value(problems, name, value):
    problem = problems[name]
    assert problem.function(*problem.start) == pytest.approx(value, rel=1e-14)


def test_precision_is_what_it_was_afterwards(example):
    import keras

    policy = keras.config.dtype_policy()
    with example.double_precision():
        assert keras.config.floatx() == "float64"
    assert keras.config.floatx() == "float32"
    assert keras.config.dtype_policy() == policy


# Known to three digits; those of RTHO and MARTHE on Bukin's function hang on rounding,
# but not the third digit of the lowest value.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "arguments", "lowest"),
    [
        ("Beale", ("HD", 1e-7), 1.416),
        ("Beale", ("RTHO", 1e-7), 1.221),
        ("Bukin", ("HD", 1e-4), 0.908),
        ("Bukin", ("RTHO", 1e-4), 0.322),
        ("Bukin", ("MARTHE", 1e-4), 0.181),
    ],
)
def test_lowest_value_is_the_known_one(example, problems, name, arguments, lowest):
    run = example.train(problems[name], *arguments)
    assert run.best == pytest.approx(lowest, abs=5e-4)
    # The callback's own values are those of the function at the points.
    values = problems[name].function(*run.path.T)
    np.testing.assert_allclose(run.values, values, rtol=1e-12)


@pytest.mark.slow
def test_rate_of_rtho_grows_in_the_valley_and_is_0_for_good(example):
    rates = example.train(example.BUKIN, "RTHO", 1e-4).rates
    highest = np.argmax(rates)
    assert rates[highest] == pytest.approx(0.23, abs=5e-3)
    assert np.all(rates[highest + 10 :] == 0.0)


@pytest.mark.slow
def test_rtho_gets_further_than_hd_wherever_it_does_not_diverge(example):
    problem = example.BEALE
    for beta in (1e-7, 1e-6):
        far, near = (
            example.train(problem, method, beta).best for method in ("RTHO", "HD")
        )
        assert far < near
    for beta in (1e-5, 1e-4):
        assert np.isnan(example.train(problem, "RTHO", beta).best)


def test_images_in_the_order_of_the_file(section5, tmp_path):
    train, validation = section5.ROWS
    rows = np.arange(train + validation + 10)
    labels = (rows % 10).astype("int32")
    images = (rows[:, None] / 1e4).astype("float32")
    file = tmp_path / "rows.npz"
    # The last five are test images.
    np.savez(
        *(file,),
        x_train=images[:-5],
        y_train=labels[:-5],
        x_test=images[-5:],
        y_test=labels[-5:],
    )
    (_, first), (_, last) = section5.load(str(file), "ordered")
    end = len(rows) - 5
    np.testing.assert_array_equal(first, labels[:train])
    np.testing.assert_array_equal(last, labels[end - validation : end])


@pytest.fixture
def few_images(marthe, section5, monkeypatch, rng):
    """Two looks at the accuracy, four steps apart."""
    x, y = rng.uniform(size=(250, 784)).astype("float32"), rng.integers(10, size=250)
    monkeypatch.setattr(section5, "STEPS", 8)
    monkeypatch.setattr(marthe, "INTERVAL", 4)
    monkeypatch.setattr(section5, "load", lambda data: ((x, y), (x[:20], y[:20])))


def rows_of(marthe, accuracies):
    """The rows of HD with some hyper-learning rates."""
    return [
        marthe.Run("HD", "0.01", beta, str(seed), "mnist")._asdict()
        | {"final_accuracy": str(accuracy)}
        for beta, values in accuracies.items()
        for seed, accuracy in enumerate(values)
    ]


def test_first_seeds_choose_the_hyper_learning_rate(marthe):
    done = {"1e-05": [90, 91, 92], "0.0001": [93, 94, 89, 10], "0.001": [99, 99]}
    rows = rows_of(marthe, done)
    assert marthe.choose(rows, "HD") == ("HD", "0.01", "0.0001")
    assert marthe.choose(rows, "RTHO") is None


@pytest.mark.usefixtures("few_images")
def test_batches_of_a_seed_are_whole_epochs_in_new_orders(section5):
    """2.5 batches an epoch: in 8 there are 3 whole epochs, and a part of the next."""
    x = np.arange(250)
    batches = list(section5.batches((x, x), seed=0))
    rows = np.concatenate([batch.numpy() for batch, _ in batches])
    assert len(batches) == 8
    epochs = rows[:750].reshape(3, 250)
    np.testing.assert_array_equal(np.sort(epochs, axis=1), np.tile(x, (3, 1)))
    assert len({tuple(epoch) for epoch in epochs}) == 3


@pytest.mark.slow
@pytest.mark.usefixtures("few_images")
def test_run_has_a_row_and_a_rate_for_each_step(marthe, tmp_path):
    run = marthe.Run("HD", "0.01", "0.001", 0, "mnist")
    _, row, rates = marthe.execute(run, "any.npz")
    assert len(rates) == 8
    assert rates[0] == pytest.approx(0.01, rel=1e-6)
    marthe.keep(tmp_path / "runs.csv", run, row, rates)
    read = marthe.results(tmp_path / "runs.csv").find(run)
    assert float(read["last_learning_rate"]) == pytest.approx(rates[-1], rel=1e-5)
    (schedule,) = marthe.read_arrays(tmp_path / "runs_schedules.npz").values()
    np.testing.assert_allclose(schedule, rates, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.usefixtures("few_images")
def test_run_that_diverges_has_a_row_that_says_so(marthe):
    run = marthe.Run("constant", "1e6", "", 0, "mnist")
    _, row, _ = marthe.execute(run, "any.npz")
    assert row["diverged"] == 1
