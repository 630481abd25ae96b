"""Is this computer ready for the course? One line per thing that a lesson relies on.

Standard library only, and PyTorch is asked in a process of its own under a time limit: a broken installation
or a node whose driver hangs still gets a report.
"""

from __future__ import annotations

import functools
import importlib.metadata
import json
import os
import re
import shlex
import shutil
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from ..errors import CourseError
from ..paths import root, state
from . import slurm as slurm_files
from . import torch_probe
from .resources import usable_cores, usable_memory

OLDEST_PYTHON = (3, 11)
GB = 1e9
COLOURS = {"ok": "32", "look": "33", "missing": "31"}


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    `status` is "ok", "look" (the course runs, but know this) or "missing" (put this right first).
    `todo` says what to do and is empty when there is nothing to do.
    """

    name: str
    status: str
    detail: str
    todo: str = ""


# Python and its packages


def python_version() -> Finding:
    found = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info >= OLDEST_PYTHON:
        return Finding("Python", "ok", found)
    oldest = ".".join(map(str, OLDEST_PYTHON))
    todo = f"Install Python {oldest} or newer; on a supercomputer: module avail python"
    return Finding("Python", "missing", f"{found} is older than {oldest}", todo)


def read_pins(constraints: Path) -> dict[str, str]:
    """Package name to version, from the lines `name==version` of a constraints file."""
    lines = (line.split("#")[0].strip() for line in constraints.read_text(encoding="utf-8").splitlines())
    return dict(line.split("==", 1) for line in lines if "==" in line)


def installed(package: str) -> str | None:
    """The installed version without its local suffix (`2.13.0+cpu` is `2.13.0`); None if not installed."""
    try:
        return importlib.metadata.version(package).split("+")[0]
    except importlib.metadata.PackageNotFoundError:
        return None


def needed() -> list[str]:
    """What `scaleup` itself needs, without extras, by its own metadata; just itself if not installed."""
    try:
        lines = importlib.metadata.requires("scaleup") or []
    except importlib.metadata.PackageNotFoundError:
        return ["scaleup"]
    return [re.match(r"[\w.-]+", line)[0] for line in lines if "extra ==" not in line]


def pip_install(constraints: Path, *packages: str) -> str:
    """The command that installs these packages at the pinned versions into this interpreter."""
    return "Run: " + shlex.join([sys.executable, "-m", "pip", "install", "-c", str(constraints), *packages])


def packages(constraints: Path) -> Finding:
    """Installed packages against the pins. PyTorch is left out: it has a line of its own."""
    pins = {name: pin for name, pin in read_pins(constraints).items() if name != "torch"}
    versions = {name: installed(name) for name in pins}
    differ = [name for name, found in versions.items() if found not in (None, pins[name])]
    absent = [name for name in needed() if name != "torch" and installed(name) is None]
    if not differ and not absent:
        count = sum(found is not None for found in versions.values())
        return Finding("Packages", "ok", f"{count} installed, all as in {constraints.name}")
    parts = []
    if absent:
        parts.append("not installed: " + ", ".join(absent))
    if differ:
        listed = ", ".join(f"{name} {versions[name]} (pinned {pins[name]})" for name in differ)
        parts.append(f"other versions than in {constraints.name}: {listed}")
    todo = pip_install(constraints, "-e", str(root()), *differ)
    return Finding("Packages", "missing" if absent else "look", "; ".join(parts), todo)


# PyTorch, in processes of its own


def pytorch(answer: dict, constraints: Path) -> Finding:
    """PyTorch imports, and is the pinned version; a local suffix such as +cpu or +cu130 is fine.

    A supercomputer brings its own PyTorch: another version that is new enough is something to know, no fault.
    """
    pin = read_pins(constraints).get("torch")
    install = pip_install(constraints, "torch")
    version = answer.get("version")
    if version is None and installed("torch") is None:
        return Finding("PyTorch", "missing", f"not installed; the course needs {pin}", install)
    if version is None:
        detail = f"{installed('torch')} is installed but does not import: {answer['error']}"
        return Finding("PyTorch", "missing", detail, f"{install} --force-reinstall")
    if version.split("+")[0] != pin:
        recent = tuple(int(part) for part in version.split(".")[:2]) >= torch_probe.OLDEST_TORCH
        detail = f"{version} is installed; the course was tested with {pin}"
        return Finding("PyTorch", "look" if recent else "missing", detail, install)
    return Finding("PyTorch", "ok", f"{version}, imported in {answer['seconds']:.1f} s")


def accelerators(answer: dict, device_files: list[str]) -> Finding:
    """Which devices PyTorch can use. None is fine: every lesson runs on the CPU."""
    if "kind" not in answer:
        todo = "The course runs on the CPU; on a cluster, try again on a compute node"
        return Finding("Accelerator", "look", f"unknown, PyTorch stopped: {answer['error']}", todo)
    if answer["devices"]:
        groups = Counter((name, round(memory / GB)) for name, memory in answer["devices"])
        listed = ", ".join(f"{count} x {name} with {size} GB" for (name, size), count in groups.items())
        return Finding("Accelerator", "ok", f"{listed} ({answer['kind']})")
    if device_files:
        detail = f"{device_files[0]} exists, but this PyTorch cannot use it"
        return Finding(
            "Accelerator",
            "look",
            detail,
            "The course runs on the CPU; to use the device, install PyTorch's build for it",
        )
    return Finding("Accelerator", "ok", "none: the course runs on the CPU")


def two_ranks(python: str = sys.executable, seconds: float = 60) -> Finding:
    """Two processes add 1 and 2 by an all-reduce over gloo, as the lessons do; both must get 3."""
    start = time.perf_counter()
    try:
        ended = torch_probe.add_up_on_two_ranks(python, seconds)
    except OSError as error:
        todo = "Install the packages into a fresh environment: make setup"
        return Finding("Two ranks", "missing", f"Python could not be started: {error}", todo)
    elapsed = time.perf_counter() - start
    if all(rank.status == 0 and torch_probe.last_line(rank.out) == "3.0" for rank in ended):
        return Finding("Two ranks", "ok", f"all-reduce over gloo, sum checked, {elapsed:.1f} s")
    failed = [rank for rank in ended if rank.status]
    if failed:
        todo = "Repair PyTorch first (see its line), then run 'scaleup doctor' again"
        return Finding("Two ranks", "missing", f"a rank failed: {torch_probe.reason(failed[0])}", todo)
    if None in [rank.status for rank in ended]:
        todo = (
            "See whether a firewall or VPN blocks 127.0.0.1. If the host name does not resolve, set "
            "GLOO_SOCKET_IFNAME=lo (macOS: lo0). On a login node, try inside a job"
        )
        return Finding("Two ranks", "missing", f"no sum within {seconds:g} s", todo)
    sums = " and ".join(torch_probe.last_line(rank.out) for rank in ended)
    return Finding("Two ranks", "missing", f"the sum of 1 and 2 came out as {sums}", "Reinstall PyTorch")


# The machine


def kernel() -> Finding:
    """The notebooks' kernel `python3` exists and is this interpreter."""
    try:
        from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel
    except ImportError:
        return Finding("Kernel", "missing", "Jupyter is not installed", "See the line Packages")
    try:
        spec = KernelSpecManager().get_kernel_spec("python3")
    except NoSuchKernel:
        todo = f"Run: {shlex.quote(sys.executable)} -m ipykernel install --sys-prefix"
        return Finding("Kernel", "missing", "Jupyter has no kernel named python3", todo)
    program = spec.argv[0]
    # A bare name is replaced by the interpreter that runs Jupyter.
    here = os.sep not in program or Path(program).parent.resolve() == Path(sys.executable).parent.resolve()
    if here:
        return Finding("Kernel", "ok", "python3 is this interpreter")
    todo = f"Remove or rename the folder {spec.resource_dir}"
    return Finding("Kernel", "missing", f"python3 is another interpreter: {program}", todo)


