"""A learner's first hour in a real browser: the first page, a lesson, its exercise."""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from chromium import PATIENCE, chromium, needs_chromium, new_page
from playwright.sync_api import Locator, Page, TimeoutError, expect
from tools import run_notebooks

from scaleup.plan import plan

LESSON = "5-decide-and-prove/planning"  # quick; nbval runs every lesson
MINUTES = 10
# An error, or every cell of the notebook in front has run and its kernel is idle again.
ENDED = """() => {
  const panel = window.jupyterapp.shell.currentWidget;
  const cells = panel.content.model.toJSON().cells
    .filter(cell => cell.cell_type === 'code' && [].concat(cell.source).join('').trim());
  return cells.some(cell => cell.outputs.some(output => output.output_type === 'error'))
    || panel.sessionContext.session.kernel.status === 'idle' && cells.every(cell => cell.execution_count);
}"""

pytestmark = [
    pytest.mark.processes,
    pytest.mark.timeout(1800),
    needs_chromium,
]


@pytest.fixture(scope="module")
def lab(server) -> Iterator[Page]:
    """The browser's page with JupyterLab on the address that the server itself names."""
    with chromium() as browser:
        page = new_page(browser, viewport={"width": 1400, "height": 1000})
        page.asked = []
        page.on("request", lambda request: page.asked.append(request.url))
        page.server = server
        page.goto(f"{server.url}?token={server.token}")
        yield page


def picture(page: Page, name: str) -> None:
    """Keep a screenshot where SCALEUP_SCREENSHOTS says, for a person to look at."""
    if folder := os.environ.get("SCALEUP_SCREENSHOTS"):
        page.screenshot(path=str(Path(folder) / f"{name}.png"))


def notebook(page: Page) -> list[dict]:
    """The code cells of the notebook in front, from JupyterLab's own model."""
    return page.evaluate(
        """() => window.jupyterapp.shell.currentWidget.content.model.toJSON().cells
                 .filter(cell => cell.cell_type === 'code' && [].concat(cell.source).join('').trim())"""
    )


def in_front(page: Page, selector: str) -> Locator:
    """Elements of the visible notebook; the other open ones stay in the document, hidden."""
    return page.locator(f".jp-NotebookPanel:not(.lm-mod-hidden) {selector}")


def open_notebook(page: Page, path: str) -> None:
    """Open by address, as a link does, and wait for its kernel."""
    page.goto(f"{page.server.url}lab/tree/{path}")
    name = path.rpartition("/")[2]
    expect(page.locator(".lm-TabBar-tab.jp-mod-current .lm-TabBar-tabLabel")).to_have_text(name)
    page.wait_for_function("path => window.jupyterapp.shell.currentWidget?.context?.path === path", arg=path)
    page.wait_for_function(
        "() => window.jupyterapp.shell.currentWidget.sessionContext.session?.kernel?.status === 'idle'",
        timeout=PATIENCE,
    )


def choose(page: Page, menu: str, item: str) -> None:
    """Take an item of a menu. A menu closes when JupyterLab moves the focus; then it is opened again."""
    end = time.monotonic() + PATIENCE / 1000
    while True:
        page.get_by_role("menuitem", name=menu, exact=True).click()
        picture(page, menu)
        try:
            return page.get_by_role("menuitem", name=item, exact=True).click(timeout=10_000)
        except TimeoutError:
            if time.monotonic() > end:
                raise
            page.keyboard.press("Escape")


def run_all(page: Page) -> list[dict]:
    """Run > Run All Cells, and wait until every code cell ran and the kernel is idle again."""
    choose(page, "Run", "Run All Cells")
    with contextlib.suppress(TimeoutError):
        page.wait_for_function(ENDED, timeout=MINUTES * 60_000)
    cells = notebook(page)
    errors = [output for cell in cells for output in cell["outputs"] if output["output_type"] == "error"]
    assert errors == [], "\n".join(f"{error['ename']}: {error['evalue']}" for error in errors)
    waiting = ["".join(cell["source"]) for cell in cells if not cell["execution_count"]]
    assert waiting == [], f"not finished after {MINUTES} minutes"
    return cells


