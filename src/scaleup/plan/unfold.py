"""An answer of the planner as HTML that unfolds into its arithmetic: the same in a notebook and on a page.

Each drawing has its numbers as a table in the fold beneath it. Folding is the browser's own `<details>`,
which a keyboard and a screen reader know.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from . import search
from .drawn import Drawing, memory_drawing, step_drawing
from .memory import GIB
from .planner import HIDDEN, Line, Part, Plan, arithmetic, step_parts

LEFT = 'style="text-align:left"'


def table(header: Sequence[str], rows: Iterable[Sequence[str]], caption: str) -> str:
    """A table whose first column names its rows; cells are text."""
    head = "".join(f'<th scope="col" {LEFT}>{escape(word)}</th>' for word in header)
    body = "".join(
        f'<tr><th scope="row" {LEFT}>{escape(first)}</th>'
        + "".join(f"<td {LEFT}>{escape(cell)}</td>" for cell in rest)
        + "</tr>"
        for first, *rest in rows
    )
    head = f"<caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead>"
    return f"<table>{head}<tbody>{body}</tbody></table>"


def picture(drawn: Drawing) -> str:
    return f'<p style="margin:1em 0 0.4em">{drawn.img()}</p>'


def folded(summary: str, inside: str) -> str:
    """A fold that says so: JupyterLab shows no triangle before it."""
    return f"<details><summary>{escape(summary)} (click to open)</summary>{inside}</details>"


def lines(rows: list[Line], caption: str) -> str:
    return table(("what", "value", "how it comes about"), rows, caption)


def headline(p: Plan) -> str:
    device = p.run.machine.accelerator.memory_bytes / GIB
    rows = [
        ("layout", str(p.run.layout)),
        ("memory", f"{p.memory.total / GIB:.1f} of {device:.0f} GiB: {p.verdict}"),
        ("step", f"{p.step.total:.2f} s for {p.run.tokens_per_step:,} tokens"),
        ("tokens/s per device", f"{p.tokens_per_s_per_device:,.0f}"),
        ("MFU", f"{p.mfu:.1%} of the dense 16-bit peak"),
    ]
    if p.tokens:
        rows.append(
            (
                "whole training",
                f"{p.hours:,.1f} hours, {p.node_hours:,.0f} node-hours, at most {p.kwh:,.0f} kWh",
            )
        )
        if p.bill.units:
            price = f", price {p.cost:,.0f}" if p.price else ""
            rows.append(("bill", f"{p.units:,.0f} x {p.bill.unit}{price}"))
    where = (
        f"{p.run.machine.name}: {p.nodes:g} nodes, {p.run.layout.devices:,} devices, {p.run.software.name}"
    )
    return table(("", "planned"), rows, where)


def share(p: Plan, part: Part) -> str:
    return "beneath the rest" if part.lane == HIDDEN else f"{part.amount / p.step.total:.1%}"


def beside(best: Plan, others: Iterable[Plan]) -> str:
    rows = [
        (
            str(other.run.layout),
            f"{other.run.layout.devices:,}",
            f"{other.step.total:.2f}",
            f"{other.memory.total / GIB:.1f}",
            search.beside(best, other),
        )
        for other in others
    ]
    return table(("layout", "devices", "step (s)", "memory (GiB)", "against the best"), rows, "Other plans")


def page(best: Plan, others: Sequence[Plan], remarks: Iterable[str]) -> str:
    """The best plan, others beside it and what should be known about both, as one piece of HTML."""
    groups = arithmetic(best)
    spent = [
        (part.name, part.lane, f"{part.amount:.3f}", share(best, part))
        for part in step_parts(best)
        if part.amount > 0
    ]
    step = table(("part", "is", "seconds", "share"), spent, "What a step is spent on")
    step += "".join(
        lines(groups[title], title) for title in ("The run", "One layer, one micro-batch", "One step")
    )
    memory = lines(groups["Memory of the fullest device"], "Memory of the fullest device")
    found = [
        headline(best),
        picture(memory_drawing(best)),
        folded(f"How the {best.memory.total / GIB:.1f} GiB come about", memory),
        picture(step_drawing(best)),
        folded(f"How the step's {best.step.total:.2f} s come about", step),
    ]
    if best.tokens:
        whole = "The whole training"
        found.append(folded(f"How the {best.hours:,.1f} hours come about", lines(groups[whole], whole)))
    if others:
        found.append(folded(f"{len(others)} other plans", beside(best, others)))
    found += [f"<p>{escape(remark)}</p>" for remark in remarks]
    return f'<div class="scaleup-plan">{"".join(found)}</div>'
