"""A plan drawn to scale: the fullest device's memory against its limit, and what a step is spent on.

One drawing comes out as SVG for a notebook and a page, as text for a shell, and as sentences for those who
see neither. Standard library only: the page runs it in a browser. Colours and patterns are those of the
lessons' pictures (`inks`).
"""

from __future__ import annotations

import base64
import math
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html import escape
from itertools import accumulate

from .inks import COLOURS, FONTS, INK, PAGE, PATTERNS, SMALL, WIDTH, wide, wrapped
from .memory import GIB, RESERVED_BYTES
from .planner import COMPUTING, HIDDEN, LANES, SHOWN, WAITING, Part, Plan, memory_parts, step_parts

TITLE = 14
BAR = 28  # height of a row
LEAST = 0.005  # of the scale; what is less is in the table only
COLUMNS = 80  # of text

# Part -> its colour and its pattern; parts that meet in one picture differ in both or in the pattern.
LOOKS = {
    "weights": ("parameters", ""),
    "gradients": ("gradients", "up"),
    "optimizer": ("optimizer state", "dots"),
    "gathered layers": ("parameters", "steep"),
    "activations": ("activations", "down"),
    "logits": ("tokens", "flat"),
    "reserve": ("plain", ""),
    "unusable": ("idle", "wide"),
    "forward": ("parameters", ""),
    "backward": ("optimizer state", "dots"),
    "recompute": ("parameters", "down"),
    "logits and loss": ("tokens", "flat"),
    "optimizer step": ("optimizer state", "steep"),
    "tensor parallel": ("gradients", "up"),
    "context parallel": ("gradients", "down"),
    "experts": ("gradients", "dots"),
    "weights gathered": ("gradients", "flat"),
    "handing on": ("gradients", "steep"),
    "gradients' sum": ("gradients", ""),
    "waiting for the host": ("idle", "flat"),
    "bubble": ("idle", "wide"),
    "stragglers": ("idle", "dots"),
}
FILLS = {COMPUTING: "█#", HIDDEN: "▒:", SHOWN: "▓=", WAITING: "░.", "": "█#"}  # in text: fine, plain
TOLD = {COMPUTING: COMPUTING, SHOWN: "communication that shows", WAITING: WAITING}
LIMIT = "│|"
FINE = LIMIT[0] + "".join(fine for fine, _ in FILLS.values())


@dataclass(frozen=True)
class Piece:
    """A part in its place on the scale."""

    part: Part
    start: float

    @property
    def end(self) -> float:
        return self.start + self.part.amount

    @property
    def look(self) -> tuple[str, str]:
        return LOOKS[self.part.name.removesuffix(", hidden")]

    @property
    def hidden(self) -> bool:
        """Runs beneath computing, and costs no time of its own."""
        return self.part.lane == HIDDEN


@dataclass(frozen=True)
class Row:
    """Pieces on one line; `sum` is what they are together, in words, and which share."""

    name: str
    pieces: tuple[Piece, ...]
    sum: tuple[str, str] = ("", "")


@dataclass(frozen=True)
class Drawing:
    """Rows to one scale, which reaches at least to `limit`. `words` tells an amount with its unit.

    `lines` are the same pieces in more rows, for text and sentences, which have no colours.
    """

    title: str
    rows: tuple[Row, ...]
    limit: float
    limit_name: str
    words: Callable[[float], str]
    unit: str
    per_unit: float
    lines: tuple[Row, ...] = ()

    @property
    def most(self) -> float:
        """Where the scale ends."""
        return max(self.limit, *(piece.end for row in self.rows for piece in row.pieces))

    @property
    def pieces(self) -> list[Piece]:
        """All that is large enough to be drawn."""
        return [p for row in self.rows for p in row.pieces if p.part.amount >= LEAST * self.most]

    @property
    def alt(self) -> str:
        """The drawing as sentences."""
        said = [f"{self.title}.", f"{self.limit_name.capitalize()}: {self.words(self.limit)}."]
        shown = set(self.pieces)
        for row in self.lines or self.rows:
            told = [f"{p.part.name} {self.words(p.part.amount)}" for p in row.pieces if p in shown]
            if told:
                head = f"{row.name.capitalize()}, {row.sum[0]}" if row.name else "In it"
                said.append(f"{head}: {'; '.join(told)}.")
        return " ".join(said)

    def svg(self) -> str:
        return _svg(self)

    def img(self) -> str:
        """The drawing for a page, a picture of its own, which follows the page's theme."""
        data = base64.b64encode(self.svg().encode()).decode()
        look = f"width:{WIDTH}px;max-width:100%;height:auto;padding:0"
        source = f"data:image/svg+xml;base64,{data}"
        return f'<img class="scaleup-drawn" alt="{escape(self.alt)}" style="{look}" src="{source}" />'

    def text(self, fine: bool = True) -> str:
        """The drawing as lines of at most 80 characters; `fine` with those that not every terminal has."""
        return "\n".join(_text(self, 0 if fine else 1))


