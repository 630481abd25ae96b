"""Every stored notebook, looked at without running it. nbval compares outputs; this says that there are some.

Each rule is a function from a notebook to complaints, and is first shown a notebook that breaks it.
"""

import re
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
import pytest
from IPython.core.inputtransformer2 import TransformerManager
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from tools import run_notebooks

from scaleup import machines
from scaleup.notebook import predict

HOME = Path(__file__).resolve().parents[2]
PATHS = run_notebooks.notebooks()
LESSONS = {p.relative_to(HOME / "notebooks").with_suffix("").as_posix(): p
           for p in PATHS if p.is_relative_to(HOME / "notebooks")}  # fmt: skip
LONGEST, MEDIAN, WIDEST, PICTURES = 20, 8, 88, 2

Rule = Callable[[NotebookNode, Path], Iterator[str]]
RULES: list[Rule] = []


def rule(function: Rule) -> Rule:
    RULES.append(function)
    return function


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def lines(cell: NotebookNode) -> int:
    return sum(bool(line.strip()) for line in cell.source.splitlines())


@rule
def executed(notebook: NotebookNode, path: Path) -> Iterator[str]:
    """nbval passes over a cell that was never run, so a gap here would be a gap in the tests."""
    for number, cell in enumerate(code_cells(notebook), start=1):
        if not cell.source.strip():
            yield f"code cell {number} is empty"
        if cell.execution_count != number:
            yield f"code cell {number} has the execution count {cell.execution_count}"
        for output in cell.outputs:
            if output.output_type == "execute_result" and output.execution_count != number:
                yield f"the result of code cell {number} has the count {output.execution_count}"


@rule
def quiet(notebook: NotebookNode, path: Path) -> Iterator[str]:
    for number, cell in enumerate(code_cells(notebook), start=1):
        for output in cell.outputs:
            if output.output_type == "error" and "raises-exception" not in cell.metadata.get("tags", []):
                yield f"code cell {number} stores an error: {output.ename}"
            if output.get("name") == "stderr":
                yield f"code cell {number} stores standard error: {output.text[:60]!r}"


@rule
def described(notebook: NotebookNode, path: Path) -> Iterator[str]:
    if path.parent.parent != HOME / "notebooks":
        return  # an exercise, or the first page: no card is made of it
    about = notebook.metadata.get("scaleup", {})
    text, texts = (
        (lambda v: isinstance(v, str) and v.strip()),
        (lambda v: isinstance(v, list) and all(map(text, v))),
    )
    wanted = {
        "title": text,
        "summary": text,
        "minutes": lambda v: type(v) is int and 5 <= v <= 90,
        "level": lambda v: v in ("beginner", "intermediate", "advanced"),
        "needs": lambda v: texts(v) and set(v) <= set(LESSONS),
        "outcomes": lambda v: texts(v) and 2 <= len(v) <= 8,
        "keywords": lambda v: texts(v) and v,
        "processes": lambda v: isinstance(v, str) and re.fullmatch(r"\d(-\d)?", v),
    }
    for key, good in wanted.items():
        if key not in about:
            yield f"metadata.scaleup lacks {key}"
        elif not good(about[key]):
            yield f"metadata.scaleup has an odd {key}: {about[key]!r}"
    yield from (f"metadata.scaleup has an unknown {key}" for key in about.keys() - wanted.keys())
    own = path.relative_to(HOME / "notebooks").with_suffix("").as_posix()
    if own in about.get("needs", []):
        yield "a lesson needs itself"


