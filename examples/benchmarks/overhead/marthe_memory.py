"""What do hypergradients cost in memory, at the peak of a process?

    python examples/benchmarks/overhead/marthe_memory.py

fits an MLP of 784-2000x3-10, 9.6 million weights, in a new process for each variant,
for two epochs of ten steps of 100 digits, and prints by how much its peak is above
that of plain `fit` with the same optimizer, in copies of the weights. TensorFlow's
allocator keeps what it once had: a copy more or less is within the noise. Unix only.
"""

import os
import resource
from collections.abc import Callable
from multiprocessing import get_context

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from paired_epochs import markdown

import keras_lr

WIDTH, BATCH_SIZE, BATCHES = 2000, 100, 10
OPTIMIZERS = {"sgd": keras.optimizers.SGD, "adam": keras.optimizers.Adam}


def _whole(x: np.ndarray, y: np.ndarray) -> keras_lr.MARTHE:
    whole = {"validation_batch_size": BATCH_SIZE, "curvature_batch_size": None}
    return keras_lr.MARTHE((x, y), hyper_learning_rate=0.0, **whole)


VARIANTS: dict[str, Callable[..., keras.callbacks.Callback] | None] = {
    "plain": None,
    "hd": lambda x, y: keras_lr.HypergradientDescent(),
    "defaults": lambda x, y: keras_lr.MARTHE(),
    "defaults, no guard": lambda x, y: keras_lr.MARTHE(hyper_learning_rate=0.0),
    "whole, no guard": _whole,
}


def peak(optimizer: str, variant: str) -> tuple[float, float]:
    """Return the peak of this process after a fit, and the weights, in MiB."""
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(BATCHES * BATCH_SIZE, 784)).astype("float32")
    y = rng.integers(0, 10, len(x))
    hidden = [keras.layers.Dense(WIDTH, "relu") for _ in range(3)]
    model = keras.Sequential([keras.Input((784,)), *hidden, keras.layers.Dense(10)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(OPTIMIZERS[optimizer](1e-4), loss=loss, jit_compile=False)
    make = VARIANTS[variant]
    callbacks = [] if make is None else [make(x, y)]
    model.fit(x, y, BATCH_SIZE, epochs=2, verbose=0, callbacks=callbacks)
    kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kib / 2**10, 4 * model.count_params() / 2**20


def main() -> None:
    """Measure and print the table."""
    lines = [
        ("optimizer", "variant", "peak, MiB", "above plain, in copies of the weights")
    ]
    for optimizer in OPTIMIZERS:
        plain = 0.0
        for variant in VARIANTS:
            with get_context("spawn").Pool(1) as pool:
                used, weights = pool.apply(peak, (optimizer, variant))
            plain = plain or used
            copies = f"{(used - plain) / weights:.1f}"
            lines.append((optimizer, variant, f"{used:.0f}", copies))
    print(markdown(lines))


if __name__ == "__main__":
    main()
