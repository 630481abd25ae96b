"""data/machines.yml: every number has a source and a date, and nothing else is in there."""

import datetime
from pathlib import Path

import pytest
import yaml

from scaleup import machines
from scaleup.errors import CourseError

CONTENT = yaml.safe_load((Path(__file__).resolve().parents[1] / "data" / "machines.yml").read_text())
FACTS = [(name, field) for name, fields in CONTENT["machines"].items() for field in fields]
NEEDED = {"name": str, "device": str, "devices_per_node": int, "memory_gb": int,
          "peak_bf16_tflops": float, "network_gb_s_per_node": int}  # fmt: skip
ALLOWED = NEEDED | {"measured_bf16_tflops": float}


def test_the_file_holds_sources_and_machines_only():
    assert set(CONTENT) == {"sources", "machines"}
    assert {"lumi-g", "leonardo-booster", "mn5-acc", "jupiter-booster"} <= set(CONTENT["machines"])


@pytest.mark.parametrize("name", CONTENT["sources"])
def test_a_source_has_a_title_and_a_day_that_is_past(name):
    source = CONTENT["sources"][name]
    assert set(source) == {"title", "date"} and source["title"].strip()
    assert type(source["date"]) is datetime.date
    assert datetime.date(2020, 1, 1) < source["date"] <= datetime.date.today()
    used = {fact["source"] for fields in CONTENT["machines"].values() for fact in fields.values()}
    assert name in used, "a source that no fact uses"


@pytest.mark.parametrize(("name", "field"), FACTS, ids=map("/".join, FACTS))
def test_a_fact_has_a_value_and_a_source_that_exists(name, field):
    fact = CONTENT["machines"][name][field]
    assert field in ALLOWED
    assert {"value", "source"} <= set(fact) <= {"value", "source", "note"}
    assert fact["source"] in CONTENT["sources"]
    if fact["value"] is not None:
        want = ALLOWED[field]
        assert type(fact["value"]) in ((int, float) if want is float else (want,))
        assert want is str or fact["value"] > 0
    assert isinstance(fact.get("note", "a note"), str) and fact.get("note", "a note").strip()


@pytest.mark.parametrize("name", CONTENT["machines"])
def test_a_machine_has_every_needed_fact(name):
    assert set(NEEDED) <= set(CONTENT["machines"][name])
    fields = CONTENT["machines"][name]
    if measured := fields.get("measured_bf16_tflops"):
        assert measured["value"] < fields["peak_bf16_tflops"]["value"], "more than the peak"


def test_a_loaded_fact_carries_the_title_and_date_of_its_source():
    assert list(machines.load()) == list(CONTENT["machines"])
    fact = machines.machine("lumi-g")["peak_bf16_tflops"]
    raw = CONTENT["machines"]["lumi-g"]["peak_bf16_tflops"]
    source = CONTENT["sources"][raw["source"]]
    expected = machines.Fact(raw["value"], source["title"], source["date"].isoformat(), raw["note"])
    assert fact == expected
    assert str(fact) == str(raw["value"])


def test_an_unknown_value_says_so_and_is_never_a_number():
    assert str(machines.Fact(None, "a source", "2026-01-01")) == "unknown"


@pytest.mark.parametrize(
    ("typed", "nearest"),
    [
        ("lumi", "lumi-g"),
        ("leonardo", "leonardo-booster"),
        ("jupiter-boster", "jupiter-booster"),
        ("mn5", "mn5-acc"),
    ],
)
def test_an_unknown_machine_names_the_nearest(typed, nearest):
    with pytest.raises(CourseError) as caught:
        machines.machine(typed)
    assert f"no machine '{typed}'" in str(caught.value)
    assert str(caught.value).endswith(f"Did you mean {nearest}?")


def test_a_word_near_no_machine_gets_the_whole_list():
    with pytest.raises(CourseError) as caught:
        machines.machine("zzzzzz")
    assert all(name in str(caught.value) for name in CONTENT["machines"])