def cores() -> Finding:
    usable, present = usable_cores(), os.cpu_count() or 1
    detail = f"{usable} usable" if usable == present else f"{usable} usable of {present}"
    if usable >= 2:
        return Finding("Cores", "ok", detail)
    return Finding(
        "Cores", "look", detail, "Everything runs, but the ranks take turns; ask for 2 cores or more"
    )


def memory() -> Finding:
    size = usable_memory()
    detail = f"{size / GB:.0f} GB usable" if size >= 10 * GB else f"{size / GB:.1f} GB usable"
    if size < 2 * GB:
        return Finding("Memory", "missing", detail, "Lessons need up to 2 GB: use a larger machine or job")
    if size < 4 * GB:
        return Finding("Memory", "look", detail, "This is enough if little else runs; close other programs")
    return Finding("Memory", "ok", detail)


def disk() -> Finding:
    """Room where the course lives, and the right to write there."""
    folder = root()
    free = shutil.disk_usage(folder).free
    if not os.access(folder, os.W_OK):
        todo = "Copy the course to a folder that is yours, or set SCALEUP_HOME to such a copy"
        return Finding("Disk", "missing", f"{folder} cannot be written to", todo)
    detail = f"{free / GB:.0f} GB free" if free >= 10 * GB else f"{free / GB:.1f} GB free"
    if free < 0.5 * GB:
        return Finding("Disk", "missing", detail, f"Free 2 GB where the course is: {folder}")
    if free < 2 * GB:
        return Finding("Disk", "look", detail, f"Lessons write up to 2 GB of checkpoints to {folder}")
    return Finding("Disk", "ok", detail)


