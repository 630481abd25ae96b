"""The planner's panel: every field reaches the plan, and a bad one gets a sentence instead."""

import pytest

from scaleup.errors import CourseError
from scaleup.plan import plan
from scaleup.plan.panel import TITLES, panel


@pytest.fixture
def shown():
    return panel(nodes=2, global_batch=64, tokens=1e9)


def test_the_panel_says_what_a_plan_says(shown):
    first = {"nodes": 2, "global_batch": 64, "tokens": 1e9}
    assert shown.answer == plan("llama-3-8b", "lumi-g", **first)
    shown.fields["machine"].value = "mn5-acc"
    shown.fields["zero"].value = 0
    shown.fields["tp"].value = 4
    assert shown.answer == plan("llama-3-8b", "mn5-acc", tp=4, zero=0, **first)
    assert shown.shown.value == shown.answer._repr_html_()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("model", "mistral-7b"),
        ("machine", "leonardo-booster"),
        ("nodes", 4),
        ("seq", 2048),
        ("global_batch", 128),
        ("tokens", 2e9),
        ("software", "fsdp"),
        ("precision", "fp8"),
        ("price", 2.0),
        ("tp", 8),
        ("pp", 2),
        ("cp", 2),
        ("zero", 3),
        ("micro_batch", 2),
        ("recompute", "full"),
    ],
)
def test_every_field_changes_what_is_asked(shown, name, value):
    before = shown.question()
    shown.fields[name].value = value
    after = shown.question()
    assert getattr(after, name) == value != getattr(before, name)


def test_every_field_has_words_and_a_question_without_an_answer_gets_a_sentence(shown):
    assert all(each.description == TITLES[name] for name, each in shown.fields.items())
    shown.fields["nodes"].value = 0
    assert "0 nodes are impossible" in shown.shown.value and shown.answer is None
    assert shown._repr_mimebundle_()["text/html"] == shown.shown.value
    shown.fields["nodes"].value = 1
    assert shown.answer.best.nodes == 1


@pytest.mark.parametrize(
    ("model", "machine", "more", "says"),
    [
        ("llama-9", "lumi-g", {}, "There is no model"),
        ("llama-3-8b", "alice-recoque", {}, "No plan for"),
        ("llama-3-8b", "lumi-g", {"heads": 3}, "The panel has no heads"),
    ],
)
def test_a_first_question_that_is_none_is_refused(model, machine, more, says):
    with pytest.raises(CourseError, match=says):
        panel(model, machine, **more)
