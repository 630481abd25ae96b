"""src/scaleup is in rooms. Each says what lives in it, and imports only what the tree draws below it."""

import ast
import re
from collections import Counter
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[1]
SRC = TOP / "src"
HOUSE = SRC / "scaleup"
GUIDE = (TOP / "CONTRIBUTING.md").read_text(encoding="utf-8")
FLAT_AT_MOST = 8
DOCSTRING_AT_MOST = 5  # lines


def name_of(path: Path) -> str:
    """`scaleup.plan.shapes` for its file, `scaleup.plan` for the file of the package."""
    return ".".join(path.relative_to(SRC).with_suffix("").parts).removesuffix(".__init__")


MODULES = {name_of(path): path for path in sorted(HOUSE.rglob("*.py"))}
ROOMS = [path.parent for path in sorted(HOUSE.rglob("__init__.py")) if path.parent != HOUSE]


def imports(text: str, module: str, is_package: bool, known: set[str]) -> set[str]:
    """What a module imports of the known ones, anywhere in it: also for types, also inside a function."""
    found: set[str] = set()
    package = module.split(".") if is_package else module.split(".")[:-1]
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*start, *([node.module] if node.module else [])])
            names = {f"{base}.{alias.name}" for alias in node.names}
            found |= (names & known) | (set() if names <= known else {base})
    return (found & known) - {module}


GRAPH = {
    name: imports(path.read_text(encoding="utf-8"), name, path.name == "__init__.py", set(MODULES))
    for name, path in MODULES.items()
}


def room(module: str) -> str:
    """The room of a module as the tree writes it: `plan/evidence/`, and `model.py` for one that lies flat."""
    path = MODULES[module].relative_to(HOUSE)
    return path.name if path.parent == Path() else f"{path.parent.as_posix()}/"


def drawn() -> list[str]:
    """The lines of the guide's tree, from the top."""
    block = re.search(r"```tree\nsrc/scaleup/\n(.*?)```", GUIDE, re.S)
    return [line.split()[0] for line in block[1].splitlines()]


# The reader of imports itself


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("import scaleup.b", {"scaleup.b"}),
        ("from scaleup import b, other", {"scaleup.b", "scaleup"}),
        ("from . import d", {"scaleup.c.d"}),
        ("from .d import thing", {"scaleup.c.d"}),
        ("from ..b import thing", {"scaleup.b"}),
        ("def f():\n    from .. import b", {"scaleup.b"}),
        ("if TYPE_CHECKING:\n    from ..b import Thing", {"scaleup.b"}),
        ("import json", set()),
    ],
)
def test_every_kind_of_import_is_seen(line, found):
    known = {"scaleup", "scaleup.b", "scaleup.c", "scaleup.c.d", "scaleup.c.e"}
    assert imports(line, "scaleup.c.e", False, known) == found


def test_the_package_of_a_room_imports_from_within():
    assert imports("from .d import x", "scaleup.c", True, {"scaleup.c", "scaleup.c.d"}) == {"scaleup.c.d"}


# The house


def test_no_module_is_in_a_circle():
    """`graphlib` raises CycleError and names the circle."""
    assert len(list(TopologicalSorter(GRAPH).static_order())) == len(MODULES)


def test_a_module_imports_only_its_own_room_and_what_the_tree_draws_below():
    height = {name: -row for row, name in enumerate(drawn())}
    upwards = [
        f"{name} imports {other}"
        for name, others in GRAPH.items()
        for other in others
        if name != "scaleup" and other != "scaleup" and height[room(other)] > height[room(name)]
    ]
    assert not upwards


def test_nothing_that_is_shipped_imports_the_tools_or_the_tests():
    outside = {"tools", "tests", *(path.stem for path in (TOP / "tools").glob("*.py"))} - {"__init__"}
    for name, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                assert not {alias.name.split(".")[0] for alias in node.names} & outside, name
            elif isinstance(node, ast.ImportFrom) and not node.level:
                assert node.module.split(".")[0] not in outside, name


@pytest.mark.parametrize("folder", ROOMS, ids=lambda folder: folder.relative_to(HOUSE).as_posix())
def test_a_room_says_what_lives_there(folder):
    said = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8")))
    assert said and len(said.splitlines()) <= DOCSTRING_AT_MOST


def test_no_two_modules_have_one_name():
    stems = Counter(path.stem for path in MODULES.values() if not path.stem.startswith("__"))
    assert [stem for stem, count in stems.items() if count > 1] == []


def test_few_modules_lie_flat():
    assert len(list(HOUSE.glob("*.py"))) <= FLAT_AT_MOST


def test_words_and_cores_have_one_home():
    """What was written several times before: the nearest name, and how many cores there are."""
    homes = {"difflib": "scaleup.words", "sched_getaffinity": "scaleup.computer.resources"}
    for word, home in homes.items():
        found = {name for name, path in MODULES.items() if word in path.read_text(encoding="utf-8")}
        assert found == {home}, word


# The drawings


def test_the_guide_names_every_tool():
    there = {path.name for path in (TOP / "tools").glob("*.py")} - {"__init__.py"}
    there |= {f"{path.parent.name}/" for path in (TOP / "tools").glob("*/__init__.py")}
    assert set(re.findall(r"`tools/(\w+(?:\.py|/))`", GUIDE)) == there


def test_the_tree_names_exactly_what_is_there():
    there = {room(name) for name in MODULES if name != "scaleup"}
    there |= {f"{path.name}/" for path in HOUSE.iterdir() if path.is_dir() and path.name[0] not in "._"}
    assert sorted(drawn()) == sorted(there)


def test_the_readme_names_exactly_the_folders_that_are_there():
    table = (TOP / "README.md").read_text(encoding="utf-8").partition("## What is where")[2]
    named = re.findall(r"^\| `([\w/]+)/` \|", table, re.M)
    assert all((TOP / folder).is_dir() for folder in named)
    kinds = (".py", ".md", ".ipynb", ".yml")
    there = [
        path.name
        for path in TOP.iterdir()
        if path.is_dir() and path.name[0] not in "._" and any(f.suffix in kinds for f in path.rglob("*"))
    ]
    assert sorted(folder.split("/")[0] for folder in named) == sorted(there)


def test_every_file_that_the_guide_sends_to_exists():
    paths = re.findall(r"`((?:src|tools|tests|data|book|exercises|notebooks)/[^`]*)`", GUIDE)
    paths = [path for path in paths if not re.search(r"[A-Z]{3}|[<>*]", path)]
    assert len(paths) > 20
    assert [path for path in paths if not (TOP / path).exists()] == []
