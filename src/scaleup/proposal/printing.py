"""An annex in Markdown as one HTML file, and as PDF by a browser that is there."""

from __future__ import annotations

import base64
import html
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from ..errors import CourseError
from ..files import write_whole
from .draft import GAP, NOT_READY

BROWSERS = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "microsoft-edge",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Microsoft Edge.app/Contents/MacOS/Microsoft Edge",
)
PATIENCE = 120  # seconds for a browser to print
STYLE = """
@page { size: A4; margin: 18mm 16mm 20mm; @bottom-right { content: counter(page); } }
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; max-width: 46em;
  margin: 0 auto; padding: 1em; }
h1 { font-size: 1.6em; line-height: 1.25; } h2 { font-size: 1.25em; margin-top: 1.8em; break-after: avoid; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; margin: 0.8em 0 1.2em; font-size: 0.92em; }
caption { text-align: left; font-style: italic; padding-bottom: 0.3em; break-after: avoid; }
th, td { border-bottom: 1px solid #8c8c8c; padding: 0.3em 0.6em 0.3em 0; text-align: left;
  vertical-align: top; font-weight: normal; }
thead th { border-bottom: 2px solid #1a1a1a; font-weight: bold; } tr { break-inside: avoid; }
.day { white-space: nowrap; }
.number { text-align: right; font-variant-numeric: tabular-nums; }
blockquote { margin: 0.8em 0; padding: 0.4em 0.8em; border-left: 5px solid #595959; break-inside: avoid; }
blockquote p { margin: 0; } blockquote.gap { border-left-style: double; background: #fff6e0; }
blockquote.mark { background: #fdeaea; border-left-color: #8f1d1d; }
img { max-width: 100%; height: auto; } figure { margin: 1em 0; break-inside: avoid; }
code { font-size: 0.92em; overflow-wrap: anywhere; }
@media print { body { font-size: 10.5pt; max-width: none; padding: 0; } .wide { overflow: visible; } }
"""


def as_html(markdown: str, figures: Mapping[str, str]) -> str:
    """One file without links to others: figures, as SVG, are in it. Tables have captions and named rows.

    Raises CourseError where the draft shows a figure that is not there.
    """
    from markdown_it import MarkdownIt

    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(markdown)
    body = re.sub(r"<p><em>Table: (.*?)</em></p>\s*<table>", r"<table><caption>\1</caption>", body)
    body = re.sub(r'<(th|td) style="text-align:right">', r'<\1 class="number">', body)
    body = body.replace("<th>", '<th scope="col">').replace(
        '<th class="number">', '<th scope="col" class="number">'
    )
    body = re.sub(r"<tr>\s*<td>(.*?)</td>", r'<tr><th scope="row">\1</th>', body)
    body = re.sub(r'<th scope="col"></th>', "<td></td>", body)
    body = re.sub(r"<table>.*?</table>", _scrolling, body, flags=re.S)
    for words, kind in ((GAP, "gap"), (NOT_READY, "mark")):
        body = re.sub(rf"<blockquote>(\s*<p><strong>{words}:)", rf'<blockquote class="{kind}">\1', body)
    body = re.sub(r"<td>(\d{4}-\d\d-\d\d)", r'<td class="day">\1', body)
    body = re.sub(r'<p><img src="([^"]*)" alt="([^"]*)"\s*/?></p>', lambda m: _figure(m, figures), body)
    heading = re.search(r"<h1>(.*?)</h1>", body)
    title = re.sub(r"<.*?>", "", heading[1]) if heading else "Technical annex"
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{title}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n<main>\n{body}</main>\n</body>\n</html>\n"
    )


def _scrolling(found: re.Match) -> str:
    """A table in a box that scrolls where the page is narrow, named for screen readers."""
    caption = re.search(r"<caption>(.*?)</caption>", found[0])
    name = re.sub(r"<.*?>", "", caption[1]) if caption else "table"
    return f'<div class="wide" role="region" aria-label="{name}" tabindex="0">{found[0]}</div>'


def _figure(found: re.Match, figures: Mapping[str, str]) -> str:
    name, alt = html.unescape(found[1]), found[2]
    if name not in figures:
        raise CourseError(
            f"The draft shows a figure {name} that is not beside it. Put it there, or take it out."
        )
    # The page is white in both themes, and so are its figures' colours.
    picture = re.sub(r"@media screen and \(prefers-color-scheme:dark\)\{:root\{[^}]*\}\}", "", figures[name])
    data = base64.b64encode(picture.encode()).decode()
    return f'<figure><img alt="{alt}" src="data:image/svg+xml;base64,{data}"></figure>'


def browser() -> str | None:
    """A browser that prints, by its path."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def write_pdf(page: Path, pdf: Path) -> None:
    """Let a browser print an HTML file, with its structure as tags for screen readers.

    Raises CourseError where there is no browser, or where it does not print.
    """
    program = browser()
    if program is None:
        raise CourseError(
            f"No PDF: neither Chromium, Chrome nor Edge was found. Open {page.name} in any browser and "
            f"print it "
            "to PDF."
        )
    with tempfile.TemporaryDirectory(prefix="scaleup-print-") as folder:
        made = Path(folder) / "annex.pdf"
        words = [program, "--headless", "--disable-gpu", "--disable-background-networking", "--no-first-run",
                 f"--user-data-dir={folder}/profile", "--no-pdf-header-footer", "--export-tagged-pdf",
                 "--generate-pdf-document-outline", f"--print-to-pdf={made}"]  # fmt: skip
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            words.append("--no-sandbox")  # Chromium has none for root, and prints nothing but this file
        why = "it wrote nothing"
        try:
            subprocess.run([*words, page.resolve().as_uri()], capture_output=True, timeout=PATIENCE,
                           stdin=subprocess.DEVNULL, check=False)  # fmt: skip
        except subprocess.TimeoutExpired:
            why = f"it did not end within {PATIENCE} s"
        if not made.exists() or not made.read_bytes().startswith(b"%PDF"):
            raise CourseError(
                f"No PDF: {Path(program).name} was asked, and {why}. Open {page.name} in a browser and "
                f"print it."
            )
        write_whole(pdf, made.read_bytes())
