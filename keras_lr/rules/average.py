"""Exponentially weighted averages that can leave out a step, in `keras.ops`.

Either with a decay, and a correction for the zero that they start from, or moving
averages, whose memory grows with the steps up to its full length.
"""

from keras import ops

from keras_lr._typing import Tensor

# Steps after which a new value has half of a moving average.
FIRST_STEPS = 10.0


def share_of_new(steps: Tensor, least: float, first: float = FIRST_STEPS) -> Tensor:
    """Return the share of a new value in a moving average.

    In the first steps the average is short, so that it follows at once what changes
    fast then.

    Args:
        steps: Number of values before it.
        least: The share in a long training.
        first: Number of values after which it is a half.
    """
    return ops.maximum(least, first / (first + steps))


def moving_average(mean: Tensor, value: Tensor, share: Tensor) -> Tensor:
    """Return a moving average after one more value."""
    return mean + share * (value - mean)


def increment(average: Tensor, value: Tensor, decay: float, counts: Tensor) -> Tensor:
    r"""Return what to add to an average to get `decay * average + (1 - decay) * value`.

    Args:
        average: Average so far, any shape.
        value: New value, of the same shape and dtype; finite.
        decay: Decay of the average, at least 0 and below 1.
        counts: Scalar, 1, or 0 for an increment of 0.
    """
    weight = ops.cast(counts * (1.0 - decay), average.dtype)
    return ops.multiply(ops.subtract(value, average), weight)


def averaged(average: Tensor, value: Tensor, decay: float, counts: Tensor) -> Tensor:
    """Return an average with a new value in it; the old one where `counts` is 0."""
    return average + increment(average, value, decay, counts)


def total_weight(decay: float, count: Tensor) -> Tensor:
    """Return `1 - decay**count`, the weight of all values in an average.

    It is 1 as long as `count` is 0.

    Args:
        decay: Decay of the average, at least 0 and below 1.
        count: Number of values in the average, in float32 or float64: in half
            precision, 0.999 is 1.
    """
    # Not `ops.cast`, which takes a Python float to float32 first.
    base = ops.convert_to_tensor(decay, dtype=count.dtype)
    weight = 1.0 - ops.power(base, count)
    return ops.where(weight > 0.0, weight, ops.ones_like(weight))


def paper_weight(decay: float, count: Tensor, bias_correction: bool) -> Tensor:
    """Return what the paper divides an average by: 1, or as in section 6.4.

    Args:
        decay: Decay of the average, at least 0 and below 1.
        count: Number of values in the average, in float32 or float64.
        bias_correction: Whether to divide by `total_weight`.
    """
    return total_weight(decay, count) if bias_correction else ops.ones_like(count)


def corrected(average: Tensor, decay: float, count: Tensor) -> Tensor:
    """Return an average without the zero that it started from, section 6.4.

    Args:
        average: Average, of the dtype of `count`.
        decay: Decay of the average, at least 0 and below 1.
        count: Number of values in the average, in float32 or float64.
    """
    return average / total_weight(decay, count)
