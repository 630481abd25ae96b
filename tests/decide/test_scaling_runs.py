"""The sweep really trains, goes on where it stopped, and its stored runs give the law of the lesson."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import yaml

from scaleup import measure
from scaleup.decide import scaling_runs
from scaleup.errors import CourseError
from scaleup.model import GPT

HOME = Path(__file__).resolve().parents[2]
LESSON = HOME / "notebooks" / "5-decide-and-prove" / "scaling-laws.ipynb"
RUNS = scaling_runs.load(HOME / "data" / "scaling_runs.csv")
GRID = [run for run in RUNS if run.purpose == "grid" and run.finished]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A file into which the two quick points were trained, one after the other was already there."""
    path = tmp_path_factory.mktemp("sweep") / "runs.csv"
    scaling_runs.append(path, scaling_runs.train(scaling_runs.QUICK[0]))
    first = path.read_text()
    assert scaling_runs.main(["--quick", "--out", str(path), "--workers", "1"]) == 0
    return path, first


@pytest.mark.slow
def test_the_quick_points_are_trained_and_the_first_is_not_trained_again(trained):
    path, first = trained
    rows = scaling_runs.load(path)
    assert path.read_text().startswith(first)
    assert [row.point for row in rows if row.finished] == list(scaling_runs.QUICK)
    assert all(row.validation_loss < math.log(4096) for row in rows)
    assert rows[-1].validation_loss < rows[0].validation_loss  # twice the tokens


@pytest.mark.slow
def test_a_cut_is_recorded_as_such(trained):
    cut = [row for row in scaling_runs.load(trained[0]) if not row.finished]
    assert [(row.tokens, row.schedule_tokens) for row in cut] == [(4096, 8192)]


def test_a_run_is_the_same_each_time_and_another_seed_is_another(monkeypatch):
    monkeypatch.setattr(scaling_runs, "validate", lambda model: model.head.weight.abs().sum().item())
    ends = [
        scaling_runs.train(scaling_runs.Point(8, 10, seed=seed))[-1].validation_loss for seed in (1, 1, 2)
    ]
    assert ends[0] == pytest.approx(ends[1], rel=1e-5)
    assert ends[0] != pytest.approx(ends[2], rel=1e-3)


@pytest.mark.slow
def test_a_complete_file_is_left_alone(trained, capsys, monkeypatch):
    path, _ = trained
    before = path.read_bytes()
    monkeypatch.setattr(scaling_runs, "train", None)
    assert scaling_runs.main(["--quick", "--out", str(path)]) == 0
    assert path.read_bytes() == before
    assert "0 runs were missing" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"dim": 12, "steps": 100}, "multiple"),
        ({"dim": 0, "steps": 100}, "multiple"),
        ({"dim": 8, "steps": 9}, "too few"),
        ({"dim": 8, "steps": 100, "purpose": "gird"}, "grid, seed, held-out"),
    ],
)
def test_an_impossible_point_is_refused(wrong, message):
    with pytest.raises(CourseError, match=message):
        scaling_runs.Point(**wrong)


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
    assert scaling_runs.main(["--quick", "--out", str(path)]) == 2
    assert message in capsys.readouterr().err
    assert path.read_text() == text


def test_bad_words_on_the_command_line_are_refused(tmp_path, capsys):
    assert scaling_runs.main(["--quick", "--out", str(tmp_path / "runs.csv"), "--workers", "0"]) == 2
    assert "at least one worker" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        scaling_runs.main(["--quick"])
    with pytest.raises(CourseError, match="no file"):
        scaling_runs.load(tmp_path / "none.csv")


def test_an_infinite_loss_is_no_row():
    with pytest.raises(CourseError, match="learning rate"):
        scaling_runs.row(scaling_runs.QUICK[0], 16, math.nan, 1.0)


# What is stored


def test_the_file_holds_every_run_of_the_sweep_once():
    finished = [run.point for run in RUNS if run.finished]
    assert sorted(finished, key=repr) == sorted(scaling_runs.FULL, key=repr)


def test_parameters_and_tokens_are_those_of_the_model():
    for run in RUNS:
        model = GPT(run.point.shape)
        vectors = sum(p.numel() for p in model.parameters() if p.dim() == 1)
        assert run.parameters + run.embedding + vectors == measure.parameters(model)
        assert run.embedding == model.embedding.weight.numel()


def test_every_budget_is_spent_within_one_percent():
    spent = sorted(6 * run.parameters * run.tokens for run in GRID)
    wanted = sorted(
        budget
        for budget in scaling_runs.BUDGETS
        for dim in scaling_runs.DIMS
        if dim > 8 or budget <= scaling_runs.SMALL
    )
    assert spent == pytest.approx(wanted, rel=0.01)


