"""`scaleup propose`: a company's file becomes an annex, or a draft is read as a reviewer reads it."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..errors import CourseError
from ..files import write_whole
from ..study import load as load_study
from ..words import count
from . import annex, own_words
from .draft import GAP, NOT_READY, Draft, found
from .grants import modes
from .printing import as_html, write_pdf
from .proposal_case import case
from .review import review


def make(path: str | Path, study: str | Path | None = None, machine: str | None = None,
         mode: str | None = None) -> Draft:  # fmt: skip
    """The annex of a company's file. Raises CourseError for what cannot be read."""
    given = case(own_words.load(path), load_study(study) if study else None, modes(), machine, mode)
    return annex.write(given)


def main(arguments: argparse.Namespace) -> int:
    """Returns 0 for an annex without gaps, 1 where something is marked in it."""
    path = Path(arguments.file)
    if arguments.new:
        if path.exists():
            raise CourseError(f"{path} is there already. Give another name.")
        write_whole(path, own_words.template())
        print(f"Wrote {path}. Answer what you can, then: scaleup propose {path}")
        return 0
    if arguments.review:
        verdict = review(drafted(path, arguments)[0])
        print(verdict)
        return 1 if verdict.asked else 0
    markdown, figures = drafted(path, arguments)
    edited = path.suffix == ".md"
    folder = path.parent if edited else Path(arguments.out) if arguments.out else path.with_suffix("")
    for name, text in {} if edited else ({"annex.md": markdown} | figures).items():
        write_whole(folder / name, text)
    page = folder / (path.with_suffix(".html").name if edited else "annex.html")
    write_whole(page, as_html(markdown, figures))
    said = [
        f"{count(len(found(markdown, GAP)), 'gap')}, {count(len(found(markdown, NOT_READY)), 'thing')} "
        f"not ready."
    ]
    try:
        write_pdf(page, page.with_suffix(".pdf"))
        kinds = "Markdown, HTML and PDF"
    except CourseError as error:
        said.append(str(error))
        kinds = "Markdown and HTML"
    print("\n".join([*said, f"The annex is in {folder}, as {kinds}."]))
    return 1 if found(markdown, GAP) or found(markdown, NOT_READY) else 0


def drafted(path: Path, arguments: argparse.Namespace) -> tuple[str, dict[str, str]]:
    """The Markdown and the figures of a company's file, or of a draft that somebody went on writing."""
    if path.suffix != ".md":
        made = make(path, arguments.study, arguments.machine, arguments.mode)
        return made.markdown(), made.figures
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CourseError(f"{path} cannot be read: {error}.") from None
    return text, {file.name: file.read_text("utf-8") for file in path.parent.glob("*.svg")}
