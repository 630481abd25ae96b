"""Exercises: the machinery on a small course of our own, then every real lesson.

A check is believed only when the solution passes, the untouched starter is told "not yet", and each
known-wrong answer gets exactly the message written beside it.
"""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from scaleup import exercises, practice
from scaleup.cli import main
from scaleup.computer import slurm
from scaleup.errors import CourseError
from scaleup.exercises import EMPTY, check, code, judge, load_checks, run_notebook, starters
from scaleup.exercises.starters import derive, starter_code

HOME = Path(__file__).resolve().parents[2]

# ---------------------------------------------------------------- a small course

CHECKS = '''
from scaleup.exercises import NotYet, code, edited, exercise, known_wrong


@exercise("average", hint="how many ranks are there?", limit=0.2)
def average(answer):
    value = answer([1.0, 3.0])
    if value == 4.0:
        raise NotYet("this is the sum: divide it by the world size")
    if abs(value - 2.0) > 1e-6:
        raise NotYet("the average of 1 and 3 is 2")
    return "the average of two ranks is right"


known_wrong(
    "average",
    code("def average(grads):\\n    return sum(grads)"),
    "this is the sum: divide it by the world size",
)
known_wrong(
    "average",
    code("""
        def average(grads):
            return grads / 2
        """),
    "your function raised TypeError: unsupported operand type(s) for /: 'list' and 'int' "
    "(in line 2 of its cell, in average)",
)


@exercise("layout", hint="eight devices")
def layout(answer):
    if answer["tp"] * answer["dp"] != 8:
        raise NotYet("tp times dp is the number of devices")
    return "all devices have work"


known_wrong("layout", {"tp": 1, "dp": 1}, "tp times dp is the number of devices")


@exercise("bug", hint="look at the sign")
def bug(answer):
    if answer(1.0, 0.5) > 1.0:
        raise NotYet("the weight moves uphill")
    return "the step goes downhill"


@exercise("file", hint="read it again", file=True)
def file(answer):
    names = {}
    exec(answer.read_text(), names)
    if names["ranks"] != 2:
        raise NotYet("the file starts the wrong number of ranks")
    return "two ranks"


three = edited("small_run.py", {"ranks = 2": "ranks = 3"})
known_wrong("file", three, "the file starts the wrong number of ranks")
'''

AVERAGE = """def average(grads):
    ### BEGIN SOLUTION
    return sum(grads) / len(grads)
    ### END SOLUTION"""
LAYOUT = """### BEGIN SOLUTION
layout = {"tp": 2, "dp": 4}
### STARTER
# layout = {"tp": ..., "dp": 4}  # your answer
### END SOLUTION"""
BUG = """def step(weight, gradient):
    ### BEGIN SOLUTION
    return weight - gradient
    ### STARTER
    # return weight + gradient
    ### END SOLUTION"""
RUN = "### BEGIN SOLUTION\nranks = 2\n### STARTER\n# ranks = 1\n### END SOLUTION\n"


