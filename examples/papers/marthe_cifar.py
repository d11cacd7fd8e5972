"""Section 6 of the MARTHE paper: VGG-11 on CIFAR-10 and ResNet-18 on CIFAR-100.

Donini et al., "MARTHE: Scheduling the Learning Rate Via Online Hypergradients", IJCAI
2020, arXiv 1910.08525. 200 epochs of batches of 128: VGG-11 with batch normalization by
SGD with a momentum of 0.9, from a rate of 0.1; ResNet-18 by Adam, from 0.0003.

    python examples/papers/marthe_cifar.py
    python examples/papers/marthe_cifar.py --experiments vgg11 --data cifar10.npz
    python examples/papers/marthe_cifar.py --scale small
    python examples/papers/marthe_cifar.py --summary

The schedules are the paper's: an exponential decay by 0.99 in each epoch, a tenth after
every 60, and warm restarts after 10, 20, 40, ... epochs. HD and RTHO have its
hyper-learning rates; with momentum those are PyTorch's, whose velocity has another
scale than Keras's. `adaptive MARTHE` has both of its adaptations and is started as it
says: with a high step size, and with a tenth of it for as long as the training
diverges. `MARTHE(E)` and `MARTHE()` are this package's own update, with and without
validation data, with defaults.

The paper does not say which images its E has. Here they are 5000 of those to train on,
for all policies alike, and accuracies are those of the test images. Images are padded,
cropped and flipped. The penalty of half of 0.0005 is on kernels, not on batch
normalization. A training is a row of `results/marthe_cifar.csv`; what is there already
is not run again, and one that was killed resumes at its epoch.
"""

import functools
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
from images.batches import crop_and_flip
from images.experiments import Context, Experiment, Policy, parser, run
from keras.optimizers import SGD, Adam, schedules

import keras_lr

RESULTS = Path(__file__).resolve().parent / "results" / "marthe_cifar.csv"
EPOCHS = 200
HELD_OUT = 5000
# Step sizes of the hyper-learning rate, one after the other until one does not diverge.
ADAPTATIONS = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8)
SMALL_ADAPTATIONS = (1e-6, 1e-7)

Optimizer = Callable[[Any], keras.optimizers.Optimizer]


class Setting(NamedTuple):
    """One of the two experiments.

    Attributes:
        dataset: Data set to train on.
        network: Name of the network.
        optimizer: Function of a rate or a schedule.
        learning_rate: Rate to start from.
        published: The paper's accuracies in percent, by policy.
    """

    dataset: str
    network: str
    optimizer: Optimizer
    learning_rate: float
    published: dict[str, float]


# Of the adaptive form whichever step size does not diverge.
SETTINGS = {
    "vgg11": Setting(
        "cifar10",
        "vgg11",
        functools.partial(SGD, momentum=0.9),
        0.1,
        {"SGDR": 92.54, "adaptive MARTHE": 92.79},
    ),
    "resnet18": Setting(
        "cifar100",
        "resnet18",
        Adam,
        3e-4,
        {"staircase": 76.4, "adaptive MARTHE": 76.68},
    ),
}


def exponential_decay(rate: float, steps: int) -> Any:
    """Return a decay by 0.99 in each of 200 epochs."""
    return schedules.ExponentialDecay(rate, steps / EPOCHS, 0.99)


def staircase(rate: float, steps: int) -> Any:
    """Return a tenth after every 60 of 200 epochs."""
    return schedules.ExponentialDecay(rate, 60 * steps // EPOCHS, 0.1, staircase=True)


def warm_restarts(rate: float, steps: int) -> Any:
    """Return SGDR: half a cosine over 10 of 200 epochs, and over twice as many each."""
    first = max(1, 10 * steps // EPOCHS)
    return schedules.CosineDecayRestarts(rate, first, t_mul=2.0)


def additive(make: Callable, **kwargs: Any) -> Callable[[Context], list]:
    """Return a function that makes a callback of the paper's own update."""

    def callbacks(context: Context) -> list[keras.callbacks.Callback]:
        callback = make(
            context.held_out,
            update="additive",
            validation_batch_size=context.batch_size,
            backup_dir=context.backup_dir,
            **kwargs,
        )
        return [callback]

    return callbacks


def adaptive(adaptation: float) -> Callable[[Context], list]:
    """Return what makes the callback with both of the paper's adaptations."""
    return additive(
        keras_lr.MARTHE,
        discount="adaptive",
        hyper_learning_rate=0.0,
        hyper_learning_rate_adaptation=adaptation,
        curvature_batch_size=None,
    )


def log_update(context: Context) -> list[keras.callbacks.Callback]:
    """Return this package's own update on the images of E."""
    return [keras_lr.MARTHE(context.held_out, backup_dir=context.backup_dir)]


def default_update(context: Context) -> list[keras.callbacks.Callback]:
    """Return this package's own update without them."""
    return [keras_lr.MARTHE(backup_dir=context.backup_dir)]


def policies(setting: Setting, scale: str) -> dict[str, Policy]:
    """Return all policies by name."""

    def scheduled(schedule: Callable[[float, int], Any]) -> Callable:
        return lambda context: setting.optimizer(
            schedule(setting.learning_rate, context.total_steps)
        )

    def plain(_: Context) -> keras.optimizers.Optimizer:
        return setting.optimizer(setting.learning_rate)

    hd = additive(keras_lr.HypergradientDescent, hyper_learning_rate=1e-6)
    rtho = additive(keras_lr.RTHO, hyper_learning_rate=1e-8, curvature_batch_size=None)
    by_name = {
        "constant": Policy(plain),
        "exponential decay": Policy(scheduled(exponential_decay)),
        "staircase": Policy(
            scheduled(staircase), published=setting.published.get("staircase")
        ),
        "SGDR": Policy(
            scheduled(warm_restarts), published=setting.published.get("SGDR")
        ),
        "HD": Policy(plain, hd),
        "RTHO": Policy(plain, rtho),
        "MARTHE(E)": Policy(plain, log_update),
        "MARTHE()": Policy(plain, default_update),
    }
    before = None
    for step_size in ADAPTATIONS if scale == "paper" else SMALL_ADAPTATIONS:
        name = f"adaptive MARTHE {step_size:g}"
        published = setting.published["adaptive MARTHE"]
        by_name[name] = Policy(plain, adaptive(step_size), published, answers=before)
        before = name
    return by_name


def experiment(setting: Setting, scale: str = "paper") -> Experiment:
    """Return the trainings of one network."""
    return Experiment(
        setting.dataset,
        setting.network,
        policies(setting, scale),
        epochs=EPOCHS,
        batch_size=128,
        weight_decay=5e-4,
        augment=crop_and_flip,
        held_out=HELD_OUT,
        by_deviation=True,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is not yet done, and print the table."""
    command = parser(__doc__, RESULTS, seeds=5)
    add = command.add_argument
    add("--experiments", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    options = command.parse_args(arguments)
    if options.data and len(options.experiments) > 1:
        command.error("--data is one data set: say for which of --experiments")
    experiments = {
        f"{SETTINGS[name].dataset} {name}": experiment(SETTINGS[name], options.scale)
        for name in options.experiments
    }
    run(experiments, options)


if __name__ == "__main__":
    main()
