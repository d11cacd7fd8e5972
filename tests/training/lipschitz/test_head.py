"""`find_head`: the last `Dense` layer of a model in every form, and its activations."""

import keras
import numpy as np
import pytest

from keras_lr.training.lipschitz.head import Head, find_head
from keras_lr.training.lipschitz.losses import LossDescription
from tests import small_problem

Dense, Activation = keras.layers.Dense, keras.layers.Activation


def sequential(*layers):
    return keras.Sequential([keras.Input((3,)), *layers])


def functional(*operations):
    outputs = inputs = keras.Input((3,))
    for operation in operations:
        outputs = operation(outputs)
    return keras.Model(inputs, outputs)


def head(activation=None, name="head"):
    return Dense(2, activation, name=name)


@pytest.mark.parametrize("form", small_problem.FORMS.values(), ids=small_problem.FORMS)
def test_head_is_found_in_every_model_form(form):
    model = form()
    if not model.built:
        model(np.zeros((1, small_problem.FEATURES)))
    found = find_head(model, owner="LipschitzLR")
    assert found.layer.name == "logits"
    assert found.units == small_problem.CLASSES
    # A subclassed model does not tell what it does behind its last layer.
    expected = None if form is small_problem.subclassed else ("softmax",)
    assert found.activations == expected


@pytest.mark.parametrize(
    ("make", "activations"),
    [
        (lambda: sequential(Dense(4), head()), ()),
        (lambda: sequential(Dense(4), head("sigmoid")), ("sigmoid",)),
        (lambda: sequential(head("relu"), Activation("tanh")), ("relu", "tanh")),
        (lambda: sequential(head(), keras.layers.ReLU()), ("relu",)),
        (lambda: sequential(head(), keras.layers.LeakyReLU()), ("leaky_relu",)),
        (lambda: sequential(head(), keras.layers.Identity()), ()),
        (lambda: sequential(head(), Activation("linear")), ()),
        (lambda: functional(head(), keras.ops.sigmoid), ("sigmoid",)),
        (
            lambda: functional(head(), keras.ops.relu, keras.ops.tanh),
            ("relu", "tanh"),
        ),
        (
            lambda: sequential(sequential(Dense(4), sequential_core())),
            ("tanh", "softmax"),
        ),
    ],
)
def test_activations_behind_the_head_are_read_in_order(make, activations):
    found = find_head(make(), owner="LipschitzLR")
    assert found.layer.name == "head"
    assert found.activations == activations


def sequential_core():
    layers = [head("tanh"), Activation("softmax")]
    return keras.Sequential([keras.Input((4,)), *layers])


def test_predictions_are_the_models_output():
    model = functional(head(), keras.ops.relu, Activation("tanh"))
    x = np.random.default_rng(0).normal(size=(5, 3)).astype("float32")
    found = find_head(model, owner="LipschitzLR")
    np.testing.assert_allclose(
        found.predictions(found.layer(x)), model.predict(x, verbose=0), rtol=1e-6
    )


def two_outputs():
    inputs = keras.Input((3,))
    first = Activation("softmax", name="probabilities")(Dense(4, name="first")(inputs))
    return keras.Model(inputs, {"a": first, "b": Dense(1, name="second")(inputs)})


@pytest.mark.parametrize("by_name", [True, False])
@pytest.mark.parametrize(
    ("name", "index", "keys"),
    [("first", 0, ("probabilities", "a")), ("second", 1, ("second", "b"))],
)
def test_named_head_of_several_outputs_knows_its_output(name, index, keys, by_name):
    model = two_outputs()
    layer = model.get_layer(name)
    found = find_head(model, name if by_name else layer, owner="LipschitzLR")
    assert found.layer is layer
    assert (found.output_index, set(found.output_keys)) == (index, set(keys))


def test_several_outputs_without_a_name_are_refused():
    with pytest.raises(ValueError, match=r"one head.*a model with 2 outputs"):
        find_head(two_outputs(), owner="LipschitzLR")


