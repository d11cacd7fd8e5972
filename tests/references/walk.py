"""The learning-rate walk as its source says it, on a Keras model that really steps.

Each decision takes the step twice, by `train_on_batch`, from the same state, and
evaluates the loss of the batch after each, as the training step computes it: with the
same dropout masks, in training mode. All is restored in between. Nothing is traced
together, nothing is shared.
"""

import math

import keras
import numpy as np
import tensorflow as tf


class Average:
    """An average whose memory grows to a length, and that of the squares."""

    def __init__(self, first, least):
        self.first, self.least = first, least
        self.count, self.mean, self.square = 0, 0.0, 0.0

    def take(self, value, deviation=None):
        deviation = value if deviation is None else deviation
        share = max(self.least, self.first / (self.first + self.count))
        self.count += 1
        self.mean = (1 - share) * self.mean + share * value
        self.square = (1 - share) * self.square + share * deviation**2
        self.error = math.sqrt(self.square * share / 2)
        return self.mean


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

    With `largest`, slopes are averaged over trials, the factor grows upwards only while
    the next batches agree, the rate falls while losses are higher than before, and a
    step with a large gradient is shortened.
    """

    def __init__(self, model, factor, *, every=1, largest=None, probe="loss", share=1):
        self.model = model
        self.every = every
        self.factor = self.smallest = factor
        self.largest = largest or factor
        self.probe = probe
        self.share = share
        self.climbs = self.asks = largest is not None
        self.direction = self.count = 0
        self.losses = []
        self.falls = []
        self.before, self.after = Average(3, 0.3), Average(3, 0.3)
        self.agreement, self.level = Average(10, 0.03), Average(10, 0.03)
        self.lowest, self.last = math.inf, None
        self.squares, self.shortenings = Average(10, 0.03), []
        self.first = float(model.optimizer.learning_rate.numpy())

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
        falls = self.asks and self.ask(batch, before)
        if falls:
            lower = max(rate * math.exp(-0.03), self.first)
            rate = min(rate, lower)
            self.factor, self.direction, self.climbs = self.smallest, 0, False
        self.falls.append(falls)
        next_rate = rate
        is_short = self.asks and self.shortenings[-1] < 1.0
        is_due = self.count % self.every == 0 or self.climbs
        if is_due and not falls and not is_short:
            next_rate = self.decide(rate, batch, before)
        taken = rate * self.shortenings[-1] if self.asks else rate
        self.last = self.restored_weights(before), taken
        self.weights_after(taken, batch, before)
        self.model.optimizer.learning_rate.assign(next_rate)
        return taken

    def ask(self, batch, before):
        """Return whether losses are too high, and the next batches don't agree."""
        weights = self.model.trainable_variables
        x, y = map(keras.ops.convert_to_tensor, batch)
        with tf.GradientTape() as tape:
            loss = self.model.compute_loss(x, y, self.model(x, training=True))
        gradients = tape.gradient(loss, [each.value for each in weights])
        if self.last is not None:
            old, rate = self.last
            slope = sum(
                np.sum(g.numpy() * (w.numpy() - o))
                for g, w, o in zip(gradients, weights, old, strict=True)
            )
            self.agreement.take(slope / rate)
        square = sum(np.sum(each.numpy() ** 2) for each in gradients)
        usual = math.inf if self.squares.count < 20 else self.squares.mean
        self.shortenings.append(min(1.0, 1.5 * math.sqrt(usual / square)))
        self.squares.take(square)
        loss = float(loss)
        deviation = loss - self.level.mean if self.level.count else 0.0
        mean = self.level.take(loss, deviation)
        margin = 2 * self.level.error
        self.lowest = min(self.lowest, mean + margin)
        is_high = self.level.count > 20 and mean - margin > self.lowest
        return is_high and not self.is_agreed()

    def is_agreed(self):
        agreement = self.agreement
        return agreement.count > 0 and agreement.mean < -1.5 * agreement.error

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
            slopes = linear / rate, (linear + 2 * square) / rate
        else:
            h = 2.0**-16
            slopes = [
                (loss_on(start, h) - loss_on(start, -h)) / (2 * h * rate)
                for start in (own, weights[0])
            ]
        took = 1 - slopes[1] / slopes[0]
        is_far = slopes[0] < 0 and not 0.1 < took / self.share < 2
        if self.asks:
            slopes = self.before.take(min(slopes[0], 0.0)), self.after.take(slopes[1])
            took = 1 - slopes[1] / slopes[0] if slopes[0] < 0 else math.nan
        is_better = took < self.share if slopes[0] < 0 else slopes[1] < 0
        if not self.asks:
            is_better = raised < taken if self.probe == "loss" else slopes[1] < 0
        direction = 1 if is_better else -1
        agrees = direction == self.direction
        self.factor = min(self.factor**2, self.largest) if agrees else self.smallest
        self.direction = direction
        self.climbs = is_far and self.largest > self.smallest
        if self.asks and is_better and not self.is_agreed():
            self.factor, self.direction, self.climbs = self.smallest, 0, False
        return rate * self.factor**direction

    def restored_weights(self, before):
        self.restore(before)
        return [w.numpy() for w in self.model.trainable_variables]
