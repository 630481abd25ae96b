"""Invented organisations find the route that the facts imply, each with its reasons."""

import datetime
import json
from pathlib import Path

import pytest
import yaml

from scaleup import cli
from scaleup.access import Company, doors, find_route, interview, opening_days, route, route_rules
from scaleup.errors import CourseError

READY = datetime.date(2026, 11, 28)
COMPANIES = yaml.safe_load((Path(__file__).parent / "companies.yml").read_text(encoding="utf-8"))


def company(**answers) -> Company:
    return Company(**{"country": "Germany", "ready": READY} | answers)


@pytest.mark.parametrize("profile", COMPANIES, ids=[profile["who"] for profile in COMPANIES])
def test_a_company_finds_its_route_with_reasons(profile):
    found = find_route(company(**profile["answers"]))
    assert found.verdict == profile["verdict"]
    assert found.target == profile.get("target") and found.step == profile.get("step")
    for name in ("start", "target_start"):
        if name in profile:
            assert getattr(found, name) == profile[name]
    for name, words in profile["says"].items():
        said = getattr(found, name)
        sentences = [s for part in said.values() for s in part] if isinstance(said, dict) else said
        assert any(words in sentence for sentence in sentences), (name, sentences)
    assert found.tomorrow.startswith("Tomorrow: ")
    if found.verdict == "elsewhere":
        assert set(found.others) == set(route_rules.ALL), "every door says why it is closed"
        assert len(found.elsewhere) >= 2 and found.start is None
    else:
        assert found.reasons and found.prepare and found.call
        assert (found.start is None) == (found.verdict == "not yet" or not _opens(found))


def _opens(found) -> bool:
    return opening_days.first_day(doors.mode(found.step or found.target), READY) is not None


def test_there_are_twenty_companies_and_every_verdict_and_door():
    assert len(COMPANIES) >= 20
    assert {profile["verdict"] for profile in COMPANIES} == set(route.WORDS)
    assert {profile.get("target") for profile in COMPANIES} == {*route_rules.ALL, None}


def test_every_rule_is_of_a_known_kind_and_ends_a_sentence():
    for rule in route_rules.rules():
        assert rule.effect in route_rules.EFFECTS and rule.says.endswith(".") and rule.says[0].isupper()
        assert set(rule.doors) <= {*route_rules.ALL, *doors.entries("elsewhere")}
        assert "None" not in rule.says and "{" not in rule.says


def test_a_rule_s_conditions_name_answers_that_exist():
    asked = {question.key: question for question in route_rules.questions()}
    groups = {"member", "associated", "part", "other"}
    for rule in route_rules.rules():
        for key, condition in rule.when.items():
            if isinstance(condition, dict):
                assert key in ("hours", "node_hours", "months")
                assert set(condition) <= {"over", "least", "upto", "below"}
            elif key == "group":
                assert set(condition) <= groups
            else:
                assert set(condition) <= set(asked[key].options)


@pytest.mark.parametrize(
    ("ready", "days", "first"),
    [
        ("2026-11-27", 2, "2026-12-01"),  # Friday
        ("2026-11-28", 2, "2026-12-01"),
        ("2026-11-29", 2, "2026-12-01"),
        ("2026-11-30", 2, "2026-12-02"),
        ("2026-11-30", 10, "2026-12-14"),
        ("2026-11-26", 4, "2026-12-02"),
    ],
)
def test_working_days_skip_the_weekend(ready, days, first):
    day = datetime.date.fromisoformat(ready)
    assert opening_days.after_working_days(day, days) == datetime.date.fromisoformat(first)
    assert (
        day.toordinal() + opening_days._shifts(days)[day.weekday()]
        == datetime.date.fromisoformat(first).toordinal()
    )


@pytest.mark.parametrize(
    ("mode", "ready", "first"),
    [
        ("large-scale", "2026-11-30", "2026-12-14"),
        ("large-scale", "2026-12-01", "2026-12-29"),
        ("large-scale", "2027-01-05", None),
        ("benchmark", "2026-12-01", "2026-12-15"),
        ("benchmark", "2026-12-02", "2027-01-15"),
        ("development", "2026-12-02", "2026-12-16"),
        ("ai-for-science", "2026-12-11", "2027-01-10"),
        ("regular", "2026-12-01", None),
    ],
)
def test_a_door_opens_on_a_day_that_its_facts_imply(mode, ready, first):
    found = opening_days.first_day(doors.mode(mode), datetime.date.fromisoformat(ready))
    assert found == (first and datetime.date.fromisoformat(first))


