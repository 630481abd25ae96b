"""Rules and patterns: what goes, what is blotted out, and what is known to pass."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaleup.text.prepare import filters
from scaleup.text.prepare.filters import RULES, first_reason, scrub, tidy

PROSE = "The cluster was slow on Monday, and nobody knew why until the logs were read with care."


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        (PROSE, None),
        ("Click here to go on", "too_short"),
        ("12:30 | 7 | 8.1 | 99 % | -- | 3 | 4 | total", "few_letters"),
        ("\n".join(["Home and about us", "Contact"] * 4), "repeated_lines"),
        ("\n".join(["Home and about us", "Contact now"] * 1 + ["Another line here", "And one more"]), None),
        ("S p a c e d o u t l e t t e r s a r e n o w o r d s", "odd_words"),
        (PROSE.replace("cluster", "Lorem  ipsum").replace("  ", " "), "filler"),
    ],
)
def test_the_first_rule_that_fits_is_named(text, rule):
    assert first_reason(text) == rule


def test_a_rule_of_ones_own_joins_the_others():
    mine = {**RULES, "shouting": str.isupper}
    assert first_reason(PROSE.upper(), mine) == "shouting"
    assert first_reason(PROSE, mine) is None


@pytest.mark.parametrize(
    ("text", "blotted"),
    [
        ("Write to anna.b+x@mail.example.org.", "Write to <email>."),
        ("müller@straße.example", "<email>"),
        ("Call +49 30 23125 000 or 0044 20 7946 0000!", "Call <phone> or <phone>!"),
        ("(030) 2312500 and 0171/23125000", "<phone> and <phone>"),
        ("Call 0171 2345678. Or (030) 2312500.", "Call <phone>. Or <phone>."),
        ("To DE89 3704 0044 0532 0130 00 please", "To <iban> please"),
        ("GB82WEST12345698765432", "<iban>"),
        ("ping 192.0.2.17, then 2001:db8::8a2e:370:7334", "ping <ip>, then <ip>"),
    ],
)
def test_personal_data_is_blotted_out(text, blotted):
    assert scrub(text)[0] == blotted


@pytest.mark.parametrize(
    "text",
    [
        "DE88 3704 0044 0532 0130 00",  # a wrong check digit
        "x[::2] and std::vector and 12:30:59",
        "300.1.2.3 and 1.2.3.4.5",
        "from 0 12 345 678.9 to more",
        "@decorator and a@b",
        "in 2026, 1,234,567 people; 3.14159; 2026-11-27; pages 100-120",
        "Anna Muster, Musterstraße 1, 10115 Berlin",  # a person all the same: a known limit
    ],
)
def test_what_only_looks_alike_stays(text):
    assert scrub(text) == (text, {})


def test_kinds_are_counted():
    assert scrub("a@b.org c@d.org 10.0.0.1")[1] == {"email": 2, "ip": 1}


@settings(deadline=None)
@given(st.text(st.sampled_from("ae\u0301\u0308\0\r\n ")))
def test_tidying_twice_changes_nothing_more(text):
    assert tidy(tidy(text)) == tidy(text)


@settings(deadline=None)
@given(st.text(st.characters(codec="utf-8")))
def test_a_rule_answers_for_any_text(text):
    assert first_reason(text) in {None, *RULES}


def test_a_text_without_an_end_is_scrubbed_in_time_that_grows_with_it():
    """Patterns that try every end of every beginning would never finish here."""
    for piece in ("a", "a.", "1 ", "A1", "0:", "+1", "a@"):
        scrub(piece * 200_000)


def test_tidying_makes_letters_and_lines_one_kind():
    assert tidy("  e\u0301a\r\nb\rc\0 ") == "éa\nb\nc"
    assert filters.RULES["too_short"] is filters.too_short
