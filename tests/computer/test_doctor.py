"""The set-up check: right on this machine, and right about what is wrong."""

import json
import os
import socket
import subprocess
import sys
import time
import venv
from pathlib import Path

import psutil
import pytest

from scaleup.computer import doctor, resources, slurm, torch_probe
from scaleup.computer.doctor import Finding
from scaleup.errors import CourseError
from scaleup.paths import root

PINS = root() / "constraints.txt"
RUN = "import sys; from scaleup.computer import doctor; sys.exit(doctor.main(as_json={}))"


def children() -> set[psutil.Process]:
    return set(psutil.Process().children(recursive=True))


def alive(pid: int) -> bool:
    """Running; a zombie that nobody has collected yet does not count."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def run_doctor(python: str = sys.executable, as_json: bool = True, **variables: str):
    return subprocess.run(
        [python, "-c", RUN.format(as_json)],
        cwd=root(),
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=120,
    )


def by_name(report: list[Finding]) -> dict[str, Finding]:
    return {finding.name: finding for finding in report}


@pytest.fixture(scope="module")
def report() -> list[Finding]:
    before = children()
    found = list(doctor.findings())
    assert children() <= before, "a process was left behind"
    return found


@pytest.mark.processes
def test_nothing_is_missing_here(report):
    assert [finding for finding in report if finding.status == "missing"] == []
    assert not [finding for finding in report if finding.detail.startswith("could not be checked")]


@pytest.mark.processes
def test_what_is_not_ok_says_what_to_do(report):
    assert all(bool(finding.todo) == (finding.status != "ok") for finding in report)


@pytest.mark.processes
def test_lines_are_aligned_and_single(report):
    lines = [doctor.as_line(finding) for finding in report]
    for line, finding in zip(lines, report, strict=True):
        assert "\n" not in line
        assert line.startswith(finding.status)
        assert line[8:20].rstrip() == finding.name
        assert line[20:].startswith(finding.detail)


@pytest.mark.processes
def test_colour_adds_to_the_words(report):
    line = doctor.as_line(report[0], colour=True)
    assert "\033[" in line and "ok" in line
    assert "\033[" not in doctor.as_line(report[0])


@pytest.mark.processes
def test_json_and_text_have_the_same_rows(report):
    as_json, as_text = run_doctor(as_json=True), run_doctor(as_json=False)
    assert (as_json.returncode, as_text.returncode) == (0, 0), as_json.stderr + as_text.stderr
    assert as_json.stderr == as_text.stderr == ""
    rows = json.loads(as_json.stdout)
    assert {tuple(row) for row in rows} == {("name", "status", "detail", "todo")}
    expected = [(finding.name, finding.status) for finding in report]
    assert [(row["name"], row["status"]) for row in rows] == expected
    *lines, summary = as_text.stdout.splitlines()
    assert [(line[8:20].rstrip(), line[:8].rstrip()) for line in lines] == expected
    assert summary.startswith("Ready")
    assert "\033[" not in as_text.stdout


def with_pin(folder: Path, package: str, version: str) -> Path:
    """The course's constraints with one pin changed."""
    lines = [line for line in PINS.read_text().splitlines() if not line.startswith(f"{package}==")]
    changed = folder / "constraints.txt"
    changed.write_text("\n".join([*lines, f"{package}=={version}"]))
    return changed


def test_an_old_torch_is_missing(tmp_path):
    pins = tmp_path / "constraints.txt"
    pins.write_text("torch==2.13.0\n")
    old = doctor.pytorch({"version": "2.1.0", "seconds": 1.0}, pins)
    assert (old.status, old.detail) == ("missing", "2.1.0 is installed; the course was tested with 2.13.0")


@pytest.mark.processes
def test_another_torch_is_pointed_out_and_only_that(tmp_path):
    constraints = with_pin(tmp_path, "torch", "2.13.1")
    report = by_name(list(doctor.findings(constraints)))
    wrong = report["PyTorch"]
    assert wrong.status == "look"
    assert "tested with 2.13.1" in wrong.detail
    assert f"pip install -c {constraints} torch" in wrong.todo
    assert [name for name, finding in report.items() if finding.status == "missing"] == []


