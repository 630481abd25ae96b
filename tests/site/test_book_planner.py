"""The planner on the published page: Python in a real browser, from this site alone, usable by keyboard."""

import json
from collections.abc import Iterator

import pytest
from chromium import needs_chromium, new_page, served_page
from playwright.sync_api import Page, expect
from test_pictures import LOOK, SMALLEST

from scaleup import cli
from scaleup.plan import plan
from scaleup.plan.drawn import drawings

pytestmark = [
    pytest.mark.processes,
    needs_chromium,
]


@pytest.fixture(scope="module")
def page(site) -> Iterator[Page]:
    """The planner's page in Chromium, served as any web server would."""
    with served_page(site, "book/plan.html") as opened:
        yield opened


def answered(page: Page) -> dict:
    expect(page.locator("#planner-status")).to_contain_text("Planned:")
    return json.loads(page.locator("#planner-answer").get_attribute("data-plan"))


def test_nothing_is_loaded_before_a_plan_is_asked_for(page):
    page.wait_for_load_state("networkidle")
    assert not any("pyodide" in url for url in page.asked)


def test_the_browser_the_shell_and_the_notebook_give_the_same_answer(page, capsys):
    field = page.get_by_label("Nodes")
    field.focus()
    field.fill("4")
    page.keyboard.press("Tab")  # no mouse is used in this file
    page.keyboard.press("Enter")
    seen = answered(page)
    asked = {"nodes": 4, "seq": 8192, "global_batch": 512, "tokens": 100e9}
    words = [word for name, value in asked.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    assert cli.main(["plan", "--model", "llama-3-8b", "--machine", "lumi-g", *words, "--json"]) == 0
    shell = json.loads(capsys.readouterr().out)
    notebook = json.loads(json.dumps(plan("llama-3-8b", "lumi-g", **asked).as_dict()))
    assert notebook == shell
    same(seen, shell)
    assert page.evaluate("document.activeElement.id") == "planner-answer"


def same(left, right) -> None:
    """Equal but for the last digits, in which two builds of Python may differ."""
    if isinstance(left, dict):
        assert left.keys() == right.keys()
        for key in left:
            same(left[key], right[key])
    elif isinstance(left, list):
        assert len(left) == len(right)
        for one, other in zip(left, right, strict=True):
            same(one, other)
    elif isinstance(left, float):
        assert left == pytest.approx(right, rel=1e-12)
    else:
        assert left == right


def test_a_layout_that_is_given_is_planned_as_it_is(page):
    page.get_by_label("Tensor parallel").fill("2")
    page.get_by_label("ZeRO stage").fill("0")
    page.get_by_role("button", name="Plan").press("Enter")
    expect(page.locator("#planner-answer")).to_contain_text("tp 2, pp 1, ZeRO 0")
    answered(page)
    unfolded = page.locator("#planner-answer summary").first
    unfolded.press("Enter")
    expect(page.locator("#planner-answer details").first).to_have_attribute("open", "")


def test_a_question_without_an_answer_gets_a_sentence_and_the_next_one_works(page):
    tokens = page.get_by_label("Tokens of the training")
    tokens.fill("many")
    tokens.press("Enter")
    expect(page.locator("#planner-status")).to_contain_text("tokens: 'many' is not a number")
    tokens.fill("1e9")
    tokens.press("Enter")
    assert answered(page)["tokens"] == 1e9


def test_a_search_can_be_stopped(page):
    page.get_by_label("Tensor parallel").fill("")
    page.get_by_label("ZeRO stage").fill("")
    page.get_by_label("Nodes").fill("2048")
    # In one go: a fast machine would have answered before the browser is told to press the second button.
    page.evaluate("""() => { const form = document.getElementById("planner");
                             form.requestSubmit();
                             form.elements.stop.click(); }""")
    expect(page.locator("#planner-status")).to_have_text("Stopped.")
    expect(page.get_by_role("button", name="Plan")).to_be_enabled()


def test_the_table_is_there_without_a_script(page, site):
    text = (site / "book/plan.html").read_text()
    best = plan("llama-3-8b", "leonardo-booster", nodes=16, seq=8192, global_batch=512, tokens=100e9).best
    assert f"{best.tokens_per_s_per_device:,.0f}" in text and f"{best.node_hours:,.0f}" in text


def test_the_drawings_fit_a_phone_and_tell_the_plan_in_words(page):
    page.set_viewport_size({"width": 390, "height": 800})
    shown = page.locator("img.scaleup-drawn")
    boxes = shown.evaluate_all(
        "all => all.map(i => [i.getBoundingClientRect().right, i.naturalWidth, i.alt])"
    )
    assert len(boxes) == 4 and all(right <= 390 and natural for right, natural, _ in boxes)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    best = plan("llama-3-70b", "leonardo-booster", nodes=16, seq=8192, global_batch=512, tokens=100e9).best
    assert [alt for *_, alt in boxes[2:]] == [each.alt for each in drawings(best)]
    page.set_viewport_size({"width": 1280, "height": 720})


@pytest.mark.parametrize(
    ("model", "machine", "more"),
    [
        ("llama-3-8b", "lumi-g", {"nodes": 4}),
        ("llama-3-70b", "jupiter-booster", {"nodes": 32, "pp": 4}),
        ("llama-3.2-1b", "lumi-g", {"nodes": 1, "global_batch": 8, "seq": 512}),
        ("qwen3-235b-a22b", "jupiter-booster", {"nodes": 64, "tp": 2, "pp": 2, "cp": 4, "ep": 8, "zero": 3}),
        ("llama-3-405b", "lumi-g", {"nodes": 512, "global_batch": 65536}),
        ("llama-3-8b", "mn5-acc", {"nodes": 400}),
    ],
)
def test_no_word_of_a_drawing_is_cut_covered_or_too_small(page, model, machine, more):
    svgs = [each.svg().split("?>", 1)[1] for each in drawings(plan(model, machine, **more).best)]
    other = new_page(page.context.browser)
    other.set_content("".join(svgs))
    faults = other.evaluate(LOOK)
    other.close()
    assert len(faults) == 2
    assert all(not f["cut"] and not f["over"] and f["smallest"] >= SMALLEST for f in faults), faults


def test_every_field_has_a_label_and_nothing_went_wrong_or_elsewhere(page):
    fields = page.locator("#planner").locator("input, select")
    assert fields.count() == 16
    assert fields.evaluate_all("all => all.filter(field => !field.labels.length).length") == 0
    assert page.errors == []
    assert [url for url in page.asked if not url.startswith((page.home, "data:", "blob:"))] == []
