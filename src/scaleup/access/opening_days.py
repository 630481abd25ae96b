"""When a mode of access opens: the earliest day of computing, as data and as a date."""

from __future__ import annotations

import datetime
from typing import Any

from .doors import Mode

DAY = datetime.timedelta(days=1)


def after_working_days(day: datetime.date, working_days: int) -> datetime.date:
    """The day that is so many working days later. Monday to Friday work; public holidays are not known."""
    while working_days:
        day += DAY
        working_days -= day.weekday() < 5
    return day


def _shifts(working_days: int) -> list[int]:
    """How many days of the calendar so many working days are, from each day of the week, Monday first."""
    monday = datetime.date(2024, 1, 1)
    days = [monday + n * DAY for n in range(7)]
    return [(after_working_days(day, working_days) - day).days for day in days]


def calendar(mode: Mode) -> dict[str, Any]:
    """How the first day follows from the day of the application, as data that a page can read.

    kind "any": `shifts` days later, by the day of the week, Monday first. kind "cut-offs": pairs of a cut-off
    and its first day; the first cut-off that is not before the application counts. kind "monthly": `after`
    days from day `day` of the month. kind "after": so many days later, at the earliest.
    """
    decision, start = mode["decision_days"].value, mode["start_days"].value
    if (cut_offs := mode["cut_offs"].value) is not None:
        pairs = []
        for cut_off in cut_offs:
            first = after_working_days(cut_off, decision) if decision else cut_off + start * DAY
            pairs.append([cut_off.isoformat(), first.isoformat()])
        return {"kind": "cut-offs", "days": pairs}
    if decision is not None:
        return {"kind": "any", "shifts": _shifts(decision)}
    if (day := mode["cut_off_day"].value) is not None:
        return {"kind": "monthly", "day": day, "after": start}
    return {"kind": "after", "after": start}


def first_day(mode: Mode, ready: datetime.date) -> datetime.date | None:
    """The earliest day of computing if you apply on the day `ready`; None where no cut-off is known."""
    found = calendar(mode)
    if found["kind"] == "any":
        return ready + found["shifts"][ready.weekday()] * DAY
    if found["kind"] == "after":
        return ready + found["after"] * DAY
    if found["kind"] == "monthly":
        while ready.day != found["day"]:
            ready += DAY
        return ready + found["after"] * DAY
    for cut_off, first in found["days"]:
        if ready.isoformat() <= cut_off:
            return datetime.date.fromisoformat(first)
    return None
