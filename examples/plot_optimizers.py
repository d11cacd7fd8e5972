"""Adam's rate, and none
=====================

A network for handwritten digits, trained by Adam from each of nine learning rates, and
by the three optimizers of ``keras_lr``, whose rate follows from the norms of the
gradients: :class:`keras_lr.AdaMo`, :class:`keras_lr.AdaptiveRMSprop` and
:class:`keras_lr.AutoAdam`. They run with defaults; each is one line in ``compile``.

``python examples/plot_optimizers.py --save FILE.png`` writes the figure.
"""

import argparse

import keras
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits

import keras_lr
from keras_lr import compare_policies
from keras_lr.comparison.policies import (
    adamo,
    adaptive_rmsprop,
    auto_adam,
    constant,
    default_rates,
)

# %%
# The data and the model
# ----------------------
# 1000 digits of 8 x 8 pixels to train on, 797 to judge by.

images, labels = load_digits(return_X_y=True)
order = np.random.default_rng(0).permutation(len(images))
images, labels = (images[order] / 16).astype("float32"), labels[order]
data = (images[:1000], labels[:1000]), (images[1000:], labels[1000:])


def build_model(optimizer="adam"):
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
        optimizer, loss="sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    return model


# %%
# Nine rates for Adam, none for the others
# ----------------------------------------
# ``compare_policies`` trains each policy from the same weights on the same batches.

rates = default_rates(keras.optimizers.Adam())
ours = [adamo(), adaptive_rmsprop(), auto_adam()]
policies = [constant(rate) for rate in rates] + ours
result = compare_policies(
    build_model, data, policies, seeds=1, epochs=10, batch_size=20, verbose=0
)
print(result)
runs = {run.policy: run for run in result.records}

# %%
# One line in ``compile``
# -----------------------
# ``LearningRateRecorder`` has the effective rate, and the constant that it follows
# from, in its ``history``. The comparison has set a seed, after which ``fit`` on arrays
# would have the same batches in every epoch; a data set that shuffles has new ones.

keras.utils.set_random_seed(0)
model = build_model(keras_lr.AutoAdam())
batches = tf.data.Dataset.from_tensor_slices(data[0]).shuffle(1000, seed=0).batch(20)
recorder = keras_lr.LearningRateRecorder()
model.fit(batches, shuffle=False, epochs=10, verbose=0, callbacks=[recorder])
for key in ("effective_learning_rate", "lipschitz_constant"):
    print(key, np.round(recorder.history[key], 4))

# %%
# What the rates did
# ------------------
# Left: the accuracy after ten epochs over Adam's rate, and that of the others, which
# have none. Right: the effective rate of the last step of each epoch. ``AutoAdam`` and
# ``AdaptiveRMSprop`` divide each weight's gradient by its size, so that their rate has
# to fall as the gradients do. ``AdaMo`` multiplies a velocity that falls by itself.

STYLES = {
    "adamo": {"color": "#D55E00", "ls": "--"},
    "adaptive_rmsprop": {"color": "#009E73", "ls": "-."},
    "auto_adam": {"color": "#CC79A7", "ls": ":"},
}
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
left.plot(
    rates,
    [runs[constant(rate).label].final_metric for rate in rates],
    "o-",
    color="#0072B2",
    label="Adam",
)
for name, style in STYLES.items():
    left.axhline(runs[name].final_metric, lw=2, label=name, **style)
    effective = runs[name].learning_rates
    right.plot(range(1, len(effective) + 1), effective, lw=2, label=name, **style)
left.set(xscale="log", xlabel="learning rate of Adam", ylabel="validation accuracy")
right.set(yscale="log", xlabel="epoch", ylabel="effective learning rate")
for axis in (left, right):
    axis.grid(alpha=0.3)
    axis.legend()

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--save", metavar="FILE")
    options, _ = parser.parse_known_args()
    if options.save:
        figure.savefig(options.save, dpi=110)
    else:
        plt.show()
