"""What lies on what: a column per stack, its layers from the top, and layers that all of them share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .canvas import Drawing
from .tensors import Piece

GAP = 8


def stacks(
    title: str,
    columns: Mapping[str, Sequence[Piece]],
    *,
    below: Sequence[Piece] = (),
    legend: Mapping[str, str] | None = None,
    height: float = 40,
    width: float = 440,
) -> Drawing:
    """{name of a stack: its layers, from the top}; `below` are layers as wide as all stacks together.

    `legend` is {kind: words} where the words in the layers do not say what the kinds are.
    """
    picture = Drawing(title, width=width)
    top, column = picture.height, (width - GAP * (len(columns) - 1)) / len(columns)
    for place, (name, layers) in enumerate(columns.items()):
        x = place * (column + GAP)
        picture.text(x + column / 2, top + 12, name, anchor="middle", style="bold")
        for row, layer in enumerate(layers):
            picture.box(x, top + 20 + row * (height + 6), column, height, layer.kind, layer.words)
        told = "; ".join(layer.words for layer in [*layers, *below])
        picture.says.append(f"{name}, from the top: {told}.")
    y = top + 20 + max(map(len, columns.values())) * (height + 6)
    for row, layer in enumerate(below):
        picture.box(0, y + 30 * row, width, 24, layer.kind, layer.words)
    if legend:
        picture.legend(legend)
    return picture
