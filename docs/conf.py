"""Configuration of the documentation."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import torch
from numpydoc.xref import DEFAULT_LINKS
from sphinx.application import Sphinx

sys.path.insert(0, str(Path(__file__).parent))
import _tables

import skfcdd

project = "skfcdd"
author = "The skfcdd developers"
copyright = "2026, the skfcdd developers"
version = release = skfcdd.__version__

extensions = [
    "_mathml",
    "matplotlib.sphinxext.plot_directive",
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
source_suffix = {".rst": "restructuredtext", ".md": "markdown"}
exclude_patterns = ["_build", "_templates", "auto_examples/*.ipynb", "figures"]
copybutton_prompt_text = "$ "
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3

html_math_renderer = "mathml"

autosummary_generate = True
autodoc_typehints = "none"
# The template writes methods out, and leaves those of torch and scikit-learn away.
numpydoc_show_class_members = False
# In docstrings, the types of parameters, errors and warnings that are names of our
# exceptions become links; all other words stay text.
numpydoc_xref_param_type = True
numpydoc_xref_ignore = "all"
numpydoc_xref_aliases = {
    **{word: word for word in DEFAULT_LINKS},
    **{name: f"skfcdd.exceptions.{name}" for name in skfcdd.exceptions.__all__},
}
templates_path = ["_templates"]

# Names of other projects have no page here; every name of this one must have.
nitpicky = True
nitpick_ignore_regex = [
    (r"py:.*", r"(?!.*skfcdd).*"),
]

plot_formats = [("png", 160)]
plot_html_show_formats = False
plot_html_show_source_link = False
plot_rcparams = {
    "figure.facecolor": "white",
    "font.size": 11,
    "axes.titlesize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "savefig.bbox": "tight",
}
plot_apply_rcparams = True

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": r"/plot_",
    "within_subsection_order": "_gallery.InOrder",
    "abort_on_example_error": True,
    "backreferences_dir": "generated/backreferences",
    "doc_module": ("skfcdd",),
    "reference_url": {"skfcdd": None},
    "download_all_examples": False,
    "remove_config_comments": True,
    "ignore_repr_types": r"skfcdd[.]display|matplotlib",
    "show_signature": False,
    "write_computation_times": False,
    "thumbnail_size": (480, 320),
    "image_srcset": ["2x"],
}
# A picture that matplotlib cannot show is no reason to fail; what an example warns of
# is part of what it shows.
warnings.filterwarnings("ignore", message=".*FigureCanvasAgg is non-interactive.*")

html_theme = "pydata_sphinx_theme"
html_title = "skfcdd"
html_static_path = ["_static"]
html_css_files = ["skfcdd.css"]
html_theme_options = {
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "header_links_before_dropdown": 6,
    "navbar_persistent": ["search-button"],
    "secondary_sidebar_items": {"**": ["page-toc"], "index": []},
    "show_prev_next": True,
    "footer_start": ["copyright"],
    "footer_end": [],
}
html_sidebars = {
    "index": [],
    "start": [],
    "faq": [],
    "glossary": [],
    "how_good_is_it": [],
    "benchmarks": [],
    "baselines": [],
    "contributing": [],
    "changelog": [],
}
html_copy_source = False
html_show_sourcelink = False


# Threads bring the small networks of the examples little, and where others work on the
# same cores they wait for each other: one example took six times as long with two.
torch.set_num_threads(1)


def fill_tables(app: Sphinx, name: str, source: list[str]) -> None:
    """Take the tables of a page from the results of the benchmarks."""
    if name in _tables.PAGES:
        source[0] = _tables.fill(source[0])


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("source-read", fill_tables)
