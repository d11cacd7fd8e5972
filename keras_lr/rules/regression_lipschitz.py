r"""Lipschitz constants of linear, logistic and softmax regression.

Host code: arrays in float64 in, a Python float out; no model.

Each function bounds the norm of the gradient of the mean loss over a fixed set of
examples, so that `1 / L` is a learning rate for full-batch gradient descent.
`bound="paper"` transcribes the constants of Yedida, Saha and Prashanth, sections 4.1,
5.1 and 5.2, which are no upper bounds; `bound="strict"` gives constants that the
gradient never exceeds. Both add the terms of section 5.3 for penalties on the weights.
Logistic and softmax regression are networks of one layer: their constants are those
of `lipschitz.py`.
"""

import numbers
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from keras_lr import _checks
from keras_lr._typing import Bound, FloatArray
from keras_lr.rules.lipschitz import loss_constants, measure, paper_bound, strict_bound
from keras_lr.rules.penalty_lipschitz import penalty_lipschitz

SquaredLoss = Literal["mean_squared_error", "half_mean_squared_error"]

_SQUARED_LOSSES = ("mean_squared_error", "half_mean_squared_error")


def estimate_weight_bound(x: ArrayLike) -> float:
    r"""Estimate the norm of a linear regression's weights from its features.

    Linear regression's constant needs a bound on the norm of the weights before
    training. The paper guesses it from the features, before any scaling and without
    a column of ones:

    .. math::
        K = \frac{1}{2}\Big(\sum_j \operatorname{mean}_i x_{ij}
            + \operatorname{mean}_j \max_i x_{ij}\Big)

    Args:
        x: Features, `(examples, features)`.

    Returns:
        The estimate, a float.

    Raises:
        ValueError: If `x` is not a finite matrix, or the estimate is not positive.

    Example:
        >>> from keras_lr import estimate_weight_bound
        >>> estimate_weight_bound([[1.0, 2.0], [3.0, 6.0]])
        5.25

    Notes:
        A guess: nothing keeps the weights below it.

    References:
        - Yedida et al., [LipschitzLR](https://arxiv.org/abs/1902.07399), 2019,
          section 7.1.
    """
    features = _checks.finite_matrix("x", x)
    a = float(features.mean(axis=0).sum())
    b = float(features.max(axis=0).mean())
    if a + b <= 0:
        raise ValueError(
            "The weight bound estimated from `x` must be positive. Received: x with "
            f"an estimate of {(a + b) / 2}. Pass a `weight_bound` of your own."
        )
    return (a + b) / 2


