"""The sweep of small models goes on where it stopped, and the stored runs are those that it asks for."""

import math

import pytest
from tools import scaling_sweep

from scaleup.decide import scaling_runs
from scaleup.errors import CourseError

RUNS = scaling_runs.load()
GRID = [run for run in RUNS if run.purpose == "grid" and run.finished]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A file into which the two quick points were trained, one after the other was already there."""
    path = tmp_path_factory.mktemp("sweep") / "runs.csv"
    scaling_sweep.append(path, scaling_runs.train(scaling_sweep.QUICK[0]))
    first = path.read_text()
    assert scaling_sweep.main(["--quick", "--out", str(path), "--workers", "1"]) == 0
    return path, first


@pytest.mark.processes
def test_the_quick_points_are_trained_and_the_first_is_not_trained_again(trained):
    path, first = trained
    rows = scaling_runs.load(path)
    assert path.read_text().startswith(first)
    assert [row.point for row in rows if row.finished] == list(scaling_sweep.QUICK)
    assert all(row.validation_loss < math.log(4096) for row in rows)
    assert rows[-1].validation_loss < rows[0].validation_loss  # twice the tokens


@pytest.mark.processes
def test_a_cut_is_recorded_as_such(trained):
    cut = [row for row in scaling_runs.load(trained[0]) if not row.finished]
    assert [(row.tokens, row.schedule_tokens) for row in cut] == [(4096, 8192)]


@pytest.mark.processes
def test_a_complete_file_is_left_alone(trained, capsys, monkeypatch):
    path, _ = trained
    before = path.read_bytes()
    monkeypatch.setattr(scaling_sweep, "train", None)
    assert scaling_sweep.main(["--quick", "--out", str(path)]) == 0
    assert path.read_bytes() == before
    assert "0 runs were missing" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "first line"),
        ("tokens,loss\n1,2\n", "first line"),
        (",".join(scaling_runs.COLUMNS) + "\ngrid,8,36096\n", "damaged"),
        (",".join(scaling_runs.COLUMNS) + "\n" + ",".join("x" * len(scaling_runs.COLUMNS)) + "\n", "damaged"),
    ],
)
def test_a_file_that_holds_no_runs_is_refused(tmp_path, capsys, text, message):
    path = tmp_path / "runs.csv"
    path.write_text(text)
    with pytest.raises(CourseError, match=message):
        scaling_runs.load(path)
    assert scaling_sweep.main(["--quick", "--out", str(path)]) == 2
    assert message in capsys.readouterr().err
    assert path.read_text() == text


def test_bad_words_on_the_command_line_are_refused(tmp_path, capsys):
    assert scaling_sweep.main(["--quick", "--out", str(tmp_path / "runs.csv"), "--workers", "0"]) == 2
    assert "at least one worker" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        scaling_sweep.main(["--quick"])
    with pytest.raises(CourseError, match="no file"):
        scaling_runs.load(tmp_path / "none.csv")


# What is stored


def test_the_file_holds_every_run_of_the_sweep_once():
    finished = [run.point for run in RUNS if run.finished]
    assert sorted(finished, key=repr) == sorted(scaling_sweep.FULL, key=repr)


def test_every_budget_is_spent_within_one_percent():
    spent = sorted(6 * run.parameters * run.tokens for run in GRID)
    wanted = sorted(
        budget
        for budget in scaling_runs.BUDGETS
        for dim in scaling_sweep.DIMS
        if dim > 8 or budget <= scaling_sweep.SMALL
    )
    assert spent == pytest.approx(wanted, rel=0.01)
