"""Lipschitz constants of Keras's losses from what enters the last layer.

The last layer is z = A W + b with A of shape (m, d). Every constant here bounds (or,
in the paper's form, estimates) the norm of the gradient of the mean loss with respect
to W and b:

- paper:  L = c K_z / m, with K_z = ||A||_F and one factor c for each loss;
- strict: L = (D / m) sum_i sqrt(||a_i||^2 + 1), with D a bound on the norm of the
  gradient of one example's loss with respect to its row of z. The + 1 is the bias.

The sums are taken by `measure`, are additive over replicas, and are turned into L by
`paper_bound` and `strict_bound`. All functions are written in `keras.ops`, so that they
run inside a compiled training step as well as on NumPy arrays.
"""

import dataclasses
import math

from keras import ops

from keras_lr._typing import Bound, Tensor
from keras_lr.rules.supremum import growing_memory

# Power of its age with which L is forgotten; by experiment, see
# docs/methods/lipschitz.md.
FORGETTING = 0.5

CLASSIFICATION_LOSSES = (
    "binary_crossentropy",
    "categorical_crossentropy",
    "sparse_categorical_crossentropy",
)
SUPPORTED_LOSSES = (
    *CLASSIFICATION_LOSSES,
    "hinge",
    "huber",
    "log_cosh",
    "mean_absolute_error",
    "mean_squared_error",
)


@dataclasses.dataclass(frozen=True)
class LossConstants:
    """What the two bounds need to know about one loss.

    Attributes:
        paper_factor: c of L = c K_z / m; `None` where the paper has no formula, or
            where it depends on the outputs (mean squared error).
        row_bound: D, the bound on the gradient of one example's loss with respect to
            the last layer's output; with `uses_residuals`, the factor of the
            residual.
        uses_residuals: Whether the gradient is not bounded by a constant but by the
            observed residuals (mean squared error).
    """

    paper_factor: float | None
    row_bound: float
    uses_residuals: bool = False

    def require_form(self, bound: Bound, loss: str, outputs: int) -> None:
        """Raise a `ValueError` if the paper has no formula and `bound` asks for it."""
        if bound == "paper" and not self.uses_residuals and self.paper_factor is None:
            raise ValueError(
                f'`bound` must be "strict" for the loss {loss!r} with {outputs} '
                f"outputs: the paper has no formula for it. Received: bound={bound!r}."
            )


def loss_constants(loss: str, outputs: int, *, delta: float = 1.0) -> LossConstants:
    """Return the constants of a Keras loss for a last layer of `outputs` units.

    Args:
        loss: Name of the loss function, as `"categorical_crossentropy"`.
        outputs: k, the number of units of the last layer.
        delta: Where `"huber"` turns linear.

    Raises:
        ValueError: If there is no formula for `loss`.

    References:
        - Yedida et al., [LipschitzLR](https://arxiv.org/abs/1902.07399), equations
          (9), (18) and (23).
    """
    k = outputs
    match loss:
        case "binary_crossentropy":
            # (18) is derived for one output node only.
            return LossConstants(0.5 if k == 1 else None, 1.0 / math.sqrt(k))
        case "categorical_crossentropy" | "sparse_categorical_crossentropy":
            return LossConstants((k - 1) / k, math.sqrt(2.0))
        case "mean_squared_error":
            return LossConstants(None, 2.0 / k, uses_residuals=True)
        case "mean_absolute_error" | "log_cosh" | "hinge":
            return LossConstants(None, 1.0 / math.sqrt(k))
        case "huber":
            return LossConstants(None, delta / math.sqrt(k))
        case _:
            pass
    raise ValueError(
        f"`loss` must be one of {SUPPORTED_LOSSES} for its Lipschitz constant to be "
        f"known. Received: loss={loss!r}."
    )


