"""`scaleup propose` as it is typed."""

import json
import shutil

import pytest
from chromium import needs_chromium

from scaleup import cli
from scaleup.paths import root
from scaleup.proposal import printing
from scaleup.study import RECORDED

FOLDER = root() / "data" / "proposals"


@pytest.fixture
def no_browser(monkeypatch):
    monkeypatch.setattr(printing, "BROWSERS", ())


def test_new_writes_the_questions_once(tmp_path, capsys):
    file = tmp_path / "mine.toml"
    assert cli.main(["propose", str(file), "--new"]) == 0
    assert "[request]" in file.read_text(encoding="utf-8")
    assert cli.main(["propose", str(file), "--new"]) == 2
    assert "is there already" in capsys.readouterr().err


def test_a_file_that_says_nothing_becomes_a_list_of_gaps(tmp_path, capsys, no_browser):
    file = tmp_path / "mine.toml"
    cli.main(["propose", str(file), "--new"])
    assert cli.main(["propose", str(file), "--machine", "lumi-g"]) == 1
    said = capsys.readouterr().out
    assert "gaps," in said and "as Markdown and HTML" in said and "Open annex.html in any browser" in said
    assert sorted(path.name for path in (tmp_path / "mine").iterdir()) == ["annex.html", "annex.md"]


def test_an_annex_is_written_looked_over_and_gone_on_with(tmp_path, capsys, no_browser):
    words = [
        "propose",
        str(FOLDER / "fast-lane.toml"),
        "--study",
        str(root() / RECORDED),
        "--out",
        str(tmp_path),
    ]
    assert cli.main(words) == 1
    assert "0 gaps," in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["annex.html", "annex.md", "scaling.svg"]
    annex = tmp_path / "annex.md"
    assert cli.main(["propose", str(annex), "--review"]) == 1
    assert capsys.readouterr().out.startswith("33 of 37 points.")
    annex.write_text(annex.read_text(encoding="utf-8").replace("Deichwerk", "Damwerk"), encoding="utf-8")
    assert cli.main(["propose", str(annex)]) == 1
    assert "Damwerk" in (tmp_path / "annex.html").read_text(encoding="utf-8")
    assert "Damwerk" in annex.read_text(encoding="utf-8"), "what a person wrote stays"


def test_a_companys_file_can_be_reviewed_and_another_machine_be_asked_for(capsys):
    words = ["propose", str(FOLDER / "fast-lane.toml"), "--review"]
    assert cli.main([*words, "--machine", "lumi-g", "--mode", "playground"]) == 1
    said = capsys.readouterr().out
    assert "do not fit Playground" in said and "proof of scaling" in said


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["none.toml"], "There is no file none.toml"),
        (["none.md"], "none.md cannot be read"),
        ([str(FOLDER / "fast-lane.toml"), "--study", "/nowhere"], "There is no study at /nowhere"),
        ([str(FOLDER / "fast-lane.toml"), "--machine", "lumi"], "There is no machine 'lumi'"),
        ([str(FOLDER / "fast-lane.toml"), "--mode", "fastlane"], "Did you mean 'fast-lane'?"),
    ],
)
def test_a_mistake_is_a_sentence(words, says, capsys):
    assert cli.main(["propose", *words]) == 2
    assert says in capsys.readouterr().err


@needs_chromium
@pytest.mark.processes
def test_all_three_forms(tmp_path, capsys):
    words = [
        "propose",
        str(FOLDER / "fast-lane.toml"),
        "--study",
        str(root() / RECORDED),
        "--out",
        str(tmp_path),
    ]
    assert cli.main(words) == 1
    assert "as Markdown, HTML and PDF" in capsys.readouterr().out
    assert (tmp_path / "annex.pdf").read_bytes().startswith(b"%PDF")
    shutil.rmtree(tmp_path)


def test_the_stored_study_is_a_measured_one_and_whole():
    content = json.loads((root() / RECORDED / "study.json").read_text(encoding="utf-8"))
    assert content["machine"] == "practice" and content["missing"] == []
    assert content["measured"]["repeats"] >= 3
    runs = [run for point in content["points"] for run in point["runs"]]
    assert all(run["job"] and len(run["step_seconds"]) > 3 for run in runs)
