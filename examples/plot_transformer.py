"""A small transformer, and the warm-up that it asks for
=====================================================

A causal transformer learns to continue Python's help texts, character by character.
Transformers are usually given a warm-up and a cosine, both of which need a rate to rise
to. :class:`keras_lr.MARTHE` starts low and finds its own:

.. code-block:: python

    model.compile("adamw", loss="sparse_categorical_crossentropy")
    model.fit(batches, epochs=5, callbacks=[keras_lr.MARTHE()])

Compiled with Keras's default rate for AdamW, 0.001, it ends at a loss of 2.1: lower
than that rate as a constant, 2.2, and than a warm-up to it and a cosine, 2.4. It climbs
to ten times that rate, also if compiled with a tenth of it. Who knows that this is a
good rate gets as far with a cosine to it, and in less time: in a network this small, a
step of ``MARTHE`` takes several times as long as another.

``python examples/plot_transformer.py --save FILE.png`` writes the figure.
"""

import argparse
from pydoc_data.topics import topics

import keras
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf
from keras import layers, ops

import keras_lr

# %%
# The data
# --------
# The texts come with Python. 1600 windows of 16 characters to train on, 800 to judge
# by; the target is the next character at each position.

EPOCHS, BATCH_SIZE, ROWS, WINDOW, SEEDS, DEFAULT = 5, 16, 1600, 16, range(3), 0.001
ALPHABET = " abcdefghijklmnopqrstuvwxyz.,()'_="

text = " ".join(" ".join(topics[key].lower().split()) for key in sorted(topics))
codes = [ALPHABET.index(character) for character in text if character in ALPHABET]
windows = np.reshape(codes[: (ROWS + 800) * (WINDOW + 1)], (-1, WINDOW + 1))
windows = np.random.default_rng(0).permutation(windows).astype("int32")
inputs, targets = windows[:, :-1], windows[:, 1:]
train, validation = (
    (inputs[part], targets[part]) for part in (slice(ROWS), slice(ROWS, None))
)
STEPS = EPOCHS * ROWS // BATCH_SIZE


def batches(seed):
    """Return the windows to train on, in a new order in each epoch."""
    dataset = tf.data.Dataset.from_tensor_slices(train)
    return dataset.shuffle(ROWS, seed=seed).batch(BATCH_SIZE)


# %%
# The model
# ---------
# A block of causal attention with a width of 32.


def build_model():
    """Return the transformer, not compiled."""
    inputs = keras.Input((WINDOW,), dtype="int32")
    positions = ops.zeros_like(inputs) + ops.arange(WINDOW, dtype="int32")
    tokens = layers.Embedding(len(ALPHABET), 32)(inputs)
    x = layers.Add()([tokens, layers.Embedding(WINDOW, 32)(positions)])
    y = layers.LayerNormalization()(x)
    x = layers.Add()([x, layers.MultiHeadAttention(2, 16)(y, y, use_causal_mask=True)])
    y = layers.Dense(64, "relu")(layers.LayerNormalization()(x))
    x = layers.Add()([x, layers.Dense(32)(y)])
    x = layers.LayerNormalization()(x)
    return keras.Model(inputs, layers.Dense(len(ALPHABET), "softmax")(x))


# %%
# One model for all trainings
# ---------------------------
# It is compiled once: each training begins from new weights, with an optimizer that has
# taken no step. In code of your own, build and compile a model for each.

model = build_model()
model.compile("adamw", loss="sparse_categorical_crossentropy")
initial = []
for seed in SEEDS:
    keras.utils.set_random_seed(seed)
    initial.append(build_model().get_weights())


def fit(seed, learning_rate, callback):
    """Return the validation loss of each epoch."""
    model.set_weights(initial[seed])
    for variable in model.optimizer.variables:
        variable.assign(ops.zeros_like(variable))
    model.optimizer.learning_rate = learning_rate
    history = model.fit(
        batches(seed),
        shuffle=False,
        epochs=EPOCHS,
        validation_data=validation,
        validation_batch_size=400,
        verbose=0,
        callbacks=[callback],
    )
    return history.history["val_loss"]


class RateOfStep(keras.callbacks.Callback):
    """Set the rate of each step."""

    def __init__(self, rates):
        super().__init__()
        self.rates = [float(rate) for rate in rates]

    def on_train_batch_begin(self, batch, logs=None):
        """Set the rate."""
        optimizer = self.model.optimizer
        optimizer.learning_rate = self.rates[int(optimizer.iterations)]


