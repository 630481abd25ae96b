"""Exercises: check an answer, remember the progress, put things back.

What a learner opens is derived from the solution: see `scaleup.starters`.

**Checks.** `exercises/checks/PART/LESSON.py` holds plain functions, and known-wrong answers beside them:

    @exercise("average", hint="How many ranks contributed to the sum?")
    def average(answer):
        if answer([1.0, 3.0]) == 4.0:
            raise NotYet("this is the sum of the gradients: divide it by the world size")
        return "the average of two ranks is right"

    known_wrong("average", code("def average(grads):\\n    return sum(grads)"), "this is the sum of …")

With `file=True` the answer is a file's name and the function gets its `Path`; its known-wrong answers are
written as `edited("broken.py", {"right": "wrong"})`, a change to the solution.
"""

from __future__ import annotations

import ast
import contextlib
import difflib
import functools
import importlib.util
import inspect
import json
import linecache
import logging
import math
import os
import re
import shutil
import subprocess
import sys
import textwrap
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from .errors import CourseError
from .paths import root, state
from .starters import (
    PLACEHOLDER,
    belongs,
    derive,
    parse,
    solution_of,
    sources,
    starter_of,
    unfold,
    write_whole,
)
from .time_limit import TimeIsUp, run_limited

LIMIT = 20.0
EMPTY = "write your answer where the … stands"
AS_GIVEN = "the code is still as it was given: find what is wrong in it, change it, run the check again"


class NotYet(Exception):
    """Raised by a check: one sentence that names the likely mistake."""


# ---------------------------------------------------------------- writing checks


@dataclass(frozen=True)
class Exercise:
    """One exercise of a lesson. `limit` is in seconds; with `file` the answer is a file's name."""

    name: str
    check: Callable[[Any], str]
    hint: str
    limit: float
    file: bool


@dataclass(frozen=True)
class KnownWrong:
    """A wrong answer and the exact message that it must get."""

    exercise: str
    answer: Any
    message: str


@dataclass(frozen=True)
class Edited:
    """The solution file `name` with every key of `changes` (found exactly once) replaced by its value."""

    name: str
    changes: dict[str, str]


@dataclass
class Checks:
    """What one file of `exercises/checks/` holds."""

    lesson: str
    path: Path
    exercises: dict[str, Exercise] = field(default_factory=dict)
    known_wrong: list[KnownWrong] = field(default_factory=list)


_loading: list[Checks] = []  # the file being loaded, so that its decorators know where they belong


def _current() -> Checks:
    if not _loading:
        raise CourseError("This is a file of checks. Use it through scaleup.exercises.check, do not run it.")
    return _loading[-1]


def exercise(name: str, *, hint: str, limit: float = LIMIT, file: bool = False) -> Callable:
    """Registers the decorated function as the check of exercise `name`.

    The function gets the answer, returns a short sentence that says what is right, and raises `NotYet`
    otherwise. `hint` is shown from the third miss on. `limit` is the time limit in seconds.
    """

    def register(function: Callable[[Any], str]) -> Callable[[Any], str]:
        checks = _current()
        if name in checks.exercises:
            raise CourseError(f"{checks.path.name} has two checks named '{name}'. Rename one.")
        checks.exercises[name] = Exercise(name, function, hint, limit, file)
        return function

    return register


def known_wrong(name: str, answer: Any, message: str) -> None:
    """Records that `answer` (a value, `code(…)` or `edited(…)`) must get exactly `message`."""
    checks = _current()
    if name not in checks.exercises:
        raise CourseError(f"{checks.path.name}: known_wrong('{name}') stands before a check of that name.")
    checks.known_wrong.append(KnownWrong(name, answer, message))


def needs_function(answer: Any, name: str) -> None:
    """Not yet, unless the answer is a function."""
    if not callable(answer):
        raise NotYet(f"the check needs your function {name}, you gave a {type(answer).__name__}")


