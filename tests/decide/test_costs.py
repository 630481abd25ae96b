"""Prices with their sources, and each formula against a case worked out by hand."""

import datetime
import json
import math
import re

import pytest

from scaleup.access import doors
from scaleup.decide import costs
from scaleup.errors import CourseError
from scaleup.machines.facts import address_problems
from scaleup.paths import root

CONTENT = costs.content()
EXAMPLE = costs.example()
# Round numbers, so that what follows can be worked out on paper.
SIMPLE = costs.example(
    cloud_usd=2.0, usd_per_eur=1.0, salary=80_000, nonwage_share=0.2, working_weeks=40,
    porting_weeks=4, proposal_weeks=1, report_weeks=1, cloud_weeks=2, own_weeks=3,
    lost_failures=0.2, lost_trials_super=0.5, lost_trials=0.5, lost_idle_cloud=0.5,
    data_tb=1, line_gbit_s=1, line_efficiency=0.5, egress_usd_gb=0.1,
    server_usd=320_000, residual=0.25, life_years=2, utilization=0.5, server_kw=8, pue=1.5, electricity=0.2,
    hosting=365, admin_share=0.438, own_servers=2, own_lead_weeks=10, cloud_devices=10, super_devices=100,
    onboarding_days=3, porting_people=2, job_hours=12, wait_hours=4,
)  # fmt: skip


# ---------------------------------------------------------------- the file


def test_the_file_has_its_parts():
    assert list(CONTENT) == ["read", "sources", "facts", "assumptions"]


@pytest.mark.parametrize("key", CONTENT["sources"])
def test_a_source_says_what_it_is_and_when(key):
    source = CONTENT["sources"][key]
    assert set(source) in ({"title", "url", "date", "kind"}, {"title", "url", "why", "date", "kind"})
    assert source["title"].strip() and address_problems(source) == []
    assert source["kind"] in costs.KINDS
    assert source["url"] or source["kind"] == "notes"
    assert isinstance(source["date"], datetime.date) and source["date"] <= datetime.date.today()
    if "undated" in source["title"]:
        assert str(source["date"]) in source["title"], "an undated page says when it was read"
    assert any(
        entry["source"] and key in [entry["source"], *entry["source"]] for entry in CONTENT["facts"].values()
    )


@pytest.mark.parametrize("name", CONTENT["facts"])
def test_a_fact_has_a_unit_and_a_source_or_says_that_none_was_found(name):
    entry = CONTENT["facts"][name]
    assert {"value", "unit", "source"} <= set(entry) <= {"value", "unit", "source", "note"}
    found = costs.facts()[name]
    if entry["value"] is None:
        assert found.sources == () and "not found" in found.note
    else:
        assert type(entry["value"]) in (int, float) and found.sources and found.date and found.kind


@pytest.mark.parametrize("name", CONTENT["assumptions"])
def test_an_assumption_lies_in_its_range_and_says_why(name):
    entry = CONTENT["assumptions"][name]
    assert set(entry) == {"value", "low", "high", "unit", "why"} and entry["why"].strip()
    known = costs.assumptions()[name]
    assert 0 <= known.low <= known.value <= known.high and known.low < known.high
    if known.unit.startswith("share"):
        assert known.high <= 1
    assert all(fact in CONTENT["facts"] for fact in known.facts)


def test_every_assumption_moves_something():
    def all_outcomes(a):
        three = (costs.supercomputer(8000, 1e11, a), costs.cloud(9000, a), costs.own(9000, a))
        return sum(
            number for w in three for number in (w.fixed, w.per_token * 1e9, w.start, w.tokens_per_day)
        )

    moved = {swing.name for swing in costs.sensitivity(all_outcomes, EXAMPLE)}
    much_data = {**EXAMPLE, "data_tb": 1000, "egress_usd_gb": 0.09}
    moved |= {swing.name for swing in costs.sensitivity(all_outcomes, much_data)}
    assert moved == set(CONTENT["assumptions"])


