"""One product made in several ways: rectangles whose width and height are to scale, so that areas compare."""

from __future__ import annotations

from collections.abc import Mapping

from ...plan.inks import wrapped
from .canvas import Drawing

WIDEST, HIGHEST, LINE = 230, 120, 15


def areas(
    title: str,
    rows: Mapping[str, tuple[float, float]],
    *,
    across: str,
    up: str,
    area: str,
    kind: str = "compute",
) -> Drawing:
    """A rectangle per row, {words: (width, height)}, all to one scale, with its words beside it.

    `across`, `up` and `area` say what its width, its height and its area are.
    """
    picture = Drawing(title)
    key = f"Width: {across}. Height: {up}. Area: {area}."
    for line in wrapped(key, picture.width):
        picture.text(0, picture.height + 9, line)
    x_scale = WIDEST / max(width for width, _ in rows.values())
    y_scale = HIGHEST / max(height for _, height in rows.values())
    picture.says.append(key)
    for words, (width, height) in rows.items():
        w, h, top = width * x_scale, height * y_scale, picture.height + 10
        lines = wrapped(words, picture.width - w - 12)
        room = max(h, LINE * len(lines))
        picture.box(0, top + (room - h) / 2, w, h, kind)
        first = top + room / 2 + 4 - (len(lines) - 1) * LINE / 2
        for number, line in enumerate(lines):
            picture.text(w + 12, first + number * LINE, line)
        picture.height = max(picture.height, top + room)
        picture.says.append(f"{words}.")
    products = [width * height for width, height in rows.values()]
    if max(products) / min(products) < 1.02:
        picture.says.append("All areas are equal.")
    return picture
