"""Write a number down before running; look at both numbers afterwards."""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import EllipsisType
from typing import Any

from ..errors import CourseError

_predictions: dict[str, Prediction] = {}


@dataclass(frozen=True)
class Prediction:
    """A number that a learner wrote down, with its unit; None while it is still to be written."""

    what: str
    value: float | None
    unit: str

    def __repr__(self) -> str:
        if self.value is None:
            blank = f"…{_unit(self.unit)}." if self.unit else "…"
            return f"{self.what}: {blank} Write your number where the … stands, then run this cell."
        return f"predicted {self.what}: {_exactly(self.value)}{_unit(self.unit)}"


@dataclass(frozen=True)
class Comparison:
    """A prediction (None if there was none) beside the number that answers it, in the same unit."""

    what: str
    predicted: Prediction | None
    value: float
    kind: str = "measured"

    def __repr__(self) -> str:
        # Only what was measured here varies from run to run, and only its digits stand behind ≈, which nbval
        # does not compare. "too high" or "too low" would vary as well.
        if self.predicted is None:
            return f"no prediction for '{self.what}' yet: run predict('{self.what}', …) first"
        unit = _unit(self.predicted.unit)
        sign = "≈ " if self.kind == "measured" else ""
        exact = self.kind == "counted" and type(self.value) is int
        number = f"{self.value:,}" if exact else _rounded(self.value)
        found = f"{self.kind} {sign}{number}{unit}"
        if self.predicted.value is None:
            return f"{self.what}: {found}"
        text = f"{self.what}: you predicted {_exactly(self.predicted.value)}{unit}, {found}"
        if self.value:
            text += f", predicted / {self.kind} {sign}{_rounded(self.predicted.value / self.value)}"
        return text


def predict(what: str, value: float | EllipsisType, unit: str = "") -> Prediction:
    """Remembers `value` (in `unit`) as the prediction for `what`, until the kernel restarts.

    A lesson is stored with `...` for the learner's number. Whoever runs it as it is sees what was measured.
    """
    _predictions[what] = Prediction(what, None if value is ... else _number(value, what), unit)
    return _predictions[what]


KINDS = ("measured", "counted", "derived", "recorded", "published", "fitted")


def compare(what: str, value: float, kind: str = "measured") -> Comparison:
    """Puts `value` beside the prediction for `what`; it must be in the unit of the prediction.

    `kind` says where the number comes from: measured by this cell (and so different in every run), counted,
    derived on the page, recorded in an earlier run, published, or fitted. Raises CourseError for another one.
    """
    if kind not in KINDS:
        raise CourseError(f"A number is {', '.join(KINDS[:-1])} or {KINDS[-1]}, not '{kind}'.")
    return Comparison(what, _predictions.get(what), _number(value, what), kind)


def _number(value: Any, what: str) -> float:
    if value is ... or value is None:
        raise CourseError(f"The number for '{what}' is missing. Write your guess where the … stands.")
    try:
        number = value if type(value) is int else float(value)
    except (TypeError, ValueError, RuntimeError):
        number = math.nan
    if isinstance(value, bool | str | bytes) or not math.isfinite(number):
        raise CourseError(f"{value!r} is no number for '{what}'. Write one such as 0.8, its unit in quotes.")
    return number


def _unit(unit: str) -> str:
    return f" {unit}" if unit else ""


def _exactly(value: float) -> str:
    """As the learner wrote it: 0.8, 12,000."""
    return f"{value:,}" if value == int(value) or abs(value) >= 1e-4 else f"{value:g}"


def _rounded(value: float) -> str:
    """Three significant digits and never an exponent, which would be compared from run to run."""
    if type(value) is int and abs(value) < 1000:
        return f"{value}"
    digits = 2 - math.floor(math.log10(abs(value))) if value else 0
    return f"{round(value, digits):,.{max(digits, 0)}f}"