def test_an_assumption_that_names_a_fact_is_that_fact():
    assert EXAMPLE["electricity"] == costs.fact("electricity").value == 0.1902
    assert costs.assumptions()["cloud_usd"].facts == (
        "cloud_h100_lambda",
        "cloud_h100_nebius",
        "cloud_h100_azure",
    )


def test_unknown_facts_are_named_and_never_used():
    with pytest.raises(CourseError, match="No source gave a value for 'cloud_h100_eur'"):
        costs.fact("cloud_h100_eur")
    with pytest.raises(CourseError, match="Did you mean 'electricity'"):
        costs.fact("elektricity")


def test_what_is_changed_outside_does_not_change_the_facts():
    costs.facts().clear()
    costs.assumptions().clear()
    assert costs.fact("pue").value == 1.54 and costs.example() == EXAMPLE


@pytest.mark.parametrize(
    ("name", "phrase"),
    [
        ("cloud_h100_lambda", "USD {:.2f} an hour"),
        ("egress_usd_gb", "at USD {:.2f} a gigabyte"),
        ("nonwage_share_france", "for France, {:.1%}"),
        ("cloud_credits", "up to USD {:,} of cloud credits"),
        ("cloud_h100_nebius", "USD {:.2f} to 12.29 an hour"),
        ("cloud_h100_azure", "to {:.2f} an hour"),
        ("cloud_h100_reserved", "of a year at USD {:.2f} would"),
        ("ffplus_sme", "up to EUR {:,}"),
        ("effective_time", "more than {:.0%} of the"),
        ("vega_project_year", "EUR {:.0f} per project"),
        ("wait_of_48_h", "within {:g} hours"),
    ],
)
def test_the_lesson_says_what_the_file_says(name, phrase):
    lesson = json.loads((root() / "notebooks/5-decide-and-prove/worth-it.ipynb").read_text("utf-8"))
    text = " ".join(" ".join("".join(cell["source"]) for cell in lesson["cells"]).split())
    assert phrase.format(costs.fact(name).value).replace("%", " %") in text


@pytest.mark.parametrize(
    ("mode", "name", "phrase"),
    [
        ("playground", "most", "Between {:,} and 10,000 hours"),
        ("fast-lane", "least", "and {:,} hours the sources leave a gap"),
        ("playground", "decision_days", "Playground decides within {:g} working days"),
        ("fast-lane", "decision_days", "Fast Lane within {:g}"),
        ("large-scale", "decision_days", "Large Scale within {:g} after"),
    ],
)
def test_the_lesson_says_what_the_file_on_access_says(mode, name, phrase):
    lesson = json.loads((root() / "notebooks/5-decide-and-prove/worth-it.ipynb").read_text("utf-8"))
    text = " ".join(" ".join("".join(cell["source"]) for cell in lesson["cells"]).split())
    assert phrase.format(doors.mode(mode)[name].value) in text


# ---------------------------------------------------------------- formulas


def test_price_of_a_token():
    # 3600 EUR an hour, 10 tokens a second, half of them useful: 0.2 EUR a token.
    assert costs.price_per_token(3600, 10, 0.5) == pytest.approx(0.2)
    assert costs.device_hours(36_000, 10, 0.5) == pytest.approx(2)


def test_useful_share_multiplies():
    assert costs.useful_share(0.2, 0.5) == pytest.approx(0.4)
    assert costs.useful_share() == 1 and costs.useful_share(1) == 0


def test_a_week_of_work():
    # 80,000 gross are four fifths of 100,000; 40 weeks of 2,500.
    assert costs.loaded_year(80_000, 0.2) == pytest.approx(100_000)
    assert costs.loaded_week(80_000, 0.2, 40) == pytest.approx(2_500)