def linear_regression_lipschitz(
    x: ArrayLike,
    y: ArrayLike,
    *,
    weight_bound: float | None = None,
    l2: float = 0.0,
    tikhonov: ArrayLike | None = None,
    use_bias: bool = True,
    loss: SquaredLoss = "mean_squared_error",
    bound: Bound = "paper",
) -> float:
    r"""Compute the Lipschitz constant of linear regression.

    Its inverse is a learning rate for full-batch gradient descent. With weights
    of norm at most :math:`K`, over :math:`m` examples and :math:`k` outputs:

    .. math::
        L_{paper} &= \frac{1}{m} \big| K \|X^T X\|_F - \|Y^T X\|_F \big| \\
        L_{strict} &= \frac{2}{m k}
            \big( \|X_1^T X_1\|_2 K + \|X_1^T Y\|_F \big)

    where :math:`X_1` is `x` with a column of ones if `use_bias`.

    Args:
        x: The matrix that the weights multiply, `(examples, features)`: scaled
            as in training.
        y: Targets, `(examples,)` or `(examples, outputs)`.
        weight_bound: K in the paper, a bound on the norm of all the weights.
            Defaults to `None`, `estimate_weight_bound(x)`. The paper estimates
            it before scaling: if `x` is scaled or has a column of ones, pass
            `estimate_weight_bound(raw_features)`.
        l2: Factor of the penalty, as in `keras.regularizers.L2`. Defaults to
            `0.0`.
        tikhonov: Γ in the paper, `(rows, features)`, where ‖Γw‖² is added to
            the loss. Defaults to `None`.
        use_bias: Whether the model adds a bias, as `Dense` does. Only the strict
            bound counts it; for the paper, a bias is a column of `x`. Pass
            `False` if `x` has that column. Defaults to `True`.
        loss: `"mean_squared_error"` as Keras computes it, or
            `"half_mean_squared_error"`, half of that, as in the paper. Only the
            strict bound depends on it. Defaults to `"mean_squared_error"`.
        bound: `"paper"` or `"strict"`. Defaults to `"paper"`.

    Returns:
        The constant, a float.

    Raises:
        ValueError: If an argument is out of range or shapes do not match.

    Example:
        >>> from keras_lr import linear_regression_lipschitz
        >>> x, y = [[1.0], [2.0]], [2.0, 4.0]
        >>> linear_regression_lipschitz(x, y, weight_bound=4.0)
        5.0
        >>> linear_regression_lipschitz(
        ...     x, y, weight_bound=4.0, use_bias=False, bound="strict"
        ... )
        30.0

    Notes:
        - The paper's difference was negative on all of its data sets; the authors'
          code takes \|1/L\|, and so does `"paper"`. A bound has to add the norms.
        - The strict bound holds for weights, with the bias, of norm at most
          `weight_bound`: the estimate does not guarantee that.
        - The paper adds λK for (λ/2)‖w‖². The penalty of Keras's `L2(l)` is l‖w‖²:
          `"strict"` adds 2lK.
        - The paper adds 2K‖Γ²‖ for a square Γ. The norm is the 2-norm, because
          ‖Γ²w‖ ≤ ‖Γ²‖‖w‖ is used with the 2-norm of w. The gradient is 2ΓᵀΓw, so
          `"strict"` adds 2K‖Γ‖², which is larger unless Γ is symmetric.

    References:
        - Yedida et al., [LipschitzLR](https://arxiv.org/abs/1902.07399), 2019,
          sections 4.1 and 5.3.
    """
    features = _checks.finite_matrix("x", x)
    targets = _checks.target_matrix("y", y, len(features))
    _checks.one_of("loss", loss, _SQUARED_LOSSES)
    if weight_bound is None:
        weight_bound = estimate_weight_bound(features)
    K = _checks.positive_number("weight_bound", weight_bound)
    term = penalty_lipschitz(K, features, l2, tikhonov, bound)
    m, k = targets.shape
    if bound == "paper":
        gram_norm = np.linalg.norm(_gram(features))
        constant = abs(K * gram_norm - np.linalg.norm(targets.T @ features)) / m
    else:
        if use_bias:
            features = np.pad(features, [(0, 0), (0, 1)], constant_values=1.0)
        gram_norm = np.linalg.norm(_gram(features), ord=2)
        constant = 2 / (m * k) * (gram_norm * K + np.linalg.norm(features.T @ targets))
        if loss == "half_mean_squared_error":
            constant = constant / 2
    return float(constant) + term


def logistic_regression_lipschitz(
    x: ArrayLike,
    *,
    weight_bound: float | None = None,
    l2: float = 0.0,
    tikhonov: ArrayLike | None = None,
    use_bias: bool = True,
    bound: Bound = "paper",
) -> float:
    r"""Compute the Lipschitz constant of logistic regression.

    Its inverse is a learning rate for full-batch gradient descent on the mean
    binary cross-entropy over :math:`m` examples, whatever the labels:

    .. math::
        L_{paper} = \frac{1}{2m} \|X\|_F \qquad
        L_{strict} = \frac{1}{m} \sum_i \sqrt{\|x_i\|^2 + 1}

    The + 1 is the bias's part, left out without a bias.

    Args:
        x: The matrix that the weights multiply, `(examples, features)`: scaled
            as in training.
        weight_bound: A bound on the norm of all the weights, needed with `l2`
            and `tikhonov`. Defaults to `None`.
        l2: See `linear_regression_lipschitz`. Defaults to `0.0`.
        tikhonov: See `linear_regression_lipschitz`. Defaults to `None`.
        use_bias: See `linear_regression_lipschitz`. Defaults to `True`.
        bound: `"paper"` or `"strict"`. Defaults to `"paper"`.

    Returns:
        The constant, a float.

    Raises:
        ValueError: If an argument is out of range or `weight_bound` is missing.

    Example:
        >>> from keras_lr import logistic_regression_lipschitz
        >>> logistic_regression_lipschitz([[3.0, 0.0], [0.0, 4.0]])
        1.25

    Notes:
        The paper takes 1/2 for the largest \|sigmoid(z) - y\|, which is 1, and the
        norm of the whole matrix over m, which loses the sum over the examples: its
        constant is too small by up to 2√m.

    References:
        - Yedida et al., [LipschitzLR](https://arxiv.org/abs/1902.07399), 2019,
          sections 5.1 and 5.3.
    """
    features = _checks.finite_matrix("x", x)
    term = penalty_lipschitz(weight_bound, features, l2, tikhonov, bound)
    return _last_layer("binary_crossentropy", features, 1, use_bias, bound) + term


