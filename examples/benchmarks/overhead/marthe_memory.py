"""What do hypergradients cost in memory, at the peak of a process?

    python examples/benchmarks/overhead/marthe_memory.py

fits an MLP of 784-2000x3-10, 9.6 million weights, in a new process for each variant,
for two epochs of ten steps of 100 digits, and prints by how much its peak is above
that of plain `fit` with the same optimizer, in copies of the weights. TensorFlow's
allocator keeps what it once had: a copy more or less is within the noise. Unix only.

    python examples/benchmarks/overhead/marthe_memory.py --widths 2000 3000

tells what grows with the model from what does not: code, and buffers of the libraries.
"""

import argparse
import os
import resource
from collections.abc import Callable, Sequence
from multiprocessing import get_context

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from paired_epochs import markdown

import keras_lr

BATCH_SIZE, BATCHES = 100, 10
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


def peak(optimizer: str, variant: str, width: int) -> tuple[float, float]:
    """Return the peak of this process after a fit, and the weights, in MiB."""
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(BATCHES * BATCH_SIZE, 784)).astype("float32")
    y = rng.integers(0, 10, len(x))
    hidden = [keras.layers.Dense(width, "relu") for _ in range(3)]
    model = keras.Sequential([keras.Input((784,)), *hidden, keras.layers.Dense(10)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(OPTIMIZERS[optimizer](1e-4), loss=loss, jit_compile=False)
    make = VARIANTS[variant]
    callbacks = [] if make is None else [make(x, y)]
    model.fit(x, y, BATCH_SIZE, epochs=2, verbose=0, callbacks=callbacks)
    kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kib / 2**10, 4 * model.count_params() / 2**20


def above_plain(
    optimizer: str, variants: Sequence[str], width: int
) -> tuple[dict[str, float], float]:
    """Return by how many MiB each variant is above plain `fit`, and the weights."""
    peaks, weights = {}, 0.0
    for variant in ("plain", *variants):
        with get_context("spawn").Pool(1) as pool:
            peaks[variant], weights = pool.apply(peak, (optimizer, variant, width))
    return {each: peaks[each] - peaks["plain"] for each in variants}, weights


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print the table."""
    methods = [variant for variant in VARIANTS if variant != "plain"]
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--widths", nargs="+", type=int, default=[2000])
    parser.add_argument("--variants", nargs="+", choices=methods, default=methods)
    options = parser.parse_args(arguments)
    header = [f"above plain, width {width}" for width in options.widths]
    lines = [("optimizer", "variant", *header, "copies that grow with the model")]
    for optimizer in OPTIMIZERS:
        measured = [
            above_plain(optimizer, options.variants, width) for width in options.widths
        ]
        for variant in options.variants:
            pairs = [(extra[variant], weights) for extra, weights in measured]
            texts = [f"{extra:.0f} MiB, {extra / each:.1f}" for extra, each in pairs]
            lines.append((optimizer, variant, *texts, slope(pairs)))
    print(markdown(lines))


def slope(pairs: Sequence[tuple[float, float]]) -> str:
    """Return the MiB for each MiB of weights, between the first size and the last."""
    (low, small), (high, large) = pairs[0], pairs[-1]
    return f"{(high - low) / (large - small):.1f}" if large > small else ""


if __name__ == "__main__":
    main()
