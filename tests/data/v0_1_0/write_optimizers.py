"""What 0.1.0 saves of its optimizers, and how it continues from there.

To be run with 0.1.0: `python tests/data/v0_1_0/write_optimizers.py`. Writes a `.keras`
file for each optimizer in each variant into `optimizers/`, and the variables and the
weights that follow into `optimizers/expected.json`.
"""

import json
import zipfile
from pathlib import Path

import keras
import numpy as np

import keras_lr

FOLDER = Path(__file__).parent / "optimizers"
CASES = {
    f"{name}-{variant}": (name, arguments)
    for name in ("AdaMo", "AdaptiveRMSprop", "AutoAdam")
    for variant, arguments in {
        "supremum": {"learning_rate": 0.5, "weight_decay": 0.01},
        "paper": {
            "learning_rate": 0.125,
            "variant": "paper",
            "lipschitz": "analytic",
            "bias_correction": True,
        },
    }.items()
}


def model_with(name: str, arguments: dict) -> keras.Model:
    """Return a linear model of three inputs and two outputs."""
    layers = [keras.Input((3,)), keras.layers.Dense(2, name="linear")]
    model = keras.Sequential(layers, name="sequential")
    model.set_weights([np.linspace(-1, 1, 6).reshape(3, 2), np.array([0.5, -0.25])])
    model.compile(getattr(keras_lr, name)(**arguments), loss="mse")
    model.optimizer.build(model.trainable_variables)
    return model


def train(model: keras.Model, constant: float) -> None:
    """Take six steps; a constant is given before them if one is needed."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(12, 3)), rng.normal(size=(12, 2))
    if model.optimizer.lipschitz == "analytic":
        model.optimizer.observe_constant(constant, 0.25)
    model.fit(x, y, batch_size=4, epochs=2, shuffle=False, verbose=0)


def values(variables: list) -> list:
    """Return variables as lists of numbers."""
    return [keras.ops.convert_to_numpy(each).tolist() for each in variables]


def compress(path: Path) -> None:
    """Write the same files into a smaller archive: most of HDF5 is zeros."""
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)


def main() -> None:
    """Write all files."""
    FOLDER.mkdir(exist_ok=True)
    expected = {}
    for case, (name, arguments) in CASES.items():
        model = model_with(name, arguments)
        train(model, constant=2.0)
        model.save(FOLDER / f"{case}.keras")
        compress(FOLDER / f"{case}.keras")
        variables = model.optimizer.variables
        saved = dict(
            zip([each.name for each in variables], values(variables), strict=True)
        )
        train(model, constant=1.5)
        expected[case] = {"optimizer": saved, "weights": values(model.weights)}
    path = FOLDER / "expected.json"
    path.write_text(json.dumps(expected, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
