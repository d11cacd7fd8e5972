"""The benchmark of the step runs; what it measures is not for a loaded machine."""

import csv
import sys

import keras
import pytest

import keras_lr
from tests.example_scripts import scripts_of

PEERS = {
    "sgd_momentum": "sgd_momentum",
    "sgd_nesterov": "sgd_momentum",
    "adamo": "sgd_momentum",
    "adamo_paper": "sgd_momentum",
    "adam": "adam",
    "adam_again": "adam",
    "adaptive_rmsprop": "adam",
    "adaptive_rmsprop_paper": "adam",
    "auto_adam": "adam",
    "auto_adam_paper": "adam",
}


@pytest.fixture(scope="module")
def benchmark_script():
    with scripts_of("benchmarks/overhead") as scripts:
        yield scripts("optimizer")


@pytest.fixture(scope="module")
def paired_epochs(benchmark_script):
    return sys.modules["paired_epochs"]


@pytest.mark.slow  # A fit of each variant.
@pytest.mark.usefixtures("few_digits")
def test_ratio_is_to_the_peer_of_the_same_round(benchmark_script, tmp_path, capsys):
    output = tmp_path / "overhead.csv"
    benchmark_script.main(
        ["--quick", "--models", "mlp", "--jit", "off", "--output", str(output)]
    )
    with output.open(newline="") as file:
        rows = {row["variant"]: row for row in csv.DictReader(file)}
    assert list(rows) == list(PEERS)
    for ratio, seconds in (("ratio", "epoch_seconds"), ("cpu_ratio", "cpu_seconds")):
        expected = {
            name: float(rows[name][seconds]) / float(rows[peer][seconds])
            for name, peer in PEERS.items()
        }
        # Seconds are written to 1e-6 and ratios to 1e-4; an epoch takes 1e-2 s.
        assert {name: float(row[ratio]) for name, row in rows.items()} == (
            pytest.approx(expected, rel=1e-4, abs=1e-4)
        )
    assert len(capsys.readouterr().out.splitlines()) == 2 + len(rows)


@pytest.mark.slow  # A fit of two variants.
@pytest.mark.usefixtures("few_digits")
def test_selected_variants_are_measured_beside_their_peers(benchmark_script, tmp_path):
    output = tmp_path / "overhead.csv"
    selected = ["--models", "mlp", "--jit", "off", "--variants", "auto_adam"]
    benchmark_script.main(["--quick", *selected, "--output", str(output)])
    with output.open(newline="") as file:
        assert [row["variant"] for row in csv.DictReader(file)] == ["adam", "auto_adam"]


def test_each_optimizer_is_measured_as_it_comes_and_as_printed(benchmark_script):
    made = {
        name: variant.make_optimizer()
        for name, variant in benchmark_script.VARIANTS.items()
    }
    ours = {
        (type(each), each.variant) for each in made.values() if hasattr(each, "variant")
    }
    classes = keras_lr.AdaMo, keras_lr.AdaptiveRMSprop, keras_lr.AutoAdam
    assert ours == {(c, v) for c in classes for v in ("supremum", "paper")}
    assert type(made["adam"]) is type(made["adam_again"]) is keras.optimizers.Adam
    assert made["sgd_momentum"].momentum == 0.9


@pytest.fixture
def noted(paired_epochs, rng):
    """A contestant, and a list with an entry for each trace of its step."""
    traces = []

    class Noted(keras_lr.AdaMo):
        def apply(self, grads, trainable_variables=None):
            traces.append(grads)
            super().apply(grads, trainable_variables)

    data = rng.uniform(size=(200, 784)).astype("float32"), rng.integers(10, size=200)
    variant = paired_epochs.Variant("noted", Noted)
    settings = {"jit_compile": False, "epochs": 4}
    return paired_epochs.Contestant(
        variant, paired_epochs.PROBLEMS["mlp"], data, **settings
    ), traces


def test_models_are_not_traced_again_from_turn_to_turn(noted):
    contestant, traces = noted
    contestant.epoch()
    first = len(traces)
    assert first > 0
    contestant.epoch()
    contestant.finish()
    assert len(traces) == first


def test_a_turn_is_an_epoch_and_a_fit_ends_early(noted):
    contestant, _ = noted
    steps = []
    for _ in range(3):
        times = contestant.epoch()
        assert times.wall > 0.0
        steps.append(int(contestant._model.optimizer.iterations.numpy()))
    contestant.finish()
    # Two batches of a hundred.
    assert [*steps, int(contestant._model.optimizer.iterations.numpy())] == [2, 4, 6, 6]


def test_an_error_of_a_fit_is_raised_in_its_turn(paired_epochs, rng):
    class Failing(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            raise ValueError("Not today.")

    data = rng.uniform(size=(200, 784)).astype("float32"), rng.integers(10, size=200)
    variant = paired_epochs.Variant("a", keras.optimizers.SGD, lambda *_: Failing())
    contestant = paired_epochs.Contestant(
        variant, paired_epochs.PROBLEMS["mlp"], data, jit_compile=False, epochs=2
    )
    with pytest.raises(ValueError, match="Not today"):
        contestant.epoch()
