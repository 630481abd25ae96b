"""The questionnaire on the published page: the answers of the command, by keyboard alone, from this site."""

import datetime
import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from chromium import needs_chromium, served_page
from playwright.sync_api import Page, expect

from scaleup.access import Company, find_route
from scaleup.access.route_rules import questions
from scaleup.paths import root

pytestmark = [pytest.mark.processes, needs_chromium]
READY = datetime.date(2026, 11, 28)
COMPANIES = yaml.safe_load((root() / "tests/access/companies.yml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def page(site: Path) -> Iterator[Page]:
    """The questionnaire in Chromium, on the screen of a phone, served as any web server would."""
    with served_page(site, "book/access/which-route.html", viewport={"width": 390, "height": 844}) as opened:
        yield opened


def as_the_page_has_it(company: Company) -> dict:
    """The route by Python as JSON has it."""
    return json.loads(json.dumps(find_route(company).as_dict()))


def asked_of_the_script(page: Page, answers: dict) -> dict:
    return page.evaluate("answers => window.accessRoute(answers)", answers)


def whole(answers: dict) -> dict:
    """The answers with the usual one for each question that is not answered."""
    usual = {question.key: question.usual for question in questions()}
    return usual | {"country": "Germany"} | answers | {"ready": READY.isoformat()}


@pytest.mark.parametrize("profile", COMPANIES, ids=[profile["who"][:40] for profile in COMPANIES])
def test_the_page_gives_the_answer_of_the_command(page, profile):
    answers = whole(profile["answers"])
    if answers["country"] == "United States":
        answers["country"] = "another country"
    assert asked_of_the_script(page, answers) == as_the_page_has_it(Company(**answers | {"ready": READY}))


def test_the_page_and_the_command_agree_on_every_kind_of_answer(page):
    choices = {question.key: list(question.options) for question in questions() if question.options}
    kinds = itertools.product(
        choices["kind"], choices["purpose"], choices["results"], choices["readiness"], choices["data"]
    )
    hours = itertools.cycle([0, 1, 5000, 5001, 10000, 10001, 50000, 50001, 333333, 2400001, 9999999])
    months = itertools.cycle([1, 3, 4, 6, 12])
    places = itertools.cycle(choices["country"])
    machines = itertools.cycle(choices["machine"])
    days = itertools.cycle(READY + datetime.timedelta(days) for days in range(0, 60, 7))
    compared = 0
    for kind, purpose, results, readiness, data in kinds:
        answers = {"country": next(places), "kind": kind, "purpose": purpose, "results": results,
                   "readiness": readiness, "data": data, "hours": next(hours), "months": next(months),
                   "machine": next(machines), "project": "yes" if compared % 2 else "no"}  # fmt: skip
        ready = next(days)
        told = asked_of_the_script(page, answers | {"ready": ready.isoformat()})
        assert told == as_the_page_has_it(Company(**answers, ready=ready)), answers
        compared += 1
    assert compared == 4 * 3 * 2 * 3 * 4


def test_the_form_is_filled_in_and_answered_by_keyboard_alone(page):
    page.get_by_label("Where is your organisation established?").focus()
    page.keyboard.type("Portug")
    hours = page.get_by_label("How many GPU-hours")
    presses = 0
    while not hours.evaluate("field => field === document.activeElement"):
        page.keyboard.press("Tab")
        presses += 1
    assert presses == 5, "one key from each question to the next"
    page.keyboard.press("Control+a")
    page.keyboard.type("20000")
    page.keyboard.press("Enter")
    heading = page.locator("#access-answer h3")
    expect(heading).to_have_text("Begin with Playground, then apply for Fast Lane.")
    assert page.evaluate("document.activeElement.id") == "access-answer", "the answer has the focus"
    route = json.loads(page.locator("#access-answer").get_attribute("data-route"))
    tomorrow = datetime.datetime.now(datetime.UTC).date() + datetime.timedelta(1)
    assert route == as_the_page_has_it(Company("Portugal", hours=20000, ready=tomorrow))
    for sentence in (*route["reasons"], *route["first"], *route["prepare"], *route["call"]):
        expect(page.locator("#access-answer li", has_text=sentence)).to_have_count(1)


def test_a_number_that_cannot_be_is_refused_by_the_browser(page):
    page.get_by_label("How many GPU-hours").fill("-3")
    before = page.locator("#access-answer").get_attribute("data-route")
    page.get_by_role("button", name="Find our route").press("Enter")
    assert not page.locator("#access").evaluate("form => form.checkValidity()")
    assert page.locator("#access-answer").get_attribute("data-route") == before


def test_every_field_has_a_label_and_the_answer_does_not_scroll_sideways(page):
    fields = page.locator("#access select, #access input")
    assert fields.count() == len(questions())
    for number in range(fields.count()):
        assert fields.nth(number).evaluate("field => field.labels.length") == 1
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_nothing_is_asked_of_another_site_and_nothing_fails(page):
    assert all(url.startswith((page.home, "data:")) for url in page.asked)
    assert page.errors == []


def test_the_line_of_the_ai_act_is_computed_for_a_run(page):
    page.goto(f"{page.home}book/access/ai-act.html")
    page.get_by_label("Parameters, billions").fill("70")
    page.get_by_label("Tokens, billions").fill("15000")
    page.keyboard.press("Enter")
    expect(page.locator("#flop-answer")).to_have_text("6.3 × 10^24 operations, 63 % of the line: below it.")
    page.get_by_label("Parameters, billions").fill("400")
    page.keyboard.press("Enter")
    expect(page.locator("#flop-answer")).to_contain_text("above it")