def ports() -> Finding:
    """A port on loopback can be opened and reached: ranks, Dask and Jupyter talk that way."""
    try:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            socket.create_connection(listener.getsockname(), timeout=5).close()
    except OSError as error:
        todo = "Allow connections to 127.0.0.1 in the firewall; on a login node, try inside a job"
        return Finding("Ports", "missing", f"127.0.0.1 cannot be used: {error}", todo)
    return Finding("Ports", "ok", "127.0.0.1 can be opened and reached")


def corpus() -> Finding:
    ready = sorted(index.parent.name for index in (state() / "corpus").glob("*/index.json"))
    if ready:
        return Finding("Corpus", "ok", ", ".join(ready))
    return Finding(
        "Corpus", "look", "not prepared yet", "Run: scaleup prepare (the first lesson does the same)"
    )


def slurm() -> Finding:
    if not (shutil.which("sinfo") and shutil.which("sbatch")):
        if slurm_files.find():
            return Finding("Slurm", "ok", "unpacked; start it with: scaleup practice up")
        if shutil.which("apt-get"):
            return Finding(
                "Slurm", "look", "not here", "For the lessons on the machine, run: scaleup practice up"
            )
        todo = f"Only the lessons on the machine need it. {slurm_files.missing_sentence()}"
        return Finding("Slurm", "look", "not here", todo)
    job = os.environ.get("SLURM_JOB_ID")
    if job is None:
        return Finding("Slurm", "ok", "here; not inside a job")
    nodes, tasks = (os.environ.get(name, "?") for name in ("SLURM_JOB_NUM_NODES", "SLURM_NTASKS"))
    return Finding("Slurm", "ok", f"inside job {job}: nodes {nodes}, tasks {tasks}")


def containers() -> Finding:
    tools = [tool for tool in ("apptainer", "singularity", "podman", "docker") if shutil.which(tool)]
    if tools:
        return Finding("Containers", "ok", ", ".join(tools))
    return Finding("Containers", "look", "none here", "You need one only to build an image for a machine")


def chromium() -> Finding:
    for browser in ("chromium", "chromium-browser", "google-chrome"):
        if place := shutil.which(browser):
            return Finding("Chromium", "ok", place)
    return Finding("Chromium", "look", "not here", "Only the tests of the site need it")


# The report


def findings(constraints: Path | None = None) -> Iterator[Finding]:
    """The lines of the report, as they become known."""
    pins = functools.cache(lambda: constraints or root() / "constraints.txt")
    answer = functools.cache(torch_probe.ask_torch)  # one process serves two lines
    device_files = [str(f) for f in (*Path("/dev").glob("nvidia[0-9]"), *Path("/dev").glob("kfd"))]
    probes: dict[str, Callable[[], Finding]] = {
        "Python": python_version,
        "Packages": lambda: packages(pins()),
        "PyTorch": lambda: pytorch(answer(), pins()),
        "Kernel": kernel,
        "Cores": cores,
        "Memory": memory,
        "Disk": disk,
        "Accelerator": lambda: accelerators(answer(), device_files),
        "Ports": ports,
        "Two ranks": two_ranks,
        "Corpus": corpus,
        "Slurm": slurm,
        "Containers": containers,
        "Chromium": chromium,
    }
    for name, probe in probes.items():
        yield attempt(name, probe)


def attempt(name: str, probe: Callable[[], Finding]) -> Finding:
    """The probe's finding; if the probe itself fails, a line that says so, and the report goes on."""
    try:
        return probe()
    except CourseError as error:
        return Finding(name, "missing", "could not be checked", str(error).rstrip("."))
    except Exception as error:
        detail = f"could not be checked: {type(error).__name__}: {error}"
        return Finding(name, "look", detail, "Please look yourself, and tell the maintainers of the course")


def as_line(finding: Finding, colour: bool = False) -> str:
    """`ok      Python      3.11.7`: status, name, what was found and what to do."""
    status = f"{finding.status:<8}"
    if colour:
        status = f"\033[{COLOURS[finding.status]}m{status}\033[0m"
    todo = f". {finding.todo}" if finding.todo else ""
    return f"{status}{finding.name:<12}{finding.detail}{todo}"


def summary(report: list[Finding]) -> str:
    """The last line: what stands between the reader and the first lesson."""
    missing = [finding.name for finding in report if finding.status == "missing"]
    look = sum(finding.status == "look" for finding in report)
    if missing:
        return f"Missing: {', '.join(missing)}. Do what these lines say, then run 'scaleup doctor' again."
    return f"Ready: nothing is missing. Lines to look at when you need them: {look}." if look else "Ready."


def main(as_json: bool = False) -> int:
    """Print the report; 0 when nothing is missing, else 1."""
    colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    report = []
    for finding in findings():
        report.append(finding)
        if not as_json:
            print(as_line(finding, colour), flush=True)
    print(json.dumps([asdict(finding) for finding in report], indent=2) if as_json else summary(report))
    return int(any(finding.status == "missing" for finding in report))