def test_jupyterlab_opens_on_the_first_page_without_a_pop_up(lab):
    expect(lab.locator(".lm-TabBar-tab.jp-mod-current")).to_contain_text("start.ipynb")
    expect(lab.locator(".jp-Notebook .jp-MarkdownCell h1").first).to_be_visible(timeout=PATIENCE)
    lab.evaluate("() => window.jupyterapp.restored")
    lab.wait_for_load_state("networkidle")  # a question about news would have come by now
    picture(lab, "start")
    assert lab.locator(".jp-Dialog").count() == 0
    assert lab.locator(".Toastify__toast").count() == 0
    expect(lab.get_by_text("Mem:").first).to_be_visible()


def test_the_help_menu_leads_to_the_first_page(lab):
    choose(lab, "Help", "Scale Up: First Page")
    expect(lab.locator(".lm-TabBar-tab.jp-mod-current")).to_contain_text("start.ipynb")
    assert lab.locator(".jp-Dialog").count() == 0


def test_a_lesson_runs_from_top_to_bottom(lab):
    open_notebook(lab, f"notebooks/{LESSON}.ipynb")
    cells = run_all(lab)
    pictures = [output.get("data", {}).get("text/html", "") for cell in cells for output in cell["outputs"]]
    assert any("data:image/svg+xml" in picture for picture in pictures)
    drawn = in_front(lab, ".jp-OutputArea-output img").first
    drawn.scroll_into_view_if_needed()
    assert drawn.evaluate("image => image.naturalWidth") > 100
    picture(lab, "lesson")
    said = [output for cell in cells for output in cell["outputs"] if output.get("name") == "stderr"]
    assert said == []


def test_the_formulas_of_the_lesson_are_typeset(lab):
    expect(in_front(lab, ".katex, mjx-container").first).to_be_attached()


def test_the_exercise_says_not_yet(lab):
    open_notebook(lab, f"exercises/{LESSON}.ipynb")
    cells = run_all(lab)
    said = "".join("".join(output.get("text", "")) for cell in cells for output in cell["outputs"])
    assert "not yet" in said
    answer = in_front(lab, ".jp-OutputArea-output").filter(has_text="not yet").first
    answer.scroll_into_view_if_needed()
    expect(answer).to_be_visible()
    picture(lab, "exercise")


def test_the_planner_s_panel_follows_its_fields(lab, learner_course):
    source = "from scaleup.plan.panel import panel\n\npanel(nodes=2, global_batch=64)"
    cells = [nbformat.v4.new_code_cell(source)]
    made = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": run_notebooks.KERNEL})
    nbformat.write(made, learner_course / "panel.ipynb")
    open_notebook(lab, "panel.ipynb")
    run_all(lab)
    answer = in_front(lab, ".scaleup-plan")
    expect(answer).to_contain_text("LUMI-G: 2 nodes")
    nodes = in_front(lab, ".jp-OutputArea-output").get_by_label("nodes", exact=True)
    nodes.fill("4")
    nodes.press("Enter")
    expect(answer).to_contain_text("LUMI-G: 4 nodes")
    best = plan("llama-3-8b", "lumi-g", nodes=4, global_batch=64, tokens=100e9).best
    expect(answer).to_contain_text(f"{best.step.total:.2f} s for")
    unfolded = answer.locator("summary").first
    unfolded.press("Enter")
    expect(answer.locator("details").first).to_have_attribute("open", "")
    picture(lab, "panel")
    nodes.fill("0")
    nodes.press("Enter")
    expect(in_front(lab, "[role=alert]")).to_contain_text("0 nodes are impossible")


def test_nothing_was_asked_from_another_site(lab):
    elsewhere = [url for url in lab.asked if not url.startswith((lab.server.url, "data:", "blob:"))]
    assert elsewhere == []