@pytest.fixture
def course(tmp_path, monkeypatch):
    """A course with the lesson `1-part/small`, its starters derived; the working directory is beside them."""
    for folder in ("notebooks", "data", "exercises/solutions/1-part", "exercises/checks/1-part"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.setenv("SCALEUP_HOME", str(tmp_path))
    monkeypatch.setenv("SCALEUP_PROGRESS", str(tmp_path / "mine" / "progress.json"))
    (tmp_path / "exercises/checks/1-part/small.py").write_text(CHECKS, "utf-8")
    solutions = tmp_path / "exercises/solutions/1-part"
    (solutions / "small_run.py").write_text(RUN, "utf-8")
    output = new_output("stream", text="stored\n")
    cells = [
        new_markdown_cell("[Lesson](../../../notebooks/1-part/small.ipynb), [next](other.ipynb)"),
        new_code_cell("from scaleup.exercises import check", execution_count=1, outputs=[output]),
        new_code_cell(
            AVERAGE + '\n\n\ncheck("small/average", average)',
            metadata={"execution": {"iopub.status.busy": "2026-11-22"}},
        ),
        new_markdown_cell("*Analysis.* The mean.", metadata={"tags": ["solution"]}),
        new_code_cell(LAYOUT + '\ncheck("small/layout", layout)'),
        new_code_cell(BUG + '\n\n\ncheck("small/bug", step)'),
        new_code_cell('check("small/file", "small_run.py")'),
    ]
    nbformat.write(new_notebook(cells=cells), solutions / "small.ipynb")
    starters.derive_all()
    monkeypatch.chdir(tmp_path / "exercises/1-part")
    return tmp_path


def say(capsys, name, answer):
    check(name, answer)
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out.rstrip("\n")


def entry(name):
    return json.loads(exercises.progress_path().read_text("utf-8"))[f"1-part/small/{name}"]


GOOD = "def average(grads):\n    return sum(grads) / len(grads)"
SUM = "def average(grads):\n    return sum(grads)"

# ---------------------------------------------------------------- deriving


def test_a_block_becomes_a_placeholder_at_its_indentation():
    assert starter_code(AVERAGE, "x") == "def average(grads):\n    ...  # your answer"


def test_starter_lines_replace_the_block_and_keep_their_inner_indentation():
    lines = [
        "### BEGIN SOLUTION",
        "return x",
        "### STARTER",
        "# if x:",
        "#     return -x",
        "#",
        "### END SOLUTION",
    ]
    text = "def f(x):\n" + "".join(f"    {line}\n" for line in lines)
    assert starter_code(text, "x") == "def f(x):\n    if x:\n        return -x\n\n"


def test_an_empty_starter_part_leaves_no_line():
    text = "a = 1\n### BEGIN SOLUTION\nb = 2\n### STARTER\n### END SOLUTION\nc = 3\n"
    assert starter_code(text, "x") == "a = 1\nc = 3\n"


def test_other_files_than_python_may_have_blocks(tmp_path):
    job = tmp_path / "job.sh"
    job.write_text(
        "### BEGIN SOLUTION\n#SBATCH --nodes=2\n### STARTER\n# #SBATCH --nodes=64\n### END SOLUTION\n"
    )
    assert derive(job) == "#SBATCH --nodes=64\n"


def test_cells_with_magics_can_be_derived():
    text = "%%px\n### BEGIN SOLUTION\nx = 1\n### END SOLUTION\n"
    assert starter_code(text, "x", cell=True) == "%%px\n...  # your answer\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("### BEGIN SOLUTION\nx = 1\n", "has no '### END SOLUTION'"),
        ("x = 1\n### END SOLUTION\n", "line 2: '### END SOLUTION' is out of place"),
        ("### BEGIN SOLUTION\n### BEGIN SOLUTION\n### END SOLUTION\n", "line 2: '### BEGIN SOLUTION' is out"),
        ("### STARTER\n", "'### STARTER' is out of place"),
        ("## begin solution\nx = 1\n### END SOLUTION\n", "line 1: '## begin solution' is not a marker"),
        ("### BEGIN SOLUTION\n### STARTER\nx = 1\n### END SOLUTION\n", "line 3: lines below '### STARTER'"),
        ("if x:\n    ### BEGIN SOLUTION\n    y\n    ### STARTER\n    ### END SOLUTION\n", "not valid Python"),
    ],
)
def test_wrong_markers_are_refused_instead_of_giving_the_answer_away(text, message):
    with pytest.raises(CourseError, match=re.escape(message)):
        starter_code(text, "x.py")


