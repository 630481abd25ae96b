"""What every test shares."""

import contextlib
import json
import multiprocessing.util
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import matplotlib.font_manager  # noqa: F401 - it asks a process for the fonts: before any test
import pytest
from labserver import LabServer, lab_server

from scaleup import practice
from scaleup.paths import root

BOOK = ("_config.yml", "_toc.yml", "book", "notebooks", "exercises", "data")


def pytest_configure():
    """A shell lets what it starts in the background ignore interrupts; tests send some, also to children."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if worker := os.environ.get("PYTEST_XDIST_WORKER"):
        os.environ["SCALEUP_PRACTICE"] = f"practice-{worker}"  # each worker has a supercomputer of its own


def pytest_unconfigure(config):
    """The workers' supercomputers end with the run, also with one that was interrupted or lost a worker."""
    if os.environ.get("PYTEST_XDIST_WORKER") or not config.getoption("numprocesses", None):
        return
    for lock in (root() / ".scaleup").glob("practice-gw*.lock"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SCALEUP_PRACTICE", lock.stem)
            practice.down()


def until(true: Callable[[], object], seconds: float = 60) -> bool:
    """Wait until `true()` is true; False if that takes longer than `seconds`."""
    end = time.monotonic() + seconds
    while not (value := true()) and time.monotonic() < end:
        time.sleep(0.02)
    return bool(value)


# A test that starts a process is marked `processes`: `make check` leaves it out. No other test can start one.

STARTS = ("subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.system", "os.exec", "os.spawn")
_refused: list[list[str]] = []  # what the innermost `no_processes` refused; empty where processes may start


class ProcessStarted(Exception):
    """A test that is not marked `processes` started a process."""


def _watch(event: str, arguments: tuple) -> None:
    if _refused and event in STARTS:
        said = f"{event} {arguments[1] if len(arguments) > 1 else ''}"[:200]
        _refused[-1].append(said)
        raise ProcessStarted(f"{said}: mark this test `processes`, or do without the process")


def _announced(path, words, descriptors, start=multiprocessing.util.spawnv_passfds):
    sys.audit("subprocess.Popen", path, words, None, None)  # Python itself announces the other ways only
    return start(path, words, descriptors)


sys.addaudithook(_watch)
multiprocessing.util.spawnv_passfds = _announced


@contextlib.contextmanager
def no_processes() -> Iterator[list[str]]:
    """Within it, each start of a process raises ProcessStarted; yields the starts that were refused."""
    refused: list[str] = []
    _refused.append(refused)
    try:
        yield refused
    finally:
        _refused.pop()


# What shares something stays together in one worker, and what takes long begins first.


FIRST = (
    "random_configurations", "data-parallel", "software", "test_practice", "test_drills", "first-job",
    "multi-node", "failures", "lab", "site",
)  # fmt: skip


def group(test: str) -> str:
    """Tests of one group run one after another in one worker, in their order.

    A lesson and its exercise may write the same run.
    """
    file = test.partition("::")[0]
    if file.startswith(("tests/site/", "tests/lab/")):
        return file.rpartition("/")[0]  # the built book, or JupyterLab
    lesson = re.search(r"\b\d-[a-z-]+/[a-z-]+", test if "test_exercises" in file else file)
    return lesson[0] if lesson else file


def turn(test: str) -> int:
    """What takes long begins first, so that no worker is left with it in the end."""
    return next((place for place, name in enumerate(FIRST) if name in group(test)), len(FIRST))


def pytest_collection_modifyitems(items):
    for item in items:
        if type(item).__name__ == "IPyNbCell":
            item.add_marker(pytest.mark.processes)
    items.sort(key=lambda item: turn(item.nodeid))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """`--dist loadscope` by our groups: marks of `loadgroup` in xdist 3.8 are lost with pytest 9.2."""
    if config.getoption("dist") != "loadscope":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class Groups(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return group(nodeid)

    return Groups(config, log)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item):
    with contextlib.ExitStack() as stack:
        if not item.get_closest_marker("processes"):
            item.refused = stack.enter_context(no_processes())
        yield


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A fast test fails if it wanted a process, even where the code under test caught the refusal.

    With SCALEUP_NO_SKIP=1, as in continuous integration, a skipped test fails with its own reason.
    """
    outcome = yield
    report = outcome.get_result()
    if refused := getattr(item, "refused", []):
        report.outcome = "failed"
        report.longrepr = f"this test is not marked `processes` and starts a process: {'; '.join(refused)}"
    if report.skipped and os.environ.get("SCALEUP_NO_SKIP"):
        report.outcome = "failed"
        report.longrepr = f"skipped, but SCALEUP_NO_SKIP is set: {report.longrepr[2]}"


@pytest.fixture(scope="session")
def build(tmp_path_factory) -> tuple[Path, subprocess.CompletedProcess]:
    """The folder of one build, and what the builder said. It runs in a copy: nothing of an earlier build."""
    course = tmp_path_factory.mktemp("book")
    for name in BOOK:
        if (root() / name).is_dir():
            shutil.copytree(root() / name, course / name, ignore=shutil.ignore_patterns(".*", "__pycache__"))
        else:
            shutil.copy2(root() / name, course / name)
    if (fetched := root() / ".scaleup/pyodide").is_dir():  # so that it is not fetched again
        shutil.copytree(fetched, course / ".scaleup/pyodide")
    command = [Path(sys.executable).parent / "jupyter-book", "build", ".", "-W", "--keep-going"]
    done = subprocess.run(command, cwd=course, capture_output=True, text=True)
    return course / "_build/html", done


@pytest.fixture(scope="session")
def site(build) -> Path:
    """The built site; it is there even if the build warned."""
    folder, done = build
    assert (folder / "index.html").is_file(), (
        f"The book did not build:\n{(done.stdout + done.stderr)[-3000:]}"
    )
    return folder


@pytest.fixture(scope="session")
def learner_course(tmp_path_factory) -> Path:
    """What a learner has, with every stored output removed: what is seen later was computed here."""
    folder = tmp_path_factory.mktemp("course")
    for name in ("notebooks", "exercises", "data"):
        shutil.copytree(root() / name, folder / name, ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    if (prepared := root() / ".scaleup/corpus").is_dir():  # as `make setup` leaves it
        shutil.copytree(prepared, folder / ".scaleup/corpus")
    for name in (".venv", "_build"):  # generated folders, which the file list hides
        (folder / name).mkdir()
    for file in folder.rglob("*.ipynb"):
        notebook = json.loads(file.read_text())
        for cell in notebook["cells"]:
            if cell["cell_type"] == "code":
                cell.update(outputs=[], execution_count=None)
        file.write_text(json.dumps(notebook))
    return folder


@pytest.fixture(scope="session")
def server(learner_course, tmp_path_factory) -> Iterator[LabServer]:
    """Started as `make lab` does; a browser can ask it what it shows."""
    private = tmp_path_factory.mktemp("lab")
    with lab_server(learner_course, private, "--LabApp.expose_app_in_browser=True") as running:
        yield running
