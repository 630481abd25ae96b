"""`scaleup explain`: right where a log tells, silent where it does not, no consequence taken for a cause."""

import io
import json
from pathlib import Path

import pytest
import yaml

from scaleup.cli import main
from scaleup.errors import CourseError
from scaleup.explain import diagnose, text
from scaleup.explain.causes import AFTERMATH, BY_NAME, CAUSES, FOLLOWS, SYMPTOM
from scaleup.explain.diagnosis import read
from scaleup.explain.findings import read_log

LOGS = yaml.safe_load(Path(__file__).with_name("logs.yml").read_text(encoding="utf-8"))
RIGHT_AT_LEAST = 36  # of the first forty
WATCHDOG = (
    "[rank{0}]:[E] [Rank {0}] Watchdog caught collective operation timeout: WorkNCCL(SeqNum={1}, OpType={2}, "
    "NumelIn=1) ran for 600013 milliseconds before timing out."
)


def answer(log: str) -> str:
    found = diagnose(log)
    if found.verdict == "known":
        return found.candidates[0].cause.name
    return "unknown-hang" if found.candidates and found.candidates[0].cause.name == "hang" else "unknown"


# The table


@pytest.mark.parametrize("cause", CAUSES, ids=lambda cause: cause.name)
def test_each_row_s_example_is_read_as_its_own_cause(cause):
    assert read(cause.example) is cause
    assert diagnose(f"step 1\n{cause.example}\n").candidates[0].line == 2


def test_names_are_unique_and_sentences_end_without_a_full_stop():
    assert len(BY_NAME) == len(CAUSES)
    assert not [
        c.name for c in CAUSES if c.title.endswith(".") or c.first.endswith(".") or c.prevent.endswith(".")
    ]


# Logs in the shape of public reports


@pytest.mark.parametrize("case", LOGS, ids=lambda case: case["source"])
def test_a_log_in_the_shape_of_a_public_report(case):
    assert answer(case["log"]) == case["cause"]
    if case["line"]:
        best = diagnose(case["log"]).candidates[0]
        assert case["line"] in best.text
        assert case["log"].splitlines()[best.line - 1].strip() == best.text


def test_there_are_forty_of_them_and_some_tell_nothing():
    assert len(LOGS) >= 40 and len({case["source"] for case in LOGS}) == len(LOGS)
    assert sum(case["cause"].startswith("unknown") for case in LOGS) >= 6
    assert sum(not case["seen"] for case in LOGS) >= 15


def test_none_is_wrong_with_confidence():
    wrong = [c["source"] for c in LOGS if answer(c["log"]) not in (c["cause"], "unknown", "unknown-hang")]
    right = [c["source"] for c in LOGS if answer(c["log"]) == c["cause"]]
    assert wrong == [] and len(right) >= RIGHT_AT_LEAST


@pytest.mark.parametrize(
    "case", [c for c in LOGS if not c["cause"].startswith("unknown")], ids=lambda c: c["source"]
)
def test_without_the_lines_that_show_it_a_log_names_no_cause(case):
    """What is left are consequences and progress: nothing may be read into them."""
    left = [line for line in case["log"].splitlines() if not (cause := read(line)) or cause.level >= SYMPTOM]
    assert diagnose("\n".join(left)).verdict != "known"


# Causes and consequences


def test_the_first_rank_is_the_cause_and_sigterm_of_the_others_is_not():
    log = "\n".join(
        [
            "[rank0]: RuntimeError: [pair.cc:537] Read error [10.0.0.3]:3465: Connection reset by peer.",
            "W1 api.py:1028] Sending process 503 closing signal SIGTERM",
            "E1 api.py:1002] failed (exitcode: -9) local_rank: 2 (pid: 505) of binary: python",
            "  exitcode  : -15 (pid: 503)  (SIGTERM)",
            "  rank      : 6 (local_rank: 2)",
            "  exitcode  : -9 (pid: 505)  (SIGKILL)",
            "Root Cause (first observed failure):",
            "  rank      : 0 (local_rank: 0)",
            "  exitcode  : 1 (pid: 503)",
        ]
    )
    found = diagnose(log)
    assert (found.candidates[0].cause.name, found.candidates[0].rank) == ("killed", 6)
    assert found.candidates[0].line == 3 and [line for line, _ in found.consequences] == [2, 4]


def test_a_time_limit_that_ends_a_hang_is_not_its_cause():
    limit = "slurmstepd: error: *** JOB 7 ON n1 CANCELLED AT 2026-11-27T10:00:00 DUE TO TIME LIMIT ***"
    assert diagnose(limit).candidates[0].cause.name == "time-limit"
    assert diagnose(f"{WATCHDOG.format(1, 5, 'ALLREDUCE')}\n{limit}").verdict == "symptom"