def test_a_derived_notebook_has_no_outputs_no_answers_and_the_same_ids(course):
    source, text = course / "exercises/solutions/1-part/small.ipynb", Path("small.ipynb").read_text("utf-8")
    notebook, solution = nbformat.reads(text, 4), nbformat.read(source, 4)
    nbformat.validate(notebook)
    assert "stored" not in text and "Analysis" not in text and "SOLUTION" not in text and "sum(" not in text
    assert all(cell.execution_count is None for cell in notebook.cells if cell.cell_type == "code")
    assert [c.id for c in notebook.cells] == [
        c.id for c in solution.cells if c.metadata.get("tags") != ["solution"]
    ]
    assert notebook.cells[0].source == "[Lesson](../../notebooks/1-part/small.ipynb), [next](other.ipynb)"
    assert text == json.dumps(json.loads(text), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def test_a_cell_that_only_tells_facts_keeps_its_output(tmp_path):
    output = new_output("stream", name="stdout", text="facts")
    tags = ["keep-output"], []
    cells = [new_code_cell("1", execution_count=1, outputs=[output], metadata={"tags": t}) for t in tags]
    nbformat.write(new_notebook(cells=cells), tmp_path / "facts.ipynb")
    notebook = nbformat.reads(derive(tmp_path / "facts.ipynb"), 4)
    nbformat.validate(notebook)
    assert [len(cell.outputs) for cell in notebook.cells] == [1, 0]


def test_deriving_twice_writes_nothing(course):
    assert starters.derive_all() == []
    Path("small_run.py").write_text("ranks = 9\n")
    assert starters.derive_all() == [course / "exercises/1-part/small_run.py"]


def test_files_in_the_folder_of_the_lesson_belong_to_it(course, capsys):
    """Derived, told apart when untouched, put back with the lesson."""
    folder = course / "exercises/solutions/1-part/small"
    folder.mkdir()
    (folder / "small_run.py").write_text(RUN, "utf-8")
    (course / "exercises/solutions/1-part/small_run.py").unlink()
    Path("small_run.py").unlink()
    mine = course / "exercises/1-part/small/small_run.py"
    assert starters.derive_all() == [mine]
    assert say(capsys, "small/file", "small/small_run.py") == f"✗ not yet: {exercises.AS_GIVEN}"
    mine.write_text("ranks = 7\n")
    exercises.reset("small")
    assert mine.read_text() == "ranks = 1\n"
    kept = [path for path in mine.parent.iterdir() if path != mine]
    assert [path.read_text() for path in kept] == ["ranks = 7\n"]


@pytest.mark.processes
def test_the_module_derives_from_a_shell(course):
    Path("small.ipynb").unlink()
    done = subprocess.run(
        [sys.executable, "-m", "tools.derive_starters"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(HOME)},
    )
    assert (done.stdout, done.stderr) == ("derived exercises/1-part/small.ipynb\n", "")
    assert Path("small.ipynb").exists()


# ---------------------------------------------------------------- check


def test_right_and_wrong_answers_get_one_line(course, capsys):
    assert say(capsys, "small/average", code(GOOD)) == "✓ small/average: the average of two ranks is right"
    assert (
        say(capsys, "small/average", code(SUM)) == "✗ not yet: this is the sum: divide it by the world size"
    )
    assert say(capsys, "1-part/small/layout", {"tp": 2, "dp": 4}) == "✓ small/layout: all devices have work"


@pytest.mark.parametrize(
    "answer",
    [
        ...,
        None,
        {"tp": ..., "dp": 4},
        "def average(grads):\n    ...  # your answer",
    ],
)
def test_an_untouched_answer_is_told_where_to_write(course, capsys, answer):
    name = "small/layout" if isinstance(answer, dict) else "small/average"
    answer = code(answer) if isinstance(answer, str) else answer
    assert say(capsys, name, answer) == f"✗ not yet: {EMPTY}"
    assert exercises.progress()[0].attempts == 0


def test_an_untouched_bug_is_not_explained_before_it_was_looked_for(course, capsys):
    given = "def step(weight, gradient):\n    return weight + gradient"
    assert say(capsys, "small/bug", code(given)) == f"✗ not yet: {exercises.AS_GIVEN}"
    changed = "def step(weight, gradient):\n    return weight + 2 * gradient"
    assert say(capsys, "small/bug", code(changed)) == "✗ not yet: the weight moves uphill"


def test_a_placeholder_left_beside_an_answer_is_pointed_at(course, capsys):
    text = "def average(grads):\n    total = sum(grads)\n    ...  # your answer\n    return total"
    lines = say(capsys, "small/average", code(text)).splitlines()
    assert lines == [
        "✗ not yet: this is the sum: divide it by the world size",
        "  a … is still in your answer, in line 3",
    ]


def test_an_ellipsis_used_as_an_index_is_no_placeholder(course, capsys):
    text = "def average(grads):\n    import numpy\n    return numpy.array(grads)[..., 0]"
    assert say(capsys, "small/average", code(text)) == "✗ not yet: the average of 1 and 3 is 2"


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("return 1 / 0", "raised ZeroDivisionError: division by zero (in line 2 of its cell, in average)"),
        ("raise ValueError", "raised ValueError (in line 2 of its cell, in average)"),
        ("exit()", "raised SystemExit (in line 2 of its cell, in average)"),
        ("return average(grads)", "raised RecursionError: maximum recursion depth exceeded"),
        ("raise ValueError('a\\nb' * 1000)", "raised ValueError: a ba"),
        ("sum(grads)", "returned nothing where the check needs a value: is a return missing?"),
    ],
)
def test_exceptions_become_one_sentence(course, capsys, body, sentence):
    said = say(capsys, "small/average", code(f"def average(grads):\n    {body}"))
    assert said.startswith(f"✗ not yet: your function {sentence}")
    assert "\n" not in said and "Traceback" not in said and len(said) < 450


