"""Install each distribution into a clean environment, and use it from elsewhere.

    python .ci/try_install.py DIRECTORY

DIRECTORY holds the archives that `python -m build` made.
"""

import subprocess
import sys
import tempfile
import venv
from pathlib import Path

_USE = """
import keras, keras_lr, numpy as np
model = keras.Sequential([keras.layers.Dense(1)])
model.compile("sgd", "mse")
x = np.ones((8, 3), "float32")
model.fit(x, x[:, :1], verbose=0, callbacks=[keras_lr.LipschitzLR()])
print("keras_lr", keras_lr.__version__, "from", keras_lr.__file__)
"""


def try_archive(archive: Path, folder: Path) -> None:
    """Install an archive in `folder`, away from the checkout, and train with it."""
    venv.create(folder / "env", with_pip=True)
    binaries = "Scripts" if sys.platform == "win32" else "bin"
    python = str(folder / "env" / binaries / "python")
    for arguments in (
        ["-m", "pip", "install", "--quiet", str(archive)],
        ["-c", _USE],
        ["-m", "keras_lr", "--help"],
    ):
        subprocess.run([python, *arguments], cwd=folder, check=True)


def main() -> None:
    """Try every archive in the directory of the command line."""
    archives = sorted(Path(sys.argv[1]).resolve().glob("keras_lr-*"))
    if {archive.suffix for archive in archives} != {".gz", ".whl"}:
        sys.exit(f"A wheel and a source distribution are needed. Received: {archives}")
    for archive in archives:
        with tempfile.TemporaryDirectory() as folder:
            try_archive(archive, Path(folder))


if __name__ == "__main__":
    main()