def test_a_full_disk_explains_the_broken_checkpoint_that_follows():
    write, broken = BY_NAME["checkpoint-write"].example, BY_NAME["broken-checkpoint"].example
    assert diagnose(f"{write}\n{broken}").candidates[0].cause.name == "checkpoint-write"
    assert diagnose(f"{broken}\n{write}").candidates[0].cause.name == "broken-checkpoint"
    assert set(FOLLOWS) | set().union(*FOLLOWS.values()) <= set(BY_NAME)


def test_out_of_memory_on_one_rank_stands_before_the_others_time_outs():
    log = f"{WATCHDOG.format(0, 5, 'ALLREDUCE')}\n[rank2]: torch.OutOfMemoryError: CUDA out of memory."
    assert diagnose(log).candidates[0].cause.name == "device-memory"


def test_a_hang_says_who_waits_and_who_says_nothing():
    lines = ["world_size=4", *(WATCHDOG.format(rank, 5, "ALLREDUCE") for rank in (0, 1, 3))]
    assert "Ranks 0, 1, 3 waited in ALLREDUCE, call 5. Rank 2 said nothing" in text(
        diagnose("\n".join(lines))
    )
    lines = [WATCHDOG.format(0, 5, "ALLREDUCE"), WATCHDOG.format(1, 4, "BROADCAST")]
    assert "lowest number first" in diagnose("\n".join(lines)).waits
    assert "not among them" in diagnose(lines[0]).waits


def test_source_lines_of_a_traceback_are_no_evidence():
    frame = '  File "hub.py", line 4, in load\n    raise MemoryError("CUDA out of memory")'
    log = f"{frame}\nValueError: no such model"
    found = diagnose(log)
    assert found.verdict == "unknown" and found.error == (3, "ValueError: no such model")
    assert "the first error: line 3: ValueError: no such model" in text(found)


@pytest.mark.parametrize(
    "line",
    [
        "the loss of information is infinite", "grad norm: 0.75 | nan iterations: 0", "exitcode: 0",
        "Restarting: max_restarts=3", "loading /dev/shm/cache", "killed 3 stale processes before the start",
        "memory: out of 64 GB, 12 are used", "port 29500 is free", "INFO no space left to improve",
        "finished: 0 nan, 0 inf", "status=0 from peer", "CUDA is available, 8 devices",
    ],
)  # fmt: skip
def test_harmless_lines_show_nothing(line):
    assert read(line) is None


def test_what_never_is_a_cause_is_none():
    for line in (
        "Sending process 71 closing signal SIGTERM",
        "srun: error: n1: task 0: Exited with exit code 1",
    ):
        assert AFTERMATH.search(line) and diagnose(line).verdict == "unknown"


# The command


def test_the_command_answers_in_words_and_in_json(tmp_path, capsys):
    log = tmp_path / "log"
    log.write_text("step 1\n\x1b[31m[rank1]: OSError: [Errno 28] No space left on device\x1b[0m\n")
    assert main(["explain", str(log)]) == 0
    said = capsys.readouterr().out
    assert (
        "The file system is full (the log says so, rank 1)" in said and "  line 2: [rank1]: OSError" in said
    )
    assert main(["explain", "--json", str(log)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["verdict"] == "known" and found["candidates"][0]["cause"] == "disk-full"
    assert found["candidates"][0]["line"] == 2 and found["candidates"][0]["rank"] == 1


def test_it_reads_the_standard_input_and_says_when_it_knows_nothing(monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"all is well \xff\n")))
    assert main(["explain", "-"]) == 1
    assert "No sign that I know in 1 line." in capsys.readouterr().out


def test_a_missing_log_is_one_sentence(tmp_path):
    with pytest.raises(CourseError, match="cannot be read: No such file"):
        read_log(str(tmp_path / "none"))


def test_of_a_huge_log_the_start_and_the_end_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr("scaleup.explain.findings.LARGEST", 1000)
    log = tmp_path / "log"
    log.write_text("OSError: [Errno 24] Too many open files\n" + "step\n" * 10_000 + "CUDA out of memory\n")
    assert {c.cause.name for c in diagnose(read_log(str(log))).candidates} == {"open-files", "device-memory"}


def test_an_empty_log_is_unknown():
    assert diagnose("").verdict == "unknown" and "0 lines" in text(diagnose(""))