def test_no_run_saw_a_token_twice():
    described = yaml.safe_load((HOME / "data" / "corpus.yml").read_text())["python-source"]
    assert max(run.tokens for run in RUNS) < described["tokens"] * 0.93


def test_cut_runs_differ_by_width():
    """The lesson's warning: what a cut changes is not the same for all sizes, so it would tilt the law."""
    ends = {(run.dim, run.tokens): run.validation_loss for run in GRID}
    gaps = {True: [], False: []}
    for run in RUNS:
        if not run.finished:
            gaps[run.dim == 16].append(run.validation_loss - ends[run.dim, run.tokens])
    assert {narrow: len(found) for narrow, found in gaps.items()} == {True: 3, False: 9}
    assert min(gaps[True]) > 0.05 > 0 > np.mean(gaps[False])


def test_how_the_runs_were_made_is_written_down():
    about = yaml.safe_load((HOME / "data" / "scaling_runs.yml").read_text())
    assert list(about["columns"]) == [name for name in scaling_runs.COLUMNS if name not in ("date", "torch")]
    assert {run.torch for run in RUNS} == {about["versions"]["torch"]}
    assert (
        about["training"]["batch"] == scaling_runs.BATCH and about["training"]["window"] == scaling_runs.SEQ
    )


def printed(pattern: str) -> list[float]:
    """The numbers of the first line in the lesson's outputs that matches."""
    cells = json.loads(LESSON.read_text())["cells"]
    text = "\n".join("".join(o.get("text", "")) for cell in cells for o in cell.get("outputs", []))
    found = re.search(pattern, text)
    assert found, pattern
    return [float(number.replace(",", "")) for number in found.groups()]


def by_trial(runs, delta: float = 0.01) -> tuple[float, float]:
    """(E, exponent) in another way than the lesson's: exponents by trial, the rest by least squares."""
    n, d, loss = (
        np.array([getattr(run, name) for run in runs]) for name in ("parameters", "tokens", "validation_loss")
    )
    best = (math.inf, 0.0, 0.0)
    for exponent in np.arange(0.2, 0.7, 0.01):
        columns, weights = np.stack([np.ones_like(loss), n**-exponent, d**-exponent], axis=1), 1 / loss
        for _ in range(40):  # the Huber loss by weights that fall with the residual
            found = np.linalg.lstsq(columns * weights[:, None], loss * weights, rcond=None)[0]
            residual = np.abs(np.log(columns @ found / loss))
            weights = np.sqrt(np.minimum(1, delta / np.maximum(residual, 1e-12))) / loss
        huber = np.where(residual < delta, residual**2 / 2, delta * (residual - delta / 2)).sum()
        best = min(best, (huber, found[0], exponent))
    return best[1:]


def test_the_law_on_the_page_is_the_law_of_the_data():
    e, _, alpha, _, beta = printed(
        r"one exponent: E = ([\d.]+), A = ([\d.,]+), alpha = ([\d.]+), B = ([\d.,]+), beta = ([\d.]+)"
    )
    assert alpha == beta
    assert (e, alpha) == pytest.approx(by_trial(GRID), abs=0.1)


def test_the_page_says_what_the_held_out_run_measured():
    (largest,) = (run for run in RUNS if run.purpose == "held-out" and run.dim == 64)
    law, low, high = printed(r"one exponent: ([\d.]+), 80 % of the fits ([\d.]+) to ([\d.]+)")
    assert low < largest.validation_loss < high
    assert law == pytest.approx(largest.validation_loss, rel=0.03)


def test_the_page_says_which_share_of_the_hours_a_best_model_would_need():
    """The share by trial: shrink the budget until the best of many sizes has the row's loss."""
    tokens, ratio, loss, share = printed(
        r" 8\.0 B: ([\d.]+) T tokens, D/N = ([\d,]+),.*loss ([\d.]+), as good as +(\d+)%"
    )
    e, a, alpha, b, beta = 1.8172, 482.01, 0.3478, 2085.43, 0.3658
    budget = 6 * (tokens * 1e12) ** 2 / ratio
    sizes = np.logspace(9, 12, 4000)
    best = {
        s: (e + a / sizes**alpha + b / (s / 100 * budget / 6 / sizes) ** beta).min() for s in range(1, 101)
    }
    assert min(best, key=lambda s: abs(best[s] - loss)) == pytest.approx(share, abs=1)