def gib(data: float) -> str:
    return f"{data / GIB:,.1f} GiB"


def seconds(whole: float) -> tuple[str, float, Callable[[float], str]]:
    """Unit, its seconds, and the words for a part, with the decimals that three digits of the whole have."""
    unit, each = ("s", 1.0) if whole >= 1 else ("ms", 1e-3)
    digits = max(0, 2 - math.floor(math.log10(max(whole / each, 1e-6))))
    return unit, each, lambda part: f"{part / each:,.{digits}f} {unit}"


def placed(parts: list[Part], start: float = 0.0) -> tuple[Piece, ...]:
    """Parts one behind the other."""
    ends = accumulate((part.amount for part in parts), initial=start)
    return tuple(Piece(part, end) for part, end in zip(parts, ends, strict=False))


def memory_drawing(p: Plan) -> Drawing:
    """What fills the fullest device, against what it has."""
    device = p.run.machine.accelerator.memory_bytes
    parts, kept = memory_parts(p), Part("unusable", RESERVED_BYTES)
    title = f"The fullest device needs {p.memory.total / GIB:,.1f} of {gib(device)}: {p.verdict}"
    row = Row("", (*placed(parts), Piece(kept, device - kept.amount)))
    return Drawing(title, (row,), device, "device", gib, "GiB", GIB)


def step_drawing(p: Plan) -> Drawing:
    """The seconds of a step, put together by what they are spent on, not in the order in which they pass.

    What runs beneath computing ends where the backward pass does, for there the gradients' sum is hidden.
    """
    total, found = p.step.total, [part for part in step_parts(p) if part.amount > 0]
    unit, each, words = seconds(total)
    lanes = {lane: [part for part in found if part.lane == lane] for lane in LANES}
    spent = {lane: sum(part.amount for part in parts) for lane, parts in lanes.items()}
    share = {lane: f"{spent[lane] / total:.0%}" for lane in (COMPUTING, SHOWN, WAITING)}
    back = sum(part.amount for part in lanes[COMPUTING] if part.name in ("forward", "backward"))
    starts = {SHOWN: spent[COMPUTING], WAITING: spent[COMPUTING] + spent[SHOWN]}
    starts[HIDDEN] = max(0.0, back - spent[HIDDEN])
    lines = tuple(
        Row(lane, placed(parts, starts.get(lane, 0.0)), (words(spent[lane]), share.get(lane, "")))
        for lane, parts in lanes.items()
        if any(part.amount >= LEAST * total for part in parts)
    )
    told = [f"{share[lane]} {is_}" for lane, is_ in TOLD.items() if share[lane] != "0%"]
    taken = tuple(piece for row in lines for piece in row.pieces if not piece.hidden)
    rows = [Row("step", taken, (words(total), ""))]
    rows += [Row("beneath the rest", row.pieces, row.sum) for row in lines if row.name == HIDDEN]
    title = f"A step of {words(total)}: {', '.join(told)}"
    return Drawing(title, tuple(rows), total, "step", words, unit, each, lines)


def drawings(p: Plan) -> tuple[Drawing, Drawing]:
    return memory_drawing(p), step_drawing(p)


# SVG


def _named(*words: str) -> str:
    return "-".join(words).replace(" ", "-")