def code(source: str) -> Any:
    """Runs `source` as a learner's cell would and returns the last thing that it defines."""
    source = textwrap.dedent(source).strip("\n") + "\n"
    filename = f"<answer {len(linecache.cache)}>"
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(source, filename, "exec"), names)
    return list(names.values())[-1]


def edited(name: str, changes: dict[str, str]) -> Edited:
    """The solution file `name`, changed: a known-wrong answer of an exercise with `file=True`."""
    return Edited(name, changes)


# ---------------------------------------------------------------- finding lessons and their files


def lessons() -> list[str]:
    """The ids of all lessons that have checks, such as `3-many-devices/data-parallel`."""
    folder = root() / "exercises" / "checks"
    return sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.glob("*/*.py"))


def _nearest(word: str, words: list[str]) -> str:
    near = difflib.get_close_matches(word, words, n=1, cutoff=0.4)
    return f"Did you mean '{near[0]}'?" if near else f"There is: {', '.join(words) or 'none yet'}."


def find_lesson(name: str) -> str:
    """The id of the lesson called `name`, which is its id or its last part; a CourseError otherwise."""
    known = lessons()
    found = [lesson for lesson in known if name in (lesson, lesson.split("/")[1])]
    if len(found) == 1:
        return found[0]
    if found:
        raise CourseError(f"Several lessons are called '{name}': {', '.join(found)}. Write the longer name.")
    names = [lesson.split("/")[1] for lesson in known]
    raise CourseError(f"No exercises for a lesson called '{name}'. {_nearest(name.split('/')[-1], names)}")


def load_checks(lesson: str) -> Checks:
    """Runs the lesson's file of checks and returns what it registered."""
    path = root() / "exercises" / "checks" / f"{lesson}.py"
    checks = Checks(lesson, path)
    spec = importlib.util.spec_from_file_location(f"scaleup_checks_{path.stem.replace('-', '_')}", path)
    module = importlib.util.module_from_spec(spec)
    _loading.append(checks)
    try:
        spec.loader.exec_module(module)
    finally:
        _loading.pop()
    return checks


def exercise_names(lesson: str) -> list[str]:
    """The names of a lesson's exercises, read without running its checks (which may import a lot)."""
    path = root() / "exercises" / "checks" / f"{lesson}.py"
    calls = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Call)]
    calls = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "exercise"]
    return [call.args[0].value for call in sorted(calls, key=lambda call: call.lineno)]


def write_edited(lesson: str, answer: Edited, folder: Path) -> Path:
    """Copies the files beside the solution into `folder`, with `answer` changed; returns its path there."""
    shutil.copytree(solution_of(lesson).parent, folder, ignore=shutil.ignore_patterns("*.ipynb", "[._]*"))
    path = folder / answer.name
    text = unfold(path.read_text("utf-8"), answer.name, starter=False)
    for old, new in answer.changes.items():
        if text.count(old) != 1:
            raise CourseError(
                f"{answer.name} holds {old!r} {text.count(old)} times. Choose a piece it holds once."
            )
        text = text.replace(old, new)
    path.write_text(text, "utf-8")
    return path


class _FirstLines:
    """Stands in for stdout: an answer may print, but not flood the notebook."""

    def __init__(self, stream: Any, lines: int = 20) -> None:
        self.stream, self.left = stream, lines

    def write(self, text: str) -> int:
        if self.left > 0:
            self.left -= text.count("\n")
            self.stream.write(text)
            if self.left <= 0:
                self.stream.write("(the rest of what your answer prints is not shown)\n")
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


# ---------------------------------------------------------------- reading the learner's code


def _code_of(answer: Any) -> types.CodeType | None:
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


def _answer_definition(answer: Any) -> ast.AST | None:
    """The `def` or `class` of the answer, from the cell that defines it; None if it has none."""
    code_object = _code_of(answer)
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


def _open_places(node: ast.AST | None) -> list[int]:
    """Lines on which a placeholder `...` stands. `x[..., 0]` is indexing, not a placeholder."""
    if node is None:
        return []
    indices = [n.slice for n in ast.walk(node) if isinstance(n, ast.Subscript)]
    skip = {id(inner) for index in indices for inner in ast.walk(index)}
    constants = [n for n in ast.walk(node) if isinstance(n, ast.Constant) and id(n) not in skip]
    return [n.lineno for n in constants if n.value is ...]


