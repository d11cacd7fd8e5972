"""A learning rate that finds its way
===================================

A network for handwritten digits, trained by gradient descent from five learning rates,
from far too low to far too high: as they are, and moved by :class:`keras_lr.MARTHE`,
one line in ``fit``, which follows the hypergradient: the derivative of the loss with
respect to the learning rate, through all the steps before.

``python examples/plot_marthe.py --save FILE.png`` writes the figure.
"""

import argparse

import keras
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits

import keras_lr
from keras_lr import compare_policies
from keras_lr.comparison.policies import constant, default_rates, marthe

# %%
# The data and the model
# ----------------------
# 1000 digits of 8 x 8 pixels to train on, 797 to judge by.

images, labels = load_digits(return_X_y=True)
order = np.random.default_rng(0).permutation(len(images))
images, labels = (images[order] / 16).astype("float32"), labels[order]
data = (images[:1000], labels[:1000]), (images[1000:], labels[1000:])


def build_model(learning_rate=0.01):
    """Return a compiled network of two hidden layers."""
    model = keras.Sequential(
        [
            keras.Input((64,)),
            keras.layers.Dense(64, "relu"),
            keras.layers.Dense(64, "relu"),
            keras.layers.Dense(10, "softmax"),
        ]
    )
    model.compile(
        keras.optimizers.SGD(learning_rate),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


# %%
# Batches that are new in each epoch
# ----------------------------------
# After ``set_random_seed``, ``fit`` on arrays has the same batches in every epoch. A
# data set that shuffles has new ones. Each training makes its own.


def batches(size):
    """Return the digits to train on, in a new order in each epoch."""
    dataset = tf.data.Dataset.from_tensor_slices(data[0])
    return dataset.shuffle(1000, seed=0).batch(size)


# %%
# One line in ``fit``
# -------------------
# With defaults, ``MARTHE`` looks at the training batches and needs no validation data.
# Its ``history`` has an entry for each step.

keras.utils.set_random_seed(0)
callback = keras_lr.MARTHE()
model = build_model()
model.fit(batches(20), shuffle=False, epochs=10, verbose=0, callbacks=[callback])
accuracy = model.evaluate(*data[1], verbose=0)[1]
assert accuracy > 0.95
print(f"test accuracy {accuracy:.3f}")
for key, values in callback.history.items():
    print(f"{key:20s}", np.round(values[::100], 5))

# %%
# From five rates
# ---------------
# ``compare_policies`` trains each policy from the same weights on the same batches.

rates = default_rates(keras.optimizers.SGD())[::2]
policies = [make(rate) for make in (constant, marthe) for rate in rates]
result = compare_policies(
    build_model, data, policies, seeds=1, epochs=10, batch_size=20, verbose=0
)
runs = {run.policy: run for run in result.records}

# %%
# What became of them
# -------------------
# Left: the accuracy after ten epochs over the rate that the model was compiled with.
# Right: the rates of the steps. They begin at a hundredth of it and forget where they
# came from. Over the last 40 % of the training they are annealed to zero. Constant
# rates are good in a narrow range; from any of these rates, the training with
# ``MARTHE`` ends where the best of them does, or above.

best_constant = max(runs[constant(rate).label].final_metric for rate in rates)
worst_marthe = min(runs[marthe(rate).label].final_metric for rate in rates)
assert worst_marthe > max(0.93, best_constant - 0.02)

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
for make, color, marker in ((constant, "#0072B2", "o-"), (marthe, "#D55E00", "s--")):
    accuracy = [runs[make(rate).label].final_metric for rate in rates]
    left.plot(rates, accuracy, marker, color=color, label=make.__name__)
left.set(xscale="log", xlabel="compiled learning rate", ylabel="validation accuracy")
left.legend()
for rate in rates:
    keras.utils.set_random_seed(0)
    callback = keras_lr.MARTHE()
    build_model(rate).fit(
        batches(20), shuffle=False, epochs=10, verbose=0, callbacks=[callback]
    )
    keras_lr.plot_learning_rate(callback, right, label=f"from {rate:g}")
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
