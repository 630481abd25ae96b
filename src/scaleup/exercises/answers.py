"""Reading what a learner wrote: is it still empty, still as it was given, where does a placeholder stand?"""

from __future__ import annotations

import ast
import contextlib
import functools
import inspect
import json
import linecache
import os
import types
from pathlib import Path
from typing import Any

from ..words import a_kind
from .register import NotYet
from .starters import PLACEHOLDER, derive, parse, solution_of, starter_of, unfold

EMPTY = "write your answer where the … stands"

PROGRAMS = (".py", ".sh")  # files with code in them
AS_GIVEN_TEXT = "is still as it was given: change it as the task says, save it, run the check again"
AS_GIVEN = "the code is still as it was given: find what is wrong in it, change it, run the check again"


def code_of(answer: Any) -> types.CodeType | None:
    """The code of a function, a method, a class or an object of a class written in a cell."""
    if isinstance(answer, functools.partial):
        answer = answer.func
    if inspect.isroutine(answer):
        return getattr(inspect.unwrap(answer), "__code__", None)
    kind = answer if isinstance(answer, type) else type(answer)
    if kind.__module__ == "__main__":
        methods = [value for value in vars(kind).values() if isinstance(value, types.FunctionType)]
        return methods[0].__code__ if methods else None
    return None


def _definition(tree: ast.Module, name: str) -> ast.AST | None:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    found = [node for node in ast.walk(tree) if isinstance(node, kinds) and node.name == name]
    return found[-1] if found else None


def answer_definition(answer: Any) -> ast.AST | None:
    """The `def` or `class` of the answer, from the cell that defines it; None if it has none."""
    code_object = code_of(answer)
    if code_object is None:
        return None
    with contextlib.suppress(SyntaxError):
        text = "".join(linecache.getlines(code_object.co_filename))
        return _definition(parse(text, cell=True), code_object.co_qualname.split(".")[0])
    return None


def _in_notebook(lesson: str, name: str, *, starter: bool) -> ast.AST | None:
    """The definition of `name` in the lesson's solution notebook or in the starter derived from it."""
    if not solution_of(lesson).exists():
        return None
    cells = json.loads(solution_of(lesson).read_text("utf-8"))["cells"]
    for cell in reversed([cell for cell in cells if cell["cell_type"] == "code"]):
        text = unfold("".join(cell["source"]), lesson, starter=starter)
        with contextlib.suppress(SyntaxError):
            if node := _definition(parse(text, cell=True), name):
                return node
    return None


def open_places(node: ast.AST | None) -> list[int]:
    """Lines on which a placeholder `...` stands. `x[..., 0]` is indexing, not a placeholder."""
    if node is None:
        return []
    indices = [n.slice for n in ast.walk(node) if isinstance(n, ast.Subscript)]
    skip = {id(inner) for index in indices for inner in ast.walk(index)}
    constants = [n for n in ast.walk(node) if isinstance(n, ast.Constant) and id(n) not in skip]
    return [n.lineno for n in constants if n.value is ...]


def is_empty(answer: Any) -> bool:
    """Nothing, or a container that still holds a `...`."""
    if isinstance(answer, dict):
        answer = list(answer.values())
    if isinstance(answer, list | tuple | set):
        return any(item is ... or is_empty(item) for item in answer if item is not None)
    return answer is None or answer is ...


def untouched(lesson: str, node: ast.AST | None) -> str | None:
    """What to tell a learner whose definition is the starter's own; None if it was changed."""
    if node is None:
        return None
    starter = _in_notebook(lesson, node.name, starter=True)
    if starter is None:
        alone = all(isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant) for part in node.body)
        return EMPTY if alone and open_places(node) else None
    solution = _in_notebook(lesson, node.name, starter=False)
    same = ast.dump(node) == ast.dump(starter)
    if not same or (solution is not None and ast.dump(node) == ast.dump(solution)):
        return None
    return EMPTY if open_places(node) else AS_GIVEN


def answer_file(lesson: str, answer: Any) -> Path:
    """The file that an answer names, in the working directory or in the lesson's exercise folder."""
    if not isinstance(answer, str | os.PathLike):
        raise NotYet(f"give the name of your file in quotes, not {a_kind(answer)}")
    folders = [Path.cwd(), starter_of(solution_of(lesson)).parent]
    for folder in folders:
        if (folder / answer).is_file():
            return (folder / answer).resolve()
    raise NotYet(f"there is no file '{answer}' beside your notebook")


def untouched_file(lesson: str, path: Path) -> str | None:
    solution = solution_of(lesson)
    folder = solution.with_suffix("") if path.parent.name == solution.stem else solution.parent
    source = folder / path.name
    if not source.exists() or path.read_text("utf-8") != (starter := derive(source)):
        return None
    if starter == source.read_text("utf-8"):
        return None
    if PLACEHOLDER in starter:
        return f"{EMPTY} in {path.name}"
    return AS_GIVEN if path.suffix in PROGRAMS else f"{path.name} {AS_GIVEN_TEXT}"