def _is_empty(answer: Any) -> bool:
    """Nothing, or a container that still holds a `...`."""
    if isinstance(answer, dict):
        answer = list(answer.values())
    if isinstance(answer, list | tuple | set):
        return any(item is ... or _is_empty(item) for item in answer if item is not None)
    return answer is None or answer is ...


def _untouched(lesson: str, node: ast.AST | None) -> str | None:
    """What to tell a learner whose definition is the starter's own; None if it was changed."""
    if node is None:
        return None
    starter = _in_notebook(lesson, node.name, starter=True)
    if starter is None:
        alone = all(isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant) for part in node.body)
        return EMPTY if alone and _open_places(node) else None
    solution = _in_notebook(lesson, node.name, starter=False)
    same = ast.dump(node) == ast.dump(starter)
    if not same or (solution is not None and ast.dump(node) == ast.dump(solution)):
        return None
    return EMPTY if _open_places(node) else AS_GIVEN


def _answer_file(lesson: str, answer: Any) -> Path:
    """The file that an answer names, in the working directory or in the lesson's exercise folder."""
    if not isinstance(answer, str | os.PathLike):
        raise NotYet(f"give the name of your file in quotes, not a {type(answer).__name__}")
    folders = [Path.cwd(), starter_of(solution_of(lesson)).parent]
    for folder in folders:
        if (folder / answer).is_file():
            return (folder / answer).resolve()
    raise NotYet(f"there is no file '{answer}' beside your notebook")


def _untouched_file(lesson: str, path: Path) -> str | None:
    solution = solution_of(lesson)
    folder = solution.with_suffix("") if path.parent.name == solution.stem else solution.parent
    source = folder / path.name
    if not source.exists() or path.read_text("utf-8") != (starter := derive(source)):
        return None
    if starter == source.read_text("utf-8"):
        return None
    return f"{EMPTY} in {path.name}" if PLACEHOLDER in starter else AS_GIVEN


# ---------------------------------------------------------------- judging an answer


@dataclass(frozen=True)
class Verdict:
    """What a check says. `note` is a second line; `attempt` is False for an answer not yet begun."""

    solved: bool
    message: str
    note: str = ""
    attempt: bool = True


def _one_line(text: Any, width: int = 300) -> str:
    line = " ".join(str(text).split("\n\n")[0].split())
    return line if len(line) <= width else line[: width - 1] + "…"


def _raised(error: BaseException, answer: Any) -> str:
    """A sentence for an exception: whose code raised it, what and where."""
    what = type(error).__name__ + (
        "" if isinstance(error, SystemExit) or not str(error) else f": {_one_line(error)}"
    )
    code_object = _code_of(answer)
    own = code_object.co_filename if code_object else None
    step, line, name = error.__traceback__, 0, ""
    while step:
        file = step.tb_frame.f_code.co_filename
        if file == own or Path(file).parent.name.startswith("ipykernel_"):
            line, name = step.tb_lineno, step.tb_frame.f_code.co_name
        step = step.tb_next
    if line:
        return f"your function raised {what} (in line {line} of its cell, in {name})"
    if re.search(r"NoneType|'?ellipsis'?", str(error)) and code_object:
        return "your function returned nothing where the check needs a value: is a return missing?"
    return f"the check cannot use your answer ({what}): compare its type and shape with what is asked for"


