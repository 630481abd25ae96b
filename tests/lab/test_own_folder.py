"""`make lab` writes nothing outside the course's folder, and its log frightens nobody."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
import websocket
from labserver import LabServer

from scaleup.paths import root

pytestmark = pytest.mark.processes

OWN = ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "MPLCONFIGDIR")
CELL = """
import matplotlib.pyplot as plt
from scaleup.notebook import plots
made, axes = plots.figure('one', 'two', 'three')
from scaleup import ranks
ranks.call(lambda: 1, 1)
print('drawn' + '!')
"""


def run_in_kernel(server: LabServer, code: str) -> str:
    """Start a kernel, run `code`, return what it printed."""
    kernel = server.json("api/kernels", method="POST")["id"]
    address = server.url.replace("http", "ws", 1) + f"api/kernels/{kernel}/channels?token={server.token}"
    channel = websocket.create_connection(address, timeout=240)
    try:
        header = {
            "msg_id": "1",
            "msg_type": "execute_request",
            "username": "",
            "session": "1",
            "version": "5.3",
        }
        content = {"code": code, "silent": False}
        request = {"header": header, "parent_header": {}, "metadata": {}, "content": content}
        channel.send(json.dumps({**request, "channel": "shell", "buffers": []}))
        shown = ""
        while True:
            message = json.loads(channel.recv())
            if message["msg_type"] == "stream":
                shown += message["content"]["text"]
            if message["msg_type"] == "error":
                shown += message["content"]["evalue"]
            ours = message["parent_header"].get("msg_id") == header["msg_id"]
            if ours and message["content"].get("execution_state") == "idle":
                return shown
    finally:
        channel.close()
        urllib.request.urlopen(server._request(f"api/kernels/{kernel}", method="DELETE"), timeout=120).close()


@pytest.fixture(scope="module")
def course(tmp_path_factory) -> Path:
    """A copy of what `make lab` needs, with this environment."""
    folder = tmp_path_factory.mktemp("a course")
    for name in ("notebooks", "exercises", "data"):
        shutil.copytree(root() / name, folder / name, ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    shutil.copy(root() / "Makefile", folder)
    (folder / ".venv").symlink_to(root() / ".venv")
    return folder


@pytest.fixture(scope="module")
def lab(course, tmp_path_factory):
    """The running server, its log and the empty home in which `make lab` started it."""
    home = tmp_path_factory.mktemp("home")
    clean = {k: v for k, v in os.environ.items() if k not in OWN and not k.startswith("XDG_")}
    log = tmp_path_factory.mktemp("log") / "lab.log"
    with log.open("w") as out:
        process = subprocess.Popen(
            ["make", "-o", ".venv/.lab-ready", "lab", "LAB_ARGS=--no-browser"],
            cwd=course,
            env={**clean, "HOME": str(home)},
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 240
        files: list[Path] = []
        while not (files and "To access the server" in log.read_text()):
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
            files = list((course / ".scaleup").glob("jupyter/data/runtime/jpserver-*.json"))
        about = json.loads(files[0].read_text())
        yield LabServer(about["url"], about["token"], log), home
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(120)


def test_nothing_is_written_in_the_home_folder(lab, course):
    server, home = lab
    assert run_in_kernel(server, CELL) == "drawn!\n"
    assert [str(path.relative_to(home)) for path in home.rglob("*")] == []
    assert (course / ".scaleup/ipython").is_dir() and (course / ".scaleup/matplotlib").is_dir()


def test_checking_from_a_shell_writes_nothing_in_the_home_folder(course, tmp_path):
    clean = {k: v for k, v in os.environ.items() if k not in OWN and not k.startswith("XDG_")}
    done = subprocess.run(
        [Path(sys.executable).parent / "scaleup", "check", "planning"],
        cwd=course,
        env={**clean, "HOME": str(tmp_path), "SCALEUP_HOME": str(course)},
        capture_output=True,
        text=True,
    )
    assert "planning/request: not yet" in done.stdout, done.stderr
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == []


def test_no_line_of_the_log_frightens(lab):
    server, _ = lab
    for path in ("notebooks/1-one-device/training-loop.ipynb", "exercises/1-one-device/training-loop.ipynb"):
        server.json(f"api/contents/{path}")
    assert run_in_kernel(server, "print('on')") == "on\n"
    said = server.log.read_text()
    assert "Kernel started" in said, "the log is the one that shows kernels"
    for words in ("eavesdropping", "not trusted", "Traceback", "WARNING", "[E "):
        assert words not in said, said


def test_a_learner_s_own_folder_is_kept(course):
    said = subprocess.run(
        ["make", "-n", "-p", "lab"], cwd=course, env={**os.environ, "JUPYTER_CONFIG_DIR": "/mine"},
        capture_output=True, text=True,
    ).stdout  # fmt: skip
    assert "JUPYTER_CONFIG_DIR = /mine" in said
