"""Run a whole notebook in a fresh kernel, without a browser."""

from __future__ import annotations

import logging
import math
import os
import subprocess
from pathlib import Path
from typing import Any

from ..paths import state

OWN_FOLDERS = {"IPYTHONDIR": "ipython", "MPLCONFIGDIR": "matplotlib"}  # below .scaleup/, as in `make lab`


def execute(path: Path, cell_limit: float, on_after_errors: bool = False) -> Any:
    """Run a notebook in its own folder; returns it with its outputs. The file itself is not changed.

    `cell_limit` is in seconds. Raises CellExecutionError where a cell fails. With `on_after_errors` an error
    is an output like others; a cell that exceeds the limit or ends the kernel gets an error output named
    `Cut`, and the cells after it are not run. Raises FileNotFoundError, and ValueError for no notebook.
    """
    for name, folder in OWN_FOLDERS.items():
        os.environ.setdefault(name, str(state() / folder))
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellTimeoutError, DeadKernelError

    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=math.ceil(cell_limit),
        kernel_name="python3",
        allow_errors=on_after_errors,
        record_timing=False,
        resources={"metadata": {"path": str(path.parent)}},
    )
    begun = []
    client.on_cell_start = lambda cell, cell_index: begun.append(cell)
    if on_after_errors:
        client.log = logging.getLogger("scaleup.notebook.execute")
        client.log.setLevel(logging.CRITICAL)  # a time-out is told in our words
    try:
        client.execute(stderr=subprocess.DEVNULL)  # the kernel's own log, not what cells write to stderr
    except (CellTimeoutError, DeadKernelError) as error:
        if not on_after_errors:
            raise
        problem = "it ended the kernel; the rest was not run"
        if isinstance(error, CellTimeoutError):
            problem = f"it took longer than {client.timeout} s; the rest was not run"
        begun[-1].outputs.append(nbformat.v4.new_output("error", ename="Cut", evalue=problem, traceback=[]))
    return notebook