@pytest.mark.parametrize(
    ("machine", "said"),
    [
        ("lumi-g", "20,000 GPU-hours are 5,000 node-hours of LUMI-G, which bills 20,000 in its unit"),
        (
            "leonardo-booster",
            "are 5,000 node-hours of Leonardo Booster, which bills 160,000 in its unit: core-hour",
        ),
        ("jupiter-booster", "are 5,000 node-hours of JUPITER Booster, which bills 1,440,000"),
        ("karolina-gpu", "are 2,500 node-hours of Karolina GPU, which bills 2,500 in its unit: node-hour"),
        ("any", "are 5,000 node-hours of a machine with four GPUs a node."),
    ],
)
def test_hours_are_told_in_the_machine_s_unit(machine, said):
    assert said in route.in_units(20000, machine)


def test_hours_that_are_not_known_are_not_converted():
    assert find_route(company(hours=0)).units == ""


@pytest.mark.parametrize(
    ("staff", "turnover", "balance", "kind"),
    [
        (249, 50e6, 60e6, "sme"),
        (249, 60e6, 43e6, "sme"),
        (249, 51e6, 44e6, "large"),
        (250, 1e6, 1e6, "large"),
    ],
)
def test_the_eu_s_thresholds_decide_what_an_sme_is(staff, turnover, balance, kind):
    assert route.kind_of_company(staff, turnover, balance) == kind


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ({"kind": "smee"}, "Did you mean 'sme'"),
        ({"hours": -1}, "cannot be"),
        ({"hours": float("nan")}, "cannot be"),
        ({"months": 0}, "cannot be"),
        ({"ready": "2026"}, "is no day"),
        ({"machine": "lumi"}, "Did you mean 'lumi-g'"),
    ],
)
def test_an_answer_that_cannot_be_is_refused(answers, said):
    with pytest.raises(CourseError, match=said):
        company(**answers)


# The command


def test_the_command_answers_a_route_with_reasons(capsys):
    words = "--country portugal --hours 20,000 --readiness user --machine lumi-g --ready 2026-11-28"
    assert cli.main(["access", *words.split()]) == 0
    said = capsys.readouterr().out
    assert said.startswith("Apply for Fast Lane.\nTomorrow: ")
    assert "5,000 node-hours of LUMI-G" in said and "3 December 2026" in said
    for title in ("Why", "Mind", "Prepare", "Who helps"):
        assert f"\n{title}\n- " in said


def test_the_command_s_json_is_the_route(capsys):
    assert (
        cli.main(["access", "--country", "Italy", "--hours", "3000", "--ready", "2026-11-28", "--json"]) == 0
    )
    said = json.loads(capsys.readouterr().out)
    assert said == json.loads(json.dumps(find_route(company(country="Italy", hours=3000)).as_dict()))


def test_the_command_takes_a_company_s_size(capsys):
    size = ["--staff", "400", "--turnover", "9e6", "--balance", "9e6"]
    assert cli.main(["access", "--country", "Italy", "--hours", "3000", "--json", *size]) == 0
    assert json.loads(capsys.readouterr().out)["verdict"] == "elsewhere"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--hours", "3000"], "Where is the organisation established"),
        (["--country", "Italy", "--hours", "many"], "'many' is no number"),
        (["--country", "Italy", "--ready", "tomorrow"], "'tomorrow' is no day"),
        (["--country", "Germny"], "Did you mean 'Germany'"),
        (["--country", "Italy", "--staff", "3"], "together"),
        (["--country", "Italy", "--purpose", "trian"], "Did you mean 'train'"),
    ],
)
def test_what_the_command_cannot_use_is_told_in_a_sentence(words, said, capsys):
    assert cli.main(["access", *words]) == 2
    assert said in capsys.readouterr().err


def test_the_questionnaire_asks_and_takes_numbers_and_asks_again(monkeypatch, capsys):
    typed = iter(["norway", "3", "", "", "2", "x", "4000", "", "2", "1", "", "2026-11-28"])
    monkeypatch.setattr("builtins.input", lambda prompt: next(typed))
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    assert cli.main(["access"]) == 0
    said = capsys.readouterr().out
    assert "'x' is no number" in said and "Apply for Benchmark." in said
    assert list(typed) == []


@pytest.mark.parametrize(
    ("said", "country"), [("turkey", "Türkiye"), ("UK", "United Kingdom"), ("Japan", "Japan")]
)
def test_a_country_is_taken_by_its_usual_names(said, country):
    assert interview.country(said) == country
