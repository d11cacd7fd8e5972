"""`lipschitz_constant`: the constant of any supported Keras loss, on plain arrays."""

import keras
import numpy as np
import numpy.typing as npt

from keras_lr._checks import finite_array, one_of
from keras_lr._keras import to_float
from keras_lr._typing import Bound
from keras_lr.rules import lipschitz
from keras_lr.rules.penalty_lipschitz import tikhonov_norm
from keras_lr.training.lipschitz.losses import constants_of, describe_loss

BOUNDS = ("paper", "strict")


def lipschitz_constant(
    loss: str | keras.losses.Loss,
    activations: npt.ArrayLike,
    *,
    outputs: int = 1,
    targets: npt.ArrayLike | None = None,
    predictions: npt.ArrayLike | None = None,
    sample_weight: npt.ArrayLike | None = None,
    use_bias: bool = True,
    bound: Bound = "paper",
    weight_norm: float = 0.0,
    l1: float = 0.0,
    l2: float = 0.0,
    tikhonov: npt.ArrayLike | None = None,
) -> float:
    r"""Return the Lipschitz constant of a loss with respect to the last layer.

    `1 / L` is a learning rate for gradient descent. `LipschitzLR` computes the same
    number from a model while it trains; this function is for arrays. With A the `m`
    rows of `activations` and K_z its Frobenius norm,

    .. math::
        L_{paper} = c \, K_z / m + \lambda \|w\|, \qquad
        L_{strict} = \frac{D}{m} \sum_i \sqrt{\|a_i\|^2 + 1} + 2 \lambda \|w\|.

    Args:
        loss: A Keras loss, or its name: binary, categorical or sparse categorical
            cross-entropy, mean squared or mean absolute error, Huber, log-cosh, hinge.
        activations: What enters the last layer, `(m, d)` or `(batch, time, d)`.
        outputs: k, the number of units of the last layer. Read from `predictions` where
            they are given. Defaults to `1`.
        targets: Labels, `(m, k)`; needed for the mean squared error, whose gradient is
            bounded by the residuals.
        predictions: Output of the model, `(m, k)`; needed with `targets`.
        sample_weight: Weight of each row in the loss. Strict bound only.
        use_bias: Whether the last layer has a bias. Strict bound only.
        bound: `"paper"` (an estimate that the true gradient often exceeds) or
            `"strict"` (never exceeded). Defaults to `"paper"`.
        weight_norm: Norm of the weights that are regularized: in the strict bound the
            last layer's, in the paper's form the largest of any weight tensor.
        l1: Factor of `keras.regularizers.L1`.
        l2: Factor lambda of `keras.regularizers.L2`.
        tikhonov: Gamma of a term `||Gamma w||^2`, a matrix or a factor.

    Returns:
        L, a float.

    Raises:
        ValueError: If there is no formula for the loss, or an argument that it needs is
            missing.

    Example:
        >>> import numpy as np
        >>> activations = np.array([[3.0, 4.0], [0.0, 0.0]])
        >>> lipschitz_constant("binary_crossentropy", activations)
        1.25
        >>> lipschitz_constant(
        ...     "binary_crossentropy", activations, use_bias=False, bound="strict"
        ... )
        2.5

    Notes:
        The paper's form is the paper's, with two exceptions: the mean squared error's
        K_a - ||y|| can be negative, and its absolute value is used; and the norm of
        Gamma^2, which the paper leaves open, is the spectral one, with which its L2
        case follows from its Tikhonov case. It takes lambda ||w|| for Keras's
        `L2(lambda)`, whose gradient is 2 lambda w.

    References:
        - Yedida et al., [LipschitzLR](https://arxiv.org/abs/1902.07399), sections 4, 5.
    """
    one_of("bound", bound, BOUNDS)
    activations = _finite_rows("activations", activations)
    if predictions is not None:
        outputs = _finite_rows("predictions", predictions).shape[-1]
    loss_description = describe_loss(loss)
    constants = constants_of(loss_description, outputs)
    constants.require_form(bound, loss_description.name, outputs)
    if constants.uses_residuals:
        _require_residuals(loss_description.name, targets, predictions)
    residuals = {"outputs": predictions, "targets": targets}
    sums = lipschitz.measure(
        activations,
        use_bias=use_bias,
        row_weights=sample_weight,
        **(residuals if constants.uses_residuals else {}),
    )
    data_term = lipschitz.bound_of(constants, sums, loss_description.reduction, bound)
    columns = activations.shape[-1]
    gamma = tikhonov_norm(tikhonov, columns, bound)
    weight_term = lipschitz.regularizer_bound(
        weight_norm, columns * outputs, l1=l1, l2=l2, tikhonov=gamma, bound=bound
    )
    return to_float(data_term) + float(weight_term)


def _require_residuals(loss: str, targets: object, predictions: object) -> None:
    if targets is None or predictions is None:
        raise ValueError(
            f"`targets` and `predictions` must be given for {loss!r}, whose gradient "
            f"depends on the residuals. Received: targets={targets}, "
            f"predictions={predictions}."
        )


def _finite_rows(name: str, value: npt.ArrayLike) -> np.ndarray:
    array = finite_array(name, value)
    if array.ndim < 2:
        raise ValueError(
            f"`{name}` must have a row for each example, `(rows, features)`. "
            f"Received: {name}.shape={array.shape}."
        )
    return array
