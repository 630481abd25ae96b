"""JupyterLab's own settings: what the installed environment really serves."""

import json
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import jsonschema
import pytest
import websocket
from labserver import lab_server

from scaleup.paths import root

LAB = root() / "src/scaleup/lab"
OVERRIDES = json.loads((LAB / "overrides.json").read_text())


@pytest.mark.parametrize(
    "file, place",
    [
        ("overrides.json", "share/jupyter/lab/settings/overrides.json"),
        ("jupyter_server_config.json", "etc/jupyter/jupyter_server_config.json"),
    ],
)
def test_the_environment_has_the_settings_of_this_checkout(file, place):
    installed = Path(sys.prefix) / place
    assert installed.is_file(), f"{installed} is missing. Run 'make setup'."
    assert installed.read_text() == (LAB / file).read_text(), f"{installed} is old. Run 'make setup'."


@pytest.mark.processes
def test_every_lab_extension_fits_this_jupyterlab():
    listed = subprocess.run(
        [sys.executable, "-m", "jupyter", "labextension", "list"], capture_output=True, text=True, check=True
    )
    lines = re.sub(r"\x1b\[[0-9;]*m", "", listed.stdout + listed.stderr).splitlines()
    assert [line for line in lines if line.endswith(" X") or " X " in line] == []
    assert any("jupyterlab-myst" in line and "OK" in line for line in lines), "jupyterlab-myst is not listed"
    assert any("resource-usage" in line and "OK" in line for line in lines), "resource-usage is not listed"


@pytest.mark.processes
def test_nobody_gets_in_without_the_token(server):
    assert server.token, "the server runs without a token"
    assert server.status("api/contents", token=False) == 403
    assert server.status("api/contents") == 200


@pytest.mark.processes
def test_it_starts_for_root_too(server):
    """The fixture started it without --allow-root; in a container the user is root."""
    assert json.loads((LAB / "jupyter_server_config.json").read_text())["ServerApp"]["allow_root"] is True
    assert "Running as root is not recommended" not in server.log.read_text()


@pytest.mark.processes
def test_it_opens_on_the_first_page(server):
    assert re.search(r"/lab/tree/notebooks/start\.ipynb\?token=\w+", server.log.read_text())


@pytest.mark.processes
@pytest.mark.parametrize("plugin", OVERRIDES)
def test_every_override_is_in_the_settings_that_jupyterlab_reads(server, plugin):
    shipped = Path(sys.prefix) / "share/jupyter/lab/schemas" / (plugin.replace(":", "/") + ".json")
    schema = json.loads(shipped.read_text())
    jsonschema.validate(OVERRIDES[plugin], schema)
    known = schema["properties"]
    served = server.json(f"lab/api/settings/{plugin}")["schema"]["properties"]
    for name, value in OVERRIDES[plugin].items():
        assert name in known, f"{plugin} has no setting '{name}'"
        assert served[name]["default"] == value, f"{plugin}: '{name}' is not what overrides.json says"


@pytest.mark.processes
def test_nothing_phones_home(server):
    assert OVERRIDES["@jupyterlab/apputils-extension:notification"] == {
        "fetchNews": "false",
        "checkForUpdates": False,
    }
    assert "Extension Manager is 'readonly'" in server.log.read_text()


@pytest.mark.processes
def test_the_file_list_shows_no_generated_folder(server):
    names = {entry["name"] for entry in server.json("api/contents")["content"]}
    assert {"notebooks", "exercises"} <= names
    assert not names & {".scaleup", ".venv", "_build"}


@pytest.mark.processes
def test_a_terminal_runs_a_command(server):
    name = server.json("api/terminals", method="POST")["name"]
    address = server.url.replace("http", "ws", 1) + f"terminals/websocket/{name}?token={server.token}"
    terminal = websocket.create_connection(address, timeout=120)
    try:
        terminal.send(json.dumps(["stdin", "echo $((6 * 7))-works\r"]))
        seen, deadline = "", time.monotonic() + 20
        while "42-works" not in seen and time.monotonic() < deadline:
            kind, *data = json.loads(terminal.recv())
            seen += data[0] if kind == "stdout" else ""
    finally:
        terminal.close()
    assert "42-works" in seen


@pytest.mark.processes
def test_a_taken_port_is_said_and_another_one_is_used(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with lab_server(root(), tmp_path, f"--port={port}", "--ServerApp.ip=127.0.0.1") as running:
            assert running.status("api/contents") == 200
            assert f":{port}/" not in running.url
            assert f"port {port} is already in use" in running.log.read_text()