def test_an_answer_of_the_wrong_kind_is_told_so(course, capsys):
    assert say(capsys, "small/layout", 8) == (
        "✗ not yet: the check cannot use your answer (TypeError: 'int' object is not subscriptable): "
        "compare its type and shape with what is asked for"
    )


def test_a_course_error_inside_a_check_is_a_sentence(course, capsys):
    text = "from scaleup.errors import CourseError\n\n\n"
    text += "def average(grads):\n    raise CourseError('Two ranks hang. Look at rank 1.')"
    assert say(capsys, "small/average", code(text)) == "✗ not yet: Two ranks hang. Look at rank 1."


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("small/avrage", "No exercise 'avrage' in small. Did you mean 'average'?"),
        ("smal/average", "No exercises for a lesson called 'smal'. Did you mean 'small'?"),
        ("average", "Name the exercise as lesson/exercise"),
        (7, "Name the exercise as lesson/exercise"),
    ],
)
def test_a_wrong_name_gets_the_nearest(course, capsys, name, sentence):
    assert sentence in say(capsys, name, 1)


def test_a_broken_check_is_not_blamed_on_the_learner(course, capsys):
    (course / "exercises/checks/1-part/small.py").write_text("1 / 0")
    said = say(capsys, "small/average", code(GOOD))
    assert said.startswith("✗ not yet: the check itself is broken (ZeroDivisionError: division by zero).")
    assert "not your answer's fault" in said


def test_the_hint_appears_at_the_third_miss(course, capsys):
    said = [say(capsys, "small/average", code(SUM)) for _ in range(3)]
    assert ["hint" in text for text in said] == [False, False, True]
    assert said[2].endswith("\n  hint: how many ranks are there?")


def test_a_file_is_found_compared_with_its_starter_and_checked(course, capsys):
    assert (
        say(capsys, "small/file", "none.py") == "✗ not yet: there is no file 'none.py' beside your notebook"
    )
    assert "give the name of your file in quotes" in say(capsys, "small/file", 3)
    assert say(capsys, "small/file", "small_run.py") == f"✗ not yet: {exercises.AS_GIVEN}"
    Path("small_run.py").write_text("ranks = 4\n")
    assert say(capsys, "small/file", "small_run.py") == "✗ not yet: the file starts the wrong number of ranks"
    Path("small_run.py").write_text("ranks = 2\n")
    os.chdir(course)  # a shell elsewhere
    assert say(capsys, "small/file", "small_run.py") == "✓ small/file: two ranks"


def test_an_answer_cannot_flood_the_notebook(course, capsys):
    text = "def average(grads):\n    for i in range(1000):\n        print(i)\n    return 2.0"
    lines = say(capsys, "small/average", code(text)).splitlines()
    assert lines[19:] == [
        "19",
        "(the rest of what your answer prints is not shown)",
        "✓ small/average: the average of two ranks is right",
    ]


def test_interrupting_a_check_shows_no_stack(course, capsys):
    text = "def average(grads):\n    import _thread\n    _thread.interrupt_main()\n    while True: pass"
    assert say(capsys, "small/average", code(text)) == "✗ not yet: the check was stopped before it ended"


def test_known_wrong_answers_of_every_kind_are_judged(course, tmp_path):
    checks = load_checks("1-part/small")
    assert len(checks.known_wrong) == 4
    for number, wrong in enumerate(checks.known_wrong):
        answer = wrong.answer
        if isinstance(answer, exercises.Edited):
            answer = exercises.write_edited("1-part/small", answer, tmp_path / str(number))
        assert judge("1-part/small", checks.exercises[wrong.exercise], answer).message == wrong.message


def test_an_edit_must_fit_the_solution_once(course, tmp_path):
    for number, old in enumerate(("absent", " ")):
        with pytest.raises(CourseError, match="Choose a piece it holds once"):
            exercises.write_edited(
                "1-part/small", exercises.edited("small_run.py", {old: ""}), tmp_path / str(number)
            )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('known_wrong("avrage", 1, "x")', r"known_wrong\('avrage'\) stands before a check of that name"),
        ('exercise("layout", hint="")(print)', "has two checks named 'layout'"),
    ],
)
def test_mistakes_in_a_file_of_checks_are_named(course, text, message):
    path = course / "exercises/checks/1-part/small.py"
    path.write_text(path.read_text("utf-8") + text, "utf-8")
    with pytest.raises(CourseError, match=message):
        load_checks("1-part/small")
    with pytest.raises(CourseError, match="This is a file of checks"):
        exercises.known_wrong("average", 1, "x")


