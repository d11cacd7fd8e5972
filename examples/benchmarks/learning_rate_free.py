"""Compare learning-rate-free optimizers of PyTorch with rates in Keras, like for like.

Schedule-Free, Prodigy and D-Adaptation come for PyTorch. On the suite's problems with
dense layers both frameworks start from the same weights and see the same batches; the
script first checks that Adam and SGD then have the same losses in both.

    python -m pip install ".[examples,peers]"
    python examples/benchmarks/learning_rate_free.py

adds what is missing in `results/learning_rate_free.csv`, in about twenty minutes, and
prints the table: the metric on the test rows after the last epoch, in points. The peers
run with their authors' defaults; the best constant rate of five, the second, fourth and
so on of the suite's nine left out, is picked by those very test rows. The final loss is
that of all training rows; a run whose final loss is not finite or above the initial one
has diverged. The seconds include building the model and, in Keras, tracing it, which
the constant rates do once for all.
"""

import argparse
import csv
import functools
import itertools
import math
import os
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

import keras
import numpy as np
import tensorflow as tf
import torch
from dadaptation import DAdaptAdam, DAdaptSGD
from make_tables import LOWEST, Cell, best, markdown
from model_pool import fresh_model
from problems import OPTIMIZERS, PROBLEMS, Problem
from prodigyopt import Prodigy
from run_suite import build_model
from schedulefree import AdamWScheduleFree, SGDScheduleFree
from torch import nn

import keras_lr
from keras_lr.comparison.policies import default_rates

RESULTS = Path(__file__).parent / "results" / "learning_rate_free.csv"
COLUMNS = "problem,optimizer,seed,final_metric,final_loss,diverged,seconds".split(",")
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
RATES = {name: default_rates(OPTIMIZERS[name]())[::2] for name in ("adam", "sgd")}
"""The constant rates that are tried in Keras."""

_LOSSES = {  # Of logits: Keras, too, undoes the sigmoid or softmax of a last layer.
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
    (x, _), _ = problem.load()
    return math.ceil(len(x) / problem.batch_size)


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
            loss = _LOSSES[problem.loss](twin(x[rows]), y[rows])
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
    # `all` goes on up to a loss that is not finite, where the suite stops as well.
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
        callbacks=[keras.callbacks.TerminateOnNaN(), *callbacks],
        shuffle=False,
        verbose=0,
    )


def train_marthe(name: str, problem: Problem, seed: int) -> nn.Sequential:
    """Train in Keras with an untouched `MARTHE`, and return the twin of the end."""
    keras.utils.set_random_seed(seed)
    model = build_model(problem.name, name)
    fit(model, problem, seed, keras_lr.MARTHE())
    return torch_twin(model)


def train_constant(
    name: str, rate: float, problem: Problem, seed: int
) -> nn.Sequential:
    """Train in Keras at one rate, and return the twin of the end."""
    keras.utils.set_random_seed(seed)
    model = fresh_model(problem.name, name)
    model.optimizer.learning_rate = rate
    fit(model, problem, seed)
    return torch_twin(model)


def trainings() -> dict[str, Callable[[Problem, int], nn.Sequential]]:
    """Return what trains a model, by its name in the CSV."""
    partial = functools.partial
    return (
        {name: partial(train_torch, name) for name in PEERS}
        | {f"MARTHE {name}": partial(train_marthe, name) for name in OPTIMIZERS}
        | {
            f"constant {name} {rate:g}": partial(train_constant, name, rate)
            for name, rates in RATES.items()
            for rate in rates
        }
    )


class _BatchLosses(keras.callbacks.Callback):
    """Note the loss of each batch, which the logs have as a mean since the reset."""

    def __init__(self) -> None:
        super().__init__()
        self.losses: list[float] = []

    def on_train_batch_begin(self, batch: int, logs: dict | None = None) -> None:
        self.model.reset_metrics()

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        self.losses.append(float((logs or {})["loss"]))


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
    recorder = _BatchLosses()
    fit(fresh_model(problem.name, optimizer), problem, seed, recorder)
    twin = initial_twin(problem, seed)
    peer = PEERS[f"torch {optimizer}"](twin.parameters())
    if optimizer == "adam":
        use_keras_epsilon(peer)
    losses = [*itertools.islice(torch_losses(problem, twin, peer, seed), steps)]
    difference = np.max(np.abs(np.divide(losses, recorder.losses[:steps]) - 1))
    if not difference <= TOLERANCE:
        raise RuntimeError(
            f"The losses of Keras and PyTorch must agree within {TOLERANCE:g}. "
            f"Received: difference={difference:g} with {optimizer} on {problem.name}. "
            "Compare the definitions of the optimizer in their installed versions."
        )
    return float(difference)


def points(problem: Problem, logits: np.ndarray) -> float:
    """Return accuracy or R2 on the test rows, in points."""
    _, (_, y) = problem.load()
    if problem.metric == "r2":
        return 100 * float(1 - np.sum((y - logits) ** 2) / np.sum((y - y.mean()) ** 2))
    is_binary = problem.loss == "binary_crossentropy"
    return 100 * float(np.mean(y == (logits > 0 if is_binary else logits.argmax(1))))


@torch.no_grad()
def judge(problem: Problem, seed: int, twin: nn.Sequential) -> tuple[str, str, int]:
    """Return the metric, the loss and whether the run diverged."""
    x, y = train_rows(problem)
    initial, final = (
        _LOSSES[problem.loss](each(x), y).item()
        for each in (initial_twin(problem, seed), twin)
    )
    logits = twin(torch.from_numpy(problem.load()[1][0])).numpy()
    # A loss that is not finite is not lower either.
    return f"{points(problem, logits):.6g}", f"{final:.6g}", int(not final <= initial)


def read(path: Path) -> list[dict[str, str]]:
    """Return the rows that are there."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def run_missing(path: Path, problems: Sequence[str], seeds: Sequence[int]) -> None:
    """Train what is not in the CSV, and write each row as it comes."""
    done = {(row["problem"], row["optimizer"], int(row["seed"])) for row in read(path)}
    train = trainings()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        if file.tell() == 0:
            writer.writerow(COLUMNS)
        for name, optimizer, seed in itertools.product(problems, train, seeds):
            if (name, optimizer, seed) in done:
                continue
            start = time.perf_counter()
            twin = train[optimizer](PROBLEMS[name], seed)
            seconds = f"{time.perf_counter() - start:.2f}"
            outcome = judge(PROBLEMS[name], seed, twin)
            writer.writerow([name, optimizer, seed, *outcome, seconds])
            file.flush()


def table(rows: Iterable[dict[str, str]], problems: Sequence[str]) -> list[list[str]]:
    """Return mean ± standard deviation over seeds, of the best of constant rates."""
    groups: Any = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for row in rows:
        name = row["optimizer"]
        method = name.rpartition(" ")[0] if name.startswith("constant") else name
        groups[method][row["problem"]][name].append(row)
    lines = [["optimizer", *(f"`{name}`" for name in problems), "mean", "diverged"]]
    for method, group in groups.items():
        cells = [best([*map(_cell, group[name].values())]) for name in problems]
        mean = fmean(cell.mean for cell in cells)
        mean_text = f"{mean:.1f}" if mean > LOWEST else f"below {LOWEST}"
        diverged = str(sum(cell.diverged for cell in cells))
        lines.append([method, *(cell.text for cell in cells), mean_text, diverged])
    return lines


def _cell(rows: Sequence[dict[str, str]]) -> Cell:
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
    run_missing(options.output, options.problems, options.seeds)
    print(markdown(table(read(options.output), options.problems)))


if __name__ == "__main__":
    main()
