"""book/reference/pictures.md: every kind of picture, the source that makes it, and the files up to date."""

import ast
import base64
import re

import pytest
from tools import picture_gallery

from scaleup.notebook import diagrams
from scaleup.paths import root

MADE = picture_gallery.files()
CALLS = {name for name in diagrams.__all__ if name[0].islower()}
LONGEST = 88  # columns of a code block on the page


def cells() -> dict[str, str]:
    return {name: picture_gallery.source(make) for name, make in picture_gallery.EXAMPLES.items()}


def test_the_committed_page_and_pictures_are_in_step_with_the_code():
    stale = [path for path, text in MADE.items() if not same(path, text)]
    assert stale == [], "run: python -m tools.picture_gallery"
    kept = {f"{picture_gallery.FOLDER}/{file.name}" for file in (root() / picture_gallery.FOLDER).iterdir()}
    assert kept <= set(MADE), "pictures that nothing makes"


def same(path: str, text: str) -> bool:
    file = root() / path
    return file.is_file() and file.read_text(encoding="utf-8") == text


def test_every_kind_has_an_example():
    called = {
        part.func.id
        for cell in cells().values()
        for part in ast.walk(ast.parse(cell))
        if isinstance(part, ast.Call) and isinstance(part.func, ast.Name)
    }
    assert called >= CALLS


@pytest.mark.parametrize("name", picture_gallery.EXAMPLES)
def test_the_shown_source_makes_the_shown_picture(name):
    cell = picture_gallery.source(picture_gallery.EXAMPLES[name])
    assert cell in MADE[picture_gallery.PAGE] and max(map(len, cell.splitlines())) <= LONGEST
    *body, last = ast.parse(cell).body
    names: dict = {}
    exec(compile(ast.Module(body, []), name, "exec"), names)
    picture = eval(compile(ast.Expression(last.value), name, "eval"), names)
    assert picture_gallery.drawn(picture)[0] == MADE[f"{picture_gallery.FOLDER}/{name}.svg"]
    assert picture.alt in MADE[picture_gallery.PAGE]


def test_only_what_moves_has_a_second_picture_behind_play():
    moving = {path for path, text in MADE.items() if "animation" in text and path.endswith(".svg")}
    assert moving == {f"{picture_gallery.FOLDER}/ring-moving.svg"}
    assert re.search(
        r"<summary>Play</summary>\s+```\{image\} /\S+/ring-moving\.svg", MADE[picture_gallery.PAGE]
    )


def test_what_is_drawn_is_what_a_notebook_stores():
    shown = diagrams.course()._repr_mimebundle_()["text/html"]
    assert base64.b64encode(picture_gallery.drawn(diagrams.course())[0].encode()).decode() in shown


def test_the_command_writes_the_page_and_the_pictures(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(picture_gallery, "root", lambda: tmp_path)
    picture_gallery.main()
    assert (
        capsys.readouterr().out
        == f"book/reference/pictures.md and {len(MADE) - 1} pictures in book/_static/pictures/\n"
    )
    assert {path: (tmp_path / path).read_text(encoding="utf-8") for path in MADE} == MADE
