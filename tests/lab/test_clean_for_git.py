"""A notebook that was opened and saved in JupyterLab is byte for byte the one that git has."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from chromium import chromium, needs_chromium, new_page
from labserver import lab_server
from playwright.sync_api import Page

from scaleup import lab
from scaleup.paths import root

PATHS = sorted(
    path.relative_to(root()).as_posix()
    for folder in ("notebooks", "exercises")
    for path in (root() / folder).rglob("*.ipynb")
    if ".ipynb_checkpoints" not in path.parts
)
LESSON, EXERCISES = (f"{folder}/1-one-device/training-loop.ipynb" for folder in ("notebooks", "exercises"))
SOLUTION = "exercises/solutions/1-one-device/training-loop.ipynb"
with_browser = [
    pytest.mark.processes,
    pytest.mark.timeout(1800),
    needs_chromium,
]


def test_a_saved_notebook_keeps_the_course_s_form():
    written = {
        "kernelspec": {"display_name": "Python 3.13", "language": "python", "name": "python3"},
        "language_info": {"name": "python", "version": "3.13.1", "file_extension": ".py"},
        "scaleup": {"title": "A"},
    }
    model = {"type": "notebook", "content": {"metadata": written}}
    lab.keep_normal(model=model, path="a.ipynb", contents_manager=None)
    assert written == {"kernelspec": lab.KERNEL, "language_info": lab.LANGUAGE, "scaleup": {"title": "A"}}


def test_another_kernel_s_notebook_and_other_files_are_left_alone():
    written = {"kernelspec": {"name": "julia"}, "language_info": {"name": "julia", "version": "1.12"}}
    lab.keep_normal(model={"type": "notebook", "content": {"metadata": written}}, path="a.ipynb")
    assert written["language_info"] == {"name": "julia", "version": "1.12"}
    lab.keep_normal(model={"type": "file", "content": "text"}, path="a.txt")


def test_the_environment_has_this_checkout_s_extension():
    installed = Path(sys.prefix) / "share/jupyter/labextensions/scaleup-tabs"
    for file, place in (("labextension.json", "package.json"), ("tabs.js", "static/tabs.js")):
        here = (root() / "src/scaleup/lab" / file).read_text()
        assert (installed / place).read_text() == here, f"{place} is old. Run 'make setup'."


@pytest.fixture(scope="module")
def course(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("course")
    for name in ("notebooks", "exercises", "data"):
        shutil.copytree(root() / name, folder / name, ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    return folder


@pytest.fixture(scope="module")
def page(course, tmp_path_factory) -> Iterator[Page]:
    private = tmp_path_factory.mktemp("lab")
    with (
        lab_server(course, private, "--LabApp.expose_app_in_browser=True") as server,
        chromium() as browser,
    ):
        page = new_page(browser, viewport={"width": 1400, "height": 1000})
        page.goto(f"{server.url}?token={server.token}")
        page.wait_for_function("() => window.jupyterapp?.shell.currentWidget")
        yield page


def tab_names(page: Page) -> list[str]:
    """The names of the tabs as they are drawn."""
    return page.locator("#jp-main-dock-panel .lm-TabBar-tabLabel").evaluate_all(
        """labels => labels.map(label => {
             const before = getComputedStyle(label, '::before').content;
             return (before === 'none' ? '' : JSON.parse(before)) + label.textContent; })"""
    )


def open_and_save(page: Page, path: str, close: bool = True) -> None:
    """Open a notebook, wait for a kernel, which tells JupyterLab about the language, and save.

    All notebooks get the kernel that the first one started: dozens of starts would take minutes.
    """
    page.evaluate(
        """async path => { const kernel = window.scaleupKernel;
                           await window.jupyterapp.commands.execute('docmanager:open', {path, kernel}); }""",
        path,
    )
    page.wait_for_function(
        """path => { const widget = window.jupyterapp.shell.currentWidget;
                     return widget?.context?.path === path && widget.context.isReady
                       && widget.sessionContext.session?.kernel?.status === 'idle'
                       && widget.content.model.getMetadata('language_info')?.name; }""",
        arg=path,
    )
    page.evaluate(
        """async () => { const widget = window.jupyterapp.shell.currentWidget;
                         await widget.sessionContext.session.kernel.info;
                         window.scaleupKernel = widget.sessionContext.session.kernel.model;
                         await widget.context.save(); }"""
    )
    if close:
        page.evaluate(
            """async () => { const widget = window.jupyterapp.shell.currentWidget;
                             widget.context.model.dirty = false;  // else it may ask whether to save again
                             widget.close(); }"""
        )


class TestInTheBrowser:
    pytestmark = with_browser

    def test_every_notebook_is_the_same_after_it_was_saved(self, page, course):
        changed = []
        for path in PATHS:
            before = (course / path).read_bytes()
            stamp = (course / path).stat().st_mtime_ns
            open_and_save(page, path)
            assert (course / path).stat().st_mtime_ns > stamp, f"{path} was not saved"
            if (course / path).read_bytes() != before:
                changed.append(path)
        assert changed == []
        assert before.endswith(b"}\n")

    def test_tabs_tell_a_lesson_from_its_exercises(self, page, course):
        for path in (LESSON, EXERCISES, SOLUTION):
            open_and_save(page, path, close=False)
        page.wait_for_timeout(1000)
        names = ["training-loop.ipynb", "Exercises: training-loop.ipynb", "Solution: training-loop.ipynb"]
        assert [name for name in tab_names(page) if "training-loop" in name] == names
        for path in (LESSON, EXERCISES, SOLUTION):
            assert (course / path).is_file(), "a tab's name has not renamed a file"
