"""Tables of slips: what answers get that change their arguments, stop on a later row, or are wrong twice."""

import re
from pathlib import Path

import numpy as np
import pytest

from scaleup.exercises import (
    Checks,
    NotYet,
    code,
    formula,
    is_number,
    letter_set,
    slip,
    values,
    word_each,
)
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


def test_a_tensor_of_one_number_is_taken_as_a_number(total):
    one = code("import torch\ndef total(xs):\n    return torch.tensor(xs).sum()")
    assert total(one) == "right"
    with pytest.raises(NotYet, match="has to be a number"):
        total(code("import torch\ndef total(xs):\n    return torch.tensor([1.0, 2.0])"))


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


@pytest.fixture
def pair():
    """The check of two numbers, with a slip of the first, of the second and of both."""
    checks = Checks("1-part/small", Path("small.py"))
    loading.append(checks)
    slips = {(24, 5): "the first is doubled", (12, 50): "the second is tenfold", (5, 12): "they are swapped"}
    otherwise = slip(bool, "think anew", (1, 2))
    values("pair", (12, 5), slips, ask="two numbers", otherwise=otherwise, hint="Think.", done="right")
    loading.pop()
    return checks.exercises["pair"].check


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ((24, 5), "the first is doubled"),
        ((24, 50), "the first is doubled"),
        ((1, 50), "the second is tenfold"),
        ((5, 12), "they are swapped"),
        ((5, 7), "think anew"),
    ],
)
def test_a_known_wrong_number_is_named_though_the_other_is_wrong_as_well(pair, given, says):
    assert pair((12, 5)) == "right"
    with pytest.raises(NotYet, match=f"^{says}$"):
        pair(given)


def test_letters_are_read_in_any_form_and_words_in_any_case():
    see, odd = letter_set("d", "ab")
    assert see("c, d") == see("DC") == see({"c", "d"}) == see(["d", "c"]) == {"c", "d"}
    for each in odd:
        with pytest.raises(NotYet, match=re.escape(each.sentence)):
            see(each.answer)
    see, odd = word_each({"A": "NaN", "B": "leak"})
    assert see({"A": "nan", "B": " Leak"}) == {"A": "NaN", "B": "leak"}
    for each in odd:
        with pytest.raises(NotYet, match=re.escape(each.sentence)):
            see(each.answer)
