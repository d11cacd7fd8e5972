"""How often does the true gradient exceed the Lipschitz constant, paper's and strict?

Draws random last layers z = A W + b, labels and weights, differentiates Keras's own
losses with respect to W and b in float64, and compares the norm of the gradient with
both bounds. Sizes, scales, label smoothing and the way from z to the loss are random.
The paper knows the mean over the batch only, so these draws have no sample weights.

    python examples/benchmarks/lipschitz_excess.py

writes `results/lipschitz_excess.csv`: 10,000 draws for each loss, seed 0, two to four
minutes on two cores.
"""

import argparse
import csv
import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from keras_lr.rules import lipschitz

RESULTS = Path(__file__).parent / "results" / "lipschitz_excess.csv"
DRAWS = 10_000
SEED = 0
DELTA = 0.7

REDUCTIONS = ("sum_over_batch_size", "sum", "mean_with_sample_weight")

_LOSSES: dict[str, Callable[..., keras.losses.Loss]] = {
    "binary_crossentropy": keras.losses.BinaryCrossentropy,
    "categorical_crossentropy": keras.losses.CategoricalCrossentropy,
    "sparse_categorical_crossentropy": keras.losses.SparseCategoricalCrossentropy,
    "hinge": keras.losses.Hinge,
    "huber": functools.partial(keras.losses.Huber, delta=DELTA),
    "log_cosh": keras.losses.LogCosh,
    "mean_absolute_error": keras.losses.MeanAbsoluteError,
    "mean_squared_error": keras.losses.MeanSquaredError,
}
LOSSES = tuple(_LOSSES)
CROSS_ENTROPIES = LOSSES[:3]


@dataclass(frozen=True)
class Setting:
    """What is fixed when a loss is compiled.

    Attributes:
        loss: Name of the loss.
        head: From z to the loss: `"linear"` as it is, logits for a cross-entropy;
            `"activation"` through the sigmoid or softmax, which Keras recognizes and
            undoes for a cross-entropy; `"probabilities"` the same, hidden from Keras,
            which then clips them.
        label_smoothing: As in Keras.
        reduction: As in Keras.
        use_bias: Whether the last layer has a bias.
        is_sequence: Whether A is `(batch, time, d)` instead of `(batch, d)`.
        is_weighted: Whether there are sample weights.
    """

    loss: str
    head: str = "linear"
    label_smoothing: float = 0.0
    reduction: str = "sum_over_batch_size"
    use_bias: bool = True
    is_sequence: bool = False
    is_weighted: bool = False


@dataclass(frozen=True)
class Draw:
    """One random last layer with its batch."""

    inputs: np.ndarray
    kernel: np.ndarray
    bias: np.ndarray
    targets: np.ndarray
    weights: np.ndarray


@dataclass(frozen=True)
class Norms:
    """The gradient's norm and its bounds, an entry for each draw.

    `paper` is NaN where the paper has no formula.
    """

    gradient: np.ndarray
    strict: np.ndarray
    paper: np.ndarray


def plain_settings(loss: str) -> list[Setting]:
    """Means over the batch without sample weights: what the paper is about."""
    is_cross_entropy = loss in CROSS_ENTROPIES
    heads = (
        ("linear", "activation", "probabilities") if is_cross_entropy else ("linear",)
    )
    has_smoothing = loss in ("binary_crossentropy", "categorical_crossentropy")
    smoothings = (0.0, 0.2) if has_smoothing else (0.0,)
    return [
        Setting(loss, head, smoothing)
        for head, smoothing in itertools.product(heads, smoothings)
    ]