# ---------------------------------------------------------------- time limit

ENDLESS = {
    "plain": "def average(grads):\n    while True:\n        pass",
    "except Exception": """
        def average(grads):
            while True:
                try:
                    sum(grads)
                except Exception:
                    pass
        """,
    "bare except": """
        import time
        def average(grads):
            while True:
                try:
                    time.sleep(SECONDS)
                except:
                    pass
        """,
}


@pytest.mark.parametrize("where", ["main thread", "other thread"])
@pytest.mark.parametrize("body", ENDLESS.values(), ids=ENDLESS)
def test_an_endless_answer_ends_with_a_sentence(course, capsys, body, where):
    # Only a signal reaches a thread that sleeps long, and gets past a bare `except` every time.
    answer = code(body.replace("SECONDS", "60"))
    stoppable = where == "main thread" or "SECONDS" not in body
    began, said, threads = time.monotonic(), [], threading.active_count()
    if where == "main thread":
        said.append(say(capsys, "small/average", answer))
    else:
        thread = threading.Thread(target=lambda: said.append(say(capsys, "small/average", answer)))
        thread.start()
        thread.join(30)
    sentence = "✗ not yet: your answer was still running after 0.2 s: look for a loop that never ends"
    assert said == [sentence + ("" if stoppable else "; it could not be stopped, so restart the kernel")]
    assert time.monotonic() - began < 10
    assert sys.gettrace() is None
    if stoppable:
        assert threading.active_count() == threads


def test_the_time_limit_gives_an_older_alarm_back(course, capsys):
    def mine(*_):
        raise AssertionError("it rang too early")

    before = signal.signal(signal.SIGALRM, mine)
    outer = signal.setitimer(signal.ITIMER_REAL, 60)
    try:
        say(capsys, "small/average", code(ENDLESS["plain"]))
        assert 40 < signal.getitimer(signal.ITIMER_REAL)[0] <= 59.8
        assert signal.getsignal(signal.SIGALRM) is mine
    finally:
        signal.setitimer(signal.ITIMER_REAL, *outer)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("where", ["main thread", "other thread"])
def test_the_time_limit_waits_while_the_course_ends_processes(course, where):
    """A second alarm inside `cleanup.sweep` would leave ranks behind."""
    answer = code("""
        def average(grads):
            import time
            from scaleup.ranks import cleanup
            cleanup.processes, rest = (lambda run: time.sleep(0.9) or done.append(1)), cleanup.processes
            try:
                while True:
                    pass
            finally:
                try:
                    cleanup.sweep("none")
                finally:
                    cleanup.processes = rest
        """)
    answer.__globals__["done"] = done = []
    task = load_checks("1-part/small").exercises["average"]
    verdicts = []
    if where == "main thread":
        verdicts.append(judge("1-part/small", task, answer))
    else:
        thread = threading.Thread(target=lambda: verdicts.append(judge("1-part/small", task, answer)))
        thread.start()
        thread.join(30)
    assert "still running after 0.2 s" in verdicts[0].message
    assert done == [1]


# ---------------------------------------------------------------- progress


def test_progress_counts_attempts_and_keeps_the_first_success(course, capsys):
    say(capsys, "small/average", ...)
    assert (entry("average")["attempts"], entry("average")["solved"]) == (0, False)
    for text in (SUM, GOOD):
        say(capsys, "small/average", code(text))
    solved_at = entry("average")["solved_at"]
    say(capsys, "small/average", code(SUM))
    assert entry("average") | {"checked_at": ""} == {
        "attempts": 3,
        "solved": True,
        "solved_at": solved_at,
        "passing": False,
        "message": "this is the sum: divide it by the world size",
        "checked_at": "",
    }


def test_the_table_shows_what_was_tried_and_the_total(course, capsys):
    assert (
        exercises.progress_table()
        == "0 of 4 exercises solved. Open a notebook in exercises/ and run a check to begin."
    )
    say(capsys, "small/average", code(GOOD))
    say(capsys, "small/layout", {"tp": 1, "dp": 1})
    assert exercises.progress_table().splitlines() == [
        "exercise              state    tries  last message",
        "1-part/small/average  solved       1  the average of two ranks is right",
        "1-part/small/layout   not yet      1  tp times dp is the number of devices",
        "",
        "1 of 4 exercises solved.",
    ]


