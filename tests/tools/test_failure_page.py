"""The page on failures is the table of causes."""

from tools import failure_page

from scaleup.explain.causes import CAUSES
from scaleup.paths import root


def test_the_page_is_in_step_with_the_table():
    kept = (root() / failure_page.PAGE).read_text(encoding="utf-8")
    assert kept == failure_page.page(), "run: python -m tools.failure_page"


def test_every_cause_is_on_it():
    assert all(cause.title in failure_page.page() for cause in CAUSES)