def all_settings(loss: str) -> list[Setting]:
    """All heads and smoothings, and each with one of the other options."""
    variants = itertools.cycle(
        [
            {"reduction": "sum", "is_weighted": True},
            {"reduction": "mean_with_sample_weight", "is_weighted": True},
            {"is_sequence": True, "is_weighted": True, "use_bias": False},
            {"is_sequence": True, "reduction": "mean_with_sample_weight"},
        ]
    )
    settings = plain_settings(loss)
    if loss not in (*CROSS_ENTROPIES, "hinge"):
        # Behind an activation no steeper than 1, the strict bounds hold as well.
        settings.append(Setting(loss, "activation"))
    more = max(4, len(settings))
    return settings + [
        Setting(base.loss, base.head, base.label_smoothing, **options)
        for base, options in itertools.islice(
            zip(itertools.cycle(settings), variants, strict=False), more
        )
    ]


def random_draw(rng: np.random.Generator, setting: Setting) -> Draw:
    """Draw sizes, scales, the layer and the batch."""
    leading = tuple(rng.integers(1, 33, size=1))
    if setting.is_sequence:
        leading = tuple(rng.integers(1, 9, size=2))
    d, k = rng.integers(1, 17), rng.integers(1, 11)
    if setting.loss.endswith("categorical_crossentropy"):
        k = max(2, k)
    if setting.loss == "binary_crossentropy" and rng.random() < 0.5:
        k = 1  # The paper's formula is for one output.
    inputs = rng.normal(size=(*leading, d)) * rng.lognormal(sigma=1.5)
    if rng.random() < 0.5:
        inputs = np.maximum(inputs, 0.0)
    kernel = rng.normal(size=(d, k)) * rng.lognormal(sigma=1.5) / np.sqrt(d)
    bias = rng.normal(size=k) * rng.lognormal(sigma=1.5)
    weights = np.ones(leading)
    if setting.is_weighted:
        # Some are exactly zero, as for padding.
        weights = np.maximum(rng.uniform(-0.5, 2.0, size=leading), 0.0)
        weights.flat[0] = 1.0
    targets = _random_targets(rng, setting.loss, (*leading, k))
    return Draw(inputs, kernel, bias * setting.use_bias, targets, weights)


def _random_targets(
    rng: np.random.Generator, loss: str, shape: tuple[int, ...]
) -> np.ndarray:
    *leading, k = shape
    if loss == "binary_crossentropy":
        return rng.integers(2, size=shape).astype(float)
    if loss == "hinge":
        return rng.choice([-1.0, 1.0], size=shape)
    if loss in CROSS_ENTROPIES:
        labels = rng.integers(k, size=leading)
        return np.eye(k)[labels] if loss.startswith("cat") else labels.astype(float)
    return rng.normal(size=shape) * rng.lognormal(sigma=1.5)


def measure(setting: Setting, draws: Sequence[Draw]) -> Norms:
    """Differentiate Keras's loss and compute both bounds for each draw."""
    step = _compiled(setting)
    rows = [
        step(draw.inputs, draw.kernel, draw.bias, draw.targets, draw.weights).numpy()
        for draw in draws
    ]
    gradient, strict, paper = np.transpose(rows)
    constants = [
        lipschitz.loss_constants(setting.loss, len(draw.bias), delta=DELTA)
        for draw in draws
    ]
    strict = strict * [constant.row_bound for constant in constants]
    paper = paper * [_paper_factor(constant) for constant in constants]
    return Norms(gradient, strict, paper)


def _paper_factor(constants: lipschitz.LossConstants) -> float:
    if constants.uses_residuals:
        return 1.0
    return np.nan if constants.paper_factor is None else constants.paper_factor


