"""`scaleup access`: asks in the shell what no option gave, and prints the route."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import sys
from typing import Any

from ..errors import CourseError
from ..words import nearest
from .doors import countries, mode, modes
from .opening_days import DAY
from .route import Company, Route, find_route, kind_of_company
from .route_rules import Question, questions

SIZE = ("staff", "turnover", "balance")


def main(given: argparse.Namespace) -> None:
    """Ask, find, print. Raises CourseError for an answer that cannot be."""
    ask = not (given.yes or given.json) and sys.stdin.isatty()
    answers = {question.key: _answer(question, given, ask) for question in questions()}
    company = Company(**answers)
    found = find_route(company)
    print(json.dumps(found.as_dict(), indent=2, ensure_ascii=False) if given.json else told(company, found))


def _answer(question: Question, given: argparse.Namespace, ask: bool) -> Any:
    said = getattr(given, question.key)
    if question.key == "kind" and (size := _size(given)):
        return size
    if said is not None:
        return read(question, said)
    if question.key == "country" and not ask:
        raise CourseError("Where is the organisation established? Say --country, such as --country Portugal.")
    return _asked(question) if ask else usual(question)


def _size(given: argparse.Namespace) -> str | None:
    numbers = [getattr(given, name) for name in SIZE]
    if all(number is None for number in numbers):
        return None
    if None in numbers or given.kind:
        raise CourseError("Give --staff, --turnover and --balance together, without --kind.")
    return kind_of_company(*numbers)


def usual(question: Question) -> Any:
    """What is taken when nothing is answered; the day to apply is tomorrow."""
    return datetime.date.today() + DAY if question.key == "ready" else question.usual


def read(question: Question, said: str) -> Any:
    """An answer as typed text: a word or the number of an option, a number, or a day. Raises CourseError."""
    said = said.strip()
    if question.key == "country":
        return country(said)
    if question.options:
        keys = list(question.options)
        return keys[int(said) - 1] if said.isdigit() and 0 < int(said) <= len(keys) else said
    if question.key == "ready":
        try:
            return datetime.date.fromisoformat(said)
        except ValueError:
            raise CourseError(f"'{said}' is no day. Write it as 2026-12-01.") from None
    try:
        return float(said.replace(",", "").replace("_", ""))
    except ValueError:
        raise CourseError(f"'{said}' is no number. Write one, such as 20000.") from None


def country(said: str) -> str:
    """A country as the facts write it. An unknown one is taken as it is; a near miss raises CourseError."""
    known = {name.lower(): name for name in countries()}
    known |= {
        "turkey": "Türkiye",
        "uk": "United Kingdom",
        "korea": "South Korea",
        "czech republic": "Czechia",
    }
    if said.lower() in known:
        return known[said.lower()]
    near = nearest(said.lower(), known)
    if near and abs(len(near) - len(said)) <= 2 and _shared_ends(near, said.lower()) >= len(near) - 2:
        raise CourseError(f"There is no country '{said}'. Did you mean '{known[near]}'?")
    return said


def _shared_ends(one: str, other: str) -> int:
    """How many letters two words share at the beginning and at the end."""
    begin = len(os.path.commonprefix([one, other]))
    return begin + len(os.path.commonprefix([one[begin:][::-1], other[begin:][::-1]]))


def _asked(question: Question) -> Any:
    default = usual(question)
    print(f"\n{question.asks}")
    if question.options and question.key != "country":
        for number, words in enumerate(question.options.values(), 1):
            print(f"  {number}  {words}")
        shown = list(question.options).index(default) + 1
    else:
        shown = default
    while True:
        said = input(f"[{shown}] ").strip()
        try:
            return read(question, said) if said else default
        except CourseError as error:
            print(error)


def day(found: datetime.date | None) -> str:
    """A day for a sentence."""
    return f"{found.day} {found:%B %Y}" if found else "not known: no cut-off after that day was found"


def told(company: Company, found: Route) -> str:
    """The route as text for a terminal."""
    names = {key: str(facts["name"]) for key, facts in modes().items()}
    parts = [found.headline, found.tomorrow]
    if found.units:
        parts.append(found.units)
    if found.start:
        door = found.step or found.target
        parts.append(
            f"Earliest start, if you apply on {day(company.ready)}: {names[door]}, {day(found.start)}."
        )
    if found.step and found.verdict == "step":
        parts.append(f"{names[found.target]} after it, at the earliest: {day(found.target_start)}.")
    elif found.target and found.verdict == "apply" and not found.start:
        parts.append(f"Earliest start: {day(None)}.")
    if found.target:
        facts = mode(found.target)
        parts.append(f"Price: {facts['price']}.")
    lists = {
        "Why": found.reasons,
        "First": found.first,
        "Mind": found.mind,
        "Prepare": found.prepare,
        "Who helps": found.call,
        "What else there is": found.elsewhere,
    }
    if not found.target:
        lists = {"Why not": tuple(dict.fromkeys(s for said in found.others.values() for s in said))} | lists
    text = "\n".join(parts)
    for title, sentences in lists.items():
        if sentences:
            text += f"\n\n{title}\n" + "\n".join(f"- {sentence}" for sentence in sentences)
    return (
        text
        + "\n\nFacts, sources and days: data/access.yml. Read the call's own page before you rely on them."
    )