def softmax_regression_lipschitz(
    x: ArrayLike,
    classes: int,
    *,
    weight_bound: float | None = None,
    l2: float = 0.0,
    tikhonov: ArrayLike | None = None,
    use_bias: bool = True,
    bound: Bound = "paper",
) -> float:
    r"""Compute the Lipschitz constant of softmax regression.

    Its inverse is a learning rate for full-batch gradient descent on the mean
    cross-entropy over :math:`m` examples of :math:`k` classes, whatever the labels:

    .. math::
        L_{paper} = \frac{k - 1}{k m} \|X\|_F \qquad
        L_{strict} = \frac{\sqrt 2}{m} \sum_i \sqrt{\|x_i\|^2 + 1}

    The + 1 is the bias's part, left out without a bias.

    Args:
        x: The matrix that the weights multiply, `(examples, features)`: scaled
            as in training.
        classes: k in the paper, the number of classes.
        weight_bound: A bound on the norm of all the weights, needed with `l2`
            and `tikhonov`. Defaults to `None`.
        l2: See `linear_regression_lipschitz`. Defaults to `0.0`.
        tikhonov: See `linear_regression_lipschitz`. Defaults to `None`.
        use_bias: See `linear_regression_lipschitz`. Defaults to `True`.
        bound: `"paper"` or `"strict"`. Defaults to `"paper"`.

    Returns:
        The constant, a float.

    Raises:
        ValueError: If an argument is out of range or `weight_bound` is missing.

    Example:
        >>> from keras_lr import softmax_regression_lipschitz
        >>> softmax_regression_lipschitz([[3.0, 0.0], [0.0, 4.0]], classes=2)
        1.25

    Notes:
        The paper takes (k - 1)/k, one entry of p - y at uniform probabilities; the
        norm of p - y comes arbitrarily close to √2. It takes the norm of the
        whole matrix over m, which loses the sum over the examples.

    References:
        - Yedida et al., [LipschitzLR](https://arxiv.org/abs/1902.07399), 2019,
          sections 5.2 and 5.3.
    """
    features = _checks.finite_matrix("x", x)
    if not isinstance(classes, numbers.Integral) or classes < 2:
        raise ValueError(
            f"`classes` must be an integer of at least 2. Received: classes={classes}."
        )
    term = penalty_lipschitz(weight_bound, features, l2, tikhonov, bound)
    k = int(classes)
    return _last_layer("categorical_crossentropy", features, k, use_bias, bound) + term


def _last_layer(
    loss: str, features: FloatArray, outputs: int, use_bias: bool, bound: Bound
) -> float:
    constants = loss_constants(loss, outputs)
    sums = measure(features, use_bias=use_bias)
    if bound == "paper":
        return float(paper_bound(constants, sums)) / len(features)
    return float(strict_bound(constants, sums, "sum_over_batch_size"))


def _gram(features: FloatArray) -> FloatArray:
    """XᵀX or XXᵀ, whichever is smaller: their norms are the same."""
    m, n = features.shape
    return features.T @ features if n <= m else features @ features.T