@pytest.mark.parametrize(
    "text", ["{not json", "[]", '{"a": 1}', '{"a": {"attempts": "x", "solved": true}}', ""]
)
def test_a_corrupt_file_is_set_aside_with_a_sentence(course, capsys, text):
    path = exercises.progress_path()
    path.parent.mkdir()
    path.write_text(text)
    said = say(capsys, "small/average", code(GOOD)).splitlines()
    assert said == [
        "The progress file could not be read. It is kept as progress.json.broken; a new one is begun.",
        "✓ small/average: the average of two ranks is right",
    ]
    assert path.with_name("progress.json.broken").read_text() == text
    assert entry("average")["solved"]


def test_a_result_that_cannot_be_saved_is_still_told(course, capsys, monkeypatch):
    (course / "a-file").write_text("")
    monkeypatch.setenv("SCALEUP_PROGRESS", str(course / "a-file" / "progress.json"))
    said = say(capsys, "small/average", code(GOOD)).splitlines()
    assert said[0].startswith("Your progress was not saved: ")
    assert said[1] == "✓ small/average: the average of two ranks is right"


@pytest.mark.processes
def test_concurrent_kernels_lose_no_attempt(course):
    text = (
        "from scaleup.exercises import check\nfor _ in range(15): check('small/layout', {'tp': 1, 'dp': 1})"
    )
    runs = [subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.DEVNULL) for _ in range(3)]
    assert [run.wait(60) for run in runs] == [0, 0, 0]
    assert entry("layout")["attempts"] == 45
    assert sorted(p.name for p in exercises.progress_path().parent.iterdir() if p.suffix != ".lock") == [
        "progress.json"
    ]


def test_running_a_solution_is_not_progress(course, capsys, monkeypatch):
    monkeypatch.chdir(course / "exercises/solutions/1-part")
    assert say(capsys, "small/average", code(GOOD)).startswith("✓")
    assert not exercises.progress_path().exists()


# ---------------------------------------------------------------- a whole lesson


def write_answers(*pairs):
    text = Path("small.ipynb").read_text("utf-8")
    for old, new in pairs:
        assert json.dumps(old)[1:-1] in text
        text = text.replace(json.dumps(old)[1:-1], json.dumps(new)[1:-1])
    Path("small.ipynb").write_text(text, "utf-8")


@pytest.mark.processes
def test_check_lesson_on_the_starter_and_on_a_half_done_notebook(course, capsys):
    assert exercises.check_lesson("small") == 1
    assert capsys.readouterr().out.splitlines() == [
        f"✗ small/average: not yet: {EMPTY}",
        f"✗ small/layout: not yet: {EMPTY}",
        f"✗ small/bug: not yet: {exercises.AS_GIVEN}",
        f"✗ small/file: not yet: {exercises.AS_GIVEN}",
    ]
    before = Path("small.ipynb").read_bytes()
    write_answers(
        ("return weight + gradient", "return weight / 0"),
        ("    ...  # your answer", "    return sum(grads)"),
        ('layout = {"tp": ..., "dp": 4}', "layout = eight"),
    )
    changed = Path("small.ipynb").read_bytes()
    assert exercises.check_lesson("small") == 1
    assert capsys.readouterr().out.splitlines() == [
        "✗ small/average: not yet: this is the sum: divide it by the world size",
        "✗ small/layout: not yet: its check was not reached",
        "✗ small/bug: not yet: your function raised ZeroDivisionError: float division by zero "
        "(in line 2 of its cell, in step)",
        f"✗ small/file: not yet: {exercises.AS_GIVEN}",
        "  cell 4 stopped: NameError: name 'eight' is not defined",
    ]
    assert Path("small.ipynb").read_bytes() == changed != before  # running it does not write it


@pytest.mark.processes
def test_check_lesson_of_all_changed_lessons_when_solved(course, capsys):
    assert exercises.check_lesson() == 1
    assert "No exercise has been changed yet" in capsys.readouterr().out
    write_answers(
        ("    ...  # your answer", "    return sum(grads) / len(grads)"),
        ('"tp": ...', '"tp": 2'),
        ("return weight + gradient", "return weight - gradient"),
    )
    Path("small_run.py").write_text("ranks = 2\n")
    assert exercises.check_lesson() == 0
    assert [line[0] for line in capsys.readouterr().out.splitlines()] == ["✓"] * 4


