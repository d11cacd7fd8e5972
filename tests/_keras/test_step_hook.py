"""`step_hook`: wrappers nest, and leave the model as it was."""

import keras
import pytest

from keras_lr._keras import step_hook
from tests.small_problem import compiled, fit


class Counter:
    """An owner whose wrapper writes down when the step passes through it."""

    def __init__(self, name, calls):
        self.name, self.calls = name, calls

    def __call__(self, step):
        def counted(data):
            self.calls.append(self.name)
            return step(data)

        return counted


def eager_model():
    return compiled(run_eagerly=True)


def install(model, owner):
    step_hook.install(model, owner, owner)


class Hooks(keras.callbacks.Callback):
    """Installs owners when a fit begins, and removes those it is told to."""

    def __init__(self, owners, removed=()):
        super().__init__()
        self.owners, self.removed = owners, removed

    def on_train_begin(self, logs=None):
        for owner in self.owners:
            install(self.model, owner)
        for owner in self.removed:
            step_hook.remove(self.model, owner)

    def on_train_end(self, logs=None):
        for owner in self.owners:
            step_hook.remove(self.model, owner)


def fit_one_step(model, callbacks=()):
    return fit(model, callbacks, epochs=1, steps_per_epoch=1)


def instance_names(model):
    names = ("train_step", "make_train_function", "_keras_lr_step_hook")
    return [name for name in names if name in model.__dict__]


def test_wrapper_installed_last_is_called_first():
    calls = []
    owners = [Counter("first", calls), Counter("second", calls)]
    fit_one_step(eager_model(), [Hooks(owners)])
    assert calls == ["second", "first"]


@pytest.mark.parametrize(("removed", "left"), [(0, "second"), (1, "first")])
def test_each_owner_is_removed_on_its_own(removed, left):
    calls = []
    owners = [Counter("first", calls), Counter("second", calls)]
    fit_one_step(eager_model(), [Hooks(owners, [owners[removed]])])
    assert calls == [left]


def test_second_wrapper_of_an_owner_replaces_the_first():
    model, calls, owner = eager_model(), [], object()
    step_hook.install(model, owner, Counter("old", calls))
    step_hook.install(model, owner, Counter("new", calls))
    model.train_function(iter([tuple(map(keras.ops.convert_to_tensor, batch()))]))
    assert calls == ["new"]


def batch():
    x, y = keras.ops.ones((4, 5)), keras.ops.zeros((4,))
    return x, y


def test_step_is_wrapped_from_install_to_remove():
    model, owner = eager_model(), Counter("owner", [])
    assert not step_hook.is_installed(model, owner)
    install(model, owner)
    assert step_hook.is_installed(model, owner)
    assert not step_hook.is_installed(model, object())
    step_hook.remove(model, owner)
    assert not step_hook.is_installed(model, owner)
    assert instance_names(model) == []


def test_removing_what_is_not_there_does_nothing():
    model, owner = eager_model(), Counter("owner", [])
    step_hook.remove(model, owner)
    install(model, owner)
    step_hook.remove(model, object())
    assert step_hook.is_installed(model, owner)


def test_plain_train_function_is_given_back_with_its_trace():
    model, owner = compiled(), Counter("owner", [])
    fit_one_step(model)
    plain = model.train_function
    install(model, owner)
    assert model.train_function is not plain
    step_hook.remove(model, owner)
    assert model.train_function is plain


def test_train_step_of_the_users_own_is_called_and_given_back():
    model, calls = eager_model(), []
    own = Counter("own", calls)(model.train_step)
    model.train_step = own
    fit_one_step(model, [Hooks([Counter("owner", calls)])])
    assert calls == ["owner", "own"]
    assert model.train_step is own
    assert instance_names(model) == ["train_step"]


def test_make_train_function_of_the_users_own_is_called_and_given_back():
    model, made = eager_model(), []
    plain = model.make_train_function

    def own(force=False):
        made.append(force)
        return plain(force=force)

    model.make_train_function = own
    fit_one_step(model, [Hooks([Counter("owner", [])])])
    # `fit` asks for the function, and the hook for another one.
    assert made == [False, True]
    assert model.make_train_function is own


class FailingStep(Counter):
    """An owner whose wrapper raises after the step."""

    def __call__(self, step):
        def failing(data):
            super(FailingStep, self).__call__(step)(data)
            raise ArithmeticError("in the step")

        return failing


def test_step_that_raised_is_gone_at_once():
    model, calls = eager_model(), []
    with pytest.raises(ArithmeticError, match="in the step"):
        fit_one_step(model, [Hooks([FailingStep("owner", calls)])])
    assert calls == ["owner"]
    assert instance_names(model) == []
    fit_one_step(model)
    assert calls == ["owner"]


def test_own_loop_never_calls_a_wrapped_step():
    """Not in the middle of a fit, and not after one that a callback ended."""
    model, calls = eager_model(), []
    owner = Counter("owner", calls)
    install(model, owner)
    model.train_step(batch())
    assert step_hook.is_installed(model, owner)
    assert calls == []


def raise_error(*_):
    raise ArithmeticError("in a callback")


def told_of(model, owner, callback):
    """Fit with a callback that raises, and return what the owner is told."""
    told = []

    def begin(logs):
        step_hook.install(model, hooks, owner, lambda: told.append("interrupted"))

    hooks = keras.callbacks.LambdaCallback(on_train_begin=begin)
    with pytest.raises(ArithmeticError):
        fit_one_step(model, [hooks, *callback])
    return told


