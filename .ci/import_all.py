"""Import every module of the package, so that a name that is gone is found."""

import importlib
import pkgutil

import keras_lr

names = [each.name for each in pkgutil.walk_packages(keras_lr.__path__, "keras_lr.")]
for name in names:
    if not name.endswith("__main__"):
        importlib.import_module(name)
print(f"{len(names)} modules")