def test_named_head_is_found_within_nested_models():
    model = sequential(sequential(Dense(4), sequential_core()))
    assert find_head(model, "head", owner="LipschitzLR").activations == (
        "tanh",
        "softmax",
    )


def test_named_layer_that_does_not_lead_to_the_output_has_unknown_activations():
    model = functional(head(), keras.layers.Reshape((2, 1)))
    assert find_head(model, "head", owner="LipschitzLR").activations is None


@pytest.mark.parametrize(
    "behind",
    [keras.layers.Reshape((2, 1)), keras.layers.PReLU(), keras.ops.exp],
    ids=["reshape", "prelu", "exp"],
)
def test_model_that_goes_on_behind_its_last_dense_layer_is_refused(behind):
    with pytest.raises(ValueError, match=r"nothing but activations behind it"):
        find_head(functional(head(), behind), owner="LipschitzLR")


def test_layer_of_another_model_is_refused():
    with pytest.raises(ValueError, match=r"`layer` must be a layer of the model"):
        find_head(sequential(head()), head(), owner="LipschitzLR")


class OutOfOrder(keras.Model):
    """Has its last layer first, and a layer whose units are not the output's."""

    def __init__(self, outputs):
        super().__init__()
        self.logits, self.hidden = Dense(outputs, name="logits"), Dense(5)

    def call(self, inputs):
        return self.logits(self.hidden(inputs))


class GoesOn(OutOfOrder):
    """Returns another width than that of its last layer."""

    def call(self, inputs):
        return keras.ops.concatenate([super().call(inputs)] * 2, axis=-1)


def test_last_called_layer_of_a_subclassed_model_is_its_head():
    model = OutOfOrder(2)
    model(np.zeros((1, 3)))
    found = find_head(model, owner="LipschitzLR")
    assert (found.layer.name, found.activations) == ("logits", ())


def test_subclassed_model_of_another_width_than_its_last_layer_is_refused():
    model = GoesOn(2)
    model(np.zeros((1, 3)))
    with pytest.raises(ValueError, match=r"'logits' with 2 units.*with 4 outputs"):
        find_head(model, owner="LipschitzLR")


def test_subclassed_model_without_a_dense_layer_is_refused():
    class OnlyActivation(keras.Model):
        def call(self, inputs):
            return keras.ops.tanh(inputs)

    model = OnlyActivation()
    model(np.zeros((1, 3)))
    with pytest.raises(ValueError, match=r"found no `keras.layers.Dense` layer"):
        find_head(model, owner="LipschitzLR")


SPARSE = "sparse_categorical_crossentropy"


@pytest.mark.parametrize(
    ("activation", "loss", "from_logits", "fits"),
    [
        ("softmax", SPARSE, False, True),
        ("sigmoid", SPARSE, False, False),
        (None, SPARSE, False, False),
        (None, SPARSE, True, True),
        ("gelu", SPARSE, True, False),
        ("sigmoid", "binary_crossentropy", False, True),
        ("softmax", "binary_crossentropy", False, False),
        ("relu", "mean_squared_error", False, True),
        ("selu", "mean_squared_error", False, False),
    ],
)
def test_formula_asks_for_the_activation_that_it_is_for(
    activation, loss, from_logits, fits
):
    found = Head(head(activation))
    description = LossDescription(loss, from_logits=from_logits)
    if fits:
        found.require_formula(description, "Owner")
    else:
        with pytest.raises(ValueError, match=f"`Owner` has a formula for '{loss}'"):
            found.require_formula(description, "Owner")


def test_unknown_activations_are_trusted_with_probabilities_only():
    unknown = Head(head(), trailing=None)
    unknown.require_formula(LossDescription(SPARSE), "Owner")
    with pytest.raises(ValueError, match=r"activations=unknown behind layer 'head'"):
        unknown.require_formula(LossDescription("mean_squared_error"), "Owner")
