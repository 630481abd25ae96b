"""What the questionnaire on the book's page reads: questions, rules, calendars and units, for JSON."""

from __future__ import annotations

import dataclasses
from typing import Any

from .doors import modes, section
from .opening_days import calendar
from .route import WORDS
from .route_rules import ALL, OTHER, machine_units, questions, rules


def for_the_page() -> dict[str, Any]:
    """All that `find_route` uses, so that a script gives its answers without a rule of its own."""
    groups = {name: group for group, fact in section("countries").items() for name in fact.value}
    return {
        "questions": [dataclasses.asdict(question) for question in questions()],
        "groups": groups | {OTHER: "other"},
        "doors": {
            key: {
                "name": str(mode["name"]),
                "call": str(mode["call"]),
                "apply": str(mode["apply"]),
                "price": str(mode["price"]),
                "calendar": calendar(mode),
            }
            for key, mode in modes().items()
        },
        "order": list(ALL),
        "rules": [dataclasses.asdict(rule) for rule in rules()],
        "units": machine_units(),
        "flop_line": section("law")["flop_line"].value,
        "measuring_days": section("company")["measuring_days"].value,
        "words": {verdict: list(words) for verdict, words in WORDS.items()},
    }
