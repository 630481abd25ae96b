"""The bench of parallel training compares the same work, and its page says what its numbers say."""

import json
import subprocess
import sys

import pytest
import torch.distributed as dist
from test_bench import structure
from tools import bench_parallel

from scaleup.measure import Timings
from scaleup.paths import root

HOME = root() / "book" / "reference"


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """A tiny run of all of it."""
    folder = tmp_path_factory.mktemp("bench")
    command = [sys.executable, "-m", "tools.bench_parallel", "--quick", "--out", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=root())
    assert done.returncode == 0, done.stderr
    read = {name: (folder / f"benchmark-parallel.{name}").read_text("utf-8") for name in ("json", "md")}
    return json.loads(read["json"]), read["md"]


def without_accelerate(result: dict) -> dict:
    """It is not among the course's packages, so it is measured here and not there."""
    techniques = {
        name: {key: value for key, value in found.items() if key != "accelerate"}
        for name, found in result["techniques"].items()
    }
    return {key: value for key, value in result.items() if key != "accelerate"} | {"techniques": techniques}


@pytest.mark.processes
def test_a_quick_run_measures_every_technique(quick):
    result, page = quick
    assert set(result["techniques"]) == set(bench_parallel.TECHNIQUES)
    assert all(found["bare_seconds"] > 0 for found in result["techniques"].values())
    assert result["ddp_against_ideal"]["median"] > 0
    assert page == bench_parallel.filled((HOME / "benchmark-parallel.md").read_text("utf-8"), result)
    stored = json.loads((HOME / "benchmark-parallel.json").read_text("utf-8"))
    assert structure(without_accelerate(stored)) == structure(without_accelerate(result)), "run: make bench"


def test_the_page_in_the_book_says_what_its_numbers_say():
    result = json.loads((HOME / "benchmark-parallel.json").read_text("utf-8"))
    page = (HOME / "benchmark-parallel.md").read_text("utf-8")
    assert page == bench_parallel.filled(page, result), "run: make bench"


def test_a_cost_is_compared_pair_by_pair():
    ours, theirs = Timings((1.1, 2.2, 4.4)), Timings((1.0, 2.0, 4.0))
    assert bench_parallel.cost(ours, theirs) == {"median": 0.1, "low": 0.1, "high": 0.1}
    assert bench_parallel.percent(bench_parallel.cost(ours, theirs)) == "+10.0% (+10.0% to +10.0%)"


def test_quick_numbers_never_reach_the_book(capsys):
    with pytest.raises(SystemExit):
        bench_parallel.main(["--quick"])
    assert "--out" in capsys.readouterr().err
    assert not dist.is_initialized()
