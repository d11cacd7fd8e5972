"""The Lipschitz constants, written out example by example with Python numbers.

The paper's are from Yedida, Saha and Prashanth (arXiv:1902.07399), with its equation
numbers; K_z is the Frobenius norm of the whole batch, as the authors' code has it. The
strict ones bound ||[grad_W; grad_b]||_F of the mean loss of z = A W + b.

Arguments are matrices as lists of rows, and rows as lists of numbers.
"""

import math
from collections.abc import Sequence

Row = Sequence[float]
Matrix = Sequence[Row]


def frobenius(matrix: Matrix) -> float:
    total = 0.0
    for row in matrix:
        for entry in row:
            total += entry * entry
    return math.sqrt(total)


def row_norm(row: Row) -> float:
    return math.sqrt(sum(entry * entry for entry in row))


def product(left: Matrix, right: Matrix) -> list[list[float]]:
    inner = len(right)
    return [
        [sum(row[t] * right[t][j] for t in range(inner)) for j in range(len(right[0]))]
        for row in left
    ]


def transpose(matrix: Matrix) -> list[list[float]]:
    return [[row[j] for row in matrix] for j in range(len(matrix[0]))]


def with_ones(matrix: Matrix) -> list[list[float]]:
    return [[*row, 1.0] for row in matrix]


def spectral(matrix: Matrix) -> float:
    """The largest singular value, by the power method on M'M."""
    gram = product(transpose(matrix), matrix)
    largest = 0.0
    for start in range(len(gram)):
        # From each axis in turn: one start may be orthogonal to the answer.
        vector = [float(i == start) for i in range(len(gram))]
        value, last = 0.0, -1.0
        while value > last:
            last = value
            image = [
                sum(g * v for g, v in zip(row, vector, strict=True)) for row in gram
            ]
            value = row_norm(image)
            if value == 0.0:
                break
            vector = [entry / value for entry in image]
        largest = max(largest, value)
    return math.sqrt(largest)


# --- The paper ---------------------------------------------------------------------


def paper_weight_bound(x: Matrix) -> float:
    """Section 7.1."""
    m, n = len(x), len(x[0])
    a = 0.0
    for j in range(n):
        for i in range(m):
            a += x[i][j] / m
    b = 0.0
    for j in range(n):
        b += max(x[i][j] for i in range(m)) / n
    return (a + b) / 2


def paper_linear_regression(x: Matrix, y: Matrix, K: float) -> float:
    """Section 4.1, without its sign: the authors' code takes |1/L|."""
    m = len(x)
    gram = product(transpose(x), x)
    cross = product(transpose(y), x)
    return abs(K / m * frobenius(gram) - 1 / m * frobenius(cross))


def paper_mean_squared_error(a: Matrix, outputs: Matrix, y: Matrix) -> float:
    """(9), without its sign."""
    return abs(1 / len(a) * (frobenius(outputs) - frobenius(y)) * frobenius(a))


def paper_binary_crossentropy(a: Matrix) -> float:
    """(18)."""
    return frobenius(a) / (2 * len(a))


def paper_categorical_crossentropy(a: Matrix, k: int) -> float:
    """(23)."""
    return (k - 1) / (k * len(a)) * frobenius(a)


def paper_l2(lam: float, K: float) -> float:
    """Section 5.3, of (lam/2) ||w||^2."""
    return lam * K


def paper_tikhonov(gamma: Matrix, K: float) -> float:
    """Section 5.3, the boxed equation."""
    return 2 * K * spectral(product(gamma, gamma))


# --- The strict bounds -------------------------------------------------------------


def row_bound(loss: str, k: int, delta: float = 1.0) -> float:
    """D: no example's gradient with respect to its row of z is longer."""
    if loss == "binary_crossentropy":
        # One entry of p - y is at most 1 and is divided by k: sqrt(k) / k.
        return math.sqrt(k) / k
    if loss in ("categorical_crossentropy", "sparse_categorical_crossentropy"):
        # p and y are both in the simplex, whose diameter is sqrt(2).
        return math.sqrt(2.0)
    if loss in ("mean_absolute_error", "log_cosh", "hinge"):
        return math.sqrt(k) / k
    if loss == "huber":
        return delta * math.sqrt(k) / k
    raise ValueError(loss)


def strict(
    loss: str, a: Matrix, k: int, *, use_bias: bool = True, delta: float = 1.0
) -> float:
    """(D/m) sum_i sqrt(||a_i||^2 + 1)."""
    total = 0.0
    for row in a:
        squared = sum(entry * entry for entry in row)
        total += math.sqrt(squared + 1) if use_bias else math.sqrt(squared)
    return row_bound(loss, k, delta) / len(a) * total


def strict_mean_squared_error(
    a: Matrix, outputs: Matrix, y: Matrix, *, use_bias: bool = True
) -> float:
    """(2/(m k)) sum_i sqrt(||a_i||^2 + 1) ||r_i||, r_i the observed residual."""
    m, k = len(y), len(y[0])
    total = 0.0
    for i in range(m):
        residual = [outputs[i][j] - y[i][j] for j in range(k)]
        squared = sum(entry * entry for entry in a[i]) + (1 if use_bias else 0)
        total += math.sqrt(squared) * row_norm(residual)
    return 2 / (m * k) * total


def strict_linear_regression(
    x: Matrix, y: Matrix, K: float, *, use_bias: bool = True
) -> float:
    """(2/(m k)) (||X1'X1||_2 K + ||X1'Y||_F), of Keras's mean squared error."""
    m, k = len(y), len(y[0])
    x1 = with_ones(x) if use_bias else x
    gram = product(transpose(x1), x1)
    cross = product(transpose(x1), y)
    return 2 / (m * k) * (spectral(gram) * K + frobenius(cross))


def strict_l2(factor: float, K: float) -> float:
    """Of Keras's `L2(factor)`, factor ||w||^2: no half."""
    return 2 * factor * K


def strict_l1(factor: float, entries: int) -> float:
    """Of Keras's `L1(factor)`: every entry of the gradient is +-factor."""
    return row_norm([factor] * entries)


def strict_tikhonov(gamma: Matrix, K: float) -> float:
    """||2 Gamma'Gamma w|| is at most 2 ||Gamma||_2^2 ||w||."""
    return 2 * K * spectral(gamma) ** 2
