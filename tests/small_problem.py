"""A problem small enough for a test, and the same network in every Keras form."""

import keras
import numpy as np
import pytest
import tensorflow as tf

SAMPLES, FEATURES, CLASSES, BATCH = 22, 5, 3, 4
STEPS = 6  # The last batch has two samples.


def data(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(SAMPLES, FEATURES)).astype("float32")
    return x, rng.integers(0, CLASSES, SAMPLES)


class Subclassed(keras.Model):
    """Makes its layers in another order than it calls them."""

    def __init__(self, hidden, logits):
        super().__init__()
        self.logits = logits
        self.hidden = hidden

    def call(self, inputs):
        return keras.ops.softmax(self.logits(self.hidden(inputs)))


class OrderedData(keras.utils.PyDataset):
    """The samples in order, in batches."""

    def __init__(self, x, y):
        super().__init__()
        self.x, self.y = x, y

    def __len__(self):
        return STEPS

    def __getitem__(self, index):
        part = slice(index * BATCH, (index + 1) * BATCH)
        return self.x[part], self.y[part]


def _layers(**kwargs):
    kernel = keras.initializers.GlorotUniform
    hidden = keras.layers.Dense(
        7, "relu", kernel_initializer=kernel(seed=1), name="hidden"
    )
    logits = keras.layers.Dense(
        CLASSES, kernel_initializer=kernel(seed=2), name="logits", **kwargs
    )
    return hidden, logits


def sequential(**kwargs):
    hidden, logits = _layers(**kwargs)
    return keras.Sequential(
        [keras.Input((FEATURES,)), hidden, logits, keras.layers.Softmax()]
    )


def deferred(**kwargs):
    return keras.Sequential([*_layers(**kwargs), keras.layers.Activation("softmax")])


def functional(**kwargs):
    hidden, logits = _layers(**kwargs)
    inputs = keras.Input((FEATURES,))
    return keras.Model(inputs, keras.ops.softmax(logits(hidden(inputs))))


def nested(**kwargs):
    hidden, logits = _layers(**kwargs)
    core = keras.Sequential([keras.Input((FEATURES,)), hidden, logits])
    inputs = keras.Input((FEATURES,))
    return keras.Model(inputs, keras.layers.Activation("softmax")(core(inputs)))


def subclassed(**kwargs):
    return Subclassed(*_layers(**kwargs))


FORMS = {
    each.__name__: each
    for each in (sequential, deferred, functional, nested, subclassed)
}
every_form = pytest.mark.parametrize(
    "form",
    [
        pytest.param(
            form,
            id=name,
            # Made late, and called in another order than made.
            marks=() if name in ("deferred", "subclassed") else pytest.mark.slow,
        )
        for name, form in FORMS.items()
    ],
)


def compiled(form=sequential, optimizer=None, **kwargs):
    """Build and compile; gradient descent with momentum unless said otherwise."""
    model = form()
    model.compile(
        optimizer or keras.optimizers.SGD(0.05, momentum=0.5),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
        **kwargs,
    )
    if model.built and not (model.run_eagerly or tf.distribute.has_strategy()):
        make_variables(model, *data())
    return model


def make_variables(model, x, y):
    """Make the variables of the optimizer and of the metrics before the first step.

    TensorFlow traces a step twice that makes variables, and nearly all that a short fit
    takes is tracing. A model that its first batch builds still makes them there.
    """
    model.optimizer.build(model.trainable_variables)
    model.compute_metrics(x[:1], y[:1], model(x[:1]))
    model.reset_metrics()


def fit(model, callbacks=(), epochs=3, **kwargs):
    """Fit on the samples in order, silently."""
    kwargs.setdefault("verbose", 0)
    if "x" not in kwargs:
        x, y = data()
        kwargs |= {"x": x, "y": y, "batch_size": BATCH, "shuffle": False}
    if not isinstance(kwargs["x"], np.ndarray):
        kwargs["shuffle"] = False
    return model.fit(epochs=epochs, callbacks=list(callbacks), **kwargs)
