"""What penalties on the weights add to the Lipschitz constant of a classical model.

Host code, NumPy. Section 5.3 of Yedida, Saha and Prashanth: with weights of norm at
most K, (λ/2)‖w‖² adds λK and ‖Γw‖² adds 2K‖Γ²‖. The strict terms are for Keras's
l‖w‖², 2lK, and 2K‖Γ‖².
"""

import math

import numpy as np
from numpy.typing import ArrayLike

from keras_lr._checks import finite_array, finite_matrix, one_of, positive_number
from keras_lr._typing import Bound, FloatArray
from keras_lr.rules.lipschitz import regularizer_bound


def penalty_lipschitz(
    weight_bound: float | None,
    features: FloatArray,
    l2: float,
    tikhonov: ArrayLike | None,
    bound: Bound,
) -> float:
    """Return the term of an L2 and a Tikhonov penalty, 0 without one.

    Args:
        weight_bound: K, a bound on the norm of the weights.
        features: The matrix that the weights multiply, `(examples, columns)`.
        l2: Factor of the penalty: λ in the paper, l of `keras.regularizers.L2`.
        tikhonov: Γ, `(rows, columns)`.
        bound: `"paper"` or `"strict"`.

    Raises:
        ValueError: If an argument is out of range, or `weight_bound` is missing.
    """
    one_of("bound", bound, ("paper", "strict"))
    if not (math.isfinite(l2) and l2 >= 0):
        raise ValueError(f"`l2` must be finite and at least 0. Received: l2={l2}.")
    if weight_bound is None:
        if l2 == 0 and tikhonov is None:
            return 0.0
        raise ValueError(
            "`weight_bound` is required with `l2` and `tikhonov`: the gradient of a "
            f"penalty grows with the weights. Received: weight_bound=None, l2={l2}."
        )
    K = positive_number("weight_bound", weight_bound)
    columns = features.shape[1]
    gamma = tikhonov_norm(tikhonov, columns, bound)
    return float(regularizer_bound(K, columns, l2=l2, tikhonov=gamma, bound=bound))


def tikhonov_norm(tikhonov: ArrayLike | None, columns: int, bound: Bound) -> float:
    """Return ‖Γ‖² for the strict bound; ‖Γ²‖, which is not larger, for the paper's.

    Args:
        tikhonov: Γ, `(rows, columns)`; a number stands for a multiple of the identity,
            `None` for no penalty.
        columns: Number of columns of the matrix that the weights multiply.
        bound: `"paper"` or `"strict"`.

    Raises:
        ValueError: If Γ has another number of columns, or is not square for the paper.
    """
    if tikhonov is None:
        return 0.0
    if np.ndim(tikhonov) == 0:
        return float(finite_array("tikhonov", tikhonov)) ** 2
    gamma = finite_matrix("tikhonov", tikhonov)
    if gamma.shape[1] != columns:
        raise ValueError(
            "`tikhonov` must have a column for each input of the weights, "
            f"{columns}. Received: tikhonov.shape={gamma.shape}."
        )
    if bound == "strict":
        return float(np.linalg.norm(gamma, ord=2)) ** 2
    if gamma.shape[0] != columns:
        raise ValueError(
            '`tikhonov` must be square with `bound="paper"`. Received: '
            f'tikhonov.shape={gamma.shape}. Use `bound="strict"`.'
        )
    return float(np.linalg.norm(gamma @ gamma, ord=2))
