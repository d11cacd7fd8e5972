"""Compare learning-rate-free optimizers of PyTorch with the long suite, like for like.

On the long problems with dense layers that have no random masks, both frameworks start
from the same weights and see the same batches, new in each epoch; the script first
checks that Adam and SGD then have the same losses in both.

    python -m pip install ".[peers]"
    python examples/benchmarks/peers/learning_rate_free_long.py

adds what is missing in `results/long_learning_rate_free.csv`, some ten minutes a seed,
and prints two tables, of the metric on the test rows after the last epoch and of its
mean over the epochs, in points. The best cosines of Keras stand beside them, from
`results/long.csv` and picked by those very test rows.
"""

import argparse
import csv
import itertools
import math
import os
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

# Before TensorFlow is imported; PyTorch gets one thread below.
for _variable in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
    os.environ.setdefault(_variable, "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.append(str(Path(__file__).resolve().parents[1] / "long"))

import keras
import numpy as np
import torch
from learning_rate_free import (
    LOSSES,
    PEERS,
    TOLERANCE,
    Row,
    points,
    torch_twin,
    use_keras_epsilon,
)
from long_plan import CSV
from long_problems import LongProblem, problems
from make_long_tables import REFERENCE, entries
from page import markdown
from results import RESULTS, Cell, read
from run_long import area
from torch import nn

from keras_lr.comparison.batches import shuffled_batches

OUTPUT = RESULTS / "long_learning_rate_free.csv"
COLUMNS = (
    *("problem", "optimizer", "seed"),
    *("final_metric", "area", "final_loss", "diverged", "seconds"),
)
DENSE_PROBLEMS = (
    *("label_noise_mnist", "autoencoder_mnist"),
    *("regression_friedman", "imbalanced_mnist"),
)
NAMES = ("Prodigy", "Prodigy cosine", "AdamWScheduleFree")
CHECKED_STEPS = 20

Batch = tuple[torch.Tensor, ...]


def epochs(problem: LongProblem, seed: int) -> Iterator[Iterator[Batch]]:
    """Yield the batches of each epoch, which Keras sees at this seed."""
    keras.utils.set_random_seed(seed)
    batches = shuffled_batches(problem.load()[0], problem.batch_size, seed)
    for _ in range(problem.epochs):
        yield (as_torch(array.numpy() for array in batch) for batch in batches)


def as_torch(arrays: Iterator[np.ndarray]) -> Batch:
    """Return tensors, labels as the integers that PyTorch wants."""
    tensors = map(torch.from_numpy, arrays)
    return tuple(each if each.is_floating_point() else each.long() for each in tensors)


def initial_twin(problem: LongProblem, seed: int) -> nn.Sequential:
    """Return the twin of the model that Keras starts from."""
    return torch_twin(problem.build_model(problem.make_optimizer("sgd"), seed))


def loss_of(problem: LongProblem, twin: nn.Module, batch: Batch) -> torch.Tensor:
    """Return the mean loss of the rows, with their weights if they have any."""
    x, y, *weights = batch
    losses = LOSSES[problem.loss](twin(x), y, reduction="none").reshape(len(y), -1)
    return (losses.mean(1) * weights[0] if weights else losses).mean()


def step(
    problem: LongProblem,
    twin: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
) -> float:
    """Take a step, and return the loss before it."""
    optimizer.zero_grad()
    loss = loss_of(problem, twin, batch)
    loss.backward()
    optimizer.step()
    return loss.item()


def train(name: str, problem: LongProblem, seed: int) -> Row:
    """Train the twin with a peer, and return what the CSV says of it."""
    twin = initial_twin(problem, seed)
    optimizer = PEERS[name](twin.parameters())
    if name.endswith("cosine"):
        cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, problem.steps)
        optimizer.register_step_post_hook(lambda *_: cosine.step())
    rows = as_torch(iter(problem.load()[0]))
    with torch.no_grad():
        initial = loss_of(problem, twin, rows).item()
    start = time.perf_counter()
    metric: list[float] = []
    for batches in epochs(problem, seed):
        # Schedule-Free takes its gradients at other weights than those it is judged by.
        getattr(optimizer, "train", lambda: None)()
        losses = (step(problem, twin, optimizer, batch) for batch in batches)
        is_finite = all(map(math.isfinite, losses))
        getattr(optimizer, "eval", lambda: None)()
        metric.append(test_points(problem, twin))
        if not is_finite:
            break
    seconds = time.perf_counter() - start
    with torch.no_grad():
        final = loss_of(problem, twin, rows).item()
    return {
        "final_metric": f"{metric[-1]:.6g}",
        "area": f"{area(metric, problem.epochs):.6g}",
        "final_loss": f"{final:.6g}",
        # A loss that is not finite is not lower either.
        "diverged": int(not final <= initial),
        "seconds": f"{seconds:.2f}",
    }