@pytest.mark.processes
def test_a_notebook_that_never_ends_is_cut(course):
    cells = [new_code_cell("1"), new_code_cell("while True: pass"), new_code_cell("2")]
    nbformat.write(new_notebook(cells=cells), "endless.ipynb")
    notebook = run_notebook(Path("endless.ipynb"), 1)
    assert [cell.outputs[-1].get("evalue") if cell.outputs else "" for cell in notebook.cells] == [
        None,
        "it took longer than 1 s; the rest was not run",
        "",
    ]


def test_an_unknown_or_missing_or_unreadable_lesson_is_a_sentence(course):
    with pytest.raises(CourseError, match="Did you mean 'small'"):
        exercises.check_lesson("smalll")
    Path("small.ipynb").write_text("{")
    with pytest.raises(CourseError, match="`scaleup reset small` renews it"):
        exercises.check_lesson("small")
    Path("small.ipynb").unlink()
    with pytest.raises(CourseError, match="`scaleup reset small` puts it back"):
        exercises.check_lesson("small")


def test_reset_keeps_every_old_answer_and_forgets_only_this_lesson(course, capsys, monkeypatch):
    say(capsys, "small/average", code(GOOD))
    path = exercises.progress_path()
    entries = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps(entries | {"1-part/smaller/x": entries["1-part/small/average"]}), "utf-8")
    fresh = Path("small.ipynb").read_bytes()
    kept = []
    for text in ("first", "second"):
        Path("small.ipynb").write_text(text)
        kept.append(exercises.reset("small"))
        assert str(kept[-1]) in capsys.readouterr().out
        assert Path("small.ipynb").read_bytes() == fresh
    assert [p.read_text() for p in kept] == ["first", "second"]
    assert re.fullmatch(r"small\.\d{4}-\d\d-\d\d-\d{4}(-2)?\.ipynb", kept[1].name)
    assert list(json.loads(path.read_text("utf-8"))) == ["1-part/smaller/x"]


def test_reset_restores_what_is_missing_and_the_files_that_belong_to_it(course, capsys):
    Path("small.ipynb").unlink()
    Path("small_run.py").write_text("mine")
    assert exercises.reset("small") == Path("small.ipynb").resolve()
    assert Path("small_run.py").read_text() == "ranks = 1\n"
    kept = list(Path().glob("small_run.2*.py"))
    assert [p.read_text() for p in kept] == ["mine"]


def test_the_command_line_reaches_all_three(course, capsys):
    assert main(["progress"]) == 0
    assert main(["reset", "small"]) == 0
    assert main(["check", "nonsense-at-all"]) == 2
    assert "Traceback" not in capsys.readouterr().err


# ---------------------------------------------------------------- every real lesson

SOLUTIONS = sorted((HOME / "exercises" / "solutions").glob("*/*.ipynb"))
LESSONS = [
    path.relative_to(HOME / "exercises" / "solutions").with_suffix("").as_posix() for path in SOLUTIONS
]
every_lesson = pytest.mark.parametrize("lesson", LESSONS)
needs_slurm = pytest.mark.skipif(not slurm.available(), reason=slurm.missing_sentence())
STARTING = ("3-many-devices/", "4-on-the-machine/")  # checks of these parts start ranks, Slurm or a shell


def runnable(lesson: str, *values, **options):
    """A case that runs a lesson's exercises: slow if they start processes, skipped if Slurm is missing."""
    marks = [pytest.mark.processes] if lesson.startswith(STARTING) else []
    marks += [needs_slurm] if lesson.startswith("4-on-the-machine/") else []
    return pytest.param(lesson, *values, marks=marks, **options)


every_lesson_that_runs = pytest.mark.parametrize("lesson", [runnable(lesson) for lesson in LESSONS])


@pytest.fixture
def real(tmp_path, monkeypatch):
    monkeypatch.setenv("SCALEUP_HOME", str(HOME))
    monkeypatch.setenv("SCALEUP_PROGRESS", str(tmp_path / "progress.json"))


def printed(notebook):
    """All that the cells printed, line by line; a cell that raised or wrote to stderr fails the test."""
    lines = []
    for number, cell in enumerate(notebook.cells, 1):
        for output in cell.get("outputs", []):
            assert output.output_type != "error", f"cell {number}: {output.ename}: {output.evalue}"
            assert output.get("name") != "stderr", f"cell {number} wrote to stderr: {output.text}"
            lines += output.get("text", "").splitlines()
    return lines


def test_there_are_lessons_and_each_has_solution_starter_and_checks(real):
    assert LESSONS, "exercises/solutions has no notebook"
    assert exercises.lessons() == LESSONS
    opened = {
        path
        for path in (HOME / "exercises").glob("[0-9]-*/*.ipynb")
        if not re.search(r"\.20\d\d-", path.name)
    }
    assert opened == {starters.starter_of(path) for path in SOLUTIONS}


