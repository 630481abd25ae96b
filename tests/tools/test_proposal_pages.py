"""The example proposals of the book are what `scaleup propose` makes of the files in `data/proposals/`."""

import pytest
from tools import proposal_pages

from scaleup.paths import root

PAGES = proposal_pages.pages()
KINDS = {"playground": "Playground", "fast-lane": "Fast Lane", "large-scale": "Large Scale"}


@pytest.mark.parametrize("path", [path for path in PAGES if path.endswith(".md")])
def test_a_page_is_in_step_with_its_words(path):
    kept = (root() / path).read_text(encoding="utf-8")
    assert kept == PAGES[path], "run: python -m tools.proposal_pages"


def test_the_picture_is_there():
    """What is drawn depends on the fonts that are there, so its bytes are not compared."""
    kept = (root() / proposal_pages.PICTURE).read_text(encoding="utf-8")
    assert "<svg" in kept and "strong scaling" in kept and "weak scaling" in kept


@pytest.mark.parametrize(("name", "mode"), KINDS.items())
def test_an_example_is_whole_marked_as_invented_and_of_its_size(name, mode):
    text = PAGES[f"book/proposals/{name}.md"]
    assert "**An invented example.**" in text and "(invented)" in text
    assert "To be written by you:" not in text
    assert f"| access mode | {mode} |" in text
    assert "do not fit" not in text and "is not known to offer" not in text


def test_every_example_says_what_its_study_does_not_show():
    for name in KINDS:
        assert "The study was made on the practice supercomputer" in PAGES[f"book/proposals/{name}.md"]


def test_the_overview_names_all_three_with_their_points():
    page = PAGES["book/proposals/index.md"]
    assert all(f"({name}.md)" in page for name in KINDS)
    assert page.count(" of 37 |") == 3
