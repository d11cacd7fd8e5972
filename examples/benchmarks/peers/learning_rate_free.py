"""Compare learning-rate-free optimizers of PyTorch with rates in Keras, like for like.

Schedule-Free, Prodigy and D-Adaptation come for PyTorch. On the suite's problems with
dense layers both frameworks start from the same weights and see the same batches; the
script first checks that Adam and SGD then have the same losses in both.

    python -m pip install ".[peers]"
    python examples/benchmarks/peers/learning_rate_free.py

adds what is missing in `results/learning_rate_free.csv`, in about a quarter of an hour,
and prints the table: the metric on the test rows after the last epoch, in points. The
peers run with their authors' defaults; the best of the nine constant rates is picked by
those very test rows. The final loss is that of all training rows; a run whose final
loss is not finite or above the initial one has diverged. The seconds include building
the model and, in Keras, tracing it, which the constant rates do once for all.
"""

import argparse
import csv
import functools
import itertools
import math
import os
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

# Before TensorFlow is imported; PyTorch gets one thread below.
for _variable in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
    os.environ.setdefault(_variable, "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.append(str(Path(__file__).resolve().parents[1] / "suite"))

import keras
import numpy as np
import tensorflow as tf
import torch
from dadaptation import DAdaptAdam, DAdaptSGD
from model_pool import fresh_model
from page import markdown
from problems import OPTIMIZERS, PROBLEMS, Problem
from prodigyopt import Prodigy
from results import Cell, best
from run_suite import build_model
from schedulefree import AdamWScheduleFree, SGDScheduleFree
from torch import nn

import keras_lr
from keras_lr.comparison.policies import default_rates

Row = dict[str, Any]

RESULTS = Path(__file__).resolve().parents[1] / "results" / "learning_rate_free.csv"
COLUMNS = (
    *("problem", "optimizer", "seed"),
    *("final_metric", "final_loss", "diverged", "seconds"),
)
DENSE_PROBLEMS = (
    *("logistic_breast_cancer", "mlp_digits", "wide_mlp_mnist"),
    *("deep_mlp_digits", "regression_diabetes"),
)
TOLERANCE = 1e-4
"""Largest relative difference of a loss between the frameworks, which use float32."""

PEERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    # Keras's defaults, to compare the frameworks; the authors' own for the others.
    "torch adam": functools.partial(torch.optim.Adam, lr=1e-3, eps=1e-7),
    "torch sgd": functools.partial(torch.optim.SGD, lr=1e-2),
    "AdamWScheduleFree": AdamWScheduleFree,
    "SGDScheduleFree": SGDScheduleFree,
    "Prodigy": Prodigy,
    "Prodigy cosine": Prodigy,
    "DAdaptAdam": DAdaptAdam,
    "DAdaptSGD": DAdaptSGD,
}
RATES = {name: default_rates(OPTIMIZERS[name]()) for name in ("adam", "sgd")}
"""The constant rates that are tried in Keras."""

LOSSES = {  # Of logits: Keras, too, undoes the sigmoid or softmax of a last layer.
    "binary_crossentropy": nn.functional.binary_cross_entropy_with_logits,
    "sparse_categorical_crossentropy": nn.functional.cross_entropy,
    "mean_squared_error": nn.functional.mse_loss,
}
_ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh}


def batch_orders(problem: Problem, seed: int) -> np.ndarray:
    """Return the order of the training rows in each epoch, `(epochs, rows)`."""
    (x, _), _ = problem.load()
    rows = np.tile(np.arange(len(x)), (problem.epochs, 1))
    return np.random.default_rng(seed).permuted(rows, axis=1)


def steps_per_epoch(problem: Problem) -> int:
    """Return the number of batches, the last of which may be smaller."""
    return math.ceil(len(problem.load()[0][0]) / problem.batch_size)


def torch_twin(model: keras.Model) -> nn.Sequential:
    """Return the same layers with the same weights, up to the logits."""
    modules: list[nn.Module] = []
    for layer in model.layers:
        kernel, bias = map(torch.from_numpy, layer.get_weights())
        linear = nn.Linear(*kernel.shape)
        linear.load_state_dict({"weight": kernel.T, "bias": bias})
        modules += [linear, _ACTIVATIONS.get(layer.activation.__name__, nn.Identity)()]
    return nn.Sequential(*modules)


