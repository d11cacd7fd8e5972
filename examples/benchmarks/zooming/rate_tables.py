"""Tables of what many learning rates come to, for the replays of `regret.py`.

A table holds the score of each of 141 rates from 1e-6 to 10, for 8 or more seeds and
after every epoch. The networks are small, and all rates and seeds of a task train at
once, as one batch of NumPy matrices: a task takes about half a minute on one core.
"""

import dataclasses
import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from sklearn import datasets

RATES = 10.0 ** np.linspace(-6, 1, 141)
BLEW_UP, NEVER_LEFT = 1.1, 0.9
"""Of the last epoch's mean training loss to the initial loss: a training's signal."""


@dataclasses.dataclass(frozen=True)
class Table:
    """The trainings of one task.

    Attributes:
        name: Name of the task.
        rates: `(rates,)`, evenly spaced on a log axis.
        scores: `(rates, seeds, epochs)`; accuracies, or losses that may be NaN.
        signals: `(rates, seeds)`: 1 the loss blew up, -1 it never left, 0 it learned.
        direction: `"max"` or `"min"`.
        chance: The score of no training.
    """

    name: str
    rates: np.ndarray
    scores: np.ndarray
    signals: np.ndarray
    direction: str
    chance: float

    def truth(self) -> np.ndarray:
        """Return the regret of each rate, in percent of (best - chance).

        A mean over seeds that is worse than chance counts as chance.
        """
        final = self.scores[..., -1]
        if self.direction == "min":
            capped = np.where(np.isfinite(final), final, np.inf).clip(max=self.chance)
            means = capped.mean(axis=1)
            return 100 * (means - means.min()) / (self.chance - means.min())
        means = np.nan_to_num(final, nan=self.chance).mean(axis=1).clip(self.chance)
        return 100 * (means.max() - means) / (means.max() - self.chance)


@dataclasses.dataclass(frozen=True)
class Task:
    """What the script trains itself.

    Attributes:
        data: A data set of scikit-learn, or `"teacher"`.
        hidden: Widths of the hidden layers.
        optimizer: `"sgd"`, `"momentum"` or `"adam"`.
        activation: `"relu"` or `"tanh"`.
        metric: `"accuracy"` or `"loss"`.
        epochs: Number of epochs.
        batch_size: Rows of a batch.
        seeds: Number of seeds; more where few rows are left to validate with. The best
            of 141 noisy means is better than its rate.
    """

    data: str
    hidden: tuple[int, ...]
    optimizer: str
    activation: str = "relu"
    metric: str = "accuracy"
    epochs: int = 12
    batch_size: int = 32
    seeds: int = 8


TASKS = {
    "digits_softmax_sgd": Task("digits", (), "sgd"),
    "digits_deep_tanh_sgd": Task("digits", (32,) * 3, "sgd", "tanh"),
    "digits_deep_relu_momentum": Task("digits", (32,) * 5, "momentum"),
    "digits_loss_adam": Task("digits", (32,), "adam", metric="loss"),
    "cancer_logistic_momentum": Task("breast_cancer", (), "momentum", seeds=24),
    "cancer_mlp_adam": Task("breast_cancer", (16, 16), "adam", seeds=24),
    "wine_softmax_sgd": Task("wine", (), "sgd", batch_size=16, seeds=24),
    "wine_mlp_momentum": Task("wine", (16,), "momentum", batch_size=16, seeds=24),
    "iris_mlp_adam": Task("iris", (16,), "adam", batch_size=16, seeds=24),
    "diabetes_linear_sgd": Task("diabetes", (), "sgd", metric="loss", seeds=24),
    "diabetes_mlp_adam": Task("diabetes", (32,), "adam", metric="loss", seeds=24),
    "teacher_tanh_momentum": Task("teacher", (32,), "momentum", "tanh", "loss"),
}


