"""The search of the site: forty-two queries of readers find the page that answers them."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
import yaml
from chromium import needs_chromium, served_page
from playwright.sync_api import Page, expect

from scaleup.paths import root

TOP = root()
QUERIES = yaml.safe_load((TOP / "tests/site/queries.yml").read_text(encoding="utf-8"))
KEYWORDS = yaml.safe_load((TOP / "book/keywords.yml").read_text(encoding="utf-8"))


def exists(page: str) -> bool:
    return any((TOP / page).with_suffix(kind).is_file() for kind in (".md", ".ipynb"))


def test_every_page_of_the_list_exists_and_no_query_is_asked_twice():
    assert len({each["query"] for each in QUERIES}) == len(QUERIES) >= 42
    assert [page for each in QUERIES for page in each["right"] if not exists(page)] == []


def test_every_page_with_words_of_its_own_exists():
    assert [page for page in KEYWORDS if not exists(page)] == []


def read_by_pagefind(monkeypatch, page: str, html: str) -> str | None:
    monkeypatch.syspath_prepend(str(TOP / "book/_ext"))
    import search

    return search.for_the_index(page, html, ["a & b"])


ARTICLE = """<nav>Side bar</nav><article class="bd-article"><section id="one"><h1>One
<a class="headerlink" href="#one">#</a></h1><div class="cell_output x">7</div></section></article>"""


def test_pagefind_reads_the_article_alone_with_places_weights_and_keywords(monkeypatch):
    read = read_by_pagefind(monkeypatch, "book/a", ARTICLE)
    assert '<h1 id="one" data-pagefind-weight="8">' in read and "Side bar" not in read
    assert 'data-pagefind-weight="1"' in read and 'content="a &amp; b"' in read
    assert '<div data-pagefind-weight="0.3" class="cell_output' in read
    assert 'data-pagefind-weight="0.2"' in read_by_pagefind(monkeypatch, "exercises/a", ARTICLE)
    assert read_by_pagefind(monkeypatch, "book/a", "<p>no article</p>") is None


@pytest.fixture(scope="module")
def page(site: Path) -> Iterator[Page]:
    with served_page(site, "search.html", viewport={"width": 390, "height": 844}) as opened:
        yield opened


def ask(page: Page, query: str) -> list[str]:
    """The pages that the search lists, in their order."""
    page.goto(f"{page.home}search.html?q={quote(query)}")
    expect(page.locator("#search-found[data-query]")).to_be_attached()
    links = page.locator("#search-found > li > h2 > a").evaluate_all("all => all.map(a => a.href)")
    return [link.removeprefix(page.home).partition("#")[0].removesuffix(".html") for link in links]


@pytest.mark.processes
@needs_chromium
def test_the_right_page_is_first_for_most_queries_and_among_the_first_three_for_all(page):
    places = {}
    for each in QUERIES:
        found = ask(page, each["query"])
        places[each["query"]] = next((n for n, hit in enumerate(found, 1) if hit in each["right"]), 99)
    assert {query: place for query, place in places.items() if place > 3} == {}
    not_first = [query for query, place in places.items() if place > 1]
    assert len(QUERIES) - len(not_first) >= 36, not_first
    assert page.errors == [] and [url for url in page.asked if not url.startswith(page.home)] == []


@pytest.mark.processes
@needs_chromium
def test_what_is_found_shows_the_page_s_own_words_and_links_to_their_place(site, page):
    ask(page, "backfill")
    first = page.locator("#search-found > li").first
    assert first.locator("mark").first.inner_text().lower().startswith("backfill")
    expect(page.locator("#search-status")).to_contain_text("“backfill”")
    place = first.locator("ul a").first.get_attribute("href")
    file, anchor = place.split("#")
    assert f'id="{anchor}"' in (site / file.lstrip("/")).read_text(encoding="utf-8")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.processes
@needs_chromium
def test_a_search_that_finds_nothing_and_an_empty_one_say_what_to_do(page):
    assert ask(page, "zzqqxy") == []
    expect(page.locator("#search-status")).to_contain_text("Try fewer words")
    page.goto(f"{page.home}search.html")
    expect(page.locator("#search-words")).to_be_focused()


@pytest.mark.processes
@needs_chromium
def test_the_search_works_from_any_page_by_the_keyboard_alone(page):
    page.set_viewport_size({"width": 1280, "height": 900})
    page.goto(f"{page.home}book/machines/lumi-g.html")
    page.keyboard.press("Control+k")
    page.keyboard.type("ring attention")
    page.keyboard.press("Enter")
    page.wait_for_url("**/search.html?q=*")
    expect(page.locator("#search-found h2").first).to_have_text("Context parallelism")


@pytest.mark.processes
@needs_chromium
def test_a_page_that_is_opened_as_a_file_says_how_to_search(site, page):
    page.goto(f"file://{site}/search.html?q=lumi")
    expect(page.locator("#search-status")).to_contain_text("make serve")
