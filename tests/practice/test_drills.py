"""The drills of the lesson on failures: each shows what the lesson says, ends in its time and leaves nothing.

The node that is switched off takes a minute: the lesson itself does that, and is run by nbval.
"""

import json
import os
import shutil
import sys
import time
from pathlib import Path

import pytest
import torch

from scaleup import practice
from scaleup.computer.resources import usable_cores
from scaleup.explain import diagnose
from scaleup.paths import root
from scaleup.practice import cluster
from scaleup.ranks import cleanup, failures

pytestmark = pytest.mark.processes
LIMIT = {"watch.sh": 120, "dies.sh": 200}  # seconds, on a busy machine


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The drills' folder after both jobs, on a cluster of its own whose third node has a slow link."""
    place = tmp_path_factory.mktemp("drills") / "failures"
    shutil.copytree(root() / "notebooks/4-on-the-machine/failures", place)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCALEUP_PRACTICE", "drills")
        patch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
        if not cluster.namespace_words():
            pytest.skip("this system does not let us make namespaces")
        practice.up(link_mbit=200)
        try:
            rate = ("rate", "20mbit", "burst", "256kb", "latency", "400ms")
            practice.run("tc", "qdisc", "change", "dev", "cable3", "root", "tbf", *rate)
            for script, limit in LIMIT.items():
                number = practice.run("sbatch", "--parsable", script, cwd=place).stdout.strip()
                assert practice.wait(number, limit) == "COMPLETED"
            assert not practice.run("squeue", "--noheader").stdout.strip()
            mark = cluster.mark()
        finally:
            practice.down()
        time.sleep(0.2)
        assert cleanup.processes(mark) == []
    return place


@pytest.fixture
def by_rank(folder):
    return lambda name: [json.loads((folder / f"{name}-{rank}.json").read_text()) for rank in range(4)]


def cause(folder, name: str) -> str:
    return diagnose((folder / name).read_text()).candidates[0].cause.name


def test_a_mismatched_call_shows_in_the_stacks_and_in_the_recorders(folder, by_rank):
    stacks = {rank: (folder / f"stack-{rank}.txt").read_text() for rank in range(4)}
    assert [failures.where(stacks[rank])[0] for rank in range(4)] == ["broadcast"] + ["all_reduce"] * 3
    calls = [entries[-1]["profiling_name"] for entries in by_rank("recorder")]
    assert calls == ["gloo:broadcast"] + ["gloo:all_reduce"] * 3
    for rank in range(4):
        assert diagnose((folder / f"hang-{rank}.txt").read_text()).verdict == "symptom"


def test_the_straggler_is_the_one_that_does_not_wait(by_rank):
    waits = [sorted(c - b for _, b, c in steps)[len(steps) // 2] for steps in by_rank("straggler")]
    assert waits.index(min(waits)) == 2 and min(waits) < 0.5 * sorted(waits)[1]


def test_the_slow_link_is_in_one_column(by_rank):
    into = [min(t for a, b, t in rows if b == rank) for rank, rows in enumerate(by_rank("link"))]
    assert into.index(max(into)) == 2 and max(into) > 2 * sorted(into)[2]


def test_one_rank_s_gradient_is_not_a_number_a_step_before_all_are(by_rank):
    rows = by_rank("unguarded")
    assert [row[3][1] == "nan" for row in rows] == [False, True, False, False]
    assert all(row[4][0] == "nan" for row in rows)
    assert all(row[5][0] != "nan" for row in by_rank("guarded"))


def test_a_flipped_bit_is_one_number_on_one_rank(folder, by_rank):
    seen = by_rank("flipped")
    assert [each["first_seen"] for each in seen] == [7] * 4
    sums = [tuple(each.values()) for each in seen[0]["sums"]]
    assert sums[0] == sums[1] == sums[2] != sums[3]
    good, bad = (torch.load(folder / f"flipped-{rank}.pt")["0.weight"] for rank in (0, 3))
    assert (good != bad).nonzero().tolist() == [[12, 5]]


def test_what_kills_is_read_from_the_logs(folder):
    assert cause(folder, "worker.log") == "killed"
    assert diagnose((folder / "worker.log").read_text()).candidates[0].rank == 2
    assert cause(folder, "memory.log") == "host-memory"
    assert cause(folder, "stale.log") == "port-taken"
    assert "this is the older job" in (folder / "stale.log").read_text()


def test_a_full_disk_spoils_the_last_checkpoint_unless_it_is_renamed(folder):
    plain, atomic = ((folder / f"disk-{way}.log").read_text() for way in ("plain", "atomic"))
    assert (
        "free: 0 bytes" in plain
        and "\nloaded: step" not in plain
        and cause(folder, "disk-plain.log") == "checkpoint-write"
    )
    assert "iostream error" in atomic and "loaded: step 100" in atomic


def test_the_binding_is_seen_in_the_cores(folder):
    def cores(way):
        return [json.loads((folder / f"binding-{way}-{task}.json").read_text())["cores"] for task in (0, 1)]

    same, own = cores("same"), cores("own")
    assert same[0] == same[1]
    assert own[0] != own[1] or usable_cores() == 1
