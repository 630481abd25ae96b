"""Questions from the top, each with what to do where the answer is yes."""

from __future__ import annotations

from collections.abc import Sequence

from .canvas import Drawing
from .flow import Arrow, Box, flow


def decisions(title: str, rows: Sequence[tuple[str, str]]) -> Drawing:
    """Rows of (question, what to do); the last one has no other way out."""
    boxes: dict[str, Box] = {}
    arrows: list[Arrow] = []
    for row, (question, action) in enumerate(rows):
        boxes[f"question {row}"] = Box(question, 0, row, 1.12)
        boxes[f"action {row}"] = Box(action, 1.3, row, 1.1, kind="here")
        if row:
            arrows.append(Arrow(f"question {row - 1}", f"question {row}", "no"))
        arrows.append(Arrow(f"question {row}", f"action {row}", "yes" if row < len(rows) - 1 else ""))
    picture = flow(title, boxes, arrows, row=62, height=40)
    picture.says = [
        f"{question} {'If yes: ' if row < len(rows) - 1 else ''}{action.rstrip('?')}."
        for row, (question, action) in enumerate(rows)
    ]
    return picture