def test_owner_is_told_at_once_of_a_step_that_raised():
    assert told_of(eager_model(), FailingStep("owner", []), []) == ["interrupted"]


@pytest.mark.parametrize(
    "train", [fit_one_step, lambda model: model.train_on_batch(*batch())]
)
def test_owner_is_told_by_the_next_training_of_a_callback_that_raised(train):
    model = eager_model()
    fails = keras.callbacks.LambdaCallback(on_epoch_end=raise_error)
    told = told_of(model, Counter("owner", []), [fails])
    assert told == []
    train(model)
    assert told == ["interrupted"]


def test_owner_is_not_told_of_a_batch_in_mid_fit():
    model = eager_model()
    fails = keras.callbacks.LambdaCallback(
        on_train_batch_begin=lambda number, logs: model.train_on_batch(*batch()),
        on_epoch_end=raise_error,
    )
    assert told_of(model, Counter("owner", []), [fails]) == []


@pytest.mark.filterwarnings("ignore:Your input ran out of data")  # Keras, at the end
def test_end_of_the_data_is_no_interruption():
    model, told, owner = compiled(), [], Counter("owner", [])

    def begin(logs):
        step_hook.install(model, owner, owner, lambda: told.append("interrupted"))

    hooks = keras.callbacks.LambdaCallback(on_train_begin=begin)
    fit(model, [hooks], epochs=2, x=(batch() for _ in range(3)))
    assert told == []
    assert step_hook.is_installed(model, owner)


def test_train_on_batch_takes_away_what_an_interrupted_fit_left():
    model, calls = eager_model(), []
    install(model, Counter("owner", calls))
    model.train_on_batch(*batch())
    assert calls == []
    assert instance_names(model) == []


def test_compile_after_an_interrupted_fit_trains_with_the_new_optimizer():
    model = compiled(optimizer=keras.optimizers.SGD(1.0))
    fit_one_step(model)  # The plain step is traced with the old one.
    with pytest.raises(ArithmeticError):
        fit_one_step(model, [Hooks([FailingStep("owner", [])])])
    weights = model.get_weights()
    model.compile(keras.optimizers.SGD(0.0), loss="sparse_categorical_crossentropy")
    fit_one_step(model)
    assert int(model.optimizer.iterations) == 1
    for new, old in zip(model.get_weights(), weights, strict=True):
        assert (new == old).all()


def test_compile_between_fits_of_one_owner_wraps_the_new_step():
    model, calls = eager_model(), []
    hooks = Hooks([Counter("owner", calls)])
    fit_one_step(model, [hooks])
    model.compile("sgd", loss="sparse_categorical_crossentropy", run_eagerly=True)
    fit_one_step(model, [hooks])
    assert calls == ["owner", "owner"]
    assert instance_names(model) == []


def train_function_with(model, *owners):
    """Return the training function of a fit with these owners, as it was traced."""
    fit_one_step(model, [Hooks(owners)])
    return vars(model)["_keras_lr_trace"].function


def test_trace_of_an_equal_wrapper_is_used_again():
    model, calls = compiled(), []
    owner = Counter("owner", calls)
    first = train_function_with(model, owner)
    traced = len(calls)
    assert train_function_with(model, owner) is first
    assert len(calls) == traced > 0


@pytest.mark.parametrize(
    "change",
    [
        lambda model: model.compile("sgd", "sparse_categorical_crossentropy"),
        lambda model: model.make_train_function(force=True),
        lambda model: setattr(model, "train_step", lambda data: {"loss": 0.0}),
        step_hook.forget_plain_function,
        lambda model: train_function_with(model, Counter("another", [])),
    ],
    ids=["compile", "force", "train_step", "forgotten", "another wrapper"],
)
def test_trace_is_not_used_again_after(change):
    model, calls = compiled(), []
    owner = Counter("owner", calls)
    first = train_function_with(model, owner)
    traced = len(calls)
    change(model)
    assert train_function_with(model, owner) is not first
    assert len(calls) > traced


def test_trace_is_not_used_again_beside_another_wrapper():
    model, calls = compiled(), []
    owner = Counter("owner", calls)
    first = train_function_with(model, owner)
    both = train_function_with(model, owner, Counter("another", calls))
    assert both is not first
    assert calls[-2:] == ["another", "owner"]


def test_wrappers_can_be_used_again_unless_they_are_in_place():
    model, owner = compiled(), Counter("owner", [])
    assert step_hook.reusable_wrappers(model) == []
    fit_one_step(model, [Hooks([owner])])
    assert step_hook.reusable_wrappers(model) == [owner]
    install(model, owner)
    assert step_hook.reusable_wrappers(model) == []


def test_train_on_batch_in_mid_fit_costs_no_trace():
    model, calls = compiled(), []
    owner = Counter("owner", calls)

    def train_on_batch(number, logs):
        model.train_on_batch(*batch())
        install(model, owner)

    both = keras.callbacks.LambdaCallback(on_train_batch_begin=train_on_batch)
    fit(model, [Hooks([owner])], epochs=1)
    traced = len(calls)
    fit(model, [Hooks([owner]), both], epochs=1)
    assert len(calls) == traced