@dataclasses.dataclass(frozen=True)
class HeadSums:
    """Sums over the rows of a batch, float32 scalars, additive over replicas.

    Attributes:
        rows: m, the number of rows of A.
        squared_inputs: sum_i ||a_i||^2, the square of K_z.
        reach: sum_i w_i sqrt(||a_i||^2 + 1), times ||r_i|| where residuals are given.
        weights: sum_i w_i.
        squared_outputs: sum_i ||f(z_i)||^2, zero without residuals.
        squared_targets: sum_i ||y_i||^2, zero without residuals.
    """

    rows: Tensor
    squared_inputs: Tensor
    reach: Tensor
    weights: Tensor
    squared_outputs: Tensor
    squared_targets: Tensor


def measure(
    inputs: Tensor,
    *,
    use_bias: bool = True,
    row_weights: Tensor | None = None,
    outputs: Tensor | None = None,
    targets: Tensor | None = None,
) -> HeadSums:
    """Sum what both bounds need over the rows that enter the last layer.

    Args:
        inputs: A, of shape `(..., d)`; all leading axes are rows.
        use_bias: Whether the last layer has a bias.
        row_weights: Weight of each row in the loss, of the shape of the leading axes.
        outputs: Output of the model, `(..., k)`; with `targets`, for the losses whose
            gradient is bounded by the residual.
        targets: Labels, `(..., k)` or `(...)`.
    """
    squares = _squared_row_norms(inputs)
    rows = ops.cast(ops.size(squares), squares.dtype)
    lengths = ops.sqrt(squares + 1.0) if use_bias else ops.sqrt(squares)
    squared_outputs = squared_targets = ops.zeros((), squares.dtype)
    if outputs is not None and targets is not None:
        z: Tensor = _widened(outputs)
        y: Tensor = ops.reshape(ops.cast(targets, z.dtype), ops.shape(z))
        squared_outputs = ops.sum(ops.square(z))
        squared_targets = ops.sum(ops.square(y))
        lengths = lengths * ops.sqrt(_squared_row_norms(z - y))
    weights = rows
    if row_weights is not None:
        row_weights = ops.cast(row_weights, squares.dtype)
        weights = ops.sum(row_weights)
        # A negative weight reverses a gradient, which leaves its norm as it is.
        lengths = lengths * ops.abs(_per_row(row_weights, ops.shape(inputs)[:-1]))
    return HeadSums(
        rows=rows,
        squared_inputs=ops.sum(squares),
        reach=ops.sum(lengths),
        weights=weights,
        squared_outputs=squared_outputs,
        squared_targets=squared_targets,
    )


def paper_bound(constants: LossConstants, sums: HeadSums) -> Tensor:
    """Return m L in the paper's form: (9), (18) and (23) before the division by m.

    The division is left to the caller because the authors divide by the nominal batch
    size even where the largest K_z came from another batch.
    """
    activation_norm = ops.sqrt(sums.squared_inputs)
    if constants.uses_residuals:
        # (8) has K_a - ||y||, which is often negative: the authors' code takes |1/L|.
        reach = ops.sqrt(sums.squared_outputs) - ops.sqrt(sums.squared_targets)
        return ops.abs(reach) * activation_norm
    return constants.paper_factor * activation_norm


def strict_bound(constants: LossConstants, sums: HeadSums, reduction: str) -> Tensor:
    """Return a true upper bound of ||[grad_W; grad_b]||_F of the reduced loss.

    Args:
        constants: Constants of the loss.
        sums: Sums over the rows of the batch.
        reduction: Keras's `reduction` of the loss: `"sum"`,
            `"mean_with_sample_weight"`, or one of its means over the rows.
    """
    if reduction == "sum":
        return constants.row_bound * sums.reach
    if reduction == "mean_with_sample_weight":
        return ops.divide_no_nan(
            constants.row_bound * sums.reach, ops.abs(sums.weights)
        )
    return constants.row_bound * sums.reach / sums.rows


