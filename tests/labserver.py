"""A real JupyterLab server for tests, started as `make lab` does, without the user's own settings."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass
class LabServer:
    url: str
    token: str
    log: Path

    def status(self, path: str, *, token: bool = True) -> int:
        """The HTTP status of a GET."""
        try:
            with urllib.request.urlopen(self._request(path, token=token), timeout=120) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code

    def json(self, path: str, *, method: str = "GET") -> dict:
        with urllib.request.urlopen(self._request(path, method=method), timeout=120) as answer:
            return json.load(answer)

    def _request(self, path: str, *, token: bool = True, method: str = "GET") -> urllib.request.Request:
        headers = {"Authorization": f"token {self.token}"} if token else {}
        return urllib.request.Request(self.url + path, headers=headers, method=method)


@contextmanager
def lab_server(course: Path, private: Path, *arguments: str) -> Iterator[LabServer]:
    """Start `jupyter lab` in `course`; settings, workspaces and logs go to `private`. Leaves no process."""
    runtime = private / "runtime"
    runtime.mkdir(parents=True, exist_ok=True)
    folders = {
        "HOME": private,
        "JUPYTER_CONFIG_DIR": private / "config",
        "JUPYTER_DATA_DIR": private / "data",
        "JUPYTER_RUNTIME_DIR": runtime,
        "JUPYTERLAB_SETTINGS_DIR": private / "settings",
        "JUPYTERLAB_WORKSPACES_DIR": private / "workspaces",
        "IPYTHONDIR": private / "ipython",
        "MPLCONFIGDIR": private / "matplotlib",
    }
    environment = {**os.environ, **{name: str(folder) for name, folder in folders.items()}}
    environment.pop("SCALEUP_HOME", None)  # a learner's course is found from its own folder
    log = private / "server.log"
    with log.open("w") as out:
        process = subprocess.Popen(
            [Path(sys.executable).parent / "jupyter", "lab", "--no-browser", *arguments],
            cwd=course,
            env=environment,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        about = _wait_until_ready(process, runtime, log)
        yield LabServer(about["url"], about["token"], log)
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait_until_ready(process: subprocess.Popen, runtime: Path, log: Path) -> dict:
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        for file in runtime.glob("jpserver-*.json"):
            if "To access the server" in log.read_text():
                return json.loads(file.read_text())
        if process.poll() is not None:
            break
        time.sleep(0.2)
    raise AssertionError(f"JupyterLab did not start:\n{log.read_text()}")
