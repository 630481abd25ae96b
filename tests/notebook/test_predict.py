"""A learner's number beside the measured one."""

import math
import re
from pathlib import Path

import numpy
import pytest
import torch

from scaleup.errors import CourseError
from scaleup.notebook.predict import KINDS, compare, predict


def test_prediction_and_comparison_read_as_sentences():
    assert repr(predict("step time", 0.8, "s")) == "predicted step time: 0.8 s"
    expected = "step time: you predicted 0.8 s, measured ≈ 0.530 s, predicted / measured ≈ 1.51"
    assert repr(compare("step time", 0.53)) == expected


def test_only_digits_after_the_sign_differ_between_runs():
    """With the rule of tests/nbval.cfg, a guess that is too high and one that is too low look alike."""
    text = (Path(__file__).parents[1] / "nbval.cfg").read_text("utf-8")
    rule = re.search(r"\[measured\]\nregex: (.*)\nreplace: (.*)", text)
    predict("speed", 12_000, "tokens/s")
    seen = {
        re.sub(rule[1], rule[2], repr(compare("speed", x))) for x in (3.2e-7, 0.5, 11_999, 12_001.5, 4e13)
    }
    assert seen == {
        "speed: you predicted 12,000 tokens/s, measured ≈ MEASURED tokens/s, predicted / measured ≈ MEASURED"
    }


@pytest.mark.parametrize(
    ("measured", "shown"),
    [(0.0000123, "≈ 0.0000123"), (1234.5, "≈ 1,230"), (9.999, "≈ 10.00"), (-0.5, "≈ -0.500"), (0, "≈ 0")],
)
def test_measured_numbers_have_three_digits_and_no_exponent(measured, shown):
    predict("thing", 1)
    assert repr(compare("thing", measured)).split(", measured ")[1].split(", predicted")[0] == shown


def test_without_a_prediction_it_says_what_to_do():
    assert repr(compare("nothing", 1)) == "no prediction for 'nothing' yet: run predict('nothing', …) first"


def test_a_second_prediction_replaces_the_first():
    predict("loss", 3)
    predict("loss", 4.5)
    assert compare("loss", 4).predicted.value == 4.5


@pytest.mark.parametrize("value", [numpy.float32(0.5), torch.tensor(0.5), 0.5])
def test_numbers_of_other_libraries_are_numbers(value):
    assert repr(predict("x", value)) == "predicted x: 0.5"


def test_three_dots_ask_for_the_learners_number_and_stop_nothing():
    asked = repr(predict("step time", ..., "s"))
    assert asked == "step time: … s. Write your number where the … stands, then run this cell."
    assert repr(predict("ranks", ...)).startswith("ranks: … Write your number")
    assert repr(compare("step time", 0.53)) == "step time: measured ≈ 0.530 s"
    assert repr(compare("step time", 2, "derived")) == "step time: derived 2 s"
    assert repr(predict("step time", 0.8, "s")) == "predicted step time: 0.8 s"


def test_a_missing_number_is_asked_for():
    with pytest.raises(CourseError, match="Write your guess where the … stands"):
        predict("x", None)
    with pytest.raises(CourseError, match="The number for 'x' is missing"):
        compare("x", ...)


@pytest.mark.parametrize("value", ["0.8 s", "0.8", True, [1], math.nan, math.inf, torch.ones(2)])
def test_what_is_no_number_is_refused_in_a_sentence(value):
    with pytest.raises(CourseError, match="is no number for 'x'"):
        predict("x", value)
    with pytest.raises(CourseError, match="is no number for 'x'"):
        compare("x", value)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "measured"])
def test_what_was_not_measured_here_is_told_exactly(kind):
    predict("parameters", 1000)
    said = repr(compare("parameters", 1250, kind))
    assert said == f"parameters: you predicted 1,000, {kind} 1,250, predicted / {kind} 0.800"


def test_a_count_has_no_decimals():
    predict("ranks", 4, "ranks")
    said = repr(compare("ranks", 8, "counted"))
    assert said == "ranks: you predicted 4 ranks, counted 8 ranks, predicted / counted 0.500"
    assert "counted 3,072 ranks" in repr(compare("ranks", 3072, "counted"))  # whole numbers are not rounded


def test_a_kind_of_number_that_nobody_knows_is_refused():
    with pytest.raises(CourseError, match="measured, counted, derived, recorded, published or fitted, not"):
        compare("parameters", 1250, "guessed")
