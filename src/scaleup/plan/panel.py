"""The planner as a panel in JupyterLab: change a field, and the plan follows.

It is the one module of the planner that needs a package: ipywidgets.
"""

from __future__ import annotations

import dataclasses
from html import escape
from typing import Any

import ipywidgets as widgets

from .. import machines
from ..errors import CourseError
from .layout import RECOMPUTE, SOFTWARE
from .question import BITS, Answer, Question, answer, described, machine_facts
from .shapes import KNOWN

SEARCHED = "searched"
WIDE = widgets.Layout(width="340px")
LABELS = {"description_width": "150px"}


class Panel:
    """Fields of a question beside its answer. `answer` is the last one, None after a question without one."""

    def __init__(self, first: Question) -> None:
        self.answer: Answer | None = None
        self.fields = {name: field(name, getattr(first, name)) for name in TITLES}
        self.shown = widgets.HTML(layout=widgets.Layout(flex="1 1 460px"))  # beside the fields, or below them
        left = widgets.VBox(list(self.fields.values()))
        self.box = widgets.HBox([left, self.shown], layout=widgets.Layout(flex_flow="row wrap"))
        for each in self.fields.values():
            each.observe(self.follow, names="value")
        self.follow()

    def question(self) -> Question:
        """What the fields ask now."""
        values = {name: each.value for name, each in self.fields.items()}
        for name in ("zero", "recompute"):
            values[name] = None if values[name] == SEARCHED else values[name]
        values["measured"] = values["measured"].strip() or None
        return Question(**values | {name: values[name] or None for name in SPLITS})

    def follow(self, change: Any = None) -> None:
        """Answer what the fields ask; a question without an answer gets its sentence."""
        try:
            asked = self.question()
            self.answer = answer(asked, machine_facts(asked.machine))
            self.shown.value = self.answer._repr_html_()
        except CourseError as error:
            self.answer = None
            self.shown.value = f'<p role="alert">{escape(str(error))}</p>'

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        """The panel where widgets live; where they do not, what it shows."""
        plain = repr(self.answer) if self.answer else "No plan: the panel says why."
        live = self.box._repr_mimebundle_() or {}
        return {**live, "text/plain": plain, "text/html": self.shown.value}


# Field of the question -> its words. The order is the panel's.
TITLES = {
    "model": "model",
    "machine": "machine",
    "nodes": "nodes",
    "seq": "tokens of a sequence",
    "global_batch": "sequences of a step",
    "tokens": "tokens of the training",
    "software": "program",
    "precision": "matrix products in",
    "price": "price of a unit",
    "tp": "tensor parallel",
    "pp": "pipeline stages",
    "cp": "context parallel",
    "zero": "ZeRO stage",
    "micro_batch": "micro-batch",
    "recompute": "recompute",
    "measured": "measured steps",
}
SPLITS = ("tp", "pp", "cp", "micro_batch")  # 0: searched, or 1 where another part of the layout is given


def choices(name: str) -> list[Any]:
    """What a field offers; empty where it takes a number."""
    return {
        "machine": [(facts["name"].value, key) for key, facts in machines.operational().items()],
        "software": list(SOFTWARE),
        "precision": list(BITS),
        "zero": [SEARCHED, 0, 1, 2, 3],
        "recompute": [SEARCHED, *RECOMPUTE],
    }.get(name, [])


def field(name: str, value: Any) -> widgets.Widget:
    """The widget of one field of the question, with its value."""
    common = {"description": TITLES[name], "style": LABELS, "layout": WIDE}
    if options := choices(name):
        return widgets.Dropdown(options=options, value=SEARCHED if value is None else value, **common)
    if name == "model":  # a public one, or the sizes of another
        return widgets.Combobox(value=value, options=list(KNOWN), continuous_update=False, **common)
    if name == "measured":
        return widgets.Text(value=value or "", placeholder="3,910tok/s@8", continuous_update=False, **common)
    if name in ("tokens", "price"):
        return widgets.FloatText(value=value, **common)
    return widgets.IntText(value=value or 0, tooltip="0: searched" if name in SPLITS else "", **common)


def panel(model: str = "llama-3-8b", machine: str = "lumi-g", **more: Any) -> Panel:
    """The planner's panel, opened on a question; `more` are fields of scaleup.plan.Question.

    Raises CourseError where the first question is none.
    """
    known = {each.name for each in dataclasses.fields(Question)} & set(TITLES)
    if unknown := sorted(set(more) - known):
        raise CourseError(f"The panel has no {', '.join(unknown)}. It has {', '.join(sorted(known))}.")
    described(model)
    if machine not in machines.operational():
        raise CourseError(f"No plan for '{machine}'. Choose one of: {', '.join(machines.operational())}.")
    return Panel(Question(model, machine, **({"nodes": 4, "tokens": 100e9} | more)))
