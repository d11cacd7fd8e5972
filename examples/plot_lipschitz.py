"""One rate that nobody chose
==========================

A network for handwritten digits, trained by gradient descent: once with each of nine
constant learning rates, and once with :class:`keras_lr.LipschitzLR`, which measures the
gradient of every batch and sets the rate to the inverse of the largest, in which older
ones count less. The rates that the models are compiled with span four decades;
``LipschitzLR`` does not look at them.

``python examples/plot_lipschitz.py --save FILE.png`` writes the figure.
"""

import argparse

import keras
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

from keras_lr import compare_policies
from keras_lr.comparison.policies import constant, default_rates, lipschitz

# %%
# The data and the model
# ----------------------
# 1000 digits of 8 x 8 pixels to train on, 797 to judge by.

images, labels = load_digits(return_X_y=True)
order = np.random.default_rng(0).permutation(len(images))
images, labels = (images[order] / 16).astype("float32"), labels[order]
data = (images[:1000], labels[:1000]), (images[1000:], labels[1000:])


def build_model():
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
        keras.optimizers.SGD(),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


# %%
# Nine constant rates, and none
# -----------------------------
# ``compare_policies`` trains each policy from the same weights on the same batches.

rates = default_rates(keras.optimizers.SGD())
starts = rates[:: len(rates) // 3]
policies = [constant(rate) for rate in rates] + [lipschitz(rate) for rate in starts]
result = compare_policies(
    build_model, data, policies, seeds=1, epochs=10, batch_size=20, verbose=0
)
print(result)

# %%
# What the rate did
# -----------------
# Left: the accuracy after ten epochs over the rate that the model was compiled with.
# Right: the learning rate of every epoch. It falls when a gradient is larger than what
# counts of those before it, rises slowly in between, and falls to zero at the end,
# which quiets the noise of the last steps.


runs = {run.policy: run for run in result.records}


def final_accuracy(policy):
    """Return the accuracy after the last epoch."""
    return runs[policy.label].final_metric


figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
left.plot(
    rates,
    [final_accuracy(constant(rate)) for rate in rates],
    "o-",
    color="#0072B2",
    label="constant rate",
)
left.plot(
    starts,
    [final_accuracy(lipschitz(rate)) for rate in starts],
    "s--",
    color="#D55E00",
    label="LipschitzLR",
)
left.set(xscale="log", xlabel="compiled learning rate", ylabel="validation accuracy")
left.legend(loc="lower center")
measured = runs[lipschitz(starts[0]).label].learning_rates
epochs = np.arange(1, len(measured) + 1)
right.plot(epochs, measured, color="#D55E00", label="LipschitzLR")
best = max(rates, key=lambda rate: final_accuracy(constant(rate)))
right.axhline(best, color="#0072B2", label=f"best constant rate, {best:.3g}")
right.set(yscale="log", xlabel="epoch", ylabel="learning rate of the last step")
right.legend()
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