@torch.no_grad()
def test_points(problem: LongProblem, twin: nn.Module) -> float:
    """Return the metric on the test rows."""
    x, _ = problem.load()[1]
    return points(problem, twin(torch.from_numpy(x)).double().numpy())


def check_like_for_like(problem: LongProblem, optimizer: str, seed: int = 0) -> float:
    """Return how far the first losses of `"adam"` or `"sgd"` are apart, relatively."""
    model = problem.build_model(problem.make_optimizer(optimizer), seed)
    expected: list[float] = []
    # The logs hold the mean since the last reset.
    recorder = keras.callbacks.LambdaCallback(
        on_train_batch_begin=lambda batch, logs: model.reset_metrics(),
        on_train_batch_end=lambda batch, logs: expected.append(float(logs["loss"])),
    )
    keras.utils.set_random_seed(seed)
    batches = shuffled_batches(problem.load()[0], problem.batch_size, seed)
    model.fit(batches, callbacks=[recorder], shuffle=False, verbose=0)
    twin = initial_twin(problem, seed)
    peer = PEERS[f"torch {optimizer}"](twin.parameters())
    if optimizer == "adam":
        use_keras_epsilon(peer)
    losses = [
        step(problem, twin, peer, batch)
        for batch in itertools.islice(next(epochs(problem, seed)), CHECKED_STEPS)
    ]
    difference = np.max(np.abs(np.divide(losses, expected[:CHECKED_STEPS]) - 1))
    if not difference <= TOLERANCE:
        raise RuntimeError(
            f"The losses of both frameworks must agree within {TOLERANCE:g}. Received: "
            f"difference={difference:g} with {optimizer} on {problem.name}."
        )
    return float(difference)


def run_missing(path: Path, names: Sequence[str], seeds: Sequence[int]) -> list[Row]:
    """Train what is not in the CSV, write each row as it comes, and return all rows."""
    with path.open("a+", newline="", encoding="utf-8") as file:
        file.seek(0)
        rows: list[Row] = list(csv.DictReader(file))
        done = {(row["problem"], row["optimizer"], int(row["seed"])) for row in rows}
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if file.tell() == 0:
            writer.writeheader()
        for problem, name, seed in itertools.product(names, NAMES, seeds):
            if (problem, name, seed) not in done:
                run = dict(zip(COLUMNS, (problem, name, seed), strict=False))
                rows.append(run | train(name, problems()[problem], seed))
                writer.writerow(rows[-1])
                file.flush()
    return rows


def table(rows: Sequence[Row], names: Sequence[str], measure: str) -> list[list[str]]:
    """Return mean ± standard deviation over seeds, of peers and of Keras's cosines."""
    metrics: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        metrics[row["optimizer"]][row["problem"]].append(float(row[measure]))
    texts = {
        peer: {
            name: Cell(None, tuple(values), 0, 0).text for name, values in of.items()
        }
        for peer, of in metrics.items()
    }
    for (name, optimizer), policies in read(CSV, measure).items():
        best = entries(policies).get(f"best `{REFERENCE}`")
        if best is not None:
            texts.setdefault(f"best cosine, {optimizer}", {})[name] = best.text
    lines = [
        [peer, *(of.get(name, "") for name in names)] for peer, of in texts.items()
    ]
    header = ["optimizer", *(f"`{name}`" for name in names)]
    return [header, *(line for line in lines if any(line[1:]))]


def main(arguments: Sequence[str] | None = None) -> None:
    """Check, train what is missing, and print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--problems", nargs="+", default=DENSE_PROBLEMS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--output", type=Path, default=OUTPUT)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    keras.utils.disable_interactive_logging()
    for name, optimizer in itertools.product(options.problems, ("adam", "sgd")):
        difference = check_like_for_like(problems()[name], optimizer)
        print(f"{name}, {optimizer}: losses differ by {difference:.1e} at most")
    rows = run_missing(options.output, options.problems, options.seeds)
    for measure in ("final_metric", "area"):
        print(markdown(table(rows, options.problems, measure)))


if __name__ == "__main__":
    main()
