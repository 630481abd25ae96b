"""The built pages as they are seen: pictures and listings on a dark page, any page on paper and a phone."""

import re

import pytest
from chromium import chromium, needs_chromium, new_page
from playwright.sync_api import Browser, Page, expect

pytestmark = [
    pytest.mark.processes,
    needs_chromium,
]
FIRST, PICTURES = "book/index", "book/reference/pictures"
LISTING = re.compile(r'text_html">\s*<style>.*?<div class="highlight">', re.S)
CLEAR = "rgba(0, 0, 0, 0)"


@pytest.fixture(scope="module")
def listing(site) -> str:
    """A lesson's page that shows a file with `Code()`."""
    pages = sorted((site / "notebooks").rglob("*.html"))
    with_one = [page for page in pages if LISTING.search(page.read_text(encoding="utf-8"))]
    assert with_one, "no lesson shows a file, so these tests show nothing"
    return with_one[0].relative_to(site).with_suffix("").as_posix()


@pytest.fixture(scope="module")
def browser():
    with chromium() as started:
        yield started


def dark(browser: Browser, site, name: str, width: int = 1440) -> Page:
    page = new_page(browser, color_scheme="dark", viewport={"width": width, "height": 900})
    page.goto(f"file://{site}/{name}.html")
    page.wait_for_load_state("networkidle")
    assert page.locator("html").get_attribute("data-theme") == "dark"
    return page


def style(page: Page, selector: str, name: str) -> list[str]:
    """One property of every such element, as the browser computes it."""
    read = f"elements => elements.map(element => getComputedStyle(element)['{name}'])"
    found = page.locator(selector).evaluate_all(read)
    assert found, f"{page.url} has no {selector}"
    return found


def lightness(colour: str) -> float:
    return sum(map(int, re.findall(r"\d+", colour)[:3])) / 3


@pytest.mark.parametrize(
    ("name", "selector"),
    [
        (FIRST, ".bd-article img"),
        (PICTURES, ".bd-article img"),
        ("notebooks/start", ".cell_output img"),
    ],
)
def test_what_is_drawn_for_both_grounds_has_no_box_behind_it_on_the_dark_one(browser, site, name, selector):
    page = dark(browser, site, name)
    assert set(style(page, selector, "backgroundColor")) == {CLEAR}
    assert set(style(page, selector, "padding")) == {"0px"}
    assert set(style(page, selector, "filter")) == {"none"}
    page.close()


def test_a_listing_on_a_dark_page_has_light_letters_and_no_box(browser, site, listing):
    page = dark(browser, site, listing)
    letters = style(page, ".cell_output .text_html .highlight :is(pre, span)", "color")
    assert min(map(lightness, letters)) > 100
    assert set(style(page, ".cell_output .text_html:has(.highlight)", "backgroundColor")) == {CLEAR}
    page.close()


@pytest.mark.parametrize("name", [FIRST, PICTURES])
def test_a_dark_page_is_printed_in_dark_ink_and_is_dark_again_afterwards(browser, site, name):
    page = dark(browser, site, name)
    page.emulate_media(media="print")
    for words in (".bd-article p", ".bd-article .highlight span"):
        assert max(map(lightness, style(page, words, "color"))) < 140, words
    assert set(style(page, ".bd-article pre", "whiteSpace")) == {"pre-wrap"}
    page.emulate_media(media="screen")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.close()


PLAIN, DROPDOWN = "details:not([class])", ".sd-dropdown"
FOLDS = {"5-decide-and-prove/planning": PLAIN, "3-many-devices/data-parallel": DROPDOWN}


@pytest.mark.parametrize(("lesson", "folds"), FOLDS.items())
def test_the_folds_of_a_text_are_open_on_paper(browser, site, lesson, folds):
    page = dark(browser, site, f"notebooks/{lesson}")
    read = """folds => folds.map(fold => getComputedStyle(fold, "::details-content").contentVisibility)"""
    seen = []
    for media in ("screen", "print"):
        page.emulate_media(media=media)
        seen.append(set(page.locator(f".bd-article {folds}").evaluate_all(read)))
    assert seen == [{"hidden"}, {"visible"}]
    page.close()


def test_a_picture_that_moves_is_played_each_time_its_fold_is_opened(browser, site):
    page = dark(browser, site, PICTURES)
    fold = page.locator("details.motion")
    fold.locator("img").evaluate("image => { image.loads = 0; image.onload = () => image.loads++; }")
    for _ in range(2):
        before = fold.locator("img").evaluate("image => image.loads")
        fold.locator("summary").click()
        page.wait_for_function("n => document.querySelector('details.motion img').loads > n", arg=before)
        fold.locator("summary").click()
    page.close()


@pytest.mark.parametrize(
    "name", [FIRST, PICTURES, "book/start/install", "book/machines/scripts", "book/machines/lumi-g"]
)
def test_a_phone_shows_all_of_a_page_s_width(browser, site, name):
    page = dark(browser, site, name, width=390)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.close()
