"""A rule of your own
==================

The Polyak step size [1]_ as a callback: a rule, what it does around the optimizer's
step, and the callback. Logs, annealing, resuming and the way back from a divergence
come with ``LearningRateCallback``.

.. [1] Loizou et al., `Stochastic Polyak Step-size for SGD
   <https://arxiv.org/abs/2002.10542>`__, 2021, equation 3 with c = 1.
"""

import keras
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf
from keras import ops
from sklearn.datasets import load_digits

import keras_lr
from keras_lr.callbacks.base import LearningRateCallback
from keras_lr.training.derivatives.tensors import inner_product
from keras_lr.training.fit.annealed_rate import AnnealedRate
from keras_lr.training.fit.around_step import AroundStep
from keras_lr.training.fit.online_fit import OnlineFit

# %%
# The rule
# --------
# A function of tensors, which knows no model. A loss or a gradient that is not finite
# is data: the answer is the last rate.


def polyak_step_size(loss, squared_norm, lower_bound, last):
    """Return (L_t - L*) / ||g||^2, and the last rate where that says nothing."""
    gap = ops.maximum(loss - lower_bound, 0.0)
    is_known = ops.logical_and(ops.isfinite(gap + squared_norm), squared_norm > 0.0)
    return ops.where(is_known, ops.divide_no_nan(gap, squared_norm), last)


# %%
# Around the optimizer's step
# ---------------------------
# ``step`` has the loss and the gradients of the batch. ``self.rate`` owns the learning
# rate: it keeps it within its limits, anneals it, and writes it into the optimizer when
# the step is taken. What is returned becomes a row of ``history``.


class PolyakStep(AroundStep):
    """Moves the rate to the Polyak step size, and takes the step at it."""

    name = "polyak"

    def __init__(self, rate, lower_bound):
        super().__init__(rate)
        self.lower_bound = lower_bound

    def around(self, step):
        """Move the rate, and take the step."""
        gradients = [ops.cast(g, self.rate.dtype) for g in step.batch_gradients()]
        square = inner_product(gradients, gradients, self.rate.dtype)
        loss = ops.cast(step.loss, self.rate.dtype)
        rate = polyak_step_size(loss, square, self.lower_bound, self.rate.value)
        self.rate.move_to(rate)
        step.take()
        return {"gradient_norm": ops.sqrt(square)}


# %%
# The callback
# ------------
# It names what is recorded, and makes what lives for one fit.


@keras.saving.register_keras_serializable(package="examples")
class PolyakStepSize(LearningRateCallback):
    """Set the learning rate to the Polyak step size, with a bound."""

    def __init__(self, lower_bound=0.0, max_learning_rate=1.0, anneal=0.4, **kwargs):
        super().__init__(**kwargs)
        self.lower_bound = lower_bound
        self.max_learning_rate = max_learning_rate
        self.anneal = anneal

    def _columns(self):
        return ["learning_rate", "loss", "gradient_norm"]

    def _make_fit(self):
        limits = 0.0, self.max_learning_rate
        rate = AnnealedRate(self.model, anneal=self.anneal, limits=limits)
        around_step = PolyakStep(rate, self.lower_bound)
        owner = type(self).__name__
        columns = self._columns()
        return OnlineFit(self.model, around_step, columns, owner=owner, guards=True)

    def get_config(self):
        """Return the constructor's arguments."""
        names = "lower_bound", "max_learning_rate", "anneal"
        return super().get_config() | {name: getattr(self, name) for name in names}


# %%
# Handwritten digits
# ------------------
# Keras's default rate of 0.01, and the rule, from the same weights and on the same
# batches, which are new in each epoch.

images, labels = load_digits(return_X_y=True)
order = np.random.default_rng(0).permutation(len(images))
images, labels = (images[order] / 16).astype("float32"), labels[order]
_, ax = plt.subplots(figsize=(7, 4))
scores = {}
for name, callback in {
    "default rate": keras_lr.LearningRateRecorder("batch"),
    "Polyak step size": PolyakStepSize(),
}.items():
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(64, "relu"), keras.layers.Dense(10, "softmax")]
    model = keras.Sequential([keras.Input((64,)), *layers])
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    batches = tf.data.Dataset.from_tensor_slices((images[:1000], labels[:1000]))
    batches = batches.shuffle(1000, seed=0).batch(32)
    model.fit(batches, shuffle=False, epochs=10, verbose=0, callbacks=[callback])
    scores[name] = model.evaluate(images[1000:], labels[1000:], verbose=0)[1]
    keras_lr.plot_learning_rate(callback, ax, label=name)
    print(f"{name}: accuracy {scores[name]:.3f}")
# Over seeds 0 to 9 the rule comes to 0.960 to 0.974, the default rate to 0.68 to 0.80.
assert scores["Polyak step size"] > max(0.95, scores["default rate"] + 0.1)
