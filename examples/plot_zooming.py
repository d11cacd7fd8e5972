"""A learning rate in seven trainings
===================================

Which learning rate is right for this network? :class:`keras_lr.Zooming` trains it seven
times, each time at the rate that could still be the best one, and recommends one. It is
a tuner of KerasTuner.

``python examples/plot_zooming.py --save FILE.png`` writes the figure.
"""

import argparse
import tempfile

import keras
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits

import keras_lr

# %%
# The data and the model
# ----------------------
# 1000 digits of 8 x 8 pixels to train on, 797 to judge by. The function that builds the
# model asks for its learning rate, anywhere between 0.00001 and 10.

images, labels = load_digits(return_X_y=True)
order = np.random.default_rng(0).permutation(len(images))
images, labels = (images[order] / 16).astype("float32"), labels[order]
training, validation = (images[:1000], labels[:1000]), (images[1000:], labels[1000:])


def build_model(hp):
    """Return a compiled network of two hidden layers."""
    learning_rate = hp.Float("learning_rate", 1e-5, 10.0, sampling="log")
    model = keras.Sequential(
        [
            keras.Input((64,)),
            keras.layers.Dense(64, "relu"),
            keras.layers.Dense(64, "relu"),
            keras.layers.Dense(10, "softmax"),
        ]
    )
    model.compile(
        keras.optimizers.SGD(learning_rate, momentum=0.9),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


# %%
# The search
# ----------
# It is used as KerasTuner's other tuners are. Trainings that go nowhere are stopped
# early. The data set has new batches in each epoch; arrays in ``fit`` would have the
# same ones in every epoch of a training, which has a seed of its own.

folder = tempfile.TemporaryDirectory()
tuner = keras_lr.Zooming(
    build_model, "val_accuracy", max_trials=7, seed=0, directory=folder.name
)
batches = tf.data.Dataset.from_tensor_slices(training).shuffle(1000, seed=0).batch(50)
tuner.search(batches, shuffle=False, validation_data=validation, epochs=12, verbose=0)
print("\n".join(tuner.summary()))

# %%
# What it did
# -----------
# The points are the trainings, numbered in their order. The first was in the middle.
# Each later one went where the most could be gained: into the widest gap next to a good
# rate. Where the loss never moved or blew up, the axis was cut off. The star is the
# recommended rate. Where rates around it are as good within 2 %, they are shaded.

figure, ax = plt.subplots(figsize=(7.5, 4), layout="constrained")
keras_lr.plot_arms(tuner, ax)

# %%
# The table
# ---------
# The same in numbers: a row for each rate.

print(tuner.to_dataframe()[["learning_rate", "mean_score", "trials", "signal"]])
folder.cleanup()

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--save", metavar="FILE")
    options, _ = parser.parse_known_args()
    if options.save:
        figure.savefig(options.save, dpi=110)
    else:
        plt.show()
