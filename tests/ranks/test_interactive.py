"""What `%%px` says when something is not as it should be: after a restart, an interrupt, a lost rank."""

import pytest
from test_ranks import Kernel, close_the_event_loop, kernel, start  # noqa: F401

from scaleup import ranks
from scaleup.errors import CourseError
from scaleup.ranks.failures import exception, sentence, waits_in
from scaleup.ranks.interactive import AGAIN, NO_RANKS
from scaleup.ranks.output import RankLogs, Screen, failure
from scaleup.words import a_kind

STACK = """Stack (most recent call first):
  File "/x/torch/distributed/distributed_c10d.py", line 5356 in barrier
  File "/x/torch/distributed/c10d_logger.py", line 83 in wrapper
  File "/tmp/ipykernel_1/4.py", line 7 in helper
  File "/tmp/ipykernel_1/5.py", line 3 in <module>
  File "/x/IPython/core/interactiveshell.py", line 3823 in run_code
  File "/x/traitlets/application.py", line 1 in <module>
"""


def own(path: str) -> bool:
    return "ipykernel_" in path


def test_a_stack_shows_the_collective_and_the_line_of_the_cell():
    assert waits_in(STACK, own) == ("barrier", 3)


def test_a_stack_without_a_collective_names_none():
    sleeping = "\n".join(line for line in STACK.splitlines() if "/x/torch" not in line)
    assert waits_in(sleeping, own) == ("", 3)
    assert waits_in("", own) == ("", 0)


@pytest.mark.parametrize("name", ["SyntaxError", "IndentationError", "TabError"])
def test_a_syntax_error_has_a_line_number(name):
    traceback = [
        '  File "/somewhere/train.py", line 12',
        "    for x in",
        "             ^",
        f"{name}: invalid syntax",
    ]
    assert sentence(0, *exception(traceback)) == f"Rank 0 failed: {name}: invalid syntax (train.py, line 12)."


def test_another_error_gets_no_second_line_number():
    traceback = [
        "Traceback (most recent call last):",
        '  File "train.py", line 12, in <module>',
        "ValueError: 3 rows",
    ]
    assert sentence(0, *exception(traceback)) == "Rank 0 failed: ValueError: 3 rows."


def test_a_sentence_ends_with_one_full_stop(tmp_path):
    """A rank that ended without a traceback is told by its last warning, which may have its own full stop."""
    log = RankLogs(tmp_path, 0)
    log.follow = lambda *_, **__: None
    log.warnings = ["terminate called: not all ranks."]
    report = "rank      : 0 (local_rank: 0)\n  exitcode  : -6 (pid: 1)"
    told = failure([log], Screen(stream=False, quiet=True), report)
    assert str(told) == "Rank 0 was ended by signal 6: terminate called: not all ranks."


@pytest.mark.processes
def test_px_says_what_to_do_before_ranks_and_after_a_restart(kernel):  # noqa: F811
    kernel.run("from scaleup import ranks")
    assert kernel.run("%%px\nrank") == ("", [f"CourseError: {NO_RANKS}"])
    assert kernel.run("%px rank") == ("", [f"CourseError: {NO_RANKS}"])
    start(kernel, 1)
    kernel.run("from scaleup import ranks")
    assert kernel.run("%%px\nrank") == ("[rank 0] 0\n", []), "a second import keeps the ranks"
    kernel.manager.restart_kernel()
    kernel.client.wait_for_ready(timeout=120)
    kernel.run("from scaleup import ranks")
    assert kernel.run("%%px\nmodel") == ("", [f"CourseError: {NO_RANKS}"])


@pytest.mark.processes
def test_a_value_that_is_not_there_yet_is_one_sentence(kernel):  # noqa: F811
    kernel.run("from scaleup import ranks\ngroup = ranks.start(2)")
    shown, error = kernel.run("group['times']")
    assert (shown, error) == (
        "",
        ["CourseError: Rank 0 has no 'times' yet. Run the %%px cell that defines it."],
    )
    kernel.run("%%px\nif rank == 0:\n    times = [1]\nhook = (i for i in range(3))")
    _, error = kernel.run("group['times']")
    assert error == ["CourseError: Rank 1 has no 'times' yet. Run the %%px cell that defines it."]
    _, error = kernel.run("group['hook']")
    assert error[0].startswith("CourseError: Rank 0 cannot hand over 'hook': ") and len(error) == 1


@pytest.mark.processes
def test_only_a_stack_that_shows_it_is_called_a_collective(kernel):  # noqa: F811
    kernel.run("from scaleup import ranks\nranks.start(2)")
    cell = "%%px\nimport time\nif rank == 1:\n    raise ValueError('left')\ntime.sleep(8)"
    _, error = kernel.run(cell)
    busy = "Rank 0 is still busy with its cell in the line `time.sleep(8)`."
    assert error[0].startswith(f"RanksFailed: Rank 1 failed: ValueError: left. {busy}")
    assert "collective" not in error[0] and "dist." not in error[0]
    _, error = kernel.run("%%px\nrank")
    assert error == [f"CourseError: {busy} Wait until it is done, or do this: {AGAIN}"]
    kernel.run("import time; time.sleep(7)")
    assert kernel.run("%%px\nrank") == ("[rank 0] 0\n[rank 1] 1\n", []), "it was done: nothing is lost"


@pytest.mark.processes
def test_a_cell_right_after_an_error_or_an_interrupt_runs(kernel):  # noqa: F811
    """The kernel of a rank aborts what is queued after an error: a cell that comes at once was lost."""
    kernel.run("from scaleup import ranks\ngroup = ranks.start(2)")
    code = """
for _ in range(40):
    wrong = group._submit("raise KeyboardInterrupt", silent=False)
    right = group._submit("rank", silent=False)
    group._wait([right], 20)
print("none was lost")
"""
    assert kernel.run(code) == ("none was lost\n", [])


@pytest.mark.processes
def test_a_check_that_hangs_gives_no_advice_that_a_learner_cannot_follow(tmp_path):
    program = str(tmp_path / "hang.py")
    (tmp_path / "hang.py").write_text("import time\ntime.sleep(60)")
    with pytest.raises(CourseError) as told:
        ranks.run(program, 1, timeout=3, quiet=True)
    assert str(told.value).startswith("The run did not finish within 3 s and was stopped. ")
    assert "larger timeout" not in str(told.value)
    with pytest.raises(CourseError, match=r"If it only needs more time, give run a larger timeout\.$"):
        ranks.run(program, 1, timeout=3)


@pytest.mark.parametrize(
    ("value", "told"), [(1, "an int"), ([], "a list"), (None, "a NoneType"), ("", "a str")]
)
def test_a_kind_has_its_article(value, told):
    assert a_kind(value) == told