def _style() -> str:
    def inks(theme: int) -> str:
        found = [f"--ink:{INK[theme]};--page:{PAGE[theme]}"]
        for name, themes in COLOURS.items():
            fill, edge = themes[theme]
            found.append(f"--{_named(name)}:{fill};--{_named(name)}-edge:{edge}")
        return ";".join(found)

    boxes = "".join(
        f".{name}{{fill:var(--{name});stroke:var(--{name}-edge)}}" for name in map(_named, COLOURS)
    )
    return (
        f":root{{{inks(0)}}}@media screen and (prefers-color-scheme:dark){{:root{{{inks(1)}}}}}"
        f"text{{font-family:{FONTS};fill:var(--ink)}}"
        ".bold{font-weight:600}.line{stroke:var(--ink)}.ghost{fill:none;stroke:var(--plain-edge)}"
        f".halo{{stroke:var(--page);stroke-width:3;paint-order:stroke}}{boxes}"
    )


def _pattern(colour: str, kind: str) -> str:
    """The pattern in the colour of the edge."""
    look = PATTERNS[kind]
    ink = f"{'fill' if 'circle' in look else 'stroke'}:var(--{_named(colour)}-edge);stroke-width:1.1"
    return (
        f'<pattern id="{_named(colour, kind)}" width="8" height="8" patternUnits="userSpaceOnUse">'
        f'<g style="{ink}">{look}</g></pattern>'
    )


def _words(x: float, y: float, words: str, anchor: str = "start", style: str = "", size: int = SMALL) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}"'
    return f'<text {place} class="halo {style}">{escape(words)}</text>'


def _box(x: float, y: float, w: float, h: float, piece: Piece) -> str:
    """A rectangle in a piece's look, with its pattern over its colour; empty, dashed where hidden."""
    look = piece.look
    hollow = ' style="fill:var(--page);stroke-dasharray:3 2"' if piece.hidden else ""
    place = f'x="{x:.2f}" y="{y:.1f}" width="{w:.2f}" height="{h:.1f}" rx="1.5"'
    drawn = f'<rect {place} class="{_named(look[0])}" stroke-width="1"{hollow}/>'
    if look[1]:
        drawn += f'<rect {place} fill="url(#{_named(*look)})" fill-opacity="0.5"/>'
    return drawn


def _line(x1: float, y1: float, x2: float, y2: float, more: str = "") -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="line" {more}/>'


def _svg(d: Drawing) -> str:
    shapes: list[str] = []
    y = 0.0
    for line in wrapped(d.title, 0.82 * WIDTH, TITLE):
        y += 18
        shapes.append(_words(0, y - 3, line, style="bold", size=TITLE))
    named = any(row.name for row in d.rows)
    left = 106 if named else 0
    right = WIDTH - (max(1.15 * wide(row.sum[0]) for row in d.rows) + 10 if named else 2)
    scale = (right - left) / d.most
    limit = f"{d.limit_name} {d.words(d.limit)}"
    edge, top = left + d.limit * scale, y + (8 if named else 26)
    middle = edge + wide(limit) / 2 <= WIDTH and edge - wide(limit) / 2 >= 0
    if not named:
        shapes.append(_words(edge if middle else WIDTH, y + 18, limit, "middle" if middle else "end"))
    y = top
    drawn = set(d.pieces)
    for row in d.rows:
        for shift, line in _beside(wrapped(row.name, left - 8) if named else []):
            shapes.append(_words(0, y + shift, line))
        if not named:
            shapes.append(f'<rect x="0" y="{y}" width="{edge:.2f}" height="{BAR}" class="ghost" rx="1.5"/>')
        for piece in row.pieces:
            if piece in drawn:
                x, w = left + piece.start * scale, piece.part.amount * scale
                shapes.append(_box(x, y, w, BAR, piece))
                words = piece.part.name.removesuffix(", hidden")
                if wide(words) + 8 <= w:
                    shapes.append(_words(x + w / 2, y + BAR / 2 + 4, words, "middle"))
        for shift, line in _beside([*filter(None, row.sum)]):
            shapes.append(_words(right + 8, y + shift, line, style="bold" if line == row.sum[0] else ""))
        y += BAR + 6
    if not named:  # the parts of a step are in no order of time: no axis, which would tell one
        shapes.append(_line(edge, top - 4, edge, y, 'stroke-width="2" stroke-dasharray="4 3"'))
        shapes += _axis(d, left, right, y)
    y += 4 if named else 28
    legend = _legend(d)
    for x, dy, piece in legend:
        shapes.append(_box(x, y + dy, 14, 12, piece))
        shapes.append(_words(x + 19, y + dy + 10.5, f"{piece.part.name} {d.words(piece.part.amount)}"))
    height = y + legend[-1][1] + 18
    patterns = "".join(_pattern(*look) for look in sorted({p.look for p in d.pieces}) if look[1])
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH + 4}" height="{height:.0f}" '
        f'viewBox="-2 0 {WIDTH + 4} {height:.0f}" role="img" aria-label="{escape(d.alt)}" '
        f'style="max-width:100%;height:auto"><style>{_style()}</style><defs>{patterns}</defs>'
        f"{''.join(shapes)}</svg>"
    )