def _compiled(setting: Setting) -> Callable[..., tf.Tensor]:
    """Return a graph from a draw to its gradient norm and both bounds.

    Sizes are left open, so that one trace serves all draws of a setting; the bounds are
    for factors of 1, because the number of outputs is open, too.
    """
    loss = _keras_loss(setting)
    uses_residuals = lipschitz.loss_constants(setting.loss, 2).uses_residuals
    unit = lipschitz.LossConstants(1.0, 1.0, uses_residuals)
    rank = 3 if setting.is_sequence else 2
    target_rank = rank - 1 if setting.loss.startswith("sparse") else rank
    ranks = (rank, 2, 1, target_rank, rank - 1)
    signature = [tf.TensorSpec([None] * each, tf.float64) for each in ranks]

    @tf.function(input_signature=signature, autograph=False)
    def step(inputs, kernel, bias, targets, weights):
        weights = weights if setting.is_weighted else None
        with tf.GradientTape() as tape:
            tape.watch([kernel, bias])
            outputs = _apply_head(setting, tf.matmul(inputs, kernel) + bias)
            value = loss(targets, outputs, sample_weight=weights)
        gradients = tape.gradient(value, [kernel, bias])
        sums = lipschitz.measure(
            inputs,
            use_bias=setting.use_bias,
            row_weights=weights,
            outputs=outputs if uses_residuals else None,
            targets=targets if uses_residuals else None,
        )
        norm = tf.linalg.global_norm(gradients[: 2 if setting.use_bias else 1])
        strict = lipschitz.strict_bound(unit, sums, setting.reduction)
        paper = lipschitz.paper_bound(unit, sums) / sums.rows
        return tf.stack([norm, strict, paper])

    return step


def _keras_loss(setting: Setting) -> keras.losses.Loss:
    options = {}
    if setting.loss in CROSS_ENTROPIES:
        options["from_logits"] = setting.head == "linear"
    if setting.label_smoothing:
        options["label_smoothing"] = setting.label_smoothing
    return _LOSSES[setting.loss](
        reduction=setting.reduction, dtype="float64", **options
    )


def _apply_head(setting: Setting, outputs: tf.Tensor) -> tf.Tensor:
    if setting.head == "linear":
        return outputs
    is_softmax = setting.loss.endswith("categorical_crossentropy")
    outputs = (tf.nn.softmax if is_softmax else tf.nn.sigmoid)(outputs)
    # Keras looks for the operation that made the probabilities: a copy hides it.
    return tf.identity(outputs) if setting.head == "probabilities" else outputs


def measure_random(
    settings: Sequence[Setting], *, count: int, seed: int
) -> Iterator[tuple[Setting, Norms]]:
    """Share `count` draws among the settings and measure them."""
    rng = np.random.default_rng(seed)
    for number, setting in enumerate(settings):
        share = count // len(settings) + (number < count % len(settings))
        yield (
            setting,
            measure(setting, [random_draw(rng, setting) for _ in range(share)]),
        )


def excess_of(loss: str, *, count: int, seed: int) -> dict[str, str | int]:
    """Return one row of the table."""
    parts = [
        norms
        for _, norms in measure_random(plain_settings(loss), count=count, seed=seed)
    ]
    gradient, strict, paper = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("gradient", "strict", "paper")
    )
    known = ~np.isnan(paper)
    above = gradient[known] > paper[known]
    has_ratio = above & (paper[known] > 0)
    ratios = gradient[known][has_ratio] / paper[known][has_ratio]
    rounded = f"{100 * np.mean(above):.1f}" if known.any() else ""
    return {
        "loss": loss,
        "seed": seed,
        "draws": count,
        "strict_exceeded": int(np.sum(gradient > strict * (1 + 1e-9))),
        "largest_gradient_over_strict": f"{np.max(gradient / strict):.6f}",
        "draws_with_paper_formula": int(known.sum()),
        "paper_exceeded_percent": rounded,
        "median_gradient_over_paper_where_exceeded": (
            f"{np.median(ratios):.2f}" if len(ratios) else ""
        ),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the table and print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=DRAWS)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    rows = []
    for loss in LOSSES:
        row = excess_of(loss, count=options.draws, seed=options.seed)
        print(f"{loss}: paper exceeded in {row['paper_exceeded_percent'] or '-'} %")
        rows.append(row)
    with options.output.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
