"""Everything a page loads comes from the site itself.

MathJax is copied at build time from the Python package django-static-mathjax, which holds MathJax's own
files and needs no Django. Widget scripts are not loaded at all: a lesson stores no live widget.
"""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.errors import ExtensionError

# The script, its fonts, and what MathJax's own menu and TeX extensions load when a reader asks for them.
PARTS = (
    "tex-mml-chtml.js",
    "output/chtml",
    "input/tex/extensions",
    "a11y",
    "sre/mathmaps/base.json",
    "sre/mathmaps/en.json",
)


def package_folder() -> Path:
    """The folder of MathJax's ready-made scripts inside the installed package."""
    spec = find_spec("mathjax")
    folder = Path(spec.origin).parent / "static/mathjax/es5" if spec and spec.origin else None
    if folder is None or not folder.is_dir():
        raise ExtensionError("MathJax was not found. Install the book's tools: pip install -e '.[dev]'.")
    return folder


def use_local_files(app: Sphinx, config: Config) -> None:
    config.mathjax_path = "mathjax/tex-mml-chtml.js"
    config.nb_ipywidgets_js = {}


def copy_mathjax(app: Sphinx) -> None:
    if app.builder.format != "html":
        return
    source, target = package_folder(), Path(app.outdir) / "_static" / "mathjax"
    for part in PARTS:
        (target / part).parent.mkdir(parents=True, exist_ok=True)
        if (source / part).is_dir():
            shutil.copytree(source / part, target / part, dirs_exist_ok=True)
        else:
            shutil.copy2(source / part, target / part)


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("config-inited", use_local_files)
    app.connect("builder-inited", copy_mathjax)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