@rule
def titled(notebook: NotebookNode, path: Path) -> Iterator[str]:
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    titles = re.findall(r"^# (.+)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
    about = notebook.metadata.get("scaleup", {})
    if len(titles) != 1:
        yield f"{len(titles)} titles instead of one"
    elif "title" in about and titles[0].strip() != about["title"]:
        yield f"the title {titles[0]!r} is not the title of the metadata"


@rule
def short(notebook: NotebookNode, path: Path) -> Iterator[str]:
    sizes = [lines(cell) for cell in code_cells(notebook)]
    for number, size in enumerate(sizes, start=1):
        if size > LONGEST:
            yield f"code cell {number} has {size} lines, more than {LONGEST}"
    for number, cell in enumerate(code_cells(notebook), start=1):
        widest = max(map(len, cell.source.splitlines()), default=0)
        if widest > WIDEST:
            yield f"code cell {number} has {widest} columns, and a page shows {WIDEST}"
    if sizes and statistics.median(sizes) > MEDIAN:
        yield f"the median cell has {statistics.median(sizes)} lines, more than {MEDIAN}"


@rule
def imports_first(notebook: NotebookNode, path: Path) -> Iterator[str]:
    """A cell that ranks run, or that is written to a file, begins with %% and imports for itself."""
    for number, cell in enumerate(code_cells(notebook), start=1):
        if number == 1 or cell.source.lstrip().startswith("%%"):
            continue
        python = TransformerManager().transform_cell(cell.source)
        if found := re.findall(r"^(?:import|from) \S+", python, re.MULTILINE):
            yield f"code cell {number} has {', '.join(found)}; imports belong in the first code cell"


@rule
def pictures_have_words(notebook: NotebookNode, path: Path) -> Iterator[str]:
    for number, cell in enumerate(code_cells(notebook), start=1):
        pictures = [o for o in cell.outputs if any(k.startswith("image/") for k in o.get("data", {}))]
        alts = [o.metadata.get("image/png", {}).get("alt", "") for o in pictures]
        if len(pictures) > 1:
            yield f"code cell {number} has {len(pictures)} pictures; the book can describe one of a cell"
        for alt in alts:
            if len(alt) < 30:
                yield f"code cell {number} has a picture with the alternative text {alt!r}"
            elif cell.metadata.get("mystnb", {}).get("image", {}).get("alt") != alt:
                yield f"code cell {number} does not tell its alternative text to the book"
        for output in cell.outputs:
            for image in re.findall(r"<img[^>]*>", output.get("data", {}).get("text/html", "")):
                words = re.search(r'alt="([^"]*)"', image)
                if not words or len(words[1]) < 30:
                    yield f"code cell {number} has a drawn picture with no alternative text that tells it"
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and re.search(r"!\[\s*\]\(|<img(?![^>]*alt=\"[^\"])", cell.source):
            yield f"a picture without alternative text in {cell.source[:40]!r}"


@rule
def drawn(notebook: NotebookNode, path: Path) -> Iterator[str]:
    """A lesson shows who holds, sends or waits; a curve alone does not."""
    data = [output.get("data", {}) for cell in code_cells(notebook) for output in cell.outputs]
    pictures = sum("data:image/svg+xml" in kinds.get("text/html", "") for kinds in data)
    if re.fullmatch(r"\d-.*", path.parent.name) and "solutions" not in path.parts and pictures < PICTURES:
        yield f"{pictures} drawn pictures, fewer than {PICTURES}"


@rule
def one_fold_a_cell(notebook: NotebookNode, path: Path) -> Iterator[str]:
    """JupyterLab shows what is in the second one."""
    for cell in notebook.cells:
        if cell.source.count("<details") > 1:
            yield f"two <details> in one cell: {cell.source[:40]!r}"


@rule
def folds_hide(notebook: NotebookNode, path: Path) -> Iterator[str]:
    """JupyterLab shows a fold's text beside it where `</details>` does not begin a line."""
    for cell in notebook.cells:
        for line in re.findall(r"^.*\S.*</details>", cell.source, re.MULTILINE):
            yield f"</details> within a line: {line[-40:]!r}"


@rule
def no_prose_vanishes(notebook: NotebookNode, path: Path) -> Iterator[str]:
    """The book takes a line that begins with a per cent sign for a comment, and leaves it out."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            prose = re.sub(r"```.*?```", "", cell.source, flags=re.DOTALL)
            for line in re.findall(r"^\s*%.*", prose, re.MULTILINE):
                yield f"a line that the book leaves out: {line!r}"


LINK = re.compile(r"\]\(\s*<?([^)\s>]+)|(?:href|src)=[\"']([^\"']+)")


@rule
def links_lead_somewhere(notebook: NotebookNode, path: Path) -> Iterator[str]:
    for cell in notebook.cells:
        if cell.cell_type != "markdown":
            continue
        prose = re.sub(r"```.*?```|`[^`]*`", "", cell.source, flags=re.DOTALL)
        for link in ("".join(groups) for groups in LINK.findall(prose)):
            place = link.partition("#")[0]
            if not place or re.match(r"[a-z]+:", link):
                continue
            target = (path.parent / place).resolve()
            if not (target.exists() and target.is_relative_to(HOME)):
                yield f"the link {link} leads nowhere"


UNIT = r"(?:s|ms|µs|us|ns|seconds?|min|minutes|tokens/s|steps/s|samples/s|GFLOP/s|GB/s|MB/s)"
NAMES = [machine["name"].value for machine in machines.load().values()]
EXACT = "|".join(["predicted", *(kind for kind in predict.KINDS if kind != "measured")])
TIMED = re.compile(rf"(≈ ?-?|[\d.,])?(?<![\w.,])(\d[\d,.]*) ?{UNIT}(?![\w/-])")


@rule
def measured_numbers_are_marked(notebook: NotebookNode, path: Path) -> Iterator[str]:
    """A time or a rate that differs between runs begins with ≈.

    A line with a date or a machine's name is made from data/, a check's line from the exercise's own numbers,
    and what was predicted is the learner's own number. What a comparison calls counted or published, and a
    picture of values that were not measured, is the same in every run, too.
    """
    for number, cell in enumerate(code_cells(notebook), start=1):
        for output in cell.outputs:
            data = output.get("data", {})
            text = output.get("text", "") if output.get("name") == "stdout" else data.get("text/plain", "")
            if any(kind.startswith("image/") for kind in data) or "nbval-ignore-output" in cell.metadata.get(
                "tags", []
            ):
                continue
            if text.startswith("Figure: ") and 'class="measured"' not in data.get("text/html", ""):
                continue
            for line in text.splitlines():
                if re.search(r"\d{4}-\d\d-\d\d", line) or line.startswith(("✓ ", *NAMES)):
                    continue
                line = re.sub(rf"(?:{EXACT})(?: [^:,]*:)? [\d.,]+ \S+", "", line)
                for mark, found in TIMED.findall(line):
                    if not mark.startswith("≈"):
                        yield f"code cell {number} prints {found} as if it were exact: {line.strip()!r}"


# The rules, each on a notebook that breaks it


def lanes_of(kind: str = "drawn") -> str:
    alt = "Time goes to the right. Rank 0: 3 s"
    return f'<img class="{kind}" alt="{alt}" src="data:image/svg+xml;base64,aGk=">'


def good() -> NotebookNode:
    alt = "The loss falls steeply at first and slowly after."
    about = {
        "title": "A lesson", "summary": "What is it?", "minutes": 30, "level": "beginner", "needs": [],
        "outcomes": ["Do this", "Do that"], "keywords": ["rank"], "processes": "2-4",
    }  # fmt: skip
    picture = new_output("display_data", {"image/png": "aGk="}, metadata={"image/png": {"alt": alt}})
    told = "step time: you predicted 0.8 s, measured ≈ 0.53 s\n≈ 12 tokens/s\n2026-01-02: 60 s\nLUMI-G: 2 s\n"
    told += "step time: you predicted 0.8 s, published 0.53 s, predicted / published 1.51\n"
    lanes = new_output("display_data", {"text/html": lanes_of(), "text/plain": "Figure: Time: 3 s"})
    cells = [
        new_markdown_cell("# A lesson\n\n[data](../../data/machines.yml) and [a page](https://example.org)"),
        new_code_cell("import os", execution_count=1),
        new_code_cell(
            "print('≈')", execution_count=2, outputs=[new_output("stream", name="stdout", text=told)]
        ),
        new_code_cell("%%px\nimport torch", execution_count=3),
        new_code_cell(
            "draw()", execution_count=4, outputs=[picture], metadata={"mystnb": {"image": {"alt": alt}}}
        ),
        new_markdown_cell("<details><summary>Hint</summary>\n\nThink.\n</details>"),
        new_code_cell("lanes()", execution_count=5, outputs=[lanes, lanes]),
    ]
    return new_notebook(cells=cells, metadata={"scaleup": about})


PLACE = HOME / "notebooks" / "1-one-device" / "good.ipynb"


def complaints(notebook: NotebookNode, path: Path = PLACE) -> list[str]:
    return [f"{rule.__name__}: {said}" for rule in RULES for said in rule(notebook, path)]


def prints(text: str) -> Callable[[NotebookNode], None]:
    return lambda nb: nb.cells[2].outputs[0].update(text=text)


def source(cell: int, text: str) -> Callable[[NotebookNode], None]:
    return lambda nb: nb.cells[cell].update(source=text)


def about(**changes: object) -> Callable[[NotebookNode], None]:
    return lambda nb: nb.metadata["scaleup"].update(changes)


WRONG = [
    ("executed", lambda nb: nb.cells[1].update(execution_count=None)),
    ("executed", lambda nb: nb.cells[2].update(execution_count=7)),
    ("quiet", lambda nb: nb.cells[1].outputs.append(new_output("error", ename="E", evalue="", traceback=[]))),
    ("quiet", lambda nb: nb.cells[1].outputs.append(new_output("stream", name="stderr", text="careful"))),
    ("described", lambda nb: nb.metadata["scaleup"].pop("outcomes")),
    ("described", about(minutes="30")),
    ("described", about(needs=["1-one-device/never-written"])),
    ("described", about(needs=["1-one-device/good"])),
    ("described", about(processes=2)),
    ("described", about(sumary="typo")),
    ("titled", about(title="Another")),
    ("titled", source(5, "# A second title")),
    ("short", source(2, "x = 1\n" * 21)),
    ("short", lambda nb: [cell.update(source="x = 1\n" * 9) for cell in nb.cells[1:5]]),
    ("imports_first", source(2, "x = 1\nfrom math import pi")),
    ("pictures_have_words", lambda nb: nb.cells[4].outputs[0].metadata.clear()),
    ("pictures_have_words", lambda nb: nb.cells[4].metadata.clear()),
    ("pictures_have_words", source(5, "![](../../book/_static/logo.svg)")),
    ("pictures_have_words", lambda nb: nb.cells[6].outputs[0].data.update(
        {"text/html": '<img alt="Time" src="data:image/svg+xml;base64,aGk=">'})),
    ("short", source(2, "x = '" + "x" * 90 + "'")),
    ("drawn", lambda nb: nb.cells[6].update(outputs=nb.cells[6].outputs[:1])),
    ("one_fold_a_cell", source(5, "<details>\n</details>\n<details>\n</details>")),
    ("folds_hide", source(5, "<details><summary>Hint</summary>\n\nTwo. </details>")),
    ("no_prose_vanishes", source(5, "The error is 11\n% of the peak.")),
    ("links_lead_somewhere", source(5, "[gone](../gone.ipynb#part)")),
    ("links_lead_somewhere", source(5, '<a href="gone.md">gone</a>')),
    ("links_lead_somewhere", source(5, "[outside](../../../../etc/hostname)")),
    *(("measured_numbers_are_marked", prints(t)) for t in
      ("took 0.53 s\n", "5,000 tokens/s", "≈ 3 steps in 12 ms", "(1.5 seconds)", "12ms")),
    ("measured_numbers_are_marked", lambda nb: nb.cells[6].outputs[0].data.update(
        {"text/html": lanes_of("measured")})),
]  # fmt: skip


def test_a_good_notebook_has_no_complaint():
    assert complaints(good()) == []


@pytest.mark.parametrize(("name", "damage"), WRONG, ids=[f"{i}-{name}" for i, (name, _) in enumerate(WRONG)])
def test_a_rule_sees_what_breaks_it_and_no_other_does(name, damage):
    notebook = good()
    damage(notebook)
    assert {said.partition(":")[0] for said in complaints(notebook)} == {name}


def test_every_rule_has_been_broken():
    assert {name for name, _ in WRONG} == {rule.__name__ for rule in RULES}


# The notebooks of the course


def test_there_are_notebooks():
    assert "1-one-device/training-loop" in LESSONS


@pytest.mark.parametrize("path", PATHS, ids=lambda p: p.relative_to(HOME).with_suffix("").as_posix())
def test_a_notebook_follows_the_rules(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert complaints(notebook, path) == []


@pytest.mark.parametrize("path", PATHS, ids=lambda p: p.relative_to(HOME).with_suffix("").as_posix())
def test_a_notebook_is_stored_in_the_normal_form(path):
    """`make outputs` writes it; an output stored by hand from JupyterLab brings its own metadata."""
    stored, normal = (nbformat.read(path, as_version=4) for _ in range(2))
    run_notebooks.normalise(normal)
    assert stored == normal


def test_needs_do_not_go_round_in_a_circle():
    needs = {
        name: nbformat.read(path, as_version=4).metadata.get("scaleup", {}).get("needs", [])
        for name, path in LESSONS.items()
    }

    def before(name: str, seen: tuple[str, ...] = ()) -> None:
        assert name not in seen, " needs ".join((*seen, name))
        for need in needs.get(name, []):
            before(need, (*seen, name))

    for name in needs:
        before(name)


def test_nbval_compares_most_outputs(capsys):
    compared, total = run_notebooks.compared_share()
    with capsys.disabled():
        print(f"\nnbval compares {compared} of {total} cells with output: {compared / total:.0%}")
    assert compared / total >= 0.8