def bound_of(
    constants: LossConstants, sums: HeadSums, reduction: str, bound: Bound
) -> Tensor:
    """Return L of one batch, in the paper's form or the strict one."""
    if bound == "strict":
        return strict_bound(constants, sums, reduction)
    numerator = paper_bound(constants, sums)
    return numerator if reduction == "sum" else numerator / sums.rows


def regularizer_bound(
    weight_norm: Tensor,
    entries: int,
    *,
    l1: float = 0.0,
    l2: float = 0.0,
    tikhonov: float = 0.0,
    bound: Bound = "strict",
) -> Tensor:
    """Return what a penalty on weights of a given norm adds to L (section 5.3).

    The penalty is `l1 ||w||_1 + l2 ||w||^2 + ||Gamma w||^2`, as Keras has it: its `L2`
    has no 1/2, so that its gradient is 2 l2 w. The paper takes l2 w.

    Args:
        weight_norm: ||w||, the Frobenius norm.
        entries: Number of entries of w.
        l1: Factor of `keras.regularizers.L1`.
        l2: Factor of `keras.regularizers.L2`.
        tikhonov: ||Gamma||_2^2, or the paper's ||Gamma^2||_2, of
            `rules.penalty_lipschitz.tikhonov_norm`.
        bound: `"strict"` or `"paper"`.
    """
    slope = 2.0 * l2 if bound == "strict" else l2
    return (slope + 2.0 * tikhonov) * weight_norm + l1 * math.sqrt(entries)


def learning_rate(
    lipschitz_constant: Tensor,
    current: Tensor,
    *,
    scale: float,
    minimum: float,
    maximum: float,
) -> Tensor:
    """Return `scale / L` within the bounds; the current rate where L says nothing.

    L says nothing where it is zero or not finite.
    """
    lipschitz_constant = ops.convert_to_tensor(lipschitz_constant)
    rate = ops.clip(scale / lipschitz_constant, minimum, maximum)
    return ops.where(is_usable(lipschitz_constant), rate, ops.cast(current, rate.dtype))


def memory_after(before: Tensor, now: Tensor) -> Tensor:
    """Return what is left of an L: the older it is, the less of it counts.

    Args:
        before: Number of steps when it was held last.
        now: Number of steps at present.
    """
    return growing_memory(before, now, FORGETTING)


def held_maximum(
    constant: Tensor | float, held: Tensor, memory: Tensor | float
) -> Tensor:
    """Return `max(constant, memory * held)`; `held` where the constant says nothing.

    It says nothing where it is zero or not finite.
    L is a supremum over the weights that training visits, which no single batch shows.
    `memory=1` holds the largest value forever, `memory=0` uses the last one, as the
    paper does.
    """
    constant = ops.cast(constant, held.dtype)
    highest = ops.maximum(constant, memory * held)
    return ops.where(is_usable(constant), highest, held)


def is_usable(constant: Tensor | float) -> Tensor:
    """Return whether a constant says something: it is positive and finite."""
    return ops.logical_and(ops.isfinite(constant), constant > 0.0)


def _squared_row_norms(x: Tensor) -> Tensor:
    """Return ||x_i||^2 of each row as a vector, float32 or wider."""
    x = _widened(x)
    return ops.reshape(ops.sum(ops.square(x), axis=-1), (-1,))


def _per_row(row_weights: Tensor, leading_shape: tuple[Tensor, ...]) -> Tensor:
    """Broadcast weights of shape (batch,), (batch, 1) or (batch, time) to the rows."""
    if row_weights.ndim == len(leading_shape) + 1:
        row_weights = ops.squeeze(row_weights, axis=-1)
    return ops.reshape(ops.broadcast_to(row_weights, leading_shape), (-1,))


def _widened(x: Tensor) -> Tensor:
    """Cast half precision to float32: a float16 square overflows from 256 on."""
    x = ops.convert_to_tensor(x)
    return x if ops.dtype(x) == "float64" else ops.cast(x, "float32")
