"""Configuration of the documentation."""

from __future__ import annotations

import skfcdd

project = "skfcdd"
author = "The skfcdd developers"
copyright = "2026, the skfcdd developers"
version = release = skfcdd.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
]
source_suffix = {".rst": "restructuredtext", ".md": "markdown"}
exclude_patterns = ["_build", "_templates"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

autosummary_generate = True
autodoc_typehints = "none"
# The template writes methods out, and leaves those of torch and scikit-learn away.
numpydoc_show_class_members = False
templates_path = ["_templates"]

html_theme = "pydata_sphinx_theme"
html_title = "skfcdd"
html_theme_options = {"show_toc_level": 2, "navigation_with_keys": False}
html_copy_source = False
html_show_sourcelink = False