def initial_twin(problem: Problem, seed: int) -> nn.Sequential:
    """Return the twin of the model that Keras starts from."""
    keras.utils.set_random_seed(seed)
    return torch_twin(problem.make_model())


def train_rows(problem: Problem) -> tuple[torch.Tensor, torch.Tensor]:
    """Return inputs and targets, labels as the integers that PyTorch wants."""
    x, y = map(torch.from_numpy, problem.load()[0])
    return x, y if y.is_floating_point() else y.long()


def torch_losses(
    problem: Problem, twin: nn.Module, optimizer: torch.optim.Optimizer, seed: int
) -> Iterator[float]:
    """Train step by step, and give the loss of each batch before its step."""
    x, y = train_rows(problem)
    for order in batch_orders(problem, seed):
        for rows in torch.from_numpy(order).split(problem.batch_size):
            optimizer.zero_grad()
            loss = LOSSES[problem.loss](twin(x[rows]), y[rows])
            loss.backward()
            optimizer.step()
            yield loss.item()


def train_torch(name: str, problem: Problem, seed: int) -> nn.Sequential:
    """Train the twin with a peer."""
    twin = initial_twin(problem, seed)
    optimizer = PEERS[name](twin.parameters())
    if name.endswith("cosine"):
        steps = steps_per_epoch(problem) * problem.epochs
        cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
        optimizer.register_step_post_hook(lambda *_: cosine.step())
    # Schedule-Free takes its gradients at other weights than those it ends with.
    getattr(optimizer, "train", lambda: None)()
    # `all` stops at the first loss that is not finite, where no peer recovers.
    all(map(math.isfinite, torch_losses(problem, twin, optimizer, seed)))
    getattr(optimizer, "eval", lambda: None)()
    return twin


def fit(model: keras.Model, problem: Problem, seed: int, *callbacks: Any) -> None:
    """Train in Keras on the batches that PyTorch sees."""
    x, y = problem.load()[0]
    slices = tf.data.Dataset.from_tensor_slices
    epochs = slices(batch_orders(problem, seed))
    batches = epochs.flat_map(lambda order: slices(order).batch(problem.batch_size))
    keras.utils.set_random_seed(seed)
    model.fit(
        batches.map(lambda rows: (tf.gather(x, rows), tf.gather(y, rows))),
        epochs=problem.epochs,
        steps_per_epoch=steps_per_epoch(problem),
        callbacks=list(callbacks),
        shuffle=False,
        verbose=0,
    )


def train_keras(
    name: str, rate: float | None, problem: Problem, seed: int
) -> nn.Sequential:
    """Train in Keras at one rate, or with `MARTHE()` if it is `None`."""
    keras.utils.set_random_seed(seed)
    if rate is None:
        model = build_model(problem.name, name)
        fit(model, problem, seed, keras_lr.MARTHE())
    else:
        model = fresh_model(problem.name, name)
        model.optimizer.learning_rate = rate
        # `MARTHE` would roll the training back, a constant rate cannot.
        fit(model, problem, seed, keras.callbacks.TerminateOnNaN())
    return torch_twin(model)


def trainings() -> dict[str, Callable[[Problem, int], nn.Sequential]]:
    """Return what trains a model, by its name in the CSV."""
    partial = functools.partial
    return (
        {name: partial(train_torch, name) for name in PEERS}
        | {f"MARTHE {name}": partial(train_keras, name, None) for name in OPTIMIZERS}
        | {
            f"constant {name} {rate:g}": partial(train_keras, name, rate)
            for name, rates in RATES.items()
            for rate in rates
        }
    )


def use_keras_epsilon(adam: torch.optim.Adam) -> None:
    """Let Adam add epsilon before the correction of the second moment, as in Keras."""
    group, steps = adam.param_groups[0], itertools.count(1)
    epsilon, beta_2 = group["eps"], group["betas"][1]
    adam.register_step_pre_hook(
        lambda *_: group.update(eps=epsilon / math.sqrt(1 - beta_2 ** next(steps)))
    )


