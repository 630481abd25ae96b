"""Keeps a validator ready between two checks: a process that holds one scheduler and answers at a socket.

    python -m scaleup.practice.keeper MACHINE SOCKET     (started by `ask`)

It ends after ten minutes without a question, or when its socket is removed. The socket's name depends on the
data and the code, so that a changed fact is never judged by an old scheduler.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from .. import machines
from ..errors import CourseError
from ..paths import root, state
from .cluster import LONGEST_FOLDER
from .validator import Validator
from .verdicts import Verdict, from_dict, to_dict

IDLE = 600.0  # seconds without a question, after which it ends
START_LIMIT = 90.0
LOOK = 1.0  # seconds between two looks at whether the socket is still there


def folder() -> Path:
    """Where the sockets are: below `.scaleup/`, or in the user's temporary folder if that is too deep."""
    inside = state() / "checks"
    if len(str(inside)) > LONGEST_FOLDER:
        name = hashlib.sha256(str(inside).encode()).hexdigest()[:10]
        runtime = Path(os.environ.get("XDG_RUNTIME_DIR", "/tmp"))
        inside = (runtime if runtime.is_dir() else Path("/tmp")) / f"scaleup-checks-{os.getuid()}-{name}"
    inside.mkdir(mode=0o700, parents=True, exist_ok=True)
    if inside.is_symlink() or inside.stat().st_uid != os.getuid():
        raise CourseError(f"{inside} belongs to another user. Remove it, or ask them to.")
    return inside


def socket_path(machine_id: str) -> Path:
    code = sorted(Path(__file__).parent.glob("*.*"))
    parts = [f"{file.name} {file.stat().st_mtime_ns}" for file in (*code, root() / "data" / "machines.yml")]
    digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:8]
    return folder() / f"{machine_id}.{digest}"


# The one who asks


def ask(machine_id: str, text: str, script: Path) -> Verdict:
    """The verdict of a kept scheduler, which is started if need be. Raises CourseError as Validator does."""
    place = socket_path(machine_id)
    question = json.dumps({"text": text, "script": str(script)}).encode()
    for _ in range(2):  # a keeper may end just now
        try:
            return _answer(place, question)
        except OSError:
            _start(machine_id, place)
    return _answer(place, question)


def _answer(place: Path, question: bytes) -> Verdict:
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(str(place))
        line.sendall(question)
        line.shutdown(socket.SHUT_WR)
        content = json.loads(_all(line) or b'{"error": "The scheduler has ended. Start the check again."}')
    if "error" in content:
        raise CourseError(content["error"])
    return from_dict(content)


def _all(line: socket.socket) -> bytes:
    parts = []
    while part := line.recv(1 << 16):
        parts.append(part)
    return b"".join(parts)


def _start(machine_id: str, place: Path) -> None:
    """Start a keeper and wait until it hears; two at once start one."""
    Validator(machine_id)  # says what is wrong with the name
    with open(f"{place}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _hears(place):
            return
        place.unlink(missing_ok=True)
        log = Path(f"{place}.log")
        words = [sys.executable, "-P", "-m", "scaleup.practice.keeper", machine_id, str(place)]
        # Not our child: it outlives us, and whoever adopts it collects it.
        launcher = subprocess.run(
            ["sh", "-c", '"$@" > "$0" 2>&1 < /dev/null & echo $!', log, *words],
            start_new_session=True, check=True, cwd="/", env=_environment(), stdout=subprocess.PIPE,
        )  # fmt: skip
        deadline = time.monotonic() + START_LIMIT
        while time.monotonic() < deadline:
            alive = _alive(int(launcher.stdout))
            if _hears(place):
                return
            if not alive:
                said = log.read_text(errors="replace").strip().splitlines()[-1:]
                raise CourseError(" ".join(said).removeprefix("Error: ") or "The scheduler ended at once.")
            time.sleep(0.01)
    raise CourseError(f"The scheduler did not start within {START_LIMIT:.0f} seconds. Try again.")


def _environment() -> dict[str, str]:
    """Of the keeper, which stands in no folder of its own: the same course, the same modules."""
    modules = [str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH", "")]
    return os.environ | {"SCALEUP_HOME": str(root()), "PYTHONPATH": ":".join(filter(None, modules))}


def _alive(number: int) -> bool:
    with contextlib.suppress(psutil.Error):
        return psutil.Process(number).status() != psutil.STATUS_ZOMBIE
    return False


def _hears(place: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as line, contextlib.suppress(OSError):
        line.connect(str(place))
        return True
    return False


def kept() -> list[str]:
    """The machines whose schedulers are ready."""
    return sorted({place.name.split(".")[0] for place in _sockets() if _hears(place)})


def end() -> bool:
    """End every keeper of this checkout; False if there was none."""
    there = kept()
    for place in _sockets():
        place.unlink(missing_ok=True)
    deadline = time.monotonic() + 15
    while there and time.monotonic() < deadline and any(folder().glob("*.running")):
        time.sleep(0.05)
    return bool(there)


def _sockets() -> Iterator[Path]:
    return (place for place in folder().iterdir() if place.is_socket())


# The one who answers


def serve(machine_id: str, place: Path) -> None:
    """Answer until nobody asks for `IDLE` seconds, or until the socket is gone."""
    running = Path(f"{place}.running")
    try:
        with Validator(machine_id) as validator, socket.socket(socket.AF_UNIX) as door:
            running.touch()
            door.bind(str(place))
            door.listen()
            door.settimeout(LOOK)
            last = time.monotonic()
            while place.exists() and time.monotonic() - last < IDLE:
                with contextlib.suppress(TimeoutError):
                    line, _ = door.accept()
                    if _reply(validator, line):
                        last = time.monotonic()
    finally:
        place.unlink(missing_ok=True)
        running.unlink(missing_ok=True)


def _reply(validator: Validator, line: socket.socket) -> bool:
    """Answer one question; False where somebody only looked whether we hear."""
    with line, contextlib.suppress(BrokenPipeError, ConnectionResetError):
        line.settimeout(10)
        question = _all(line)
        if not question:
            return False
        asked = json.loads(question)
        try:
            content = to_dict(validator.judge(asked["text"], Path(asked["script"])))
        except CourseError as error:
            content = {"error": str(error)}
        line.sendall(json.dumps(content).encode())
    return True


def main(machine_id: str, place: str) -> None:
    machines.machine(machine_id)
    try:
        serve(machine_id, Path(place))
    except CourseError as error:
        Path(f"{place}.log").write_text(f"Error: {error}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