def judge(lesson: str, task: Exercise, answer: Any) -> Verdict:
    """Runs one check on one answer. Whatever the answer does becomes a sentence; nothing is recorded."""
    if _is_empty(answer):
        return Verdict(False, EMPTY, attempt=False)
    if task.file:
        try:
            answer = _answer_file(lesson, answer)
        except NotYet as error:
            return Verdict(False, str(error), attempt=False)
        node, said = None, _untouched_file(lesson, answer)
    else:
        node = _answer_definition(answer)
        said = _untouched(lesson, node)
    if said:
        return Verdict(False, said, attempt=False)
    try:
        with contextlib.redirect_stdout(_FirstLines(sys.stdout)):
            message = run_limited(functools.partial(task.check, answer), task.limit)
        return Verdict(True, _one_line(message))
    except (NotYet, CourseError) as error:
        message = _one_line(error)
    except TimeIsUp as stuck:
        message = f"your answer was still running after {task.limit:g} s: look for a loop that never ends"
        message += f"; {stuck}" if stuck.args else ""
    except KeyboardInterrupt:
        return Verdict(False, "the check was stopped before it ended", attempt=False)
    except (Exception, SystemExit) as error:
        message = _raised(error, answer)
    lines = _open_places(node)
    return Verdict(False, message, f"  a … is still in your answer, in line {lines[0]}" if lines else "")


def check(name: str, answer: Any) -> None:
    """Checks `answer` of exercise `name`, such as `data-parallel/average`, and prints what it finds.

    Prints `✓ data-parallel/average: …` or `✗ not yet: …`. Never raises; ends within the time limit.
    """
    try:
        lesson, task = _find_exercise(name)
        verdict = judge(lesson, task, answer)
    except CourseError as error:
        print(f"✗ not yet: {_one_line(error)}")
        return
    except Exception as error:  # the course's mistake, not the learner's
        print(f"✗ not yet: the check itself is broken ({type(error).__name__}: {_one_line(error)}).")
        print("  This is not your answer's fault. Please tell the course's maintainers.")
        return
    except KeyboardInterrupt:
        print("✗ not yet: the check was stopped before it ended")
        return
    attempts = _record(f"{lesson}/{task.name}", verdict)
    if verdict.solved:
        print(f"✓ {lesson.split('/')[1]}/{task.name}: {verdict.message}")
    else:
        print(f"✗ not yet: {verdict.message}")
        if verdict.note or attempts >= 3:
            print(verdict.note or f"  hint: {task.hint}")


def _find_exercise(name: str) -> tuple[str, Exercise]:
    if not isinstance(name, str) or "/" not in name:
        raise CourseError("Name the exercise as lesson/exercise, such as check('data-parallel/average', …).")
    lesson_name, _, short = name.rpartition("/")
    lesson = find_lesson(lesson_name)
    tasks = load_checks(lesson).exercises
    if short not in tasks:
        raise CourseError(f"No exercise '{short}' in {lesson_name}. {_nearest(short, list(tasks))}")
    return lesson, tasks[short]


# ---------------------------------------------------------------- progress


@dataclass(frozen=True)
class Row:
    """Progress of one exercise. `solved_at` is a local ISO time, `""` before; so is `checked_at`."""

    lesson: str
    exercise: str
    attempts: int = 0
    solved: bool = False
    solved_at: str = ""
    checked_at: str = ""
    passing: bool = False  # what the last check said, whereas `solved` stays once it was reached
    message: str = ""


def progress_path() -> Path:
    """The progress file of this learner; SCALEUP_PROGRESS moves it."""
    moved = os.environ.get("SCALEUP_PROGRESS")
    return Path(moved).expanduser() if moved else state() / "progress.json"


def _read_progress(path: Path) -> dict[str, dict[str, Any]]:
    """The entries of the file. One that cannot be read is set aside, and that is said."""
    try:
        entries = json.loads(path.read_text("utf-8"))
        for key, entry in entries.items():
            Row(key, "", **entry)
            if not isinstance(entry["attempts"], int) or not isinstance(entry["solved"], bool):
                raise TypeError(key)
        return entries
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, KeyError, AttributeError):
        aside = path.with_name(path.name + ".broken")
        os.replace(path, aside)
        print(f"The progress file could not be read. It is kept as {aside.name}; a new one is begun.")
        return {}


