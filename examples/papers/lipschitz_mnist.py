"""Section 7.3.1 of the LipschitzLR paper: a network of convolutions on MNIST.

Yedida, Saha and Prashanth, "LipschitzLR: Using theoretically computed adaptive learning
rates for fast convergence", 2019, arXiv 1902.07399. The network is that of its table 4,
the accuracies are those of its table 3: 20 epochs of batches of 256, images that are
shifted, zoomed and rotated a little, no penalty.

    python examples/papers/lipschitz_mnist.py
    python examples/papers/lipschitz_mnist.py --data mnist.npz
    python examples/papers/lipschitz_mnist.py --scale small
    python examples/papers/lipschitz_mnist.py --summary

The policies are explained in `lipschitz_policies.py`. The paper has no baselines here;
those below are the ones of its other experiments. A training is a row of
`results/lipschitz_mnist.csv`; what is there already is not run again, and one that was
killed resumes at its epoch.
"""

import os
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import lipschitz_policies as policies
from images.batches import shift_zoom_rotate
from images.experiments import Experiment, parser, run

RESULTS = Path(__file__).resolve().parent / "results" / "lipschitz_mnist.csv"
# The paper's accuracies on the test images, in percent.
PUBLISHED = {"sgd": 99.5, "momentum": 99.57, "adam": 99.43}
# AdaMo's x.
FIRST_RATE = 0.1


def experiment(optimizer: str) -> Experiment:
    """Return the trainings with one optimizer."""
    return Experiment(
        "mnist",
        "mnist_cnn",
        {
            "baseline": policies.constant(optimizer),
            "adaptive": policies.adaptive(optimizer, PUBLISHED[optimizer], FIRST_RATE),
            **policies.ours(optimizer),
        },
        epochs=20,
        batch_size=256,
        augment=shift_zoom_rotate,
        in_color=False,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is not yet done, and print the table."""
    command = parser(__doc__, RESULTS, seeds=1)
    add = command.add_argument
    add("--optimizers", nargs="+", choices=PUBLISHED, default=list(PUBLISHED))
    options = command.parse_args(arguments)
    experiments = {f"mnist cnn {name}": experiment(name) for name in options.optimizers}
    run(experiments, options)


if __name__ == "__main__":
    main()
