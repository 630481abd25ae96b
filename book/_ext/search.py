"""The site's search: Pagefind's index of the pages, and the page that asks it.

Pagefind reads the finished pages. What it is told about them: a heading is worth more than a sentence, a
lesson more than its exercise, printed output less; and a page answers to its keywords and to its question,
which a lesson has in its metadata, and to what book/keywords.yml adds. What was found is shown by
book/_static/search.js.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from collections.abc import Iterator
from html import escape
from pathlib import Path

import yaml
from pagefind.index import IndexConfig, PagefindIndex
from sphinx.application import Sphinx

ARTICLE = re.compile(r'<article class="bd-article">(.*?)</article>', re.S)
# Sphinx gives the name to the section, and Pagefind looks for it at the heading.
HEADING = re.compile(r'(<section\b[^>]*\bid="([^"]+)"[^>]*>\s*(?:<span id="[^"]*"></span>\s*)*)<h([1-6])>')
TITLE = re.compile(r"<h1[^>]*>(.*?)<a class=\"headerlink\"", re.S)
WEIGHTS = {1: 8, 2: 6, 3: 4, 4: 3, 5: 3, 6: 3}  # of a word in a heading; one in a sentence has 1
LESS = {
    "exercises/": 0.2,
    "book/instructors/": 0.2,
    "book/proposals/": 0.4,
}  # pages that answer few questions
LEFT_OUT = (".headerlink", "script", "style", ".cell_output .stderr", "summary.admonition-title")

KEPT = ("pagefind-entry.json", "pagefind-worker.js")  # of Pagefind's own pages and styles we show none


def keywords(app: Sphinx) -> dict[str, list[str]]:
    """{page: what it answers to}."""
    found = yaml.safe_load((Path(app.srcdir) / "book/keywords.yml").read_text(encoding="utf-8"))
    for file in sorted((Path(app.srcdir) / "notebooks").rglob("*.ipynb")):
        about = json.loads(file.read_text(encoding="utf-8"))["metadata"].get("scaleup", {})
        page = file.relative_to(app.srcdir).with_suffix("").as_posix()
        asked = [about["summary"]] if "summary" in about else []  # the question that the lesson answers
        found[page] = [*about.get("keywords", []), *asked, *found.get(page, [])]
    return found


def for_the_index(page: str, html: str, words: list[str]) -> str | None:
    """What Pagefind reads of a page; None if the page has no article."""
    article = ARTICLE.search(html)
    if article is None:
        return None
    body = HEADING.sub(
        lambda m: f'{m[1]}<h{m[3]} id="{m[2]}" data-pagefind-weight="{WEIGHTS[int(m[3])]}">', article[1]
    )
    body = body.replace("<dt id=", f'<dt data-pagefind-weight="{WEIGHTS[3]}" id=')
    body = body.replace('<div class="cell_output', '<div data-pagefind-weight="0.3" class="cell_output')
    title = TITLE.search(body)
    name = re.sub(r"<[^>]+>", "", title[1]).strip() if title else page
    weight = next((weight for folder, weight in LESS.items() if page.startswith(folder)), 1)
    return (
        f'<html lang="en"><body data-pagefind-body data-pagefind-weight="{weight}">'
        f'<meta data-pagefind-meta="title[content]" content="{name}">'
        f'<meta data-pagefind-meta="keywords[content]" content="{escape(", ".join(words))}">'
        f"{body}</body></html>"
    )


def pages(app: Sphinx) -> Iterator[tuple[str, str]]:
    words = keywords(app)
    for page in sorted(app.env.found_docs):
        html = (Path(app.outdir) / f"{page}.html").read_text(encoding="utf-8")
        if content := for_the_index(page, html, words.get(page, [])):
            yield f"{page}.html", content


async def write_index(app: Sphinx) -> None:
    folder = Path(app.outdir) / "_static" / "pagefind"
    shutil.rmtree(folder, ignore_errors=True)  # its files' names change with what they hold
    config = IndexConfig(
        output_path=str(folder),
        exclude_selectors=LEFT_OUT,
        force_language="en",
        include_characters="_",
    )
    async with PagefindIndex(config=config) as index:
        for address, content in pages(app):
            await index.add_html_file(content=content, url=address)
    for ready_made in folder.glob("pagefind-*"):
        if ready_made.name not in KEPT:
            ready_made.unlink()


def build_index(app: Sphinx, error: Exception | None) -> None:
    if error is None and app.builder.format == "html":
        asyncio.run(write_index(app))


def replace_sphinx_search(app: Sphinx) -> None:
    """Sphinx writes neither its index nor its page."""
    if app.builder.format == "html":
        app.builder.search = False
        app.config.html_additional_pages["search"] = "search.html"


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("builder-inited", replace_sphinx_search)
    app.connect("build-finished", build_index)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
