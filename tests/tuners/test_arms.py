import csv
import dataclasses
import math

import pytest

import keras_lr
from keras_lr.tuners.arms import LearningRateArm, near_best, summary_lines
from tests.tuners.fake_search import FakeZooming, accuracy


def arm(rate, reward, signal=0, scores=None):
    scores = (reward,) if scores is None else scores
    mean = math.fsum(scores) / len(scores)
    return LearningRateArm(
        rate, scores, mean, reward, signal, rate / 2, rate * 2, reward, ("0",)
    )


def arms(*rewards):
    return [arm(10.0**i, reward) for i, reward in enumerate(rewards)]


@pytest.mark.parametrize(
    ("rewards", "best", "expected"),
    [
        ((0.5, 0.99, 1.0, 0.98, 0.97), 2, (10, 1000)),
        ((1.0, 0.5, 1.0), 0, (1, 1)),
        ((0.99, 1.0), 1, (1, 10)),
        ((0.0,), 0, (1, 1)),
    ],
)
def test_range_around_the_best_ends_where_an_arm_is_worse(rewards, best, expected):
    tried = arms(*rewards)
    assert near_best(tried, tried[best]) == expected


def test_summary_says_rate_range_and_what_went_wrong():
    tried = [
        arm(1e-4, 0.1, -1),
        arm(1e-2, 0.895),
        arm(1e-1, 0.9, scores=(0.88, 0.92)),
        arm(1.0, 0.1, 1),
    ]
    assert summary_lines(tried, tried[2], "val_accuracy") == [
        "Recommended learning rate: 0.1 (val_accuracy 0.9, mean of 2 trials).",
        "Rates from 0.01 to 0.1 are as good within 2 %.",
        "At 0.0001 the loss never left its start.",
        "At 1 the loss blew up.",
    ]


def test_summary_warns_of_a_best_rate_at_the_end():
    tried = arms(0.9, 0.5)
    assert summary_lines(tried, tried[0], "score")[1:] == [
        "No other rate that was tried is as good within 2 %.",
        "This is the smallest rate that was tried: more trials, or a wider range, may "
        "find a better one.",
    ]


def made_anew(arm):
    """Return an arm that equals nothing if a NaN is in it, as JSON makes it."""
    nan = float("nan")
    scores = tuple(nan if math.isnan(score) else score for score in arm.scores)
    return dataclasses.replace(arm, scores=scores)


@pytest.mark.parametrize(("best", "side"), [(0, "smallest"), (1, None), (2, "largest")])
def test_end_of_what_was_tried_is_named_for_an_arm_that_is_made_anew(best, side):
    scores = [(0.5,)] * 3
    scores[best] = (0.9, math.nan)
    tried = [
        arm(10.0**place, 0.9 if place == best else 0.5, scores=scores[place])
        for place in range(3)
    ]
    lines = summary_lines(tried, made_anew(tried[best]), "score")
    said = [line for line in lines if line.startswith("This is the ")]
    assert [line.split()[3] for line in said] == ([side] if side else [])


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        ((-math.inf,), "of 1 trials, 1 had no finite score"),
        ((math.nan, -math.inf), "of 2 trials, 1 failed and 1 had no finite score"),
        ((math.nan, math.nan), "of 2 trials, 2 failed"),
    ],
)
def test_summary_recommends_nothing_that_diverged_or_failed(scores, said):
    tried = [arm(0.1, 0.0, 0, scores)]
    (line,) = summary_lines(tried, tried[0], "score")
    assert line == f"No learning rate is recommended: {said}."


def test_summary_recommends_no_rate_whose_loss_never_left_its_start():
    tried = [arm(1e-4, 0.5, -1), arm(1e-2, 0.25, -1)]
    assert summary_lines(tried, tried[0], "score") == [
        "No learning rate is recommended: the best score, 0.5, is at 0.0001, where the "
        "loss never left its start.",
        "At 0.0001, 0.01 the loss never left its start.",
    ]


