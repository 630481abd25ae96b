"""One set of versions by every road, one licence for every file, one version number."""

import importlib.metadata
import json
import re
import subprocess
import sys
import tomllib

import pytest
import yaml

from scaleup.computer.doctor import read_pins
from scaleup.paths import root

# What a package is called on conda-forge, where the name differs. The cores of dask and matplotlib come
# without the extras (data frames, window toolkits) that the course does not use and pip leaves out too.
CONDA_NAMES = {
    "torch": "pytorch",
    "dask": "dask-core",
    "matplotlib": "matplotlib-base",
    "playwright": "playwright-python",
}


def normal(name: str) -> str:
    """Names are equal whatever their case and separators (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


PROJECT = tomllib.loads((root() / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
WANTED = PROJECT["dependencies"] + EXTRAS["lab"] + EXTRAS["dev"]
DIRECT = [normal(wanted.partition("==")[0]) for wanted in WANTED]
PINS = {normal(name): version for name, version in read_pins(root() / "constraints.txt").items()}
CONDA = yaml.safe_load((root() / "environment.yml").read_text())


def test_direct_dependencies_carry_no_version_of_their_own():
    """But for the two that the tokens depend on: they also hold where constraints.txt is not used."""
    assert [name for name in DIRECT if not re.fullmatch(r"[a-z0-9-]+", name)] == []
    exact = dict(wanted.split("==") for wanted in WANTED if "==" in wanted)
    assert exact == {name: PINS[name] for name in ("sympy", "tokenizers")}


@pytest.mark.processes
def test_what_a_job_needs_is_enough_to_train():
    """A machine's environment has no JupyterLab: the training must not import what only lessons need."""
    extra = [name.replace("-", "_") for name in EXTRAS["lab"] + EXTRAS["dev"]]
    blocked = f"import sys; sys.modules.update(dict.fromkeys({extra!r}))"
    needed = "train", "cli", "machines.job", "computer.doctor", "practice"
    code = f"{blocked}; import {', '.join(f'scaleup.{name}' for name in needed)}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_direct_dependency_has_a_pin():
    assert [name for name in DIRECT if name not in PINS] == []


def test_conda_road_has_the_same_versions():
    from_pip = next(line["pip"] for line in CONDA["dependencies"] if isinstance(line, dict))
    from_conda = [line for line in CONDA["dependencies"] if isinstance(line, str)]
    lines = [line for line in from_conda + from_pip if "==" in line]
    conda = dict(line.split("==") for line in lines)
    assert conda == {CONDA_NAMES.get(name, name): PINS[name] for name in DIRECT}
    assert len(lines) == len(conda), "a package is listed twice"


def test_conda_road_has_the_same_python_and_installs_the_course_itself():
    *from_conda, last = CONDA["dependencies"]
    unpinned = [line for line in from_conda if "==" not in line]
    assert unpinned == [f"python{PROJECT['requires-python']}", "pip"]
    assert last["pip"][-1] == "-e ."
    assert CONDA["channels"] == ["conda-forge", "nodefaults"]


@pytest.mark.parametrize("name", DIRECT)
def test_installed_version_is_the_pin(name):
    assert importlib.metadata.version(name).split("+")[0] == PINS[name]


@pytest.fixture(scope="module")
def lint() -> dict:
    """What `reuse lint` says. Its status is 1 when something is wrong, and then it says what."""
    command = [sys.executable, "-m", "reuse", "--root", str(root()), "lint", "--json"]
    return json.loads(subprocess.run(command, capture_output=True, text=True).stdout)


@pytest.mark.processes
def test_every_file_has_a_licence(lint):
    assert lint["summary"]["compliant"], {
        what: files for what, files in lint["non_compliant"].items() if files
    }


@pytest.mark.processes
def test_text_and_code_have_their_licences(lint):
    text, code = (".md", ".ipynb"), (".py", ".sh", ".sbatch")
    expected = {**dict.fromkeys(text, "CC-BY-4.0"), **dict.fromkeys(code, "Apache-2.0")}
    for file in lint["files"]:
        suffix = "." + file["path"].rsplit(".", 1)[-1]
        licences = {expression["value"] for expression in file["spdx_expressions"]}
        assert licences == {expected[suffix]} if suffix in expected else len(licences) == 1, file["path"]


def test_licence_texts_are_whole():
    licences = root() / "LICENSES"
    assert "END OF TERMS AND CONDITIONS" in (licences / "Apache-2.0.txt").read_text()
    assert "Section 8 -- Interpretation." in (licences / "CC-BY-4.0.txt").read_text()


def test_citation_agrees_with_the_package():
    citation = yaml.safe_load((root() / "CITATION.cff").read_text())
    assert citation["version"] == PROJECT["version"] == importlib.metadata.version("scaleup")
    assert citation["license"] == "CC-BY-4.0"
    assert {"cff-version", "message", "title", "authors", "date-released"} <= citation.keys()
