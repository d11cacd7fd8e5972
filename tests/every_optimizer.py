"""The public optimizers, and two small weights to step them on."""

import dataclasses
import functools
import math
from typing import Any

import keras
import numpy as np
import pytest

import keras_lr

# A few float32 roundings, 1.2e-7 each, of numbers of size 1.
ROUNDING = {"rtol": 2e-6, "atol": 3e-7}


@dataclasses.dataclass(frozen=True)
class Case:
    """An optimizer in one variant, and what is known of it by hand.

    `rate` and `step` are those of the first step, for one weight `W` of two numbers
    and the gradient (3, 4): norm 5, mean square 12.5, norm of the squares sqrt(337).
    """

    optimizer: type[keras.optimizers.Optimizer]
    variant: str
    rate: float
    step: tuple[float, float]
    slots: tuple[str, ...]
    constants: tuple[str, ...]
    averages: tuple[str, ...] = ()

    def __call__(self, **kwargs: Any) -> Any:
        """Make the optimizer."""
        return self.optimizer(variant=self.variant, **kwargs)

    @property
    def id(self) -> str:
        return f"{self.optimizer.__name__}-{self.variant}"


EPSILON = 1e-7
NORM_OF_SQUARES = math.hypot(9.0, 16.0)
adamo = functools.partial(
    Case,
    keras_lr.AdaMo,
    slots=("decayed_momentum",),
    constants=("constant",),
    averages=("mean_square", "agreement"),
)
adaptive_rmsprop = functools.partial(
    Case, keras_lr.AdaptiveRMSprop, slots=("square",), constants=("norm", "square")
)
auto_adam = functools.partial(
    Case,
    keras_lr.AutoAdam,
    slots=("velocity", "square"),
    constants=("norm", "square"),
)
OPTIMIZERS = [
    # V = 0.1 g, once more 0.19 g, times 3 over K = 5; one gradient agrees with itself.
    adamo("supremum", rate=3 / 5, step=(0.19 * 3 * 3 / 5, 0.19 * 4 * 3 / 5)),
    # V = 0.1 g over K = 0.1 * 5.
    adamo("paper", rate=2.0, step=(0.6, 0.8)),
    adaptive_rmsprop(
        "supremum",
        rate=0.5 * math.sqrt(12.5) / 5,
        step=tuple(0.5 * math.sqrt(12.5) / 5 * g / (g + EPSILON) for g in (3, 4)),
    ),
    adaptive_rmsprop(
        "paper",
        rate=(math.sqrt(0.1 * NORM_OF_SQUARES) + EPSILON) / 5,
        step=tuple(
            (math.sqrt(0.1 * NORM_OF_SQUARES) + EPSILON)
            / 5
            * (g / math.sqrt(0.1 * g**2 + EPSILON))
            for g in (3, 4)
        ),
    ),
    auto_adam(
        "supremum",
        rate=math.sqrt(12.5) / 5,
        step=tuple(math.sqrt(12.5) / 5 * g / (g + EPSILON) for g in (3, 4)),
    ),
    auto_adam(
        "paper",
        rate=(math.sqrt(0.001 * NORM_OF_SQUARES) + EPSILON) / 0.5,
        step=tuple(
            (math.sqrt(0.001 * NORM_OF_SQUARES) + EPSILON)
            / 0.5
            * (0.1 * g / math.sqrt(0.001 * g**2 + EPSILON))
            for g in (3, 4)
        ),
    ),
]
# The steps of each variant are tested by themselves. What all options do to them is
# tested with the two that differ most, and the other form of one.
TYPICAL = ("AdaMo-supremum", "AdaMo-paper", "AutoAdam-supremum")
every_optimizer = pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, marks=() if case.id in TYPICAL else pytest.mark.slow)
        for case in OPTIMIZERS
    ],
    ids=lambda case: case.id,
)


def defaults(*by_default: type[keras.optimizers.Optimizer]) -> pytest.MarkDecorator:
    """Parametrize by the default variants; of those not named, slowly."""
    return pytest.mark.parametrize(
        "case",
        [
            pytest.param(
                case, marks=() if case.optimizer in by_default else pytest.mark.slow
            )
            for case in OPTIMIZERS
            if case.variant == "supremum"
        ],
        ids=lambda case: case.id,
    )


# For tests that train models, which take long: all three share what these test, and
# `AdaMo` has the most of its own.
every_default = defaults(keras_lr.AdaMo)
# For what takes a few steps of each.
every_stored = defaults(keras_lr.AdaMo, keras_lr.AutoAdam, keras_lr.AdaptiveRMSprop)


def weights(dtype: str = "float32") -> list[keras.Variable]:
    """Return a kernel and a bias with numbers of size 1."""
    kernel = np.linspace(-1.0, 1.5, 6).reshape(3, 2)
    return [
        keras.Variable(kernel, dtype=dtype, name="kernel"),
        keras.Variable([0.5, -0.75], dtype=dtype, name="bias"),
    ]


def gradients(steps: int, seed: int = 0) -> list[list[np.ndarray]]:
    """Return gradients of `weights()`, a list for each step."""
    rng = np.random.default_rng(seed)
    return [
        [rng.normal(size=shape).astype("float32") for shape in ((3, 2), (2,))]
        for _ in range(steps)
    ]


def step(optimizer: Any, variables: Any, *of_steps: Any) -> list[np.ndarray]:
    """Take a step for each list of gradients, and return the variables' values."""
    for grads in of_steps:
        tensors = [
            keras.ops.convert_to_tensor(each) if isinstance(each, np.ndarray) else each
            for each in grads
        ]
        optimizer.apply(tensors, variables)
    return values(variables)


def values(variables: Any) -> list[np.ndarray]:
    """Fetch variables."""
    return [keras.ops.convert_to_numpy(each.value) for each in variables]


def state(optimizer: Any) -> dict[str, np.ndarray]:
    """Fetch slots and scalars by name, without what Keras adds for itself."""
    of_keras = ("iteration", "learning_rate", "gradient_accumulator", "average")
    ours = [v for v in optimizer.variables if not _ends_with(v.name, of_keras)]
    return dict(zip([v.name for v in ours], values(ours), strict=True))


def _ends_with(name: str, endings: tuple[str, ...]) -> bool:
    return name != "effective_learning_rate" and name.endswith(endings)


def assert_same(actual: Any, expected: Any, **tolerance: float) -> None:
    """Compare lists or dictionaries of arrays, up to rounding or as told."""
    if isinstance(expected, dict):
        assert actual.keys() == expected.keys()
        actual, expected = list(actual.values()), list(expected.values())
    for a, b in zip(actual, expected, strict=True):
        np.testing.assert_allclose(a, b, **(tolerance or ROUNDING))


EXACTLY = {"rtol": 0.0, "atol": 0.0}
