"""The course's map, from the book's table of contents: a row per part, a box per lesson."""

from __future__ import annotations

import json
from typing import Any

import yaml

from ...paths import root
from ...plan.inks import wrapped
from .canvas import Drawing

LEFT, IN_A_ROW, GAP = 98, 3, 8
HIGH = 56


def course(here: str = "", title: str = "") -> Drawing:
    """Every lesson in the order of the book; `here` is the subject to mark, such as "planning".

    A small square in a lesson's box is a process that the lesson starts.
    """
    toc = yaml.safe_load((root() / "book" / "_toc.yml").read_text(encoding="utf-8"))
    picture = Drawing(title or (f"You are here: {here}" if here else "The course"))
    w = (picture.width - LEFT - GAP * (IN_A_ROW - 1)) / IN_A_ROW
    y, spine = picture.height, []
    for part in toc["parts"]:
        files = [chapter["file"] for chapter in part["chapters"]]
        lessons = [file for file in files if file.startswith("notebooks/") and file.count("/") == 2]
        if not lessons:
            continue
        spine.append(y + HIGH / 2)
        said = []
        for number, file in enumerate(lessons):
            row, column = divmod(number, IN_A_ROW)
            subject, about = file.split("/")[-1], _about(file)
            x, top = LEFT + column * (w + GAP), y + row * (HIGH + GAP)
            processes = int(about.get("processes", "1").split("-")[-1])
            _lesson(picture, x, top, w, about.get("title", subject), processes, subject == here)
            place = " (here)" if subject == here else ""
            said.append(f"{subject}{place}, {processes} process{'es' if processes > 1 else ''}")
        picture.says.append(f"{part['caption']}: {'; '.join(said)}.")
        lines = wrapped(part["caption"], LEFT - 24)
        for number, line in enumerate(lines):
            shift = number * 15 - (len(lines) - 1) * 7.5
            picture.text(18, spine[-1] + 4 + shift, line, style="bold")
        y += (HIGH + GAP) * ((len(lessons) - 1) // IN_A_ROW + 1) + 4
    for start, end in zip(spine, spine[1:], strict=False):
        picture.line(6, start + 5, 6, end - 4, arrow=True)
    for place in spine:
        picture.box(1, place - 5, 10, 10, "plain")
    picture.box(LEFT, y + 2, 7, 7, "compute")
    picture.text(LEFT + 13, y + 10, "a process that the lesson starts")
    return picture


def _about(file: str) -> dict[str, Any]:
    """What a lesson says about itself; nothing where it is not written yet."""
    path = root() / f"{file}.ipynb"
    if not path.is_file():
        return {}
    return json.loads(path.read_text(encoding="utf-8"))["metadata"].get("scaleup", {})


def _lesson(picture: Drawing, x: float, y: float, w: float, title: str, processes: int, here: bool) -> None:
    """A box with the lesson's title, and a square per process along its lower edge."""
    picture.box(x, y, w, HIGH, "here" if here else "plain", title)
    step = min(10, (w - 12) / processes)
    for number in range(processes):
        start = x + w / 2 + (number - processes / 2) * step
        picture.box(start, y + HIGH - 11, step - 3, 7, "compute")
