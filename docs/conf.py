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
# The template lists methods, without those inherited from torch and scikit-learn.
numpydoc_show_class_members = False
# In docstrings, names of our exceptions become links in the types of parameters and in
# the sections Raises and Warns; all other words remain text.
numpydoc_xref_param_type = True
numpydoc_xref_ignore = "all"
numpydoc_xref_aliases = {
    **{word: word for word in DEFAULT_LINKS},
    **{name: f"skfcdd.exceptions.{name}" for name in skfcdd.exceptions.__all__},
}
templates_path = ["_templates"]

# References to this package must have a target; names of other projects have none here.
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
# matplotlib cannot open windows during the build, which is no problem. All other
# warnings of an example belong to its output.
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


# The small networks of the examples hardly benefit from several threads. If other
# processes use the same cores, threads wait for each other: one example took six times
# as long with two threads.
torch.set_num_threads(1)


def fill_tables(app: Sphinx, name: str, source: list[str]) -> None:
    """Fill in the tables of a page from the results of the benchmarks."""
    if name in _tables.PAGES:
        source[0] = _tables.fill(source[0])


def setup(app: Sphinx) -> None:
    """Connect the event handler; called by Sphinx."""
    app.connect("source-read", fill_tables)
