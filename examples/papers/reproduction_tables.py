"""The tables of `docs/reproduction.md`: the papers' numbers, and ours beside them.

    python examples/papers/reproduction_tables.py

The papers' numbers are those of the scripts in this folder, ours the rows of their CSVs
in `results/`, without those of small scale. Only the text between a table's two markers
is replaced. A number that is not there is a "-".
"""

import argparse
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import lipschitz_cifar
import lipschitz_mnist
import lipschitz_table2
import lrs_opt_section5
import marthe_cifar
import marthe_section5
import numpy as np
import walk_mnist
import zooming_networks
from images.experiments import COLUMNS, Experiment, Run
from trainings import Results, grouped, markdown, spread

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reproduction.md"
MNIST = "mnist"
NONE = "-"


def table2() -> str:
    """Return table 2 of LipschitzLR."""
    return lipschitz_table2.summary(lipschitz_table2.RESULTS)


def of_experiments(
    experiments: Mapping[str, Experiment], path: Path
) -> Iterator[tuple[str, ...]]:
    """Yield the lines of experiments on images, a policy each."""
    results = Results(path, COLUMNS, len(Run._fields))
    for name, experiment in experiments.items():
        for policy, entry in experiment.policies.items():
            rows = results.rows(experiment=name, policy=policy, scale="paper")
            published = NONE if entry.published is None else f"{entry.published:g}"
            ours = spread(rows, "accuracy") if rows else NONE
            if rows or entry.published is not None:
                yield name, policy, published, ours, f"{len(rows)}"


HEADER = ("experiment", "policy", "paper, %", "ours, %", "trainings of ours")


def lipschitz() -> str:
    """Return table 3 of LipschitzLR."""
    mnist = {
        f"mnist cnn {name}": lipschitz_mnist.experiment(name)
        for name in lipschitz_mnist.PUBLISHED
    }
    cifar = {
        rows.name: lipschitz_cifar.experiment(rows) for rows in lipschitz_cifar.TABLE
    }
    lines = [
        *of_experiments(mnist, lipschitz_mnist.RESULTS),
        *of_experiments(cifar, lipschitz_cifar.RESULTS),
    ]
    return markdown(HEADER, lines)


def marthe() -> str:
    """Return what section 6 of MARTHE says in its text."""
    experiments = {
        f"{setting.dataset} {name}": marthe_cifar.experiment(setting)
        for name, setting in marthe_cifar.SETTINGS.items()
    }
    return markdown(HEADER, _joined(of_experiments(experiments, marthe_cifar.RESULTS)))


def _joined(lines: Iterator[tuple[str, ...]]) -> Iterator[tuple[str, ...]]:
    """Yield the step sizes that nobody has tried, one of which is the paper's, once."""
    names = set()
    for experiment, policy, published, ours, trainings in lines:
        is_open = trainings == "0" and policy.startswith("adaptive MARTHE")
        name = "adaptive MARTHE" if is_open else policy
        if (experiment, name) not in names:
            names.add((experiment, name))
            yield experiment, name, published, ours, trainings


def section5() -> str:
    """Return the accuracies of section 5 of MARTHE."""
    rows = marthe_section5.results(marthe_section5.RESULTS).rows(data=MNIST)
    lines = []
    for policy, entry in marthe_section5.POLICIES.items():
        candidate = marthe_section5.choose(rows, policy)
        if candidate is None:
            continue
        chosen = [row for row in rows if marthe_section5.candidate_of(row) == candidate]
        ours = spread(chosen, "final_accuracy", 1)
        published = NONE if entry.published is None else f"{entry.published}"
        label = marthe_section5.label(candidate)
        lines.append((label, published, ours, f"{len(chosen)}"))
    lines.append(("LRS-OPT, own weights", "96.2", *_lrs_opt()))
    return markdown(("policy", "paper, %", "ours, %", "trainings of ours"), lines)


def _lrs_opt() -> tuple[str, str]:
    results = lrs_opt_section5.results(lrs_opt_section5.RESULTS)
    rows = results.rows(schedule="LRS-OPT", weights="own", data=MNIST)
    return (spread(rows, "accuracy", 1) if rows else NONE), f"{len(rows)}"


def walk() -> str:
    """Return the best and the worst initial rate of each table of the walk's source."""
    runs = walk_mnist.results(walk_mnist.RESULTS).rows(data=MNIST)
    lines = []
    for policy, published in walk_mnist.TABLES:
        if not published:
            continue
        means = [each[0] for each in published]
        for place in (int(np.argmax(means)), 0):
            rate = walk_mnist.RATES[place]
            rows = walk_mnist.rows_at(runs, policy, rate)
            source = "{:.1f} ± {:.1f}".format(*published[place][:2])
            ours = spread(rows, "train_accuracy", 1) if rows else NONE
            lines.append((policy, f"{float(rate):g}", source, ours, f"{len(rows)}"))
    header = ("policy", "initial rate", "source, %", "ours, %", "trainings of ours")
    return markdown(header, lines)


def zooming() -> str:
    """Return how many trainings each search has, and its best score and rate."""
    columns = zooming_networks.COLUMNS
    results = Results(
        zooming_networks.RESULTS, columns, len(zooming_networks.Training._fields)
    )
    lines = []
    for name, task in zooming_networks.TASKS.items():
        pick = max if task.direction == "max" else min
        for searcher in zooming_networks.SEARCHERS:
            rows = results.rows(task=name, searcher=searcher, scale="paper")
            best = [
                pick(search, key=lambda row: float(row["score"]))
                for search in grouped(rows, ("seed",)).values()
            ]
            ours = spread(best, "score", 4) if best else NONE
            rate = spread(best, "learning_rate", 3) if best else NONE
            counts = f"{task.budget(searcher)}", f"{len(best)}"
            lines.append((name, searcher, counts[0], ours, rate, counts[1]))
    header = ("task", "searcher", "trainings", "best score", "at", "searches of ours")
    return markdown(header, lines)


TABLES: dict[str, Callable[[], str]] = {
    "table 2": table2,
    "table 3": lipschitz,
    "section 5": section5,
    "section 6": marthe,
    "walk": walk,
    "zooming": zooming,
}


def replaced(page: str, name: str, table: str) -> str:
    """Return the page with a new table between its markers.

    Raises:
        ValueError: If it has no such markers.
    """
    begin = f"<!-- begin of {name}, made by examples/papers/reproduction_tables.py -->"
    end = f"<!-- end of {name} -->"
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    new, count = pattern.subn(lambda _: f"{begin}\n\n{table}\n\n{end}", page)
    if count != 1:
        raise ValueError(f"The page must hold the lines {begin} and {end} once.")
    return new


def main(arguments: Sequence[str] | None = None) -> None:
    """Rewrite the page."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--page", type=Path, default=PAGE)
    options = parser.parse_args(arguments)
    text = options.page.read_text(encoding="utf-8")
    for name, make in TABLES.items():
        text = replaced(text, name, make())
    options.page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
