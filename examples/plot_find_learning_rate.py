"""A learning rate in seconds
==========================

:func:`keras_lr.find_learning_rate` tries learning rates on a compiled model and its
data, 100 steps each from the same weights, suggests one, and leaves the model as it
was. Then the network is trained at six rates, to see what the suggestion is worth.

``python examples/plot_find_learning_rate.py --save FILE.png`` writes the figure.
"""

import argparse

import keras
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

import keras_lr

# %%
# The data and the model
# ----------------------
# 1000 digits of 8 x 8 pixels to train on, 797 to judge by. Keras's default rate for
# ``SGD`` is 0.01.

images, labels = load_digits(return_X_y=True)
order = np.random.default_rng(0).permutation(len(images))
images, labels = (images[order] / 16).astype("float32"), labels[order]
x, y = images[:1000], labels[:1000]
test = images[1000:], labels[1000:]

keras.utils.set_random_seed(0)
model = keras.Sequential(
    [
        keras.Input((64,)),
        keras.layers.Dense(64, "relu"),
        keras.layers.Dropout(0.1),
        keras.layers.Dense(64, "relu"),
        keras.layers.Dense(10, "softmax"),
    ]
)
model.compile(
    keras.optimizers.SGD(),
    loss="sparse_categorical_crossentropy",
    metrics=["accuracy"],
)

# %%
# The suggestion
# --------------
# It prints what it tries, why it chose, and the line to paste.

before = model.get_weights()
result = keras_lr.find_learning_rate(model, (x, y), batch_size=32)
print(f"{result.seconds:.1f} seconds")

# %%
# Nothing has changed: the weights are the same to the last bit.

assert all(map(np.array_equal, before, model.get_weights()))
assert result.is_sure

# %%
# What it is worth
# ----------------
# Five epochs at each of six constant rates, from the same weights. The suggestion
# knows nothing of the last epochs, in which a lower rate may be better: let it decay,
# or let :class:`keras_lr.MARTHE` move it.

rates = 10.0 ** np.arange(-2.5, 0.1, 0.5)


def accuracy_at(rate):
    """Return the test accuracy after five epochs at a constant rate."""
    model.set_weights(before)
    for variable in model.optimizer.variables:
        variable.assign(np.zeros(variable.shape, variable.dtype))
    model.optimizer.learning_rate = rate
    model.fit(x, y, epochs=5, batch_size=32, verbose=0)
    return model.evaluate(*test, verbose=0, return_dict=True)["accuracy"]


accuracies = [accuracy_at(float(rate)) for rate in rates]
suggested = accuracy_at(result.suggestion)
print(f"at the suggestion {suggested:.3f}, best of six {max(accuracies):.3f}")
print(f"at Keras's default {accuracies[1]:.3f}")
assert suggested > max(accuracies) - 0.015

# %%
# The picture
# -----------
# Left: the loss after the trials, and the suggestion. It is a little below the rate
# with the lowest loss: what is best in 100 steps is often too high for the rest of a
# training. Right: the accuracy after five epochs.

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
result.plot(left)
right.plot(rates, accuracies, "o-", color="#0072B2", label="constant rate, 5 epochs")
right.plot(result.suggestion, suggested, "*", color="#D55E00", markersize=14)
right.axvline(result.suggestion, color="#D55E00", linestyle="-.", label="suggestion")
right.set(xscale="log", xlabel="learning rate", ylabel="test accuracy")
right.grid(alpha=0.3)
right.legend()

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--save", metavar="FILE")
    options, _ = parser.parse_known_args()
    if options.save:
        figure.savefig(options.save, dpi=110)
    else:
        plt.show()
