"""The normal form of stored notebooks."""

import json

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from tools import run_notebooks


def notebook() -> nbformat.NotebookNode:
    picture = new_output(
        "display_data", {"image/png": "aGk=", "text/plain": "Figure: a line"},
        metadata={"image/png": {"alt": "The line falls."}},
    )  # fmt: skip
    cells = [
        new_markdown_cell("# Title", metadata={"tags": ["intro"], "editable": True}),
        new_code_cell(
            "draw()", execution_count=1, outputs=[picture],
            metadata={"tags": ["nbval-skip"], "collapsed": True, "execution": {"iopub.status": "2026-11-22"}},
        ),
        new_code_cell("1", execution_count=2, outputs=[new_output("execute_result", {"text/plain": "1"})]),
    ]  # fmt: skip
    about = {"title": "A lesson", "minutes": 5}
    machine = {
        "kernelspec": {"name": "my-env", "display_name": "mine"},
        "language_info": {"name": "python", "version": "3.11.7"},
    }
    made = new_notebook(cells=cells, metadata={"scaleup": about, "widgets": {}, **machine})
    made.cells[1].outputs[0]["transient"] = {"display_id": "a1b2"}  # what a running kernel adds
    return made


def test_what_differs_between_machines_is_dropped():
    normal = notebook()
    run_notebooks.normalise(normal)
    text = json.dumps(normal)
    for word in (
        "2026-11-22",
        'execution"',
        "collapsed",
        "editable",
        "transient",
        "a1b2",
        "3.11.7",
        "my-env",
        "widgets",
    ):
        assert word not in text, word
    assert normal.metadata["kernelspec"]["name"] == "python3"


def test_what_readers_see_is_kept():
    normal, before = notebook(), notebook()
    run_notebooks.normalise(normal)
    assert normal.metadata["scaleup"] == before.metadata["scaleup"]
    assert [c.metadata.get("tags") for c in normal.cells] == [["intro"], ["nbval-skip"], None]
    assert [c.source for c in normal.cells] == [c.source for c in before.cells]
    assert [c.get("execution_count") for c in normal.cells] == [None, 1, 2]
    assert normal.cells[1].outputs[0].data == before.cells[1].outputs[0].data
    assert normal.cells[2].outputs == before.cells[2].outputs


def test_the_alternative_text_is_told_to_the_builder_of_the_book():
    normal = notebook()
    run_notebooks.normalise(normal)
    assert normal.cells[1].metadata["mystnb"] == {"image": {"alt": "The line falls."}}
    assert normal.cells[1].outputs[0].metadata["image/png"]["alt"] == "The line falls."
    assert "mystnb" not in normal.cells[2].metadata


def test_a_folded_cell_keeps_its_words_and_is_folded_in_jupyterlab():
    normal = notebook()
    normal.cells[1].metadata["mystnb"] = {"code_prompt_show": "The code", "image": {"alt": "Old."}}
    normal.cells[2].metadata.update(tags=["hide-cell"], mystnb={"code_prompt_show": "More"})
    run_notebooks.normalise(normal)
    assert normal.cells[1].metadata["mystnb"] == {
        "code_prompt_show": "The code",
        "image": {"alt": "The line falls."},
    }
    assert normal.cells[2].metadata == {
        "tags": ["hide-cell"],
        "mystnb": {"code_prompt_show": "More"},
        "jupyter": {"source_hidden": True},
    }


def test_the_normal_form_is_valid_and_does_not_change_again():
    once = notebook()
    run_notebooks.normalise(once)
    nbformat.validate(once)
    twice = nbformat.from_dict(json.loads(json.dumps(once)))
    run_notebooks.normalise(twice)
    assert twice == once


def test_where_printing_was_cut_does_not_show():
    def piece(text: str, name: str = "stdout") -> nbformat.NotebookNode:
        return new_output("stream", name=name, text=text)

    pieces = [
        piece("a"),
        piece("b\n"),
        piece("!", "stderr"),
        new_output("display_data"),
        piece("c"),
        piece("d"),
    ]
    normal = new_notebook(cells=[new_code_cell("x", outputs=pieces)])
    run_notebooks.normalise(normal)
    found = [(o.get("name"), o.get("text")) for o in normal.cells[0].outputs]
    assert found == [("stdout", "ab\n"), ("stderr", "!"), (None, None), ("stdout", "cd")]


def test_a_notebook_without_metadata_gets_none():
    plain = new_notebook()
    run_notebooks.normalise(plain)
    assert "scaleup" not in plain.metadata


@pytest.fixture
def course(tmp_path, monkeypatch):
    (tmp_path / "notebooks" / "1-part").mkdir(parents=True)
    (tmp_path / "data").mkdir()
    (tmp_path / "exercises" / "solutions" / "1-part").mkdir(parents=True)
    monkeypatch.setenv("SCALEUP_HOME", str(tmp_path))
    return tmp_path


@pytest.mark.processes
def test_running_a_notebook_stores_its_outputs_in_the_normal_form(course):
    path = course / "notebooks" / "1-part" / "lesson.ipynb"
    cells = [
        new_code_cell("import os"),
        new_code_cell("print(6 * 7)\nos.getcwd().endswith('1-part')", metadata={"tags": ["t"]}),
    ]
    nbformat.write(new_notebook(cells=cells, metadata={"scaleup": {"title": "A"}}), path)
    assert 0 < run_notebooks.store(path) < 60
    stored = nbformat.read(path, as_version=4)
    assert [c.execution_count for c in stored.cells] == [1, 2]
    assert stored.cells[1].outputs[0].text == "42\n"
    assert stored.cells[1].outputs[1].data["text/plain"] == "True", "cells run in the notebook's folder"
    assert stored.cells[1].metadata == {"tags": ["t"]}


def test_the_share_counts_cells_that_have_an_output(course):
    out = [new_output("stream", text="1\n")]
    cells = [
        new_code_cell("1", outputs=out),
        new_code_cell("2", outputs=out, metadata={"tags": ["nbval-ignore-output"]}),
        new_code_cell("3", outputs=out, metadata={"tags": ["nbval-skip"]}),
        new_code_cell("no_output = 4"),
        new_markdown_cell("text"),
    ]
    nbformat.write(new_notebook(cells=cells), course / "notebooks" / "1-part" / "a.ipynb")
    nbformat.write(new_notebook(cells=cells[:1]), course / "exercises" / "solutions" / "1-part" / "a.ipynb")
    copy = course / "notebooks" / "1-part" / ".ipynb_checkpoints"
    copy.mkdir()
    nbformat.write(new_notebook(cells=cells), copy / "a-checkpoint.ipynb")
    nbformat.write(new_notebook(cells=cells), course / "exercises" / "a.ipynb")
    assert run_notebooks.compared_share() == (2, 4), "checkpoints and starters do not count"
