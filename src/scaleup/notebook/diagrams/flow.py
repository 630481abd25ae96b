"""Who starts, calls or sends to whom: boxes in columns and rows, arrows between them, frames around them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...plan.inks import wide, wrapped
from .canvas import Drawing


@dataclass(frozen=True)
class Box:
    """A box in the grid: column and row (0 is left, above), how many columns it spans, its kind."""

    words: str
    column: float
    row: float
    span: float = 1
    kind: str = "plain"


@dataclass(frozen=True)
class Arrow:
    """From one box to another, by name, with words and a width; `both` has a head at each end."""

    start: str
    end: str
    words: str = ""
    width: float = 1.5
    both: bool = False
    dashed: bool = False


def flow(
    title: str,
    boxes: Mapping[str, Box],
    arrows: Sequence[Arrow] = (),
    *,
    frames: Mapping[str, Sequence[str]] | None = None,
    row: float = 74,
    height: float = 38,
    width: float = 440,
) -> Drawing:
    """Boxes by name, arrows between names; `frames` are {words: names of the boxes inside}."""
    picture = Drawing(title, width=width)
    columns = max(box.column + box.span for box in boxes.values())
    column = (width - 8) / columns
    top = picture.height + (20 if frames else 2)
    inset = 11 if frames else 8

    def place(name: str) -> tuple[float, float, float, float]:
        box = boxes[name]
        return 4 + box.column * column + inset, top + box.row * row, box.span * column - 2 * inset, height

    for words, names in (frames or {}).items():
        places = [place(name) for name in names]
        x, y = min(p[0] for p in places) - 8, min(p[1] for p in places) - 20
        right, bottom = max(p[0] + p[2] for p in places) + 8, max(p[1] + p[3] for p in places) + 7
        picture.frame(x, y, right - x, bottom - y, words)
    for arrow in arrows:
        x1, y1, x2, y2 = _ends(place(arrow.start), place(arrow.end))
        style = {"width": arrow.width, "dashed": arrow.dashed}
        picture.line(x1, y1, x2, y2, arrow=True, **style)
        if arrow.both:
            picture.line(x2, y2, x1, y1, arrow=True, **style)
    for name, box in boxes.items():
        picture.box(*place(name), box.kind, box.words)
    for arrow in arrows:
        if not arrow.words:
            continue
        x1, y1, x2, y2 = _ends(place(arrow.start), place(arrow.end))
        flat = abs(y2 - y1) < 10
        lines = wrapped(arrow.words, abs(x2 - x1) - 6 if flat else 130)
        for number, line in enumerate(lines):
            shift = number * 14 - (len(lines) - 1) * (14 if flat else 7)
            if flat:
                picture.text((x1 + x2) / 2, (y1 + y2) / 2 - 5 + shift, line, anchor="middle")
            else:
                side = "end" if (x1 + x2) / 2 + 6 + wide(line) > width else "start"
                x = (x1 + x2) / 2 + (6 if side == "start" else -6)
                picture.text(x, (y1 + min(y2, y1 + 24)) / 2 + 4 + shift, line, anchor=side)
    for words, names in (frames or {}).items():
        picture.says.append(f"In {words}: {', '.join(boxes[name].words for name in names)}.")
    for arrow in arrows:
        joint = "with" if arrow.both else "to"
        label = f" ({arrow.words})" if arrow.words else ""
        picture.says.append(f"{boxes[arrow.start].words} {joint} {boxes[arrow.end].words}{label}.")
    return picture


def _ends(start: tuple[float, ...], end: tuple[float, ...]) -> tuple[float, float, float, float]:
    """From the edge of one box to the edge of the other, straight."""
    (x1, y1, w1, h1), (x2, y2, w2, h2) = start, end
    if y2 >= y1 + h1 or y1 >= y2 + h2:
        low, high = max(x1, x2), min(x1 + w1, x2 + w2)
        down = y2 >= y1 + h1
        if low < high - 10:
            middle = (low + high) / 2
            a, b = middle, middle
        else:
            a, b = x1 + w1 / 2, x2 + w2 / 2
        return a, y1 + h1 if down else y1, b, y2 if down else y2 + h2
    right = x2 >= x1
    return (x1 + w1 if right else x1), y1 + h1 / 2, (x2 if right else x2 + w2), y2 + h2 / 2
