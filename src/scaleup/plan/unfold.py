"""An answer of the planner as HTML that unfolds into its arithmetic: the same in a notebook and on a page.

Bars are plain boxes, so that no script is needed; each has its numbers beside it, as text, for those who do
not see it. Folding is the browser's own `<details>`, which a keyboard and a screen reader know.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from html import escape

from . import search
from .memory import GIB
from .planner import Line, Plan, arithmetic, parts

# Okabe and Ito's colours, dark and light in turn, so that neighbours differ in grey too.
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#f0e442", "#d55e00", "#56b4e9", "#7f3c6e", "#cccccc", "#444444")
LEFT = 'style="text-align:left"'
WORDS = {
    "weights": "weights",
    "gradients": "gradients",
    "optimizer": "optimizer",
    "gathered": "gathered layers",
    "activations": "activations",
    "logits": "logits",
    "buffers": "reserve",
}


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


def bar(shares: dict[str, float], room: float = 1.0) -> str:
    """A bar of parts, a legend with their numbers. `shares` add up to at most `room`, the whole width."""
    boxes = legend = ""
    for (name, share), colour in zip(shares.items(), COLOURS * 2, strict=False):
        if share < 0.0005:
            continue
        look = f"background-color:{colour};border:1px solid #808080"
        boxes += f'<div style="width:{100 * share / room:.2f}%;height:20px;{look}"></div>'
        swatch = f'<span style="display:inline-block;width:12px;height:12px;{look}"></span>'
        legend += (
            f'<span style="display:inline-block;margin-right:14px">{swatch} {escape(name)} {share:.1%}</span>'
        )
    frame = "display:flex;width:100%;border:1px solid #808080"
    return f'<div aria-hidden="true" style="{frame}">{boxes}</div><div>{legend}</div>'


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
    seconds = parts(best)
    time_shares = {name: part / best.step.total for name, part in seconds.items()}
    device = best.run.machine.accelerator.memory_bytes
    used = dataclasses.asdict(best.memory)
    memory_shares = {WORDS[name]: part / device for name, part in used.items()}
    spent = [
        (name, f"{part:.3f}", f"{part / best.step.total:.1%}") for name, part in seconds.items() if part > 0
    ]
    step = table(("part", "seconds", "share"), spent, "What a step is spent on")
    step += "".join(
        lines(groups[title], title) for title in ("The run", "One layer, one micro-batch", "One step")
    )
    memory = lines(groups["Memory of the fullest device"], "Memory of the fullest device")
    found = [
        headline(best),
        "<p><strong>Where a step's time goes</strong></p>",
        bar(time_shares),
        folded(f"How the step's {best.step.total:.2f} s come about", step),
        "<p><strong>What fills a device's memory</strong></p>",
        bar(memory_shares, max(1.0, best.memory.total / device)),
        folded(f"How the {best.memory.total / GIB:.1f} GiB come about", memory),
    ]
    if best.tokens:
        whole = "The whole training"
        found.append(folded(f"How the {best.hours:,.1f} hours come about", lines(groups[whole], whole)))
    if others:
        found.append(folded(f"{len(others)} other plans", beside(best, others)))
    found += [f"<p>{escape(remark)}</p>" for remark in remarks]
    return f'<div class="scaleup-plan">{"".join(found)}</div>'