def _write_progress(path: Path, entries: dict[str, dict[str, Any]]) -> None:
    write_whole(path, json.dumps(entries, indent=1, ensure_ascii=False, sort_keys=True) + "\n")


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Holds the lock of the progress file: several kernels may record at once."""
    from filelock import FileLock

    lock = FileLock(f"{path}.lock", timeout=5)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except (OSError, NotImplementedError) as error:  # no permission, no locks on this disk, or held too long
        raise CourseError(f"{path} cannot be locked ({_one_line(error)}). Set SCALEUP_PROGRESS.") from None
    try:
        yield
    finally:
        lock.release()


def _record(key: str, verdict: Verdict) -> int:
    """Saves a verdict and returns the attempts so far; says so if it cannot be saved.

    A solution notebook leaves no trace: to run it is not to have solved the exercise.
    """
    try:
        if root() / "exercises" / "solutions" in (Path.cwd(), *Path.cwd().parents):
            return 0
        path = progress_path()
        with _locked(path):
            entries = _read_progress(path)
            entry = entries.setdefault(key, {"attempts": 0, "solved": False, "solved_at": ""})
            now = datetime.now().astimezone().isoformat()
            entry["attempts"] += verdict.attempt
            if verdict.solved and not entry["solved"]:
                entry |= {"solved": True, "solved_at": now}
            entry |= {"checked_at": now, "passing": verdict.solved, "message": verdict.message}
            _write_progress(path, entries)
        return entry["attempts"]
    except (OSError, CourseError) as error:
        print(f"Your progress was not saved: {_one_line(error)}")
        return 0


def progress() -> list[Row]:
    """One row per exercise of the course, tried or not."""
    path = progress_path()
    with _locked(path):
        entries = _read_progress(path)
    keys = [(lesson, name) for lesson in lessons() for name in exercise_names(lesson)]
    return [Row(lesson, name, **entries.get(f"{lesson}/{name}", {})) for lesson, name in keys]


def progress_table() -> str:
    """The exercises tried so far as a table, and how many there are in all."""
    rows = progress()
    tried = [row for row in rows if row.checked_at]
    total = f"{sum(row.solved for row in rows)} of {len(rows)} exercises solved."
    if not tried:
        return f"{total} Open a notebook in exercises/ and run a check to begin."
    cells = [("exercise", "state", "tries", "last message")]
    for row in tried:
        done = "solved" if row.solved else "not yet"
        cells.append((f"{row.lesson}/{row.exercise}", done, str(row.attempts), _one_line(row.message, 60)))
    widths = [max(len(line[column]) for line in cells) for column in range(3)]
    lines = [
        f"{name:<{widths[0]}}  {done:<{widths[1]}}  {tries:>{widths[2]}}  {text}"
        for name, done, tries, text in cells
    ]
    return "\n".join([*lines, "", total])


# ---------------------------------------------------------------- a whole lesson: check, reset


def execute(path: Path, cell_limit: float = 120.0) -> Any:
    """Runs a notebook in a fresh kernel, in its own folder, on after errors; returns it with its outputs.

    `cell_limit` is in seconds. The file itself is not changed. A cell that exceeds the limit or ends the
    kernel gets an error output named `Cut`, and the cells after it are not run.
    """
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellTimeoutError, DeadKernelError

    try:
        notebook = nbformat.read(path, as_version=4)
    except FileNotFoundError:
        raise CourseError(f"{path} is missing. `scaleup reset {path.stem}` puts it back.") from None
    except ValueError:
        raise CourseError(f"{path} is no readable notebook. `scaleup reset {path.stem}` renews it.") from None
    client = NotebookClient(
        notebook,
        timeout=math.ceil(cell_limit),
        kernel_name="python3",
        allow_errors=True,
        resources={"metadata": {"path": str(path.parent)}},
    )
    client.log = logging.getLogger("scaleup.exercises.execute")
    client.log.setLevel(logging.CRITICAL)  # a time-out is told in our words
    begun = []
    client.on_cell_start = lambda cell, cell_index: begun.append(cell)
    problem = ""
    try:
        client.execute(stderr=subprocess.DEVNULL)  # the kernel's own log, not what cells write to stderr
    except CellTimeoutError:
        problem = f"it took longer than {client.timeout} s; the rest was not run"
    except DeadKernelError:
        problem = "it ended the kernel; the rest was not run"
    if problem:
        begun[-1].outputs.append(nbformat.v4.new_output("error", ename="Cut", evalue=problem, traceback=[]))
    return notebook


def _is_changed(lesson: str) -> bool:
    """Whether the learner changed a code cell of the lesson's starter."""
    starter = starter_of(solution_of(lesson))
    if not starter.exists():
        return False

    def sources_in(text: str) -> list[str]:
        return ["".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]

    try:
        return sources_in(starter.read_text("utf-8")) != sources_in(derive(solution_of(lesson)))
    except (ValueError, KeyError, TypeError):
        return True  # unreadable, so no longer as it was given


