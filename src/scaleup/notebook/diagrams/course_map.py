"""The course's map, from the book's table of contents: a row per part, a box per lesson."""

from __future__ import annotations

import yaml

from ...paths import root
from .canvas import Drawing, wide


def course(here: str = "", title: str = "") -> Drawing:
    """Every lesson by its subject, in the order of the book; `here` is the subject to mark."""
    toc = yaml.safe_load((root() / "book" / "_toc.yml").read_text(encoding="utf-8"))
    picture = Drawing(title or (f"You are here: {here}" if here else "The course"))
    y = picture.height
    for part in toc["parts"]:
        subjects = [
            chapter["file"].split("/")[-1]
            for chapter in part["chapters"]
            if chapter["file"].startswith("notebooks/") and chapter["file"].count("/") == 2
        ]
        if not subjects:
            continue
        picture.text(0, y + 13, part["caption"], style="bold")
        x, y = 0.0, y + 20
        for subject in subjects:
            w = wide(subject) + 18
            if x + w > picture.width:
                x, y = 0.0, y + 32
            picture.box(x, y, w, 24, "here" if subject == here else "plain", subject)
            x += w + 10
        said = ", ".join(f"{subject} (here)" if subject == here else subject for subject in subjects)
        picture.says.append(f"{part['caption']}: {said}.")
        y += 36
    picture.height = y
    return picture
