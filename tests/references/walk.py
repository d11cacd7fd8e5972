"""The learning-rate walk as its source says it, on a Keras model that really steps.

Each decision takes the step twice, by `train_on_batch`, from the same state, and
evaluates the loss of the batch after each, as the training step computes it: with the
same dropout masks, in training mode. All is put back in between. Nothing is traced
together, nothing is shared.
"""

import keras
import numpy as np


class Walk:
    """One percent more where that is better, else one percent less.

    Args:
        model: A compiled model with a built optimizer.
        factor: By which the rate is multiplied or divided.
        every: Steps from one decision to the next.
        largest: What the factor may grow to while decisions agree and no step lowers
            the loss of its batch by 2 %.
    """

    def __init__(self, model, factor, every=1, largest=None):
        self.model = model
        self.every = every
        self.factor = self.smallest = factor
        self.largest = largest or factor
        self.directions = []
        self.has_learned = False
        self.before = []
        self.count = 0
        self.losses = []

    @property
    def variables(self):
        return [*self.model.variables, *self.model.optimizer.variables]

    def state(self):
        return [np.array(keras.ops.convert_to_numpy(v.value)) for v in self.variables]

    def restore(self, values):
        for variable, value in zip(self.variables, values, strict=True):
            variable.assign(value)

    def weights_after(self, rate, batch, before):
        self.restore(before)
        self.model.optimizer.learning_rate.assign(rate)
        self.model.train_on_batch(*batch)
        return [np.array(w.numpy()) for w in self.model.trainable_variables]

    def loss_at(self, weights, batch, before):
        """Return the loss of the step that starts at `before`, at other weights."""
        self.restore(before)
        for variable, value in zip(
            self.model.trainable_variables, weights, strict=True
        ):
            variable.assign(value)
        x, y = map(keras.ops.convert_to_tensor, batch)
        loss = self.model.compute_loss(x, y, self.model(x, training=True))
        return float(loss)

    def train_on(self, batch):
        """Take a step; return the rate that it was taken with."""
        before = self.state()
        rate = float(self.model.optimizer.learning_rate.numpy())
        weights = [w.numpy() for w in self.model.trainable_variables]
        self.before.append(self.loss_at(weights, batch, before))
        self.count += 1
        next_rate = rate
        if self.count % self.every == 0:
            next_rate = self.decide(rate, batch, before)
        self.weights_after(rate, batch, before)
        self.model.optimizer.learning_rate.assign(next_rate)
        return rate

    def mean(self, number):
        """Return an average of the first losses, of which the last counts most."""
        losses = self.before[:number]
        weights = 0.9 ** np.arange(len(losses) - 1, -1, -1.0)
        return weights @ losses / weights.sum()

    def decide(self, rate, batch, before):
        first = self.before[-1]
        raised = rate * self.factor
        losses = [
            self.loss_at(self.weights_after(each, batch, before), batch, before)
            for each in (rate, raised)
        ]
        self.losses.append(losses)
        self.directions.append(1 if losses[1] < losses[0] else -1)
        if losses[0] <= 0.98 * first or self.mean(None) < 0.8 * self.mean(10):
            self.has_learned = True
        agrees = len(self.directions) > 1 and len(set(self.directions[-2:])) == 1
        if agrees and not self.has_learned:
            self.factor = min(self.factor**2, self.largest)
        else:
            self.factor = self.smallest
        return rate * self.factor ** self.directions[-1]
