"""The technical annex: every number from the planner, a study or `data/`, or marked as missing."""

from __future__ import annotations

from ..words import count
from . import annex_need, annex_promise, annex_run
from .draft import Draft
from .proposal_case import Case

SECTIONS = (
    annex_need.request,
    annex_need.workload,
    annex_need.model_and_data,
    annex_need.machine,
    annex_need.hours,
    annex_need.memory,
    annex_need.layout,
    annex_run.scaling,
    annex_run.checkpoints,
    annex_run.storage,
    annex_run.energy,
    annex_promise.milestones,
    annex_promise.risks,
    annex_promise.team,
    annex_promise.ethics,
    annex_promise.origins,
)


def write(given: Case) -> Draft:
    """The whole annex."""
    words = given.words
    opening = []
    if words.invented:
        opening.append(
            "**An invented example.** The company, its people and its words do not exist; they were made up "
            "for "
            "the course. Numbers follow from the planner, from facts in `data/` and, where named, from a "
            "study "
            "measured on the practice supercomputer."
        )
    draft = Draft(f"Technical annex: {words.get('request', 'title') or 'untitled'}", opening, [])
    draft.sections = [make(given) for make in SECTIONS]
    if given.study is not None and (picture := annex_run.figure(given.study)):
        draft.figures[annex_run.FIGURE] = picture
    gaps, marks = len(draft.gaps), len(draft.marks)
    opening.append(
        f"{count(gaps, 'gap')} to be written by you, {count(marks, 'thing')} not ready: each is named in "
        f"place."
        if gaps or marks
        else "No gap was found by `scaleup propose`. It does not judge the idea."
    )
    return draft
