"""What a report says of a comparison before and beside its results."""

from collections.abc import Sequence

from keras_lr.comparison.conditions import Conditions
from keras_lr.comparison.policies import NAMED
from keras_lr.comparison.run_record import RunRecord
from keras_lr.comparison.summary import PolicySummary

_OF_THE_USER = "A policy that is not one of keras_lr's."
_STARTS = (
    "The starting rate is the compiled one, unless the policy's name holds a number."
)

Facts = list[tuple[str, str]]


def header_facts(
    records: Sequence[RunRecord],
    table: Sequence[PolicySummary],
    conditions: Conditions | None,
    data_name: str = "",
) -> Facts:
    """Return pairs of a title and a line: on what, how and how long it was trained.

    Args:
        records: Records of the runs.
        table: Rows of `summarize`.
        conditions: What the runs have in common, `None` if only the records are known.
        data_name: Name of the data.
    """
    monitor, mode = records[0].monitor, records[0].mode
    aim = "more is better" if mode == "max" else "less is better"
    seeds = sorted({record.seed for record in records})
    word = "seed" if len(seeds) == 1 else "seeds"
    length = _length(records, conditions)
    facts = [
        ("Data", "; ".join(filter(None, [data_name, conditions and conditions.data]))),
        ("Rows", _rows(records, conditions)),
        ("Model", conditions.model if conditions else ""),
        ("Optimizer", conditions.optimizer if conditions else ""),
        ("Training", f"{length}, {word} {', '.join(map(str, seeds))}"),
        ("Ranked by", f"{monitor} after the last epoch, {aim}"),
        ("Rolled back", rollbacks(table)),
        ("Versions", _versions(conditions)),
    ]
    return [(title, line) for title, line in facts if line]


def _rows(records: Sequence[RunRecord], conditions: Conditions | None) -> str:
    if conditions is not None:
        return (
            f"{conditions.training_rows} for training, "
            f"{conditions.validation_rows} for validation"
        )
    rows = max(record.validation_rows for record in records)
    return f"{rows} for validation" if rows else ""


def _length(records: Sequence[RunRecord], conditions: Conditions | None) -> str:
    if conditions is not None:
        return f"{conditions.epochs} epochs, batches of {conditions.batch_size}"
    return f"{max(len(record.learning_rates) for record in records)} epochs"


def _versions(conditions: Conditions | None) -> str:
    versions = conditions.versions if conditions else {}
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def rollbacks(table: Sequence[PolicySummary]) -> str:
    """Return in words how many runs were rolled back, and of how many it is unknown."""
    known = [row for row in table if row.rolled_back is not None]
    unknown = sum(row.runs for row in table if row.rolled_back is None)
    runs = sum(row.runs for row in known)
    lines = [
        f"{row.policy} in {row.rolled_back} of {row.runs} runs"
        for row in known
        if row.rolled_back
    ]
    if runs and not lines:
        lines = [f"0 of {runs} runs"]
    if unknown:
        lines.append(f"unknown for {unknown} runs, whose records do not say")
    return ", ".join(lines)


def policy_facts(records: Sequence[RunRecord], conditions: Conditions | None) -> Facts:
    """Return pairs of a policy and what it does, without its starting rates.

    In the order of the registry, those of the user last.

    Args:
        records: Records of the runs.
        conditions: What the runs have in common, `None` if only the records are known.
    """
    starts: dict[str, set[float]] = {}
    for record in records:
        rates = {record.start} if record.start is not None else set()
        starts.setdefault(record.name, set()).update(rates)
    names = sorted(starts, key=_place)
    facts = [(name, _description(name, starts[name], conditions)) for name in names]
    return [*facts, ("starting rate", _STARTS)]


def _place(name: str) -> int:
    order = [*NAMED]
    return order.index(name) if name in NAMED else len(order)


def _description(name: str, starts: set[float], conditions: Conditions | None) -> str:
    entry = NAMED.get(name)
    if entry is None:
        return _OF_THE_USER
    sentences = [entry.description]
    if entry.kind == "default" and conditions is not None:
        sentences.append(f"Here {conditions.learning_rate:.3g}.")
    if starts:
        word = "Rates" if entry.kind == "constant" else "Starting rates"
        rates = ", ".join(f"{rate:.3g}" for rate in sorted(starts))
        sentences.append(f"{word}: {rates}.")
    return " ".join(filter(None, sentences))
