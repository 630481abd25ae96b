"""`scaleup practice check`: a scheduler is kept for the next question, and ends when it should."""

import contextlib
import json
import time

import pytest

from scaleup.cli import main
from scaleup.computer import slurm
from scaleup.errors import CourseError
from scaleup.paths import root
from scaleup.practice import keeper

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(not slurm.available(), reason=slurm.missing_sentence()),
]
GOOD = "#!/bin/bash\n#SBATCH --account=my_project -p gpu --gres=gpu:4 --time=60\nhostname\n"


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A course's folder of its own, so that nobody else's schedulers are met."""
    top = tmp_path / "Scale Up"
    (top / ".scaleup").mkdir(parents=True)
    course = root()
    for name in ("notebooks", "data"):
        (top / name).symlink_to(course / name)
    unpacked = course / ".scaleup" / "slurm"
    if unpacked.is_dir():
        (top / ".scaleup" / "slurm").symlink_to(unpacked)
    monkeypatch.setenv("SCALEUP_HOME", str(top))
    (top / "job.sh").write_text(GOOD)
    yield top
    keeper.end()


def check(home, *words: str) -> int:
    return main(["practice", "check", str(home / "job.sh"), "--machine", "vega-gpu", *words])


def test_a_second_check_meets_the_same_scheduler(home, capsys):
    assert check(home) == 0
    assert keeper.kept() == ["vega-gpu"]
    first = capsys.readouterr().out
    assert check(home) == 0
    second = capsys.readouterr().out
    assert "Job 1 to start" in first and "Job 2 to start" in second
    assert main(["practice", "status"]) == 1
    assert "Ready for the next check of a script: vega-gpu." in capsys.readouterr().out
    assert main(["practice", "down"]) == 0
    assert keeper.kept() == [] and not list(keeper.folder().glob("*.running"))


def test_json_has_lines_and_kinds(home, capsys):
    (home / "job.sh").write_text(GOOD.replace("gpu:4", "gpu:5") + "#SBATCH -N 2\n")
    assert check(home, "--json", "--once") == 1
    told = json.loads(capsys.readouterr().out)
    assert told["machine"] == "vega-gpu" and not told["accepted"]
    assert [(each["line"], each["kind"], each["rule"]) for each in told["found"]] == [
        (2, "refusal", "refusal"),
        (4, "remark", "late"),
    ]
    assert told["found"][1]["can_fix"] and told["found"][1]["lesson"].endswith(".ipynb")
    assert keeper.kept() == []


def test_fix_judges_what_it_wrote(home, capsys):
    (home / "job.sh").write_text(GOOD.replace("#SBATCH", "# SBATCH"))
    assert check(home, "--fix", "--once") == 0
    assert "Mended in" in capsys.readouterr().out
    assert (home / "job.mended.sh").read_text() == GOOD


def test_an_idle_scheduler_ends(home, monkeypatch):
    monkeypatch.setattr(keeper, "IDLE", 0.0)
    keeper.serve("vega-gpu", keeper.socket_path("vega-gpu"))
    assert keeper.kept() == []


def test_a_keeper_that_cannot_start_says_why(home, monkeypatch):
    with pytest.raises(CourseError, match="Did you mean 'lumi-g'"):
        keeper.ask("lumi", GOOD, home / "job.sh")
    monkeypatch.setattr(keeper, "_environment", lambda: {"PATH": "/usr/bin:/bin", "SCALEUP_HOME": "/nowhere"})
    with pytest.raises(CourseError, match="No module named|folder was not found"):
        keeper.ask("vega-gpu", GOOD, home / "job.sh")


def test_the_name_of_a_socket_follows_the_data(home):
    before = keeper.socket_path("vega-gpu")
    data = home / "data"
    text = (data / "machines.yml").read_text("utf-8")
    data.unlink()
    data.mkdir()
    (data / "machines.yml").write_text(text)
    assert keeper.socket_path("vega-gpu") != before


def test_a_closed_pipe_ends_quietly(home):
    import subprocess
    import sys

    words = [sys.executable, "-m", "scaleup.cli", "practice", "status"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        time.sleep(0.01)
        assert b"Traceback" not in process.stderr.read()
    with contextlib.suppress(OSError):
        process.kill()
