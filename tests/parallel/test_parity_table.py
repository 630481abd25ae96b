"""Every technique equals one rank, what is broken does not, and the page in the book says both."""

import re

import pytest
from tools import parity_table
from tools.parity_table import BEGIN, BROKEN, END, KINDS, PAGE, TECHNIQUES, TOLERANCE, WORLDS, bound

from scaleup.config import SCHEDULES
from scaleup.paths import root

ROWS = [(technique.name, world) for technique in TECHNIQUES for world in WORLDS if technique.ways(world)]


@pytest.fixture(scope="module")
def found():
    return parity_table.measured()


def page() -> str:
    return (root() / PAGE).read_text("utf-8")


@pytest.mark.processes
@pytest.mark.parametrize(("name", "world"), ROWS)
def test_a_technique_equals_one_rank(name, world, found):
    told = found[world][name]
    assert told["said"].startswith("equal: "), told
    assert all(told[kind] <= TOLERANCE for kind in KINDS), told


@pytest.mark.processes
@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.name)
def test_what_is_broken_is_told_by_its_first_tensor(broken, found):
    said = found[broken.ranks][broken.name]["said"]
    assert said.startswith(f"differ: {broken.told} by "), said


@pytest.mark.processes
def test_the_page_has_what_is_found_now(found):
    """Bounds may be another power of ten on another machine; what is compared, and what is told, may not."""

    def without_bounds(text: str) -> str:
        return re.sub(r" +", " ", re.sub(r"≤ 1e-\d|\| 0(?= )", "| x", text)).replace("| | x", "| x")

    now = parity_table.filled(page(), found)
    assert without_bounds(page()) == without_bounds(now), "run: .venv/bin/python -m tools.parity_table"


def test_the_page_holds_no_difference_beyond_the_tolerance():
    measured = page().partition(BEGIN)[2].partition(END)[0]
    bounds = [float(number) for number in re.findall(r"≤ (1e-\d+)", measured)]
    assert len(bounds) > 100 and max(bounds) <= TOLERANCE


def test_every_way_and_every_schedule_has_a_row():
    fours = [technique.four for technique in TECHNIQUES]
    for way in ("dp", "shard", "tp", "pp", "cp", "ep"):
        assert any(getattr(ways, way) == 4 for ways in fours), way
    assert {ways.schedule for ways in fours if ways.pp > 1} == set(SCHEDULES)
    assert {ways.attention for ways in fours if ways.cp > 1} == {"ring", "all-to-all"}


@pytest.mark.parametrize(
    ("error", "words"), [(0, "0"), (3e-7, "≤ 1e-6"), (1e-7, "≤ 1e-7"), (2e-2, "≤ 0.1"), (0.5, "≤ 1")]
)
def test_an_error_is_shown_as_the_next_power_of_ten(error, words):
    assert bound(error) == words