def _beside(lines: list[str]) -> Iterator[tuple[float, str]]:
    """One line or two in the middle of a row: how far below its top each is written."""
    for number, line in enumerate(lines):
        yield BAR / 2 + 4 - (len(lines) - 1) * 6.5 + number * 13, line


def _axis(d: Drawing, left: float, right: float, y: float) -> list[str]:
    most = d.most / d.per_unit
    power = 10.0 ** math.floor(math.log10(most / 5))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= most / 5 * 0.999)
    shapes = [_line(left, y, right, y)]
    ticks = [number * step for number in range(int(most / step * 1.0001) + 1)]
    room = right - wide(d.unit) - 6
    for tick in ticks:
        x = left + tick * d.per_unit * (right - left) / d.most
        shapes.append(_line(x, y, x, y + 4))
        words = f"{tick:,.10g}"
        if x + wide(words) / 2 < room:
            shapes.append(_words(max(x, wide(words) / 2), y + 16, words, "middle"))
    shapes.append(_words(right, y + 16, d.unit, "end"))
    return shapes


def _legend(d: Drawing) -> list[tuple[float, float, Piece]]:
    """Every part that is drawn: where its swatch is, from the legend's left upper corner."""
    x = y = 0.0
    found = []
    for piece in d.pieces:
        need = 19 + wide(f"{piece.part.name} {d.words(piece.part.amount)}")
        if x and x + need > WIDTH:
            x, y = 0.0, y + 18
        found.append((x, y, piece))
        x += need + 12
    return found


# Text


def _text(d: Drawing, plain: int) -> Iterator[str]:
    """Each row with its bar, the parts of a single row beneath each other."""
    rows = d.lines or d.rows
    if len(rows) == 1 and not rows[0].name:
        rows = tuple(Row(p.part.name, (p,), (d.words(p.part.amount), "")) for p in d.pieces)
    first = max(len(row.name) for row in rows)
    one, two = (max(len(row.sum[place]) for row in rows) for place in (0, 1))
    left = 2 + first + 2 + one + (1 + two if two else 0) + 2
    cells = COLUMNS - left - 1
    edge = round(d.limit / d.most * cells)
    drawn = set(d.pieces)
    yield from textwrap.wrap(d.title, COLUMNS)
    for row in rows:
        line = [" "] * cells
        for piece in row.pieces:
            if piece in drawn:
                start = min(round(piece.start / d.most * cells), cells - 1)
                end = max(round(piece.end / d.most * cells), start + 1)
                fill = WAITING if piece.part.name == "unusable" else piece.part.lane
                line[start:end] = FILLS[fill][plain] * (end - start)
        line.insert(edge, LIMIT[plain])
        share = f" {row.sum[1]:>{two}}" if two else ""
        yield f"  {row.name:<{first}}  {row.sum[0]:>{one}}{share}  {''.join(line)}".rstrip()
    limit = f"{d.limit_name} {d.words(d.limit)}"
    yield "0".rjust(left + 1) + limit.rjust(max(edge, len(limit) + 1))
