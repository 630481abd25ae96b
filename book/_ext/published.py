"""What a site needs once it is on the web.

Its address is `html.baseurl` in _config.yml. Where a copy is published elsewhere, the variable SITE_URL
has the other address: the workflows of GitHub and GitLab set it.
"""

from __future__ import annotations

import os
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.config import Config


def address(config: Config) -> None:
    """The site's address, with one slash at its end."""
    config.html_baseurl = (os.environ.get("SITE_URL") or config.html_baseurl).rstrip("/") + "/"


def serve_every_folder(app: Sphinx, error: Exception | None) -> None:
    """GitHub Pages leaves out folders such as _static, unless this file is there."""
    if error is None and app.builder.format == "html":
        (Path(app.outdir) / ".nojekyll").touch()


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("config-inited", lambda app, config: address(config), priority=100)
    app.connect("build-finished", serve_every_folder)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
