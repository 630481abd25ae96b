"""The checklist: what a whole draft earns, and that each thing taken away costs exactly its points."""

import copy
import dataclasses
import json
import re

import pytest

from scaleup.paths import root
from scaleup.proposal import annex, grants, own_words
from scaleup.proposal.proposal_case import case
from scaleup.proposal.review import CRITERIA, REFUSED, as_number, review, sums, take_apart
from scaleup.study import RECORDED, Study

WORDS = own_words.load(root() / "data" / "proposals" / "fast-lane.toml")
STUDY = json.loads((root() / RECORDED / "study.json").read_text(encoding="utf-8"))
NEEDS_A_RUN = {"hours rest on a measurement", "error of the measurement", "scaling on this machine",
               "scaling to the nodes asked for"}  # fmt: skip


@pytest.fixture(scope="module")
def text():
    return annex.write(case(WORDS, Study(STUDY), grants.modes())).markdown()


@pytest.fixture(scope="module")
def measured(text):
    """The draft as it reads once a run on the machine has removed what only that can remove."""
    return re.sub(r"^> \*\*Not ready:\*\*.*\n\n?", "", text, flags=re.M)


def asked(text):
    return {criterion.name for criterion in review(text).asked}


def test_a_whole_draft_lacks_only_what_needs_a_run(text):
    assert asked(text) == NEEDS_A_RUN
    verdict = review(text)
    assert (verdict.score, verdict.of) == (33, 37)
    assert "What a reviewer would ask:" in str(verdict)
    assert "refused for" not in str(verdict)


def test_without_marks_it_has_all_points(measured):
    verdict = review(measured)
    assert verdict.asked == () and verdict.score == verdict.of == 37
    assert str(verdict) == "37 of 37 points."


def test_nothing_earns_nothing():
    verdict = review("")
    assert verdict.score == 0 and len(verdict.asked) == len(CRITERIA)
    assert all(criterion.asks in str(verdict) for criterion in CRITERIA)


def test_the_seven_are_those_that_refusals_are_for():
    grave = {criterion.name for criterion in CRITERIA if criterion.points == REFUSED}
    assert grave == {"mode and size", "status as an SME", "arithmetic of the hours", "proof of scaling",
                     "rights to the data", "ethics and law", "continuation"}  # fmt: skip


def without(text, title):
    """The draft without a section."""
    return re.sub(rf"^## {title}\n.*?(?=^## |\Z)", "", text, flags=re.M | re.S)


DAMAGES = {
    "mode and size": lambda t: t.replace("| access mode | Fast Lane |", "| access mode | not chosen |"),
    "status as an SME": lambda t: t.replace("**Status as an SME.**", "**We are small.**"),
    "arithmetic of the hours": lambda t: re.sub(r"\| total \|  \| ([\d,]+) ", "| total |  | 9,999 ", t),
    "rights to the data": lambda t: t.replace("**Rights.**", ""),
    "ethics and law": lambda t: t.replace("**AI Act.**", ""),
    "continuation": lambda t: t.replace("**Continuation.**", ""),
    "need for this machine": lambda t: t.replace("**Why this machine.**", ""),
    "hours asked and needed": lambda t: t.replace(
        "| duration |", "| asked for | 40,000 GPU-hours |\n| duration |"
    ),
    "trial runs and failures": lambda t: re.sub(r"(\| failures \| .*? \|).*", r"\1 not given |", t),
    "memory": lambda t: without(t, "Memory"),
    "layout": lambda t: t.replace("**Why this layout.**", ""),
    "restart": lambda t: t.replace("**Restart.**", ""),
    "wall time": lambda t: t.replace("| jobs of the chain |", "| jobs |"),
    "storage and transfer": lambda t: t.replace("**Transfer.**", ""),
    "energy": lambda t: without(t, "Energy"),
    "milestones": lambda t: t.replace("| 100% |", "| 90% |"),
    "risks": lambda t: re.sub(r"^\| the queue is long.*\n", "", t, flags=re.M),
    "people and support": lambda t: t.replace("**Support.**", ""),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_what_is_taken_away_is_asked_for(measured, name):
    damaged = DAMAGES[name](measured)
    assert damaged != measured
    assert name in asked(damaged)
    # A part of the hours that is not given breaks the sum, too.
    assert asked(damaged) - {name} <= (
        {"arithmetic of the hours"} if name == "trial runs and failures" else set()
    )


def test_without_scaling_four_things_are_asked(measured):
    assert asked(without(measured, "Scaling, measured")) == NEEDS_A_RUN - {"hours rest on a measurement"} | {
        "proof of scaling"
    }


def test_a_draft_of_another_hand_is_read_as_well():
    text = """# Ours

## Hours

1e21 FLOP at an MFU of 40 %.

*Table: hours by part of the work*

| part | how | GPU-hours |
|---|---|---|
| main run | | 1,000 |
| tuning | | 200 |
| failures | | 180 |
| **total** | | 1,380 |
"""
    page = take_apart(text.replace("**", ""))
    assert sums(page)
    assert not sums(take_apart(text.replace("**", "").replace("1,380", "1,390")))
    assert {"arithmetic of the hours", "trial runs and failures"} & asked(text.replace("**", "")) == set()


def test_a_study_of_one_run_has_no_error():
    content = copy.deepcopy(STUDY)
    for rows in content["scaling"].values():
        for row in rows:
            row["efficiency"] |= {"low": None, "high": None}
    for point in content["points"]:
        point["step_seconds"] |= {"low": None, "high": None}
        point["spread"] = None
    draft = annex.write(case(dataclasses.replace(WORDS, plan={}), Study(content), grants.modes()))
    assert "error of the measurement" in asked(draft.markdown())
    assert "(error unknown)" in draft.markdown()


@pytest.mark.parametrize(
    ("cell", "number"), [("1,809", 1809), ("20 % of it", 20), ("4.5 TB", 4.5), ("none", None), ("…", None)]
)
def test_numbers_of_cells(cell, number):
    assert as_number(cell) == number
