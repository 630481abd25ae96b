"""An annex as one HTML file, and as PDF."""

import base64
import html.parser
import re

import pytest
from chromium import CHROMIUM, needs_chromium

from scaleup.errors import CourseError
from scaleup.proposal import printing

SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="9" height="9"/>'
    "<style>:root{--ink-0:#111}"
    "@media screen and (prefers-color-scheme:dark){:root{--ink-0:#eee}}</style></svg>"
)
TEXT = """# A title with *stress*

**Word.** Some `code`, <b>no</b> HTML.

> **To be written by you:** something. (`a.b`)

> **Not ready:** something else.

*Table: what is asked for*

| what | value |
| --- | ---: |
| hours | 1,000 |

![What it shows: 100 % & more](scaling.svg)
"""


class Tags(html.parser.HTMLParser):
    """Tags that are open at the end, and all that there were."""

    def __init__(self, text):
        super().__init__()
        self.open, self.all = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.all.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_a_page_is_whole_and_asks_nothing_of_others():
    page = printing.as_html(TEXT, {"scaling.svg": SVG})
    tags = Tags(page)
    assert tags.open == []
    assert ("html", {"lang": "en"}) in tags.all
    assert "<title>A title with stress</title>" in page
    assert "&lt;b&gt;no&lt;/b&gt;" in page
    assert not re.search(r"(src|href)=\"(?!data:)", page)


def test_tables_have_captions_and_named_rows_and_columns():
    page = printing.as_html(TEXT, {"scaling.svg": SVG})
    assert "<caption>what is asked for</caption>" in page
    assert '<th scope="col">what</th>' in page and '<th scope="col" class="number">value</th>' in page
    assert '<th scope="row">hours</th>' in page and '<td class="number">1,000</td>' in page


def test_gaps_and_marks_can_be_told_apart():
    page = printing.as_html(TEXT, {"scaling.svg": SVG})
    assert page.count('<blockquote class="gap">') == page.count('<blockquote class="mark">') == 1


def test_a_figure_is_in_the_file_with_its_words_and_light_on_the_white_page():
    page = printing.as_html(TEXT, {"scaling.svg": SVG})
    found = re.search(r'<img alt="([^"]*)" src="data:image/svg\+xml;base64,([^"]*)"', page)
    assert found[1] == "What it shows: 100 % &amp; more"
    picture = base64.b64decode(found[2]).decode()
    assert picture.startswith("<svg") and "prefers-color-scheme" not in picture


def test_a_figure_that_is_not_there_is_named():
    with pytest.raises(CourseError, match="a figure scaling.svg that is not beside it"):
        printing.as_html(TEXT, {})


def test_without_a_browser_it_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(printing, "BROWSERS", ("no-such-browser",))
    with pytest.raises(CourseError, match="Open annex.html in any browser and print it to PDF"):
        printing.write_pdf(tmp_path / "annex.html", tmp_path / "annex.pdf")


@pytest.mark.processes
def test_a_browser_that_writes_nothing_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(printing, "BROWSERS", ("true",))
    with pytest.raises(CourseError, match="true was asked, and it wrote nothing"):
        printing.write_pdf(tmp_path / "annex.html", tmp_path / "annex.pdf")
    assert list(tmp_path.iterdir()) == []


@needs_chromium
@pytest.mark.processes
def test_the_pdf_has_the_structure_of_the_page(tmp_path):
    """Tags, a language and a title are what a screen reader needs of a PDF."""
    assert printing.browser() == CHROMIUM
    (tmp_path / "annex.html").write_text(printing.as_html(TEXT, {"scaling.svg": SVG}), encoding="utf-8")
    printing.write_pdf(tmp_path / "annex.html", tmp_path / "annex.pdf")
    content = (tmp_path / "annex.pdf").read_bytes()
    assert content.startswith(b"%PDF") and content.rstrip().endswith(b"%%EOF")
    for sign in (b"/StructTreeRoot", b"/Marked true", b"/Lang (en)", b"/S /Table", b"/S /Figure", b"/S /H1"):
        assert sign in content, sign
    assert sorted(path.name for path in tmp_path.iterdir()) == ["annex.html", "annex.pdf"]
