"""The directive `{lessons}`: a card for every lesson, made from what the notebook says about itself.

`{lessons} total` says how many there are and how long they take. The order and the parts come from the book's
table of contents; title, summary, minutes, level, needs and the number of processes come from
`metadata.scaleup` of each notebook.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

logger = logging.getLogger(__name__)

KEYS = ("title", "summary", "minutes", "level", "needs", "outcomes", "keywords", "processes")


class Lesson(NamedTuple):
    id: str
    part: str
    about: dict[str, Any]


def lesson_files(toc: dict[str, Any]) -> list[tuple[str, str]]:
    """Lesson ids with the caption of their part, in the order of the table of contents."""
    found = []
    for part in toc["parts"]:
        for chapter in part["chapters"]:
            folder, _, lesson = chapter["file"].partition("/")
            if folder == "notebooks" and "/" in lesson:
                found.append((lesson, part["caption"]))
    return found


def read_lessons(top: Path, toc_file: Path) -> list[Lesson]:
    """Every lesson of the table of contents that exists, with its metadata. A gap in it is a warning."""
    lessons = []
    for lesson, part in lesson_files(yaml.safe_load(toc_file.read_text("utf8"))):
        path = top / "notebooks" / f"{lesson}.ipynb"
        if not path.is_file():
            continue  # the table of contents' own reader warns about it
        about = json.loads(path.read_text("utf8"))["metadata"].get("scaleup", {})
        if gaps := [key for key in KEYS if key not in about]:
            logger.warning("%s: metadata.scaleup lacks %s, so it gets no card.", path, ", ".join(gaps))
            continue
        lessons.append(Lesson(lesson, part, about))
    return lessons


def card(lesson: Lesson, titles: dict[str, str]) -> str:
    """One card as MyST text."""
    about = lesson.about
    several = "1 process" if about["processes"] == "1" else f"{about['processes']} processes"
    facts = f"{about['minutes']} min · {about['level']} · {several}"
    needs = ", ".join(titles.get(need, need) for need in about["needs"]) or "nothing"
    return f"""
:::{{grid-item-card}} {about["title"]}
:link: /notebooks/{lesson.id}
:link-type: doc
:class-card: lesson-card

{about["summary"]}

{facts}

Needs: {needs}
:::
"""


def total(lessons: list[Lesson]) -> str:
    """How long the course takes, as MyST text. Exercises take about as long as their lesson."""
    hours = sum(lesson.about["minutes"] for lesson in lessons) / 60
    return f"**{len(lessons)} lessons, {hours:.0f} hours**, and about as long again for their exercises."


class Lessons(SphinxDirective):
    """`{lessons}`: cards of all lessons, a grid for each part. `{lessons} total`: how long they take."""

    optional_arguments = 1

    def run(self) -> list[nodes.Node]:
        top = Path(self.env.srcdir)
        toc_file = top / self.config.external_toc_path
        lessons = read_lessons(top, toc_file)
        titles = {lesson.id: lesson.about["title"] for lesson in lessons}
        self.env.note_dependency(str(toc_file))
        for lesson in lessons:
            self.env.note_dependency(str(top / "notebooks" / f"{lesson.id}.ipynb"))
        if self.arguments:
            return self.parse_text_to_nodes(total(lessons))
        text = ""
        for part in dict.fromkeys(lesson.part for lesson in lessons):
            text += f"\n:::{{rubric}} {part}\n:heading-level: 3\n:::\n\n::::{{grid}} 1 1 2 2\n:gutter: 3\n"
            for lesson in lessons:
                if lesson.part == part:
                    text += card(lesson, titles)
            text += "\n::::\n"
        return self.parse_text_to_nodes(text)


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("lessons", Lessons)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
