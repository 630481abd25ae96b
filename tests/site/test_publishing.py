"""The site is published by a push, at one address, and built by the command that a newcomer types."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from sphinx.config import Config

from scaleup.paths import root

TOP = root()
CONFIG = yaml.safe_load((TOP / "_config.yml").read_text(encoding="utf-8"))
ADDRESS = CONFIG["html"]["baseurl"]
GITHUB = yaml.safe_load((TOP / ".github/workflows/pages.yml").read_text(encoding="utf-8"))
GITLAB = yaml.safe_load((TOP / ".gitlab-ci.yml").read_text(encoding="utf-8"))


def test_both_forges_build_with_the_command_of_the_readme_and_publish_what_it_builds():
    steps = GITHUB["jobs"]["build"]["steps"]
    build = next(step for step in steps if step.get("run", "").startswith("make book"))
    upload = next(step for step in steps if "upload-pages-artifact" in step.get("uses", ""))
    assert upload["with"]["path"] == "_build/html"
    script = GITLAB["pages"]["script"]
    assert build["run"] == script[0] == "make book CPU=1"
    assert script[1] == "mv _build/html public" and GITLAB["pages"]["artifacts"]["paths"] == ["public"]
    assert build["env"].keys() == {"SITE_URL"} and "SITE_URL" in GITLAB["pages"]["variables"]


def test_only_a_finished_build_is_published_by_a_job_that_may():
    publish = GITHUB["jobs"]["publish"]
    assert publish["needs"] == "build" and "deploy-pages" in publish["steps"][-1]["uses"]
    assert GITHUB["permissions"] == {"contents": "read", "pages": "write", "id-token": "write"}


def test_both_forges_build_with_the_oldest_python_that_the_course_takes():
    oldest = re.search(r'requires-python = ">=([\d.]+)"', (TOP / "pyproject.toml").read_text())[1]
    setup = next(s for s in GITHUB["jobs"]["build"]["steps"] if "setup-python" in s.get("uses", ""))
    assert setup["with"]["python-version"] == oldest and GITLAB["pages"]["image"] == f"python:{oldest}"


def test_the_address_is_written_in_one_place():
    texts = [*(TOP / "book").rglob("*.md"), *(TOP / "book/_ext").glob("*.py"), TOP / "Makefile"]
    texts += [TOP / ".gitlab-ci.yml", TOP / ".github/workflows/pages.yml"]
    assert [str(file) for file in texts if ADDRESS.rstrip("/") in file.read_text(encoding="utf-8")] == []


@pytest.mark.parametrize(
    ("variable", "expected"),
    [(None, ADDRESS), ("https://a.example/b", "https://a.example/b/"), ("", ADDRESS)],
)
def test_a_copy_that_is_published_elsewhere_has_its_own_address(monkeypatch, variable, expected):
    monkeypatch.syspath_prepend(str(TOP / "book/_ext"))
    import published

    if variable is None:
        monkeypatch.delenv("SITE_URL", raising=False)
    else:
        monkeypatch.setenv("SITE_URL", variable)
    config = Config(overrides={"html_baseurl": ADDRESS})
    config.add("html_baseurl", ADDRESS, "html", str)
    published.address(config)
    assert config.html_baseurl == expected


def test_the_table_of_contents_is_where_jupyter_book_looks_for_it():
    """`jupyter-book build .` looks at the top; the one file is in book/."""
    assert (TOP / "_toc.yml").resolve() == TOP / "book/_toc.yml"


@pytest.mark.processes
def test_folders_that_begin_with_an_underscore_are_served(site):
    assert (site / ".nojekyll").is_file()


@pytest.mark.processes
def test_every_page_says_its_own_address(site):
    wrong = []
    for file in sorted(site.rglob("*.html")):
        name = file.relative_to(site).as_posix()
        if name.startswith(("_static", "index.html")):
            continue
        if f'<link rel="canonical" href="{ADDRESS}{name}"' not in file.read_text(encoding="utf-8"):
            wrong.append(name)
    assert wrong == []


@pytest.mark.processes
def test_serve_says_what_to_do_where_nothing_is_built(tmp_path):
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    shutil.copy2(TOP / "Makefile", tmp_path / "Makefile")
    command = ["make", "serve", f"PYTHON={sys.executable}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode and "make book" in done.stdout
    assert Path(tmp_path / "_build").exists() is False
