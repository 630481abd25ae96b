"""The facts on access: each with a source, a day and a link or the reason why there is none."""

import copy
import datetime

import pytest

from scaleup.access import doors
from scaleup.errors import CourseError
from scaleup.machines import operational

FILE = doors.content()


def changed(*path, to):
    """A copy of the file with one value replaced, or taken away."""
    file = copy.deepcopy(FILE)
    place = file
    for key in path[:-1]:
        place = place[key]
    if to is KeyError:
        del place[path[-1]]
    else:
        place[path[-1]] = to
    return file


def test_the_file_follows_its_schema():
    assert doors.problems(FILE) == []


@pytest.mark.parametrize(
    ("path", "to", "said"),
    [
        (("sources", "survey", "why"), KeyError, "a source without an address needs why"),
        (("sources", "sme", "url"), "eur-lex", "is no address of a page"),
        (("sources", "sme", "kind"), "rumour", "rumour is no kind"),
        (("sources", "sme", "date"), datetime.date(2030, 1, 1), "not after the day of reading"),
        (("modes", "playground", "most", "source"), None, "a value needs a source"),
        (("modes", "playground", "most", "source"), ["survay"], "survay is not in the list"),
        (("modes", "playground", "most", "value"), "5000", "has the wrong type"),
        (("modes", "playground", "most", "value"), None, "it needs a value"),
        (("modes", "playground", "most", "value"), 0, "least is not below most"),
        (("modes", "playground", "unit", "value"), "hour", "hour is no unit"),
        (("modes", "playground", "most"), KeyError, "the fields are not those of the schema"),
        (("help", "factories", "who"), KeyError, "the fields are not those of the schema"),
        (("law", "flop_line", "as_of"), "2026", "a fact is value, source and perhaps a note"),
        (("context",), KeyError, "the sections are not those"),
    ],
)
def test_a_file_that_does_not_follow_it_is_told_what_is_wrong(path, to, said):
    file = changed(*path, to=to)
    if path == ("context",):
        file["other"] = {}
        file["context"] = {}
    assert any(said in sentence for sentence in doors.problems(file))


def test_every_source_is_used():
    used = {key for _, entry in doors._places(doors._sections(FILE)) for key in doors._keys(entry["source"])}
    assert used == set(FILE["sources"])


def test_a_fact_knows_its_sources():
    fact = doors.mode("playground")["decision_days"]
    assert fact.value == 2 and len(fact.sources) == 4 and "2026-09-30" in fact.date
    assert "2026-04-21" in fact.links


def test_conflicts_are_marked():
    marked = [aged.place for aged in doors.by_age() if aged.fact.note.startswith(doors.CONFLICT)]
    assert set(marked) == {
        "modes, fast-lane, least",
        "modes, fast-lane, status",
        "modes, large-scale, status",
        "modes, extreme, cut_offs",
    }


def test_an_unknown_mode_gets_the_nearest_name():
    with pytest.raises(CourseError, match="Did you mean 'playground'"):
        doors.mode("playgrund")


@pytest.mark.parametrize(
    ("country", "group"),
    [("Germany", "member"), ("Türkiye", "associated"), ("Canada", "part"), ("United States", "other")],
)
def test_a_country_is_in_one_group(country, group):
    assert doors.group_of(country) == group
    assert len(doors.countries()) == len(set(doors.countries()))


def test_there_are_27_member_states():
    assert len(doors.section("countries")["member"].value) == 27


def test_machines_are_those_of_the_machines_file():
    for mode in doors.modes().values():
        assert set(mode["machines"].value or ()) <= set(operational())


def test_every_fact_is_listed_by_age_oldest_first():
    aged = doors.by_age()
    assert len(aged) == len(list(doors._places(doors._sections(FILE))))
    days = [fact.newest for fact in aged if fact.newest]
    assert days == sorted(days) and all(not fact.newest for fact in aged[len(days) :])
    assert aged[0].place.startswith("company, staff") or aged[0].newest <= "2003-05-06"


def test_what_is_unknown_says_so_in_a_note_or_is_a_field_that_others_fill():
    for aged in doors.by_age():
        if aged.fact.value is None:
            assert aged.fact.sources == (), aged.place
