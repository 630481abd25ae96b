"""Power, overheads, grids: every fact has its source, every formula its hand-worked example."""

import pytest

from scaleup import machines
from scaleup.errors import CourseError
from scaleup.files import read_data
from scaleup.watch import footprint

KINDS = {"official", "paper", "press", "copy", "notes", "derived"}


def entries():
    data = read_data("energy.yml")
    yield from data["grids"].values()
    yield from data["facts"].values()
    for machine in data["machines"].values():
        yield from machine.values()


def test_every_fact_has_value_unit_and_a_known_source():
    sources = read_data("energy.yml")["sources"]
    used = set()
    for entry in entries():
        keys = entry["source"] or []
        keys = [keys] if isinstance(keys, str) else keys
        used.update(keys)
        assert "unit" in entry and (entry["value"] is None) <= bool(entry.get("note"))
        assert bool(keys) or entry["value"] is None
    assert used == set(sources)
    assert all(source["kind"] in KINDS and source["date"] and source["title"] for source in sources.values())


def test_the_machines_and_their_countries_are_known():
    for name in read_data("energy.yml")["machines"]:
        country = machines.machine(name)["country"].value
        assert footprint.grid(country).value > 0


def test_energy_by_hand():
    energy = footprint.energy(hours=2, nodes=3, node_w=1000, devices_w=700, pue=1.5)
    assert (energy.devices, energy.hosts, energy.overhead) == pytest.approx((4.2, 1.8, 3.0))
    assert (energy.it, energy.total) == pytest.approx((6.0, 9.0))
    assert footprint.co2_kg(9.0, 100) == pytest.approx(0.9)
    assert footprint.hours(7200, 1.0) == 2 and footprint.per_billion(9.0, 2e9) == 4.5
    assert footprint.idle_share(3, 1) == 0.25
    assert footprint.power(0, 800, 0.25) == 200 and footprint.power(1, 800, 0.25) == 800
    assert footprint.euros(10, 0.2) == pytest.approx(2)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda: footprint.energy(1, 1, 500, 700, 1.1), "a node draws at least"),
        (lambda: footprint.energy(1, 1, 700, 500, 0.9), "at least 1"),
        (lambda: footprint.grid("Atlantis"), "no grid of 'Atlantis'"),
        (lambda: footprint.fact("pue"), "There is no fact 'pue'"),
        (lambda: footprint.machine("lumi"), "Did you mean 'lumi-g'"),
        (lambda: footprint.hours(1e9, 0), "trains nothing"),
        (lambda: footprint.per_billion(1, 0), "nothing to divide by"),
    ],
)
def test_what_cannot_be_is_refused_with_a_sentence(wrong, words):
    with pytest.raises(CourseError, match=words.replace("(", r"\(")):
        wrong()


@pytest.mark.parametrize("name", ["lumi-g", "leonardo-booster", "mn5-acc", "jupiter-booster"])
def test_a_node_draws_what_it_can_and_says_where_that_is_from(name):
    draw = footprint.node_draw(name)
    assert 1000 < draw.devices_w <= draw.node_w < 11000
    assert draw.says and footprint.pue(name)[1]


def test_the_derived_numbers_are_what_their_notes_say():
    known = read_data("energy.yml")["machines"]
    assert known["lumi-g"]["node"]["value"] == round(379.7e6 / 51.63 / 2978)
    assert known["leonardo-booster"]["node"]["value"] == round(7_493_740 / 3456)
    assert known["jupiter-booster"]["node"]["value"] == round(11e6 / 6000)