def check_like_for_like(
    problem: Problem, optimizer: str, *, seed: int = 0, steps: int = 20
) -> float:
    """Return how far the first losses of `"adam"` or `"sgd"` are apart, relatively."""
    keras.utils.set_random_seed(seed)
    model = fresh_model(problem.name, optimizer)
    expected: list[float] = []
    # The logs hold the mean since the last reset.
    recorder = keras.callbacks.LambdaCallback(
        on_train_batch_begin=lambda batch, logs: model.reset_metrics(),
        on_train_batch_end=lambda batch, logs: expected.append(float(logs["loss"])),
    )
    fit(model, problem, seed, recorder)
    twin = initial_twin(problem, seed)
    peer = PEERS[f"torch {optimizer}"](twin.parameters())
    if optimizer == "adam":
        use_keras_epsilon(peer)
    losses = [*itertools.islice(torch_losses(problem, twin, peer, seed), steps)]
    difference = np.max(np.abs(np.divide(losses, expected[:steps]) - 1))
    if not difference <= TOLERANCE:
        raise RuntimeError(
            f"The losses of both frameworks must agree within {TOLERANCE:g}. Received: "
            f"difference={difference:g} with {optimizer} on {problem.name}."
        )
    return float(difference)


def points(problem: Problem, logits: np.ndarray) -> float:
    """Return accuracy or R2 on the test rows, in points."""
    _, (_, y) = problem.load()
    if problem.metric == "r2":
        return 100 * float(1 - np.sum((y - logits) ** 2) / np.sum((y - y.mean(0)) ** 2))
    is_binary = problem.loss == "binary_crossentropy"
    return 100 * float(np.mean(y == (logits > 0 if is_binary else logits.argmax(1))))


@torch.no_grad()
def judge(problem: Problem, seed: int, twin: nn.Sequential) -> tuple[str, str, int]:
    """Return the metric, the loss and whether the run diverged."""
    x, y = train_rows(problem)
    initial, final = (
        LOSSES[problem.loss](each(x), y).item()
        for each in (initial_twin(problem, seed), twin)
    )
    logits = twin(torch.from_numpy(problem.load()[1][0])).double().numpy()
    # A loss that is not finite is not lower either.
    return f"{points(problem, logits):.6g}", f"{final:.6g}", int(not final <= initial)


def run_missing(path: Path, problems: Sequence[str], seeds: Sequence[int]) -> list[Row]:
    """Train what is not in the CSV, write each row as it comes, and return all rows."""
    train = trainings()
    with path.open("a+", newline="", encoding="utf-8") as file:
        file.seek(0)
        rows: list[Row] = list(csv.DictReader(file))
        done = {(row["problem"], row["optimizer"], int(row["seed"])) for row in rows}
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if file.tell() == 0:
            writer.writeheader()
        for run in itertools.product(problems, train, seeds):
            if run not in done:
                problem, seed = PROBLEMS[run[0]], run[2]
                start = time.perf_counter()
                twin = train[run[1]](problem, seed)
                seconds = f"{time.perf_counter() - start:.2f}"
                values = (*run, *judge(problem, seed, twin), seconds)
                rows.append(dict(zip(COLUMNS, values, strict=True)))
                writer.writerow(rows[-1])
                file.flush()
    return rows


def table(rows: Iterable[Row], problems: Sequence[str]) -> list[list[str]]:
    """Return mean ± standard deviation over seeds, of the best of constant rates."""
    groups: Any = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for row in rows:
        name = row["optimizer"]
        method = name.rpartition(" ")[0] if name.startswith("constant") else name
        groups[method][row["problem"]][name].append(row)
    lines = [["optimizer", *(f"`{name}`" for name in problems), "mean", "diverged"]]
    for method, group in groups.items():
        cells = [best([*map(_cell, group[name].values())]) for name in problems]
        mean = Cell(None, (fmean(cell.mean for cell in cells),), 0, 0)
        diverged = sum(cell.diverged for cell in cells)
        lines.append([method, *(each.text for each in (*cells, mean)), str(diverged)])
    return lines


def _cell(rows: Sequence[Row]) -> Cell:
    metrics = tuple(float(row["final_metric"]) for row in rows)
    return Cell(None, metrics, sum(int(row["diverged"]) for row in rows), failed=0)


def main(arguments: Sequence[str] | None = None) -> None:
    """Check, train what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--problems", nargs="+", default=DENSE_PROBLEMS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    keras.utils.disable_interactive_logging()
    for name, optimizer in itertools.product(options.problems, RATES):
        difference = check_like_for_like(PROBLEMS[name], optimizer)
        print(f"{name}, {optimizer}: losses differ by {difference:.1e} at most")
    rows = run_missing(options.output, options.problems, options.seeds)
    print(markdown(table(rows, options.problems)))


if __name__ == "__main__":
    main()
