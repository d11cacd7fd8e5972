"""Configuration of the documentation."""

import os
import re

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras_lr

project = "keras_lr"
author = "The keras_lr developers"
copyright = "The keras_lr developers"
release = keras_lr.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx_gallery.gen_gallery",
    # MathJax as files of the pages: formulas show without the internet.
    "sphinx-mathjax-offline",
]
exclude_patterns = ["_build"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4

# References must lead somewhere, except those to other projects: a build needs no
# internet. Bases that are not part of the public names have no page.
nitpicky = True
nitpick_ignore_regex = [
    ("py:.*", r"(collections|keras|numpy|os|pathlib)\..*"),
    ("py:class", r"keras_lr\.tuners\.(axis|oracle)\..*"),
]

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
napoleon_numpy_docstring = False
# Docstrings write code as Keras does, in single backquotes.
default_role = "code"

html_theme = "furo"
html_title = f"keras_lr {release}"
html_static_path = ["_static"]
html_css_files = ["narrow.css"]

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "filename_pattern": "/plot_",
    "ignore_pattern": "/(benchmarks|papers)/",
    "show_memory": False,
}


def _link_as_rst(app, what, name, obj, options, lines):
    """Turn the Markdown links of docstrings into those of reStructuredText."""
    for number, line in enumerate(lines):
        lines[number] = re.sub(r"\[([^]]+)\]\((https?://[^)]+)\)", r"`\1 <\2>`__", line)


def setup(app):
    """Add what Sphinx has no setting for."""
    app.connect("autodoc-process-docstring", _link_as_rst)
