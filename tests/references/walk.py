"""The learning-rate walk as its source says it, on a Keras model that really steps.

Each decision takes the step twice, by `train_on_batch`, from the same state, and
evaluates the loss of the batch after each, as the training step computes it: with the
same dropout masks, in training mode. All is restored in between. Nothing is traced
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
        largest: What the factor may grow to while decisions agree.
        probe: `"loss"`, also for the slopes of a parabola through three losses, or
            `"slope"`, differences of the loss before and after the step.
        share: Of the slope that a step should take away. While it takes less than a
            tenth of that, or more than twice, each step decides.
    """

    def __init__(self, model, factor, *, every=1, largest=None, probe="loss", share=1):
        self.model = model
        self.every = every
        self.factor = self.smallest = factor
        self.largest = largest or factor
        self.probe = probe
        self.share = share
        self.climbs = largest is not None
        self.directions = []
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
        self.count += 1
        next_rate = rate
        if self.count % self.every == 0 or self.climbs:
            next_rate = self.decide(rate, batch, before)
        self.weights_after(rate, batch, before)
        self.model.optimizer.learning_rate.assign(next_rate)
        return rate

    def decide(self, rate, batch, before):
        weights = [self.weights_after(r, batch, before) for r in (rate, 2 * rate)]
        own = self.restored_weights(before)

        def loss_on(start, part):
            """The loss at weights that went so much further along the step."""
            moved = [
                w + part * (b - a) for w, a, b in zip(start, *weights, strict=True)
            ]
            return self.loss_at(moved, batch, before)

        raised_weights = self.weights_after(rate * self.factor, batch, before)
        taken = self.loss_at(weights[0], batch, before)
        raised = self.loss_at(raised_weights, batch, before)
        self.losses.append([taken, raised])
        if self.probe == "loss":
            # Through the losses at 0, 1 and the factor.
            ends = [self.loss_at(own, batch, before), taken, raised]
            square, linear, _ = np.polyfit([0.0, 1.0, self.factor], ends, 2)
            slopes = linear, linear + 2 * square
        else:
            h = 2.0**-16
            slopes = [
                (loss_on(start, h) - loss_on(start, -h)) / (2 * h)
                for start in (own, weights[0])
            ]
        took = 1 - slopes[1] / slopes[0]
        is_better = took < self.share if slopes[0] < 0 else slopes[1] < 0
        if self.probe == "loss" and self.share == 1:
            is_better = raised < taken
        self.directions.append(1 if is_better else -1)
        agrees = len(self.directions) > 1 and len(set(self.directions[-2:])) == 1
        self.factor = min(self.factor**2, self.largest) if agrees else self.smallest
        is_far = slopes[0] < 0 and not 0.1 < took / self.share < 2
        self.climbs = is_far and self.largest > self.smallest
        return rate * self.factor ** self.directions[-1]

    def restored_weights(self, before):
        self.restore(before)
        return [w.numpy() for w in self.model.trainable_variables]
