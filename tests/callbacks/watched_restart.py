"""What a restart rolls back, for the tests of the callbacks that restart."""

import keras


class Watch(keras.callbacks.Callback):
    """Copies all variables before the fit, and after the first restart."""

    def __init__(self, watched):
        super().__init__()
        self.watched, self.after = watched, None

    def _variables(self):
        rate = self.model.optimizer.learning_rate
        every = [*self.model.weights, *self.model.optimizer.variables]
        return [each.numpy() for each in every if each is not rate]

    def on_train_begin(self, logs=None):
        self.before = self._variables()

    def on_train_batch_end(self, batch, logs=None):
        if self.watched.restarts and self.after is None:
            self.after = self._variables()