@pytest.mark.parametrize("suffix", ["", "+cpu", "+cu130", "+rocm7.1"])
def test_a_local_suffix_of_torch_is_fine(suffix):
    version = doctor.read_pins(PINS)["torch"] + suffix
    assert doctor.pytorch({"version": version, "seconds": 1.0}, PINS).status == "ok"


def test_a_torch_that_does_not_import_is_missing():
    broken = doctor.pytorch({"error": "ImportError: libcudart.so.13"}, PINS)
    assert broken.status == "missing"
    assert "libcudart.so.13" in broken.detail and "--force-reinstall" in broken.todo


def test_packages_that_differ_are_named_with_the_command(tmp_path):
    differs = doctor.packages(with_pin(tmp_path, "numpy", "1.0"))
    assert differs.status == "look"
    assert "(pinned 1.0)" in differs.detail and "tqdm" not in differs.detail
    assert differs.todo.endswith(" numpy")


@pytest.mark.processes
def test_a_python_without_packages_still_gets_a_report(tmp_path):
    venv.create(tmp_path / "bare", with_pip=False)
    bare = run_doctor(str(tmp_path / "bare/bin/python"), PYTHONPATH=str(root() / "src"))
    assert bare.returncode == 1, bare.stderr
    rows = {row["name"]: row for row in json.loads(bare.stdout)}
    missing = [name for name, row in rows.items() if row["status"] == "missing"]
    assert missing == ["Packages", "PyTorch", "Kernel", "Two ranks"]
    assert rows["Packages"]["detail"] == "not installed: scaleup"
    assert "not installed" in rows["PyTorch"]["detail"]
    assert "No module named 'torch'" in rows["Two ranks"]["detail"]
    assert all(rows[name]["todo"] for name in missing)


@pytest.mark.processes
def test_two_ranks_that_take_too_long_are_stopped():
    before = children()
    late = doctor.two_ranks(seconds=0.3)
    assert late.status == "missing"
    assert "no sum within 0.3 s" in late.detail and "127.0.0.1" in late.todo
    assert children() <= before


@pytest.mark.processes
def test_two_ranks_with_a_broken_interpreter(tmp_path):
    absent = doctor.two_ranks(python=str(tmp_path / "python"))
    assert absent.status == "missing" and "could not be started" in absent.detail and absent.todo
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho 'libpython is gone' >&2\nexit 3\n")
    broken.chmod(0o755)
    failed = doctor.two_ranks(python=str(broken))
    assert failed.status == "missing" and "libpython is gone" in failed.detail and failed.todo


@pytest.mark.processes
def test_two_ranks_check_the_sum(tmp_path):
    wrong = tmp_path / "wrong"
    wrong.write_text("#!/bin/sh\necho 2.0\n")
    wrong.chmod(0o755)
    finding = doctor.two_ranks(python=str(wrong))
    assert finding.status == "missing" and "2.0 and 2.0" in finding.detail


RANK_WITH_A_CHILD = """
import os, pathlib, subprocess, sys, time
note = pathlib.Path(os.environ["NOTE"])
if os.environ["RANK"] == "1":
    while not note.exists():
        time.sleep(0.05)
    sys.exit("rank 1 gives up")
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
note.with_suffix(".new").write_text(str(child.pid))
note.with_suffix(".new").rename(note)
time.sleep(60)
"""