def test_hours_on_a_line():
    # 4.5 TB are 36e12 bits; a line of 1 Gbit/s at 100 % takes 36,000 s.
    assert costs.transfer_hours(4.5, 1) == pytest.approx(10)
    assert costs.transfer_hours(4.5, 1, 0.5) == pytest.approx(20)
    assert costs.transfer_hours(0, 1) == 0


def test_hour_of_an_own_device():
    hour = costs.own_device_hour(SIMPLE)
    # 40,000 EUR a device, a quarter comes back, over 2 years of 4,380 hours
    assert hour.capital == pytest.approx(30_000 / 8_760)
    assert hour.power == pytest.approx(1 * 1.5 * 0.2)
    assert hour.hosting == pytest.approx(12 * 365 / 4_380)
    # 0.438 people of 100,000 EUR on 16 devices of 4,380 hours
    assert hour.staff == pytest.approx(43_800 / 16 / 4_380)
    assert hour.total == pytest.approx(hour.capital + 0.3 + 1 + 0.625)


def test_supercomputer():
    w = costs.supercomputer(1000, 1e9, SIMPLE)
    assert w.fixed == pytest.approx(6 * 2_500) and w.per_token == 0
    # 1e9 tokens at 40 % of 1,000 a second are 694 hours: Playground, two working days
    assert w.start == pytest.approx(7 + 2.8 + 3 + 14)
    assert w.end == pytest.approx(7 + 2.8 + 3 * 365.25 / 12)  # the grant runs from the decision
    assert w.tokens_per_day == pytest.approx(86_400 * 1000 * 100 * 0.4 * 12 / 16)
    paid = costs.supercomputer(1000, 1e9, SIMPLE, price=1.44)
    assert paid.per_token == pytest.approx(1e-6) and paid.fixed == w.fixed
    assert paid.cost(1e9) == pytest.approx(15_000 + 1_000)


def test_the_call_counts_gpu_hours():
    # 1e10 tokens at 40 % of 1,000 a second are 6,944 device-hours, or 3,472 of two devices: Playground
    assert costs.supercomputer(1000, 1e10, SIMPLE).start == pytest.approx(7 + 5.6 + 3 + 14)
    assert costs.supercomputer(1000, 1e10, SIMPLE, devices_per_gpu=2).start == pytest.approx(7 + 2.8 + 3 + 14)


def test_cloud():
    w = costs.cloud(1000, SIMPLE)
    assert w.fixed == pytest.approx(2 * 2_500 + 1000 * 0.1)
    assert w.per_token == pytest.approx(2 / (3600 * 1000 * 0.2))
    assert w.start == 14 and w.tokens_per_day == pytest.approx(86_400 * 1000 * 10 * 0.2)
    assert w.days(86_400 * 1000 * 10 * 0.2) == pytest.approx(15)


def test_purchase_is_two_servers():
    assert costs.purchase(SIMPLE) == pytest.approx(640_000)


def test_own():
    w = costs.own(1000, SIMPLE)
    assert w.fixed == pytest.approx(3 * 2_500) and w.start == 91
    assert w.per_token == pytest.approx(costs.own_device_hour(SIMPLE).total / (3600 * 1000 * 0.4))
    assert w.tokens_per_day == pytest.approx(86_400 * 1000 * 16 * 0.4)


def test_a_slow_line_delays_the_start():
    slow = {**SIMPLE, "data_tb": 100, "line_gbit_s": 0.1}  # 100 TB at 50 Mbit/s: 185 days
    assert costs.cloud(1000, slow).start == pytest.approx(100 * 8e12 / 0.05e9 / 86_400)
    assert costs.supercomputer(1000, 1e9, slow).start > 185


@pytest.mark.parametrize(
    ("hours", "name", "days", "months"),
    [
        (0, "Playground", 2.8, 3),
        (5_000, "Playground", 2.8, 3),
        (5_001, "Fast Lane", 5.6, 3),
        (50_000, "Fast Lane", 5.6, 3),
        (50_001, "Large Scale", 365.25 / 48 + 14, 12),
    ],
)
def test_route(hours, name, days, months):
    found = costs.route(hours)
    assert found.name == name and found.days == pytest.approx(days)
    assert found.grant_days == pytest.approx(months * 365.25 / 12)


