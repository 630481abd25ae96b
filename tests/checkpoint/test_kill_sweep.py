"""Nothing that has a checkpoint's name is unreadable, however a run was killed."""

import os

import pytest
from small_course import make_course
from tools import kill_sweep

from scaleup.text import corpus


@pytest.mark.processes
def test_killed_runs_lose_no_checkpoint(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SCALEUP_HOME", str(make_course(tmp_path / "course")))
    for name in [n for n in os.environ if n.startswith(("SLURM_", "MASTER_"))]:
        monkeypatch.delenv(name)
    corpus.prepare()
    found = kill_sweep.sweep(4, seed=7)
    assert found == {"kills": 4, "unreadable": 0, "repeated": 0, "lost": 0}, capsys.readouterr().out
