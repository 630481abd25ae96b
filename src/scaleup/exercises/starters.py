"""What learners open: starters, derived from the solutions.

Only `exercises/solutions/PART/LESSON.ipynb`, and files beside it or in the folder `LESSON/` there, are edited
by hand. `python -m tools.derive_starters` derives `exercises/PART/…` from them. A solution block

    ### BEGIN SOLUTION
    layout = {"tp": 4}
    ### STARTER
    # layout = ...  # your answer
    ### END SOLUTION

becomes, in the starter, the lines below `### STARTER` without their `# `: an empty answer with its name kept,
or a buggy version in a find-the-bug exercise (no line at all: the bug is a missing line). A block without
`### STARTER` becomes one line, `...  # your answer`, at the block's indentation. Outputs are cleared, but not
those of cells tagged `keep-output`; cells tagged `solution` are dropped; and relative links in prose lose the
one `../` that the starter does not need.
"""

from __future__ import annotations

import ast
import re
import shutil
from pathlib import Path

from ..errors import CourseError
from ..files import write_whole
from ..paths import root

BEGIN, STARTER, END = "### BEGIN SOLUTION", "### STARTER", "### END SOLUTION"
PLACEHOLDER = "...  # your answer"
_MARKER_LIKE = re.compile(r"^\s*#+\s*((begin|end)\s*solution|starter)\b", re.IGNORECASE)
_LINK_UP = re.compile(r"(\]\(|\b(?:src|href)=[\"']|^\[[^\]]+\]:\s*)\.\./(?=\.\./)", re.MULTILINE)


def solution_of(lesson: str) -> Path:
    """The lesson's solution notebook."""
    return root() / "exercises" / "solutions" / f"{lesson}.ipynb"


def starter_of(source: Path) -> Path:
    """Where the starter of a file below `exercises/solutions/` stands."""
    folder = root() / "exercises"
    return folder / source.relative_to(folder / "solutions")


def unfold(text: str, where: str, *, starter: bool) -> str:
    """`text` with each block replaced by its starter lines, or by its solution lines."""
    lines: list[str] = []
    given: list[str] | None = None  # the lines below STARTER
    part = "outside"
    for number, line in enumerate(text.splitlines(), 1):
        mark = line.strip()
        if mark in (BEGIN, STARTER, END):
            if (mark == BEGIN) != (part == "outside") or (mark == STARTER and part == "starter"):
                raise CourseError(f"{where}, line {number}: '{mark}' is out of place. See scaleup.exercises.")
            if mark == BEGIN:
                part, given, indent = "solution", None, line[: len(line) - len(line.lstrip())]
            elif mark == STARTER:
                part, given = "starter", []
            else:
                part = "outside"
                if starter:
                    lines += [indent + PLACEHOLDER] if given is None else given
        elif _MARKER_LIKE.match(line):
            raise CourseError(
                f"{where}, line {number}: '{mark}' is not a marker. Write '{BEGIN}' and '{END}'."
            )
        elif part == "starter":
            if mark and not mark.startswith("#"):
                raise CourseError(f"{where}, line {number}: lines below '{STARTER}' begin with '# '.")
            given.append((indent + mark[1:].removeprefix(" ")).rstrip())
        elif part == "outside" or not starter:
            lines.append(line)
    if part != "outside":
        raise CourseError(f"{where}: a '{BEGIN}' has no '{END}'.")
    return "\n".join(lines) + ("\n" if text.endswith("\n") else "")


def parse(text: str, *, cell: bool) -> ast.Module:
    flags = ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    try:
        return compile(text, "<starter>", "exec", flags)
    except SyntaxError:
        if not cell:
            raise
    # %magics and !commands are not Python until IPython, slow to import, has rewritten them.
    from IPython.core.inputtransformer2 import TransformerManager

    return compile(TransformerManager().transform_cell(text), "<starter>", "exec", flags)


def starter_code(text: str, where: str, *, python: bool = True, cell: bool = False) -> str:
    """The starter of a piece of code; a CourseError if the markers are wrong or it is no valid Python."""
    result = unfold(text, where, starter=True)
    if python:
        try:
            parse(result, cell=cell)
        except SyntaxError as error:
            message = f"{where}: the starter is not valid Python (line {error.lineno}: {error.msg})."
            raise CourseError(f"{message} Give the block a '{STARTER}' part.") from None
    return result


def derive(source: Path) -> str:
    """The text of the starter of `source`, a notebook or another text file of `exercises/solutions/`."""
    text = source.read_text("utf-8")
    if source.suffix != ".ipynb":
        return starter_code(text, source.name, python=source.suffix == ".py")
    import nbformat

    notebook = nbformat.reads(text, as_version=4)
    notebook.cells = [cell for cell in notebook.cells if "solution" not in cell.metadata.get("tags", [])]
    for number, cell in enumerate(notebook.cells, 1):
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.execution_count = None
            if "keep-output" not in cell.metadata.get("tags", []):
                cell.outputs = []
            cell.source = starter_code(cell.source, f"{source.name}, cell {number}", cell=True)
        elif cell.cell_type == "markdown":
            cell.source = _LINK_UP.sub(r"\1", cell.source)
    return nbformat.writes(notebook, version=4).rstrip("\n") + "\n"


def sources() -> list[Path]:
    """Every file below `exercises/solutions/`, notebooks and the files that belong to them."""
    folder = root() / "exercises" / "solutions"
    paths = [path for path in sorted([*folder.glob("*/*"), *folder.glob("*/*/*")]) if path.is_file()]
    return [
        path
        for path in paths
        if not any(part.startswith((".", "_")) for part in path.relative_to(folder).parts)
    ]


def belongs(path: Path, notebook: Path) -> bool:
    """Whether a file is the notebook's own: in the folder of its name, or beside it and named in it."""
    if path.parent == notebook.with_suffix(""):
        return True
    return (
        path.parent == notebook.parent
        and path.suffix != ".ipynb"
        and path.name in notebook.read_text("utf-8")
    )


def derive_all() -> list[Path]:
    """Writes every starter that is not in step with its source and returns those. Answers are lost."""
    written = []
    for source in sources():
        target, text = starter_of(source), derive(source)
        if not target.exists() or target.read_text("utf-8") != text:
            write_whole(target, text)
            shutil.copymode(source, target)
            written.append(target)
    return written