def check_lesson(lesson: str | None = None) -> int:
    """Runs the learner's notebook of a lesson (None: of every lesson with changes) and prints each result.

    Returns 0 if every exercise is solved, 1 if not yet.
    """
    if lesson is None:
        changed = [name for name in lessons() if _is_changed(name)]
        if not changed:
            print("No exercise has been changed yet. Open a notebook in exercises/ to begin.")
        return max([check_lesson(name) for name in changed], default=1)
    lesson = find_lesson(lesson)
    short = lesson.split("/")[1]
    began = datetime.now().astimezone()
    limit = 120 + sum(task.limit for task in load_checks(lesson).exercises.values())
    notebook = execute(starter_of(solution_of(lesson)), limit)
    rows = [row for row in progress() if row.lesson == lesson]
    passed = True
    for row in rows:
        reached = bool(row.checked_at) and datetime.fromisoformat(row.checked_at) >= began
        passed = passed and reached and row.passing
        mark, said = ("✓", row.message) if row.passing else ("✗", f"not yet: {row.message}")
        if not reached:
            mark, said = "✗", "not yet: its check was not reached"
        print(f"{mark} {short}/{row.exercise}: {said}")
    for number, cell in enumerate(notebook.cells, 1):
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                what = "" if output.ename == "Cut" else f"{output.ename}: "
                print(f"  cell {number} stopped: {what}{_one_line(output.evalue)}")
    return 0 if passed else 1


def _set_aside(path: Path) -> Path:
    """Keeps a copy of `path` beside it under a dated name that was free."""
    stamp = datetime.now().strftime("%Y-%m-%d-%H%M")
    for number in range(1, 1000):
        extra = f"-{number}" if number > 1 else ""
        kept = path.with_name(f"{path.stem}.{stamp}{extra}{path.suffix}")
        with contextlib.suppress(FileExistsError), kept.open("xb") as file:
            file.write(path.read_bytes())
            return kept
    raise CourseError(f"There are too many old answers beside {path}. Move some away.")


def reset(lesson: str) -> Path:
    """Puts a lesson's fresh starters back, keeps the old answers beside them, forgets its progress.

    The lesson's files are its notebook, those beside its solution that the notebook names, and those in the
    folder of its name. Prints where each old answer is. Returns the old notebook's new place, or the fresh
    notebook if there was no old one.
    """
    lesson = find_lesson(lesson)
    notebook = solution_of(lesson)
    if not notebook.exists():
        raise CourseError(f"The source of {lesson} is missing: {notebook}. Restore the course's folder.")
    beside = [path for path in sources() if belongs(path, notebook)]
    kept: dict[Path, Path] = {}
    for source in [notebook, *beside]:
        target, fresh = starter_of(source), derive(source)
        if target.exists() and target.read_bytes() != fresh.encode():
            kept[source] = _set_aside(target)
            print(f"Your old answer is kept as {kept[source]}")
        write_whole(target, fresh)
        shutil.copymode(source, target)
    path = progress_path()
    with _locked(path):
        entries = _read_progress(path)
        entries = {key: entry for key, entry in entries.items() if not key.startswith(f"{lesson}/")}
        _write_progress(path, entries)
    print(f"A fresh start is in {starter_of(notebook)}")
    return kept.get(notebook, starter_of(notebook))