def constant(rate):
    """Return a callback that leaves the rate as it is."""
    return RateOfStep([rate] * STEPS)


def cosine(rate):
    """Return a callback that warms up for a tenth of the steps, then decays to 0."""
    part = np.arange(STEPS) / STEPS
    decay = (1 + np.cos(np.pi * (part - 0.1) / 0.9)) / 2
    return RateOfStep(rate * np.where(part < 0.1, part / 0.1, decay))


# %%
# From the default rate
# ---------------------
# Medians of three seeds: the loss on the 800 windows.

callbacks = [keras_lr.MARTHE() for _ in SEEDS]
losses = {
    "constant": [fit(seed, DEFAULT, constant(DEFAULT)) for seed in SEEDS],
    "cosine": [fit(seed, DEFAULT, cosine(DEFAULT)) for seed in SEEDS],
    "MARTHE": [fit(seed, DEFAULT, callbacks[seed]) for seed in SEEDS],
}
medians = {name: np.median(values, axis=0) for name, values in losses.items()}
for name, median in medians.items():
    print(f"{name:8s} validation loss {median[-1]:.3f}")
rates = [callback.history["learning_rate"] for callback in callbacks]
highest = np.median(np.max(rates, axis=1))
print(f"highest rate of MARTHE {highest:.4f}")

assert medians["MARTHE"][-1] < medians["constant"][-1] - 0.05
assert medians["MARTHE"][-1] < medians["cosine"][-1] - 0.15
assert highest > 8 * DEFAULT
# Nothing diverged.
assert all(callback.restarts == [] for callback in callbacks)

# %%
# From other rates
# ----------------
# One seed. With a tenth of the rate, the cosine hardly learns, and ``MARTHE`` needs
# some more steps to climb. With ten times the rate, the cosine is good too.

LOW, HIGH = DEFAULT / 10, 10 * DEFAULT
low = keras_lr.MARTHE()
others = {
    "MARTHE from 0.0001": fit(0, LOW, low),
    "cosine to 0.0001": fit(0, LOW, cosine(LOW)),
    "cosine to 0.01": fit(0, HIGH, cosine(HIGH)),
}
for name, values in others.items():
    print(f"{name:18s} validation loss {values[-1]:.3f}")

assert low.restarts == []
assert max(low.history["learning_rate"]) > 8 * DEFAULT
assert others["MARTHE from 0.0001"][-1] < medians["constant"][-1]
assert others["MARTHE from 0.0001"][-1] < others["cosine to 0.0001"][-1] - 0.3
assert abs(losses["MARTHE"][0][-1] - others["cosine to 0.01"][-1]) < 0.1

# %%
# What it looks like
# ------------------
# Left: the validation loss. Right: the rates. ``MARTHE`` begins at a hundredth of the
# rate that the model is compiled with and climbs, steeply at first, which is its
# warm-up. Over the last 40 % of the training the rate is annealed to zero.

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
ends = np.arange(1, EPOCHS + 1) * STEPS / EPOCHS
styles = {
    "MARTHE": ("#D55E00", "-"),
    "MARTHE from 0.0001": ("#E69F00", "-"),
    "constant": ("#0072B2", "--"),
    "cosine": ("#009E73", ":"),
    "cosine to 0.01": ("#CC79A7", "-."),
}
for name, (color, line) in styles.items():
    left.plot(ends, (medians | others)[name], line, color=color, label=name)
right.plot(np.transpose(rates), color="#D55E00", alpha=0.7, lw=1)
right.plot(low.history["learning_rate"], color="#E69F00")
right.plot(constant(DEFAULT).rates, "--", color="#0072B2")
right.plot(cosine(DEFAULT).rates, ":", color="#009E73")
right.plot(cosine(HIGH).rates, "-.", color="#CC79A7")
left.set(xlabel="step", ylabel="validation loss")
right.set(xlabel="step", ylabel="learning rate", yscale="log", ylim=(8e-7, 0.03))
left.legend()
for axis in (left, right):
    axis.grid(alpha=0.3)

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--save", metavar="FILE")
    options, _ = parser.parse_known_args()
    if options.save:
        figure.savefig(options.save, dpi=110)
    else:
        plt.show()
