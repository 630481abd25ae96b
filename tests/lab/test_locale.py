"""The course works in any locale, and in a folder whose name has an umlaut."""

import io
import json
import os
import subprocess
import sys

import pytest

from scaleup import cli, exercises
from scaleup.paths import root


@pytest.fixture
def solved_once(tmp_path, monkeypatch):
    """One exercise was solved; the last check of it failed."""
    file = tmp_path / "progress.json"
    entry = {
        "attempts": 4,
        "solved": True,
        "solved_at": "2026-11-26T12:00:00",
        "checked_at": "2026-11-26T13:00:00",
        "passing": False,
        "message": "your answer is ≈ 3 ✗",
    }
    file.write_text(json.dumps({"1-one-device/training-loop/steps": entry}))
    monkeypatch.setenv("SCALEUP_PROGRESS", str(file))
    return entry, file


def test_a_terminal_without_our_signs_shows_a_question_mark(solved_once, monkeypatch):
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    monkeypatch.setattr(sys, "stdout", terminal)
    assert cli.main(["progress"]) == 0
    terminal.flush()
    assert b"your answer is ? 3 ?" in terminal.buffer.getvalue()


def test_solved_does_not_stand_beside_a_message_of_failure(solved_once):
    entry, file = solved_once
    line = next(line for line in exercises.progress_table().splitlines() if "≈ 3" in line)
    assert "solved before, not now" in line
    file.write_text(json.dumps({"1-one-device/training-loop/steps": entry | {"passing": True}}))
    line = next(line for line in exercises.progress_table().splitlines() if "≈ 3" in line)
    assert "  solved  " in line and "not now" not in line


@pytest.mark.processes
def test_make_runs_in_a_folder_with_an_umlaut_in_any_locale(tmp_path):
    """Python reads the file that names an editable package in the locale's encoding, before anything else."""
    course = tmp_path / "Kürs"
    (course / "src").mkdir(parents=True)
    (course / "src/stands_for_the_course.py").write_text("print('found')")
    (course / "Makefile").write_text((root() / "Makefile").read_text())
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", course / ".venv"], check=True)
    (packages,) = (course / ".venv").glob("lib/python*/site-packages")
    (packages / "course.pth").write_text(f"{course / 'src'}\n", encoding="utf-8")
    jupyter = course / ".venv/bin/jupyter"
    jupyter.write_text("#!/bin/sh\nexec .venv/bin/python -c 'import stands_for_the_course'\n")
    jupyter.chmod(0o755)
    done = subprocess.run(
        ["make", "--silent", "-o", ".venv/.lab-ready", "lab"],
        cwd=course,
        env={**os.environ, "LC_ALL": "C"},
        capture_output=True,
        text=True,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("found\n", "", 0)