def test_break_even():
    dear_start = costs.World("a", 1000, 0.0, 0, 1)
    dear_tokens = costs.World("b", 200, 2.0, 0, 1)
    tokens = costs.break_even(dear_start, dear_tokens)
    assert tokens == pytest.approx(400) == pytest.approx(costs.break_even(dear_tokens, dear_start))
    assert dear_start.cost(tokens) == pytest.approx(dear_tokens.cost(tokens))
    assert costs.break_even(dear_start, dear_start) is None
    always_dearer = costs.World("c", 2000, 2.0, 0, 1)
    assert costs.break_even(dear_start, always_dearer) is None


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0, "0"),
        (0.456, "0.46"),
        (9.96, "10"),
        (39.4, "39"),
        (2279, "2,300"),
        (18_235, "18,000"),
        (1.26e6, "1,300,000"),
    ],
)
def test_two_digits(value, words):
    assert costs.about(value) == words


def test_billions():
    assert costs.billions(None) == "never" and costs.billions(12e9) == "at 12 billion tokens"
    assert costs.billions(326.3e9) == "at 330 billion tokens"


def test_sensitivity_is_sorted_and_leaves_out_what_does_nothing():
    swings = costs.sensitivity(costs.cloud_price, EXAMPLE)
    assert [swing.name for swing in swings] == ["cloud_usd", "usd_per_eur"]
    assert swings[0].at_low == pytest.approx(3.85 / 1.1761) and swings[0].size > swings[1].size


# ---------------------------------------------------------------- hostile input


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: costs.example(portng_weeks=3), "Did you mean 'porting_weeks'"),
        (lambda: costs.example(porting_weeks="three"), "is no number"),
        (lambda: costs.example(porting_weeks=True), "is no number"),
        (lambda: costs.example(porting_weeks=-1), "of at least 0"),
        (lambda: costs.example(porting_weeks=math.inf), "is no number"),
        (lambda: costs.example(utilization=60), "from 0 to 1"),
        (lambda: costs.cloud(9000, {"cloud_usd": math.nan}), "is no number"),
        (lambda: costs.cloud(9000, {**EXAMPLE, "cloud_price": 3}), "There is no assumption 'cloud_price'"),
        (lambda: costs.cloud(0, EXAMPLE), "tokens_per_s=0 leaves nothing to divide by"),
        (lambda: costs.cloud(9000, {**EXAMPLE, "lost_trials": 1}), "useful=0"),
        (lambda: costs.supercomputer(9000, -1, EXAMPLE), "tokens=-1 cannot be"),
        (lambda: costs.supercomputer(9000, 1e9, {**EXAMPLE, "porting_people": 0}), "porting_people=0"),
        (lambda: costs.own_device_hour({**EXAMPLE, "utilization": 0}), "utilization=0"),
        (lambda: costs.price_per_token(3, 9000, 1.2), "from 0 to 1"),
        (lambda: costs.price_per_token(None, 9000), "is no number"),
        (lambda: costs.useful_share(5), "from 0 to 1"),
        (lambda: costs.transfer_hours(1, 0), "gbit_s=0"),
        (lambda: costs.transfer_hours(1, 1, 70), "from 0 to 1"),
        (lambda: costs.loaded_week(60_000, 1, 44), "1 - nonwage_share=0"),
        (lambda: costs.loaded_week(60_000, 0.2, 60), "from 0 to 52"),
        (lambda: costs.route(-5), "cannot be"),
        (lambda: costs.cloud(9000, EXAMPLE).cost("many"), "is no number"),
    ],
)
def test_what_cannot_be_gets_a_sentence(call, said):
    with pytest.raises(CourseError, match=re.escape(said)):
        call()
