"""JupyterLab's settings of the course, and a small extension of its server.

The environment holds copies of the other files here: see `shared-data` in pyproject.toml.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
LANGUAGE = {"name": "python", "pygments_lexer": "ipython3"}  # so that a page can colour `!squeue` and `%%px`
COURSE = ("notebooks", "exercises")


def keep_normal(model: dict[str, Any], **_: Any) -> None:
    """Save a notebook in the form in which the course stores it.

    JupyterLab adds the version of Python and what follows from the language. Git would call every notebook
    changed that was only opened, and differently on every machine.
    """
    if model["type"] != "notebook":
        return
    metadata = model["content"]["metadata"]
    if metadata.get("kernelspec", {}).get("name") == KERNEL["name"]:
        metadata.update(kernelspec=dict(KERNEL), language_info=dict(LANGUAGE))


def trust(folder: Path, notary: Any) -> None:
    """Sign the course's notebooks: who installs the course runs its code anyway.

    Without a signature the server's log says "not trusted" for each one, and some outputs stay hidden.
    """
    import nbformat

    for path in sorted(path for name in COURSE for path in (folder / name).rglob("*.ipynb")):
        try:
            notebook = nbformat.read(path, as_version=4)
            if not notary.check_signature(notebook):
                notary.sign(notebook)
        except (OSError, ValueError) as error:  # broken: JupyterLab says so when it is opened
            logging.getLogger(__name__).debug("%s: %s", path, error)


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": "scaleup.lab"}]


def _load_jupyter_server_extension(server: Any) -> None:
    server.contents_manager.register_pre_save_hook(keep_normal)
    folder = Path(server.root_dir)
    if (folder / "notebooks" / "start.ipynb").is_file():
        trust(folder, server.contents_manager.notary)