def test_mean_of_a_recommended_rate_is_that_of_its_finite_scores():
    tried = [arm(0.1, 0.5, scores=(0.75, -math.inf, math.nan, 0.25))]
    assert summary_lines(tried, tried[0], "score")[0] == (
        "Recommended learning rate: 0.1 (score 0.5, mean of 2 trials, 1 more diverged, "
        "1 more failed)."
    )


def test_summary_of_a_search_without_trials_says_so():
    assert summary_lines([], None, "score") == [
        "No learning rate is recommended: no trial has finished."
    ]


@pytest.fixture(scope="module")
def search(tmp_path_factory):
    def results(rate):
        return math.nan if rate > 0.2 else accuracy(rate)

    tuner = FakeZooming(
        results, max_trials=7, first=0.5, directory=tmp_path_factory.mktemp("search")
    )
    tuner.search(verbose=0)
    return tuner


def test_ball_of_an_arm_is_its_radius_on_the_axis(search):
    radius = 0.01 * math.sqrt(2 * math.log(7) / 2)
    inner = search.arms()[2]
    for end, sign in ((inner.low, -1), (inner.high, 1)):
        expected = inner.learning_rate * 1e5 ** (sign * radius)
        assert end == pytest.approx(expected, rel=1e-9)


def test_table_has_a_row_for_each_arm(search, tmp_path):
    frame = search.to_dataframe()
    assert frame["learning_rate"].tolist() == sorted(set(search.rates))
    assert frame["trials"].sum() == 7
    best = frame.loc[frame["reward"].idxmax()]
    assert best["learning_rate"] == search.best_arm().learning_rate
    assert best["mean_score"] == pytest.approx(accuracy(best["learning_rate"]))
    search.to_csv(tmp_path / "arms.csv")
    with (tmp_path / "arms.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(frame.columns)
    assert [float(row["learning_rate"]) for row in rows] == sorted(set(search.rates))


def test_csv_of_a_search_without_trials_has_a_header(tmp_path):
    FakeZooming(directory=tmp_path).to_csv(tmp_path / "arms.csv")
    assert (tmp_path / "arms.csv").read_text().split() == ["learning_rate"]


def test_results_are_printed_in_words(search, capsys):
    search.results_summary(1)
    rate = f"{search.best_arm().learning_rate:.3g}"
    assert f"Recommended learning rate: {rate} (score " in capsys.readouterr().out


def texts(ax):
    return {text.get_text(): text.get_position() for text in ax.texts}


def test_plot_numbers_the_trials_in_order(search):
    ax = keras_lr.plot_arms(search)
    assert list(texts(ax)) == [str(number) for number in range(1, 8)]
    rates = [text.xy[0] for text in ax.texts]
    assert rates == search.rates
    assert (ax.get_xscale(), ax.get_xlabel(), ax.get_ylabel()) == (
        *("log", "learning rate"),
        "score",
    )
    assert ax.get_xlim() == (1e-5, 1.0)


def test_plot_marks_recommended_and_diverged(search):
    ax = keras_lr.plot_arms(search.oracle)
    labels = ax.get_legend_handles_labels()[1]
    assert f"recommended: {search.best_arm().learning_rate:.3g}" in labels
    assert {"trial, in order", "diverged or failed", "ball of the arm"} <= set(labels)
    crosses = [line for line in ax.lines if line.get_marker() == "x"]
    assert len(crosses) == sum(rate > 0.2 for rate in search.rates)


def test_plot_takes_axes_and_shades_what_is_cut_off(tmp_path):
    import matplotlib.pyplot as plt

    def results(rate):
        signal = float(rate > 0.05)
        return {"score": 0.0 if signal else accuracy(rate), "zooming/signal": signal}

    tuner = FakeZooming(results, directory=tmp_path)
    tuner.search(verbose=0)
    _, ax = plt.subplots()
    assert keras_lr.plot_arms(tuner, ax) is ax
    (low, high) = tuner.oracle.live_interval()
    (patch,) = ax.patches
    assert (patch.get_x(), patch.get_x() + patch.get_width()) == (high, 1.0)
    assert low == pytest.approx(1e-5)


def test_plot_of_nothing_is_refused(tmp_path):
    with pytest.raises(ValueError, match="must have trials"):
        keras_lr.plot_arms(FakeZooming(directory=tmp_path))
