"""Time from left to right: what each rank, node or stage does, to scale."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...plan.inks import wide, wrapped
from .canvas import Drawing


@dataclass(frozen=True)
class Span:
    """From `start` to `end`, in the unit of the picture."""

    start: float
    end: float
    kind: str = "compute"
    words: str = ""


def lanes(
    title: str,
    rows: Mapping[str, Sequence[Span]],
    *,
    unit: str,
    marks: Mapping[str, float] | None = None,
    measured: bool = False,
    height: float = 24,
    width: float = 440,
    tell: bool = True,
    legend: Mapping[str, str] | None = None,
    brackets: Sequence[Span] = (),
    ticks: bool = True,
) -> Drawing:
    """A lane per row, with its spans to one scale; `marks` are moments with a name, drawn through all lanes.

    Spans of one lane that overlap are stacked beneath each other, thin where they are many. `tell`: say every
    span in the alternative text; else, of a lane with more than three, only how many and until when. `legend`
    is {kind: words} where the names of the kinds do not say what the spans are. A row without spans is a
    heading. `brackets` are stretches of time with a name, measured out beneath the last lane. Without `ticks`
    the axis has no numbers: time has an order there, and no scale.
    """
    picture = Drawing(title, width=width, measured=measured)
    left = min(110, 10 + max(wide(line) for name in rows for line in wrapped(name, 98)))
    end = max(span.end for spans in rows.values() for span in spans)
    begin = min(0.0, min(span.start for spans in rows.values() for span in spans))
    scale = (width - left - 6) / (end - begin)

    def x_of(moment: float) -> float:
        return left + (moment - begin) * scale

    sign = "≈ " if measured else ""
    y = picture.height + (16 if marks else 0)
    top = y
    for name, spans in rows.items():
        if not spans:
            picture.text(0, y + 14, name, style="bold")
            picture.says.append(f"{name}:")
            y += 20
            continue
        levels, ordered = _levels(spans)
        depth = max([*levels, 0]) + 1
        each = height if depth <= 4 else max(3, 4 * height / depth)
        gap = 2 if depth <= 4 else 0
        lines = wrapped(name, left - 8)
        for number, line in enumerate(lines):
            picture.text(0, y + height / 2 + 4 - (len(lines) - 1) * 8 + number * 15, line)
        for level, span in zip(levels, ordered, strict=True):
            w = (span.end - span.start) * scale
            words = span.words if depth <= 4 and wide(span.words) + 4 <= w else ""
            picture.box(x_of(span.start), y + level * (each + gap), w, each, span.kind, words)
        y += max(depth * (each + gap), height) + 6
        if tell or len(spans) <= 3:
            told = [
                f"{span.words or (legend or {}).get(span.kind, span.kind)} from {sign}{_short(span.start)} "
                f"to {sign}{_short(span.end)}"
                for span in spans
            ]
            picture.says.append(f"{name}: {', '.join(told)} {unit}.")
        else:
            last = max(s.end for s in spans)
            picture.says.append(f"{name}: {len(spans)} spans until {sign}{_short(last)} {unit}.")
    for number, (name, moment) in enumerate((marks or {}).items()):
        x = x_of(moment)
        picture.line(x, top - 4, x, y - 4, dashed=True)
        anchor = "end" if x + wide(name) / 2 > width else "middle"
        picture.text(x, top - 7 - 13 * (number % 1), name, anchor=anchor)
        picture.says.append(f"{name} at {sign}{_short(moment)} {unit}.")
    for bracket in brackets:
        x1, x2 = x_of(bracket.start) + 1, x_of(bracket.end) - 1
        for x in (x1, x2):
            picture.line(x, y - 2, x, y + 4, width=1)
        picture.line(x1, y + 4, x2, y + 4, width=1)
        picture.text((x1 + x2) / 2, y + 17, bracket.words, anchor="middle", style="bold")
        told = f"from {sign}{_short(bracket.start)} to {sign}{_short(bracket.end)}"
        picture.says.append(f"{bracket.words}: {told} {unit}.")
    y += 26 if brackets else 0
    step = _tick((end - begin) / 5)
    picture.line(left, y, width - 6, y, width=1)
    tick = begin
    while ticks and tick <= end + step / 1e6:
        x = x_of(tick)
        if x + wide(f"{tick:g}") / 2 < width - wide(unit) - 8 or tick == begin:
            picture.line(x, y, x, y + 4, width=1)
            picture.text(x, y + 16, f"{tick:g}", anchor="middle")
        tick += step
    picture.text(width - 4, y + 16, unit, anchor="end")
    picture.height = y + 20
    kinds = list(dict.fromkeys(span.kind for spans in rows.values() for span in spans))
    if legend or len(kinds) > 1:
        picture.legend(legend or kinds)
    return picture


def _levels(spans: Sequence[Span]) -> tuple[list[int], list[Span]]:
    """The level of each span, so that none lies on another, and the spans in the order of their start."""
    ordered, levels = sorted(spans, key=lambda span: span.start), []
    free: list[float] = []  # when each level becomes free
    for span in ordered:
        level = next((n for n, moment in enumerate(free) if moment <= span.start + 1e-9), len(free))
        free[level:level + 1] = [span.end]  # fmt: skip
        levels.append(level)
    return levels, ordered


def _short(value: float) -> str:
    """Three significant digits and never an exponent, which nbval would compare."""
    return f"{float(f'{value:.3g}'):.9f}".rstrip("0").rstrip(".")


def _tick(about: float) -> float:
    """1, 2 or 5 times a power of ten, the least that is not below `about`."""
    power = 10.0 ** math.floor(math.log10(about))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= about * 0.999)
