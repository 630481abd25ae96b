"""Tables of slips: what `formula` does with answers that change their arguments or stop on a later row."""

from pathlib import Path

import numpy as np
import pytest

from scaleup.exercises import Checks, NotYet, code, formula, is_number
from scaleup.exercises.register import loading


@pytest.fixture
def total():
    """The check of a function that adds a list, whose slip is to take the first number alone."""
    checks = Checks("1-part/small", Path("small.py"))
    loading.append(checks)
    formula("total", "total(xs)", "sum(xs)", [([1, 2],), ([],)], {"xs[0]": "this is the first alone"},
            otherwise=lambda off: f"yours is {off.got}", hint="Add.", done="right")  # fmt: skip
    loading.pop()
    return checks.exercises["total"].check


def test_an_answer_may_empty_the_list_that_it_gets(total):
    emptying = code("def total(xs):\n    sum = 0\n    while xs:\n        sum += xs.pop()\n    return sum")
    assert [total(emptying), total(emptying)] == ["right", "right"]


@pytest.mark.parametrize("body", ["return xs[0]", "for x in xs:\n        return x"])
def test_a_row_before_shows_the_slip_of_an_answer_that_stops_later(total, body):
    with pytest.raises(NotYet, match="this is the first alone"):
        total(code(f"def total(xs):\n    {body}"))


def test_an_answer_that_only_stops_is_told_that(total):
    with pytest.raises(ZeroDivisionError):
        total(code("def total(xs):\n    return sum(xs) * len(xs) / len(xs)"))


def test_numbers_of_numpy_are_numbers_and_truth_values_are_not():
    assert is_number(np.int64(3)) and is_number(np.float32(0.5))
    assert not any(map(is_number, (True, float("nan"), float("inf"), "3", None, 1j)))
