"""How Sphinx builds the site: `make docs`."""

import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
os.environ.setdefault("MPLBACKEND", "agg")

import site_pages  # noqa: E402

import adamas  # noqa: E402

project, author, copyright = "Adamas", "The Adamas developers", "The Adamas developers"
version = release = adamas.__version__
extensions = ["myst_parser", "sphinx_gallery.gen_gallery"]
exclude_patterns = ["gallery/*.ipynb", "gallery/*.py"]
myst_heading_anchors = 4
html_theme = "alabaster"
html_theme_options = {"description": adamas.__doc__.split("\n")[0] if adamas.__doc__ else "", "page_width": "64rem"}
html_sidebars = {"**": ["about.html", "searchfield.html", "navigation.html"]}
html_copy_source = False
sphinx_gallery_conf = {
    "examples_dirs": str(HERE.parent / "examples" / "gallery"),
    "gallery_dirs": "gallery",
    "filename_pattern": r"plot_",
    "download_all_examples": False,
    "capture_repr": (),
    "show_memory": False,
    "write_computation_times": False,
    "show_signature": False,
    "abort_on_example_error": True,
}


def setup(app: object) -> None:
    """Writes what is taken from the registry and the sources, before anything is read."""
    site_pages.write(HERE)
