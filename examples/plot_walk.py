"""One percent more, or one percent less
=====================================

A network for handwritten digits, trained by gradient descent from five learning rates,
from far too low to far too high: as they are, and walked by
:class:`keras_lr.LearningRateWalk`, one line in ``fit``, which tries in every tenth step
whether a slightly higher rate would have been better.

``python examples/plot_walk.py --save FILE.png`` writes the figure.
"""

import argparse

import keras
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits

import keras_lr
from keras_lr import compare_policies
from keras_lr.comparison.policies import constant, default_rates, walk

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
# What a trial says
# -----------------
# The derivative of the loss after a step with respect to the step's rate. Where it is
# negative, a higher rate would have been better. Only every tenth step is tried, and
# ``history`` has NaN for the others.

keras.utils.set_random_seed(0)
callback = keras_lr.LearningRateWalk()
model = build_model()
model.fit(batches(32), shuffle=False, epochs=20, verbose=0, callbacks=[callback])
slopes = np.array(callback.history["slope"])
tried = np.flatnonzero(np.isfinite(slopes))
for step in tried[::6]:
    direction = "up" if slopes[step] < 0 else "down"
    rate = callback.history["learning_rate"][step]
    print(f"step {step:4d}: slope {slopes[step]:8.3f}, rate {rate:.4f}, {direction}")

# %%
# Five decades of starting rates
# ------------------------------
# The same problem at five constant rates, and walked from each of them. All start from
# the same weights and see the same batches. While its trials agree, the walk takes
# longer strides, and as long as it is far from its goal it tries in each step. In the
# last 40 % of the training the rate falls to zero.

starts = default_rates(keras.optimizers.SGD())[::2]
policies = [make(rate) for make in (constant, walk) for rate in starts]
result = compare_policies(
    build_model, data, policies, seeds=1, epochs=10, batch_size=20, verbose=0
)
runs = {run.policy: run for run in result.records}

# %%
# What became of them
# -------------------
# Left: the accuracy at the end over the initial rate. Right: the rates of the steps.
# It begins at a hundredth of the initial one. A training whose rate went too far is
# rolled back, with a warning, and continues at a tenth of it.

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
for make, color, marker in ((constant, "#0072B2", "o-"), (walk, "#D55E00", "s--")):
    accuracy = [runs[make(rate).label].final_metric for rate in starts]
    left.plot(starts, accuracy, marker, color=color, label=make.__name__)
left.set(xscale="log", xlabel="initial learning rate", ylabel="validation accuracy")
left.legend()
for rate in starts:
    keras.utils.set_random_seed(0)
    callback = keras_lr.LearningRateWalk()
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
