"""`OnlineFit`: what it composes, with the smallest method that there can be."""

import keras
import numpy as np
import pytest

from keras_lr._keras import to_float
from keras_lr.training.fit.annealed_rate import AnnealedRate
from keras_lr.training.fit.around_step import AroundStep
from keras_lr.training.fit.divergence import MOST_RESTARTS
from keras_lr.training.fit.horizon import FitLength
from keras_lr.training.fit.online_fit import OnlineFit
from tests.small_problem import BATCH, compiled, data

LENGTH = FitLength({"epochs": 4, "steps": 5})
COLUMNS = ("learning_rate", "loss", "twice")


class Halving(AroundStep):
    """Halves the rate after each step."""

    name = "halving"

    def around(self, step):
        step.take()
        self.rate.move_to(self.rate.value / 2.0)
        return {"twice": 2.0 * step.values["learning_rate"]}


def online_fit(model=None, guards=True):
    model = compiled(optimizer=keras.optimizers.SGD(0.5)) if model is None else model
    return OnlineFit(
        model,
        Halving(AnnealedRate(model, limits=(0.0, 10.0))),
        COLUMNS,
        owner="Halving",
        guards=guards,
    )


def run(fit, steps=5):
    """Run the wrapped training step as `fit` does."""
    x, y = data()
    step = fit.wrapped(fit.model.train_step)
    for number in range(steps):
        part = slice(number * BATCH, (number + 1) * BATCH)
        step((x[part], y[part]))


def started(**kwargs):
    fit = online_fit(**kwargs)
    fit.start()
    fit.start_epoch(0, LENGTH)
    return fit


def value(fit):
    return to_float(fit.rate.rate.value)


def test_row_of_a_step_has_what_it_was_taken_with():
    fit = started()
    run(fit)
    rows = fit.fetch(5)
    assert rows["learning_rate"] == [0.5, 0.25, 0.125, 0.0625, 0.03125]
    assert rows["twice"] == [1.0, 0.5, 0.25, 0.125, 0.0625]
    assert np.isfinite(rows["loss"]).all()
    assert len(fit.fetch(5)["loss"]) == 0


def test_host_is_due_after_sixteen_batches_since_it_fetched():
    fit = started()
    assert [fit.is_due(batches) for batches in (1, 15, 16, 17)] == [0, 0, 1, 1]
    fit.fetch(16)
    assert [fit.is_due(batches) for batches in (17, 31, 32)] == [0, 0, 1]
    fit.start_epoch(1, LENGTH)
    assert not fit.is_due(15)


def test_host_without_a_guard_is_due_before_the_table_is_full():
    fit = started(guards=False)
    assert not fit.is_due(1023)
    assert fit.is_due(1024)


def diverge(fit, monkeypatch):
    monkeypatch.setattr(fit._guard, "has_diverged", lambda: True)
    outcome = fit.restart_if_diverged()
    monkeypatch.undo()
    return outcome


def test_restart_rolls_the_rate_back_and_cuts_it_each_time(monkeypatch):
    fit = started()
    for expected in (0.005, 0.0005):
        run(fit)
        assert diverge(fit, monkeypatch) == f"a learning rate of {expected:.3g}"
        assert value(fit) == pytest.approx(expected, rel=1e-6)
        rate = to_float(fit.model.optimizer.learning_rate)
        assert rate == pytest.approx(expected, rel=1e-6)


def resumed(updates=3):
    """Return a fit of a model that a backup has restored."""
    fit = online_fit()
    fit.model.optimizer.iterations.assign(updates)
    fit.resume(1, LENGTH)
    return fit


def test_state_that_was_read_is_the_one_that_a_restart_cuts(tmp_path, monkeypatch):
    first = started()
    run(first, 3)
    first.write(tmp_path, 0)
    second = resumed()
    second.read(tmp_path, 0)
    assert value(second) == value(first) == 0.0625
    for fit in (first, second):
        run(fit, 2)
        diverge(fit, monkeypatch)
    # The good state is that before the first step.
    assert value(second) == value(first) == pytest.approx(0.005, rel=1e-6)


def test_guard_begins_anew_where_its_state_is_broken(tmp_path):
    first = started()
    run(first, 3)
    first.write(tmp_path, 0)
    path = tmp_path / "keras_lr_halving.npz"
    arrays = {n: x for n, x in np.load(path).items() if n != "guard_good_0"}
    np.savez(path, **arrays)
    second = resumed()
    with pytest.warns(UserWarning, match=r"begins anew: keras_lr_halving.npz"):
        second.read(tmp_path, 0)
    assert value(second) == value(first)
    assert second.restart_if_diverged() is None


@pytest.mark.parametrize("broken", [np.nan, np.inf, -1.0, 1e30])
def test_rate_that_cannot_be_one_is_not_read(tmp_path, broken):
    fit = started()
    run(fit, 3)
    fit.rate.rate.value.assign(broken)
    fit.write(tmp_path, 0)
    second = resumed()
    with pytest.warns(UserWarning, match="learning_rate=.* is out of range"):
        second.read(tmp_path, 0)
    assert value(second) == 0.5


def test_state_of_weights_with_fewer_updates_is_not_read(tmp_path):
    fit = started()
    run(fit, 3)
    fit.write(tmp_path, 0)
    second = resumed(updates=5)
    with pytest.warns(UserWarning, match="3 updates .* restored ones have had 5"):
        second.read(tmp_path, 0)
    assert value(second) == 0.5


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_second_training_in_a_directory_is_noticed_once(tmp_path):
    first, second = started(), started()
    first.write(tmp_path, 0)
    second.write(tmp_path, 0)
    with pytest.warns(UserWarning, match=r"Something else writes keras_lr_halving"):
        first.write(tmp_path, 1)
    second.start()
    second.write(tmp_path, 0)
    # A second warning would be an error.
    first.write(tmp_path, 2)


def test_training_that_no_rate_helps_is_said_to_have_two_possible_reasons(monkeypatch):
    """The lowest rate that is tried may still be too high, as for targets of 1e5."""
    fit = started()
    for _ in range(MOST_RESTARTS):
        assert "times now" not in diverge(fit, monkeypatch)
    outcome = diverge(fit, monkeypatch)
    assert f"diverged {MOST_RESTARTS + 1} times now" in outcome
    assert "not the reason, or" in outcome
    assert "standardize inputs and targets" in outcome


def test_training_that_does_not_diverge_is_left_alone():
    fit = started()
    run(fit)
    fit.fetch(5)
    assert fit.restart_if_diverged() is None
    assert value(fit) == 0.5 / 2**5


def test_training_step_must_call_its_optimizer_once():
    fit = started()

    def idle(batch):
        return {}

    with pytest.raises(ValueError, match=r"`apply` once.*calls it 0 times"):
        fit.wrapped(idle)(data())


def test_optimizer_that_accumulates_is_refused_by_name():
    sgd = keras.optimizers.SGD(gradient_accumulation_steps=2)
    with pytest.raises(ValueError, match=r"`Halving` needs an optimizer that takes"):
        online_fit(compiled(optimizer=sgd))


def test_guard_without_a_loss_to_watch_is_refused():
    model = compiled()
    around_step, columns = Halving(AnnealedRate(model)), ("learning_rate", "twice")
    with pytest.raises(ValueError, match=r"must have 'loss'.*columns=.*`Halving`"):
        OnlineFit(model, around_step, columns, owner="Halving", guards=True)
    OnlineFit(model, around_step, columns, owner="Halving", guards=False)
