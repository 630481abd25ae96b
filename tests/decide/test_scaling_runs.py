"""A run really trains, and the stored runs give the law of the lesson."""

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


def test_a_run_is_the_same_each_time_and_another_seed_is_another(monkeypatch):
    monkeypatch.setattr(scaling_runs, "validation_loss", lambda model: model.head.weight.abs().sum().item())
    ends = [
        scaling_runs.train(scaling_runs.Point(8, 10, seed=seed))[-1].validation_loss for seed in (1, 1, 2)
    ]
    assert ends[0] == pytest.approx(ends[1], rel=1e-5)
    assert ends[0] != pytest.approx(ends[2], rel=1e-3)


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


def test_an_infinite_loss_is_no_row():
    with pytest.raises(CourseError, match="learning rate"):
        scaling_runs.row(scaling_runs.Point(8, 16), 16, math.nan, 1.0)


# What is stored


def test_parameters_and_tokens_are_those_of_the_model():
    for run in RUNS:
        model = GPT(run.point.shape)
        vectors = sum(p.numel() for p in model.parameters() if p.dim() == 1)
        assert run.parameters + run.embedding + vectors == measure.parameters(model)
        assert run.embedding == model.embedding.weight.numel()


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