@pytest.mark.processes
def test_a_failing_rank_ends_the_other_and_its_children(tmp_path):
    note = tmp_path / "child"
    ranks = [{"RANK": rank, "NOTE": str(note)} for rank in "01"]
    ended = torch_probe.run_together(sys.executable, RANK_WITH_A_CHILD, ranks, seconds=30)
    assert [rank.status for rank in ended] == [None, 1]
    assert torch_probe.reason(ended[1]) == "rank 1 gives up"
    child = int(note.read_text())
    deadline = time.monotonic() + 5
    while alive(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(child)


def test_a_probe_that_fails_does_not_end_the_report():
    def breaks():
        raise ZeroDivisionError("by zero")

    def explains():
        raise CourseError("The folder was not found. Set SCALEUP_HOME to it.")

    assert doctor.attempt("Disk", breaks).status == "look"
    assert "ZeroDivisionError" in doctor.attempt("Disk", breaks).detail
    explained = doctor.attempt("Disk", explains)
    assert explained.status == "missing" and "Set SCALEUP_HOME" in explained.todo


def test_accelerators_are_counted_by_kind():
    four = {"kind": "CUDA", "devices": [["NVIDIA A100", 64_000_000_000]] * 4}
    assert doctor.accelerators(four, []).detail == "4 x NVIDIA A100 with 64 GB (CUDA)"
    none = {"kind": "none", "devices": []}
    assert doctor.accelerators(none, []).status == "ok"
    unused = doctor.accelerators(none, ["/dev/nvidia0"])
    assert unused.status == "look" and "/dev/nvidia0" in unused.detail
    assert doctor.accelerators({"error": "no answer within 40 s"}, []).status == "look"


@pytest.mark.parametrize(
    ("table", "folder"),
    [("0::/job/step\n", "job"), ("4:cpu:/other\n3:memory:/job/step\n", "memory/job")],
)
def test_limits_of_both_generations_of_control_groups(tmp_path, table, folder):
    (tmp_path / "table").write_text(table)
    (tmp_path / "mount" / folder / "step").mkdir(parents=True)
    (tmp_path / "mount" / folder / "step" / "limit").write_text("max\n")
    (tmp_path / "mount" / folder / "limit").write_text("2000\n")
    found = resources.cgroup_limit("memory", "limit", tmp_path / "table", tmp_path / "mount")
    assert found == ["max", "2000"]


def test_a_slurm_allocation_is_respected(monkeypatch):
    monkeypatch.setenv("SLURM_CPUS_ON_NODE", "1")
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "3000")
    assert doctor.cores().status == "look" and "1 usable" in doctor.cores().detail
    assert doctor.memory().detail == "3.1 GB usable"
    monkeypatch.delenv("SLURM_MEM_PER_NODE")
    monkeypatch.setenv("SLURM_MEM_PER_CPU", "1000")
    assert doctor.memory().status == "missing"


def test_slurm_inside_a_job(tmp_path, monkeypatch):
    for tool in ("sinfo", "sbatch"):
        (tmp_path / tool).touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    assert doctor.slurm().detail == "here; not inside a job"
    for name, value in {"JOB_ID": "42", "JOB_NUM_NODES": "2", "NTASKS": "8"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    assert doctor.slurm().detail == "inside job 42: nodes 2, tasks 8"


def test_tools_that_are_not_here_are_no_obstacle(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(slurm, "find", lambda: None)
    for probe in (doctor.slurm, doctor.containers, doctor.chromium):
        assert probe().status == "look" and probe().todo


def test_slurm_that_is_unpacked_for_practice_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(slurm, "find", lambda: "unpacked")
    assert "scaleup practice up" in doctor.slurm().detail


def test_a_corpus_that_is_not_prepared(tmp_path, monkeypatch):
    for folder in ("notebooks", "data"):
        (tmp_path / folder).mkdir()
    monkeypatch.setenv("SCALEUP_HOME", str(tmp_path))
    assert "scaleup prepare" in doctor.corpus().todo


def test_a_kernel_of_another_interpreter(tmp_path, monkeypatch):
    folder = tmp_path / "kernels" / "python3"
    folder.mkdir(parents=True)
    (folder / "kernel.json").write_text(
        json.dumps({"argv": ["/opt/other/bin/python", "-m", "ipykernel_launcher"], "display_name": "x"})
    )
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    other = doctor.kernel()
    assert other.status == "missing"
    assert "/opt/other/bin/python" in other.detail and str(folder) in other.todo


def test_a_free_port_can_be_bound():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", resources.free_port()))
    assert doctor.ports().status == "ok"


def test_the_summary_names_what_is_missing():
    rows = [Finding("Python", "ok", "3.11"), Finding("Disk", "missing", "full", "Free 2 GB")]
    assert doctor.summary(rows).startswith("Missing: Disk.")