def test_every_starter_is_in_step_with_its_source(real):
    """If this fails, run `python -m tools.derive_starters`."""
    for source in starters.sources():
        assert starters.starter_of(source).read_bytes() == derive(source).encode(), source.name


@every_lesson
def test_the_solution_passes_every_check(real, lesson):
    """As it is stored. nbval runs it anew and compares every cell; none is tagged for it to pass over."""
    solution = nbformat.read(starters.solution_of(lesson), 4)
    assert not [tag for cell in solution.cells for tag in cell.metadata.get("tags", []) if "nbval" in tag]
    lines = printed(solution)
    short = lesson.split("/")[1]
    passed = {line[2:].partition(":")[0] for line in lines if line.startswith("✓ ")}
    assert [line for line in lines if line.startswith("✗")] == []
    assert passed == {f"{short}/{name}" for name in load_checks(lesson).exercises}


@pytest.mark.parametrize("reduction", ["", 'reduction="sum", ', 'reduction="mean", '])
def test_a_law_is_found_whether_the_runs_are_added_or_averaged(real, reduction):
    lesson = "5-decide-and-prove/scaling-laws"
    cells = nbformat.read(starters.solution_of(lesson), 4).cells
    source = "\n".join(cell.source for cell in cells if cell.id in ("cell-02", "cell-04", "cell-05"))
    assert 'reduction="sum", ' in source
    names: dict = {}
    exec(source.replace('reduction="sum", ', reduction), names)
    verdict = judge(lesson, load_checks(lesson).exercises["fit"], names["fit_law"])
    assert verdict.solved, verdict.message


@pytest.mark.processes
@every_lesson_that_runs
def test_the_untouched_starter_is_told_not_yet(real, lesson):
    lines = printed(run_notebook(starters.starter_of(starters.solution_of(lesson)), 300))
    assert not [line for line in lines if line.startswith("✓")]
    assert all(line.startswith("✗ not yet: ") for line in lines if line.startswith("✗"))
    rows = [row for row in exercises.progress() if row.lesson == lesson]
    assert [row.exercise for row in rows] == list(load_checks(lesson).exercises)
    for row in rows:
        assert row.checked_at, f"{row.exercise} was not checked"
        assert not row.solved


def wrong_answers():
    os.environ["SCALEUP_HOME"], before = str(HOME), os.environ.get("SCALEUP_HOME")
    try:
        for lesson in LESSONS:
            checks = load_checks(lesson)
            for number, wrong in enumerate(checks.known_wrong, 1):
                task = checks.exercises[wrong.exercise]
                yield runnable(lesson, task, wrong, id=f"{lesson}/{wrong.exercise}-{number}")
    finally:
        os.environ.pop("SCALEUP_HOME")
        if before:
            os.environ["SCALEUP_HOME"] = before


@pytest.fixture(scope="module")
def machine() -> Iterator[None]:
    """The practice supercomputer, up for all of them: else each check starts and stops it."""
    was_up = practice.is_up()
    practice.up()
    yield
    if not was_up:
        practice.down()


@pytest.mark.parametrize(("lesson", "task", "wrong"), wrong_answers())
def test_every_known_wrong_answer_gets_exactly_its_message(
    real, lesson, task, wrong, tmp_path, monkeypatch, request
):
    if lesson.startswith("4-on-the-machine/") and task.file:
        request.getfixturevalue("machine")
    answer = wrong.answer
    if isinstance(answer, exercises.Edited):
        answer = exercises.write_edited(lesson, answer, tmp_path / "answer")
        monkeypatch.chdir(answer.parent)
    verdict = judge(lesson, task, answer)
    assert (verdict.solved, verdict.message) == (False, wrong.message)


@every_lesson
def test_every_exercise_has_two_known_wrong_answers(real, lesson):
    checks = load_checks(lesson)
    for name in checks.exercises:
        assert sum(wrong.exercise == name for wrong in checks.known_wrong) >= 2, name
    assert exercises.exercise_names(lesson) == list(checks.exercises)


@every_lesson
def test_a_markdown_cell_has_at_most_one_folded_hint(lesson):
    for cell in nbformat.read(HOME / "exercises/solutions" / f"{lesson}.ipynb", 4).cells:
        if cell.cell_type == "markdown":
            assert cell.source.count("<details") <= 1, "two in one cell spoil the second in JupyterLab"
