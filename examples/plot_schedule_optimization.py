"""The schedule that gradient descent finds
========================================

:func:`keras_lr.optimize_schedule` trains a small network again and again. Each time it
takes the gradient of the final validation loss with respect to the learning rates of
all steps, and changes them all.

``python examples/plot_schedule_optimization.py --save FILE.png`` writes the figure.
"""

import argparse

import keras
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits

import keras_lr

# %%
# The data and the model
# ----------------------
# 800 digits of 8 x 8 pixels to train on, 400 for the search, 597 to judge by.

images, labels = load_digits(return_X_y=True)
order = np.random.default_rng(0).permutation(len(images))
images, labels = (images[order] / 16).astype("float32"), labels[order]
train, validation, test = (
    (images[part], labels[part])
    for part in (slice(800), slice(800, 1200), slice(1200, None))
)
STEPS, BATCH_SIZE = 80, 20


def build_model(learning_rate=0.02):
    """Return a compiled network with a hidden layer."""
    model = keras.Sequential(
        [
            keras.Input((64,)),
            keras.layers.Dense(32, "relu"),
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
# The search
# ----------
# It starts from the constant rate of the model. A rate holds for two steps here, so
# that there are forty of them.

result = keras_lr.optimize_schedule(
    build_model,
    train,
    validation,
    steps=STEPS,
    batch_size=BATCH_SIZE,
    every=2,
    outer_steps=30,
    verbose=0,
)
print("validation loss", np.round(result.history["objective"][::5], 3))

# %%
# In plain ``fit``
# ----------------
# The schedule goes into any optimizer. Beside it: constant rates, from other initial
# weights than those that it was found with, on batches that are new in each epoch.


def accuracy(learning_rate):
    """Return the accuracy on the test digits after two epochs."""
    keras.utils.set_random_seed(1)
    model = build_model(learning_rate)
    batches = tf.data.Dataset.from_tensor_slices(train).shuffle(800, seed=1)
    model.fit(batches.batch(BATCH_SIZE), shuffle=False, epochs=2, verbose=0)
    return model.evaluate(*test, verbose=0)[1]


for name, rate in {
    "0.02": 0.02,
    "0.2": 0.2,
    "0.5": 0.5,
    "schedule": result.schedule,
}.items():
    print(f"{name:8s} test accuracy {accuracy(rate):.3f}")

# %%
# What it looks like
# ------------------
# Left: the rate of each step. Right: the validation loss after each outer step.

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
result.plot(left)
objective = result.history["objective"]
right.plot(np.arange(len(objective)) + 1, objective, color=keras_lr.plotting.COLORS[0])
right.set(xlabel="outer step", ylabel="validation loss", yscale="log")
right.grid(alpha=0.3)

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--save", metavar="FILE")
    options, _ = parser.parse_known_args()
    if options.save:
        figure.savefig(options.save, dpi=110)
    else:
        plt.show()