def load_data(name: str) -> tuple[np.ndarray, ...]:
    """Return x_train, y_train, x_val, y_val; targets are one-hot or standardized."""
    if name == "teacher":
        random = np.random.default_rng(0)
        x = random.normal(size=(1200, 10))
        y = np.tanh(x @ random.normal(size=(10, 16)) / 2) @ random.normal(size=16)
    else:
        x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    x, y = x[order], y[order]
    size = min(len(x) * 2 // 3, 800)
    # Some pixels of the digits are nearly always 0.
    x = ((x - x[:size].mean(0)) / (x[:size].std(0) + 1e-6)).clip(-5, 5)
    if np.issubdtype(y.dtype, np.integer):
        targets = np.eye(int(y.max()) + 1)[y]
    else:
        targets = ((y - y[:size].mean()) / y[:size].std())[:, None]
    x, targets = x.astype(np.float32), targets.astype(np.float32)
    return x[:size], targets[:size], x[size:], targets[size:]


class Networks:
    """The networks of all rates and seeds of a task, trained together."""

    def __init__(self, task: Task, inputs: int, outputs: int, is_classifier: bool):
        self._task, self._is_classifier = task, is_classifier
        sizes = (inputs, *task.hidden, outputs)
        gain = 2.0 if task.activation == "relu" else 1.0
        self._weights = []
        for place, shape in enumerate(itertools.pairwise(sizes)):
            draws = [
                np.random.default_rng((seed, place)).normal(size=shape)
                for seed in range(task.seeds)
            ]
            weight = np.stack(draws) * np.sqrt(gain / shape[0])
            every = np.broadcast_to(weight, (len(RATES), *weight.shape))
            flat = every.reshape(-1, *shape).astype(np.float32)
            bias = np.zeros((len(flat), 1, shape[1]), np.float32)
            self._weights += [flat.copy(), bias]
        self._slots = [
            (np.zeros_like(weight), np.zeros_like(weight)) for weight in self._weights
        ]
        self._rates = np.repeat(RATES, task.seeds).astype(np.float32)[:, None, None]
        self._steps = 0

    def _forward(self, x: np.ndarray) -> list[np.ndarray]:
        values = [x]
        last = len(self._weights) // 2 - 1
        for place in range(last + 1):
            weight, bias = self._weights[2 * place : 2 * place + 2]
            value = values[-1] @ weight + bias
            if place < last:
                is_relu = self._task.activation == "relu"
                value = np.maximum(value, 0) if is_relu else np.tanh(value)
            values.append(value)
        return values

    def _losses(self, outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Return the mean loss of each network."""
        if not self._is_classifier:
            return np.square(outputs - targets).mean(axis=(1, 2))
        shifted = outputs - outputs.max(axis=2, keepdims=True)
        log_sum = np.log(np.exp(shifted).sum(axis=2))
        return (log_sum - (shifted * targets).sum(axis=2)).mean(axis=1)

    def _output_gradient(self, outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        if not self._is_classifier:
            return 2 * (outputs - targets) / outputs[0].size
        power = np.exp(outputs - outputs.max(axis=2, keepdims=True))
        share = power / power.sum(axis=2, keepdims=True)
        return (share - targets) / outputs.shape[1]

    def train_on_batch(self, x: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Take one step; return the losses before it.

        Args:
            x: `(seeds, rows, inputs)`.
            targets: `(seeds, rows, outputs)`.
        """
        x, targets = (np.tile(array, (len(RATES), 1, 1)) for array in (x, targets))
        values = self._forward(x)
        delta = self._output_gradient(values[-1], targets)
        losses = self._losses(values[-1], targets)
        self._steps += 1
        for place in reversed(range(len(self._weights) // 2)):
            gradients = (
                np.swapaxes(values[place], 1, 2) @ delta,
                delta.sum(axis=1, keepdims=True),
            )
            if place:
                delta = delta @ np.swapaxes(self._weights[2 * place], 1, 2)
                if self._task.activation == "relu":
                    delta = delta * (values[place] > 0)
                else:
                    delta = delta * (1 - np.square(values[place]))
            for index, gradient in enumerate(gradients, start=2 * place):
                self._update(index, gradient)
        return losses

    def _update(self, index: int, gradient: np.ndarray) -> None:
        first, second = self._slots[index]
        if self._task.optimizer == "adam":
            first += 0.1 * (gradient - first)
            second += 0.001 * (np.square(gradient) - second)
            scale = np.sqrt(1 - 0.999**self._steps) / (1 - 0.9**self._steps)
            step = np.float32(scale) * first / (np.sqrt(second) + np.float32(1e-7))
        elif self._task.optimizer == "momentum":
            first *= 0.9
            first += gradient
            step = first
        else:
            step = gradient
        self._weights[index] -= self._rates * step

    def losses(self, x: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Return the mean loss of each network, `(rates, seeds)`."""
        return self._per_rate(self._losses(self._outputs(x), targets))

    def accuracies(self, x: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Return the accuracy of each network, `(rates, seeds)`."""
        hits = self._outputs(x).argmax(axis=2) == targets.argmax(axis=1)
        return self._per_rate(hits.mean(axis=1))

    def _outputs(self, x: np.ndarray) -> np.ndarray:
        return self._forward(np.broadcast_to(x, (len(self._rates), *x.shape)))[-1]

    def _per_rate(self, values: np.ndarray) -> np.ndarray:
        return values.reshape(len(RATES), self._task.seeds)


def make_table(name: str, task: Task) -> Table:
    """Train all rates and seeds of a task."""
    x, y, x_val, y_val = load_data(task.data)
    is_classifier = y.shape[1] > 1
    networks = Networks(task, x.shape[1], y.shape[1], is_classifier)
    is_loss = task.metric == "loss"
    evaluate = networks.losses if is_loss else networks.accuracies
    chance = float(evaluate(x_val, y_val).mean() if is_loss else y_val.mean(0).max())
    initial, scores, last = networks.losses(x, y), [], np.zeros(0)
    randoms = [np.random.default_rng(seed) for seed in range(task.seeds)]
    for _ in range(task.epochs):
        orders = np.stack([random.permutation(len(x)) for random in randoms])
        starts = range(0, len(x) - task.batch_size + 1, task.batch_size)
        batches = [orders[:, start : start + task.batch_size] for start in starts]
        losses = [networks.train_on_batch(x[rows], y[rows]) for rows in batches]
        last = np.mean(losses, axis=0).reshape(initial.shape)
        scores.append(evaluate(x_val, y_val))
    direction = "min" if is_loss else "max"
    marks = signals(last / initial)
    return Table(name, RATES, np.stack(scores, 2), marks, direction, chance)


def signals(ratio: np.ndarray) -> np.ndarray:
    """Return 1 where the loss blew up, -1 where it never left, 0 where it learned."""
    blew_up = ~(ratio <= BLEW_UP)
    return np.where(blew_up, 1, np.where(ratio > NEVER_LEFT, -1, 0)).astype(np.int8)


def save(path: Path, tables: list[Table]) -> None:
    """Write tables to one compressed file."""
    arrays: dict[str, np.ndarray] = {"rates": RATES}
    for table in tables:
        # Float16 ends at 65504, and is exact to three digits.
        scores = np.where(table.scores < 6e4, table.scores, np.nan).astype(np.float16)
        arrays[f"{table.name}/scores"] = scores
        arrays[f"{table.name}/signals"] = table.signals
        arrays[f"{table.name}/chance"] = np.float64(table.chance)
        arrays[f"{table.name}/is_max"] = np.bool_(table.direction == "max")
    np.savez_compressed(path, **arrays)


def load(path: Path) -> list[Table]:
    """Read tables that `save` wrote, or those that a JSON file beside describes."""
    description = path.with_suffix(".json")
    if description.exists():
        return list(_described(path, json.loads(description.read_text())["tasks"]))
    with np.load(path) as file:
        names = sorted({key.split("/")[0] for key in file.files} - {"rates"})
        return [
            Table(
                name,
                file["rates"],
                file[f"{name}/scores"].astype(np.float64),
                file[f"{name}/signals"],
                "max" if file[f"{name}/is_max"] else "min",
                float(file[f"{name}/chance"]),
            )
            for name in names
        ]


def _described(path: Path, tasks: dict[str, dict]) -> Iterator[Table]:
    with np.load(path) as file:
        for name, task in tasks.items():
            is_max = task["metric"] == "val_acc"
            scores = file[f"{name}/{task['metric']}"].astype(np.float64)
            ratio = file[f"{name}/loss_over_init"][..., -1].astype(np.float64)
            ratio = np.where(file[f"{name}/nonfinite"], np.nan, ratio)
            initial = float(file[f"{name}/init_val_loss"].mean())
            chance = 1 / task["n_classes"] if is_max else initial
            direction = "max" if is_max else "min"
            yield Table(name, file["lrs"], scores, signals(ratio), direction, chance)
