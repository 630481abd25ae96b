"""Real runs with real processes. "Nothing is left" is only said of processes that were seen alive before."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from conftest import until
from jupyter_client.manager import start_new_kernel
from jupyter_core.utils import ensure_event_loop

from scaleup import ranks
from scaleup.errors import CourseError
from scaleup.ranks import cleanup, runs
from scaleup.ranks.failures import RanksFailed
from scaleup.ranks.interactive import NO_RANKS

PROGRAMS = Path(__file__).parents[1] / "programs"
HELLO, FAIL, WAIT = (str(PROGRAMS / f"ranks_{name}.py") for name in ("hello", "fail", "wait"))


def notes(folder: Path, n: int = 2) -> str:
    """Wait until `n` ranks have left their note, and return the run's id that they carry."""

    def written() -> list[str]:
        return [text for note in folder.glob("*.note") if (text := note.read_text())]

    assert until(lambda: len(written()) == n, 120), "the ranks did not start"
    (run_id,) = set(written())
    return run_id


def guards(run_id: str) -> list[psutil.Process]:
    return [p for p in psutil.process_iter(["cmdline"]) if run_id in (p.info["cmdline"] or [])]


def left(run_id: str) -> list[object]:
    """Everything of a run that should be gone: its processes, its guard, its folder."""
    folder = Path(tempfile.gettempdir(), run_id)
    return [*cleanup.processes(run_id), *guards(run_id), *([folder] if folder.exists() else [])]


def assert_alive(run_id: str, at_least: int) -> None:
    assert len(cleanup.processes(run_id)) >= at_least
    assert len(guards(run_id)) == 1
    assert Path(tempfile.gettempdir(), run_id).is_dir()


def assert_gone(run_id: str, seconds: float = 60) -> None:
    until(lambda: not left(run_id), seconds)
    assert left(run_id) == []


# Whole runs


@pytest.mark.processes
def test_lines_are_labelled_in_rank_order_and_results_come_back(capfd):
    result = ranks.run(HELLO, 2, "--steps", 3, env={"GREETING": "servus"})
    assert capfd.readouterr() == (
        "".join(
            f"[rank {rank}] hello, the sum is 3\n[rank {rank}] warned by {rank}\n"
            f"[rank {rank}] Traceback (most recent call last): handled\n"
            for rank in range(2)
        ),
        "",
    )
    assert result.output == {0: ["hello, the sum is 3"], 1: ["hello, the sum is 3"]}
    assert list(result.results) == [0, 1]
    run_id = result.results[0].pop("run")
    assert result.results[0] == {
        "rank": 0,
        "sum": 3.0,
        "args": ["--steps", "3"],
        "greeting": "servus",
        "threads": "1",
    }
    assert 0 < result.seconds < 60
    assert_gone(run_id, seconds=0)


@pytest.mark.processes
def test_one_traceback_of_the_rank_that_failed_first(capfd, monkeypatch):
    monkeypatch.chdir(PROGRAMS)
    with pytest.raises(ranks.RanksFailed) as caught:
        ranks.run("ranks_fail.py", 2, "raise")
    assert str(caught.value) == "Rank 1 failed: ValueError: the batch has 3 rows."
    assert caught.value.rank == 1
    out, err = capfd.readouterr()
    assert err == ""
    assert out.splitlines()[:4] == [
        "[rank 0] before",
        "[rank 1] before",
        "[rank 1] Traceback (most recent call last):",
        '[rank 1]   File "ranks_fail.py", line 17, in <module>',
    ]
    assert out.endswith("[rank 1] ValueError: the batch has 3 rows\n[rank 1] and 4 were expected\n")
    assert out.count("Traceback") == 1
    assert "SIGTERM" not in out and "elastic" not in out
    assert caught.value.traceback.endswith("and 4 were expected")


@pytest.mark.processes
def test_a_rank_that_leaves_without_a_traceback_is_named_by_its_exit_code():
    with pytest.raises(ranks.RanksFailed, match="^Rank 1 left with exit code 3 and no traceback.$"):
        ranks.run(FAIL, 2, "exit", quiet=True)


@pytest.mark.processes
def test_time_out_names_the_likely_mistake_and_leaves_nothing(tmp_path, capfd, monkeypatch):
    seen: list[int] = []

    class Clock:
        """Ten minutes have passed once the ranks were seen."""

        sleep = time.sleep

        @staticmethod
        def monotonic() -> float:
            return time.monotonic() + 600 * len(seen)

    def look() -> None:
        seen.append(len(cleanup.processes(notes(tmp_path))))

    monkeypatch.setattr(runs, "time", Clock)
    watcher = threading.Thread(target=look)
    watcher.start()
    with pytest.raises(
        CourseError,
        match=r"did not finish within 500 s and was stopped\. Rank 0 waited in dist\.barrier in line 17 of "
        r"ranks_wait\.py; rank 1 was in line 18 of ranks_wait\.py\. What waits in",
    ):
        ranks.run(WAIT, 2, tmp_path, timeout=500)
    watcher.join()
    assert seen and seen[0] >= 3  # torchrun and two ranks were alive
    assert_gone(notes(tmp_path), seconds=0)
    assert capfd.readouterr().out == "[rank 0] waiting\n[rank 1] waiting\n"


@pytest.mark.processes
@pytest.mark.parametrize("warm", [False, True])
def test_a_rank_that_crashes_says_in_which_line(tmp_path, warm):
    program = tmp_path / "crash.py"
    program.write_text("import ctypes, torch.distributed as dist\ndist.init_process_group('gloo')\n"
                       "if dist.get_rank() == 1:\n    ctypes.string_at(0)\ndist.barrier()\n")  # fmt: skip
    with pytest.raises(RanksFailed, match=r"^Rank 1 was ended by signal 11 in line 4 of crash\.py\.$"):
        ranks.run(program, 2, warm=warm)


@pytest.mark.processes
@pytest.mark.parametrize("warm", [False, True])
def test_unequal_tensors_are_told(tmp_path, warm):
    program = tmp_path / "unequal.py"
    program.write_text("import torch, torch.distributed as dist\ndist.init_process_group('gloo')\n"
                       "rank = dist.get_rank()\ntensor = torch.ones(8 - 4 * rank)\n"
                       "dist.recv(tensor, 0) if rank else dist.send(tensor, 1)\n")  # fmt: skip
    said = (
        "Rank 1 was sent more than it expects in line 5 of unequal.py: the ranks did not make the same call "
        "with tensors of equal shape and type."
    )
    with pytest.raises(RanksFailed) as told:
        ranks.run(program, 2, warm=warm)
    assert str(told.value) == said


@pytest.mark.processes
def test_a_hang_in_a_cell_or_a_function_is_told_by_rank():
    def leave_rank_0_alone():
        import time

        import torch.distributed as dist

        if dist.get_rank() == 0:
            dist.barrier()
        time.sleep(600)

    with pytest.raises(CourseError) as told:
        ranks.call(leave_rank_0_alone, 3, timeout=15)
    first = leave_rank_0_alone.__code__.co_firstlineno
    assert (
        f"Rank 0 waited in dist.barrier in line {first + 6} of test_ranks.py; ranks 1 and 2 were in line "
        f"{first + 7} of test_ranks.py." in str(told.value)
    )


@pytest.mark.processes
def test_interrupting_a_script_leaves_nothing(tmp_path):
    script = f"from scaleup import ranks; ranks.run({WAIT!r}, 2, {str(tmp_path)!r})"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as owner:
        run_id = notes(tmp_path)
        assert_alive(run_id, 3)
        owner.send_signal(signal.SIGINT)
        out, err = owner.communicate(timeout=120)
    assert_gone(run_id, seconds=1)
    assert out.splitlines()[-1] == "Interrupted: all 2 ranks were stopped."
    assert "Interrupted" in err and owner.returncode != 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere.py", 2), "nowhere.py was not found"),
        ((HELLO, 0), "number of ranks is 0"),
        ((HELLO, "2"), "number of ranks is '2'"),
        ((HELLO, 4096), "4096 ranks on .* at most"),
    ],
)
def test_a_wrong_request_is_explained(arguments, message):
    with pytest.raises(CourseError, match=message):
        ranks.run(*arguments)


def test_results_must_be_json(tmp_path, monkeypatch):
    monkeypatch.setenv("SCALEUP_RESULTS", str(tmp_path))
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(CourseError, match="not JSON serializable"):
        ranks.save_result({"model": object()})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.processes
def test_a_guard_is_light():
    """A guard must start fast: neither it nor the package imports PyTorch."""
    code = (
        "import scaleup.ranks.cleanup, sys; print(sorted({'torch', 'numpy', 'IPython'} & set(sys.modules)))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "[]\n"


@pytest.mark.processes
def test_sweep_also_ends_what_ignores_sigterm():
    stubborn = "import signal as s, time; s.signal(s.SIGTERM, s.SIG_IGN); print(flush=True); time.sleep(600)"
    run_id = f"test-{os.getpid()}"
    with subprocess.Popen(
        [sys.executable, "-c", stubborn], env={**os.environ, cleanup.MARK: run_id}, stdout=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        assert [p.pid for p in cleanup.processes(run_id)] == [process.pid]
        assert cleanup.sweep(run_id, patience=0.5) == []
        assert process.wait(5) == -signal.SIGKILL


# Inside a real kernel


class Kernel:
    def __init__(self) -> None:
        self.manager, self.client = start_new_kernel(kernel_name="python3")

    def run(self, code: str, timeout: float = 240) -> tuple[str, list[str]]:
        """Execute a cell; return what it shows (streams and values) and the lines of its error."""
        shown: list[str] = []
        error: list[str] = []

        def collect(message: dict) -> None:
            content = message["content"]
            if message["msg_type"] == "stream":
                shown.append(content["text"] if content["name"] == "stdout" else f"STDERR {content['text']}")
            elif message["msg_type"] in ("execute_result", "display_data"):
                shown.append(content["data"]["text/plain"] + "\n")
            elif message["msg_type"] == "error":
                error.extend(content["traceback"])

        self.client.execute_interactive(code, timeout=timeout, output_hook=collect)
        return "".join(shown), error

    def sigkill(self) -> None:
        os.kill(self.manager.provisioner.process.pid, signal.SIGKILL)

    def interrupt_after(self, notes_in: Path) -> None:
        """As the stop button does, once the ranks have left their notes."""

        def interrupt() -> None:
            notes(notes_in)
            os.killpg(self.manager.provisioner.pgid, signal.SIGINT)

        threading.Thread(target=interrupt).start()

    def close(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


@pytest.fixture(scope="session", autouse=True)
def close_the_event_loop() -> Iterator[None]:
    """jupyter_client keeps one event loop for all its blocking calls and never closes it."""
    yield
    ensure_event_loop().close()


@pytest.fixture
def kernel() -> Iterator[Kernel]:
    kernel = Kernel()
    yield kernel
    kernel.close()


def start(kernel: Kernel, n: int) -> str:
    """Start `n` ranks in the kernel and return their run's id."""
    ready = "1 rank is ready\n" if n == 1 else f"{n} ranks are ready\n"
    assert kernel.run(f"from scaleup import ranks\nranks.start({n})") == (ready, [])
    shown, _ = kernel.run("%%px --targets 0\nimport os\nos.environ['SCALEUP_RUN']")
    run_id = shown.removeprefix("[rank 0] ").strip(" '\n")
    assert_alive(run_id, 1 + 2 * n)  # a controller, and for each rank an engine with its nanny
    return run_id


@pytest.mark.processes
def test_killing_the_kernel_during_a_run_leaves_nothing(kernel, tmp_path):
    kernel.client.execute(f"from scaleup import ranks; ranks.run({WAIT!r}, 2, {str(tmp_path)!r})")
    run_id = notes(tmp_path)
    assert_alive(run_id, 3)
    kernel.sigkill()
    assert_gone(run_id)


@pytest.mark.processes
def test_interrupting_a_run_in_a_kernel(kernel, tmp_path):
    kernel.interrupt_after(tmp_path)
    shown, error = kernel.run(f"from scaleup import ranks; ranks.run({WAIT!r}, 2, {str(tmp_path)!r})")
    assert_gone(notes(tmp_path), seconds=1)
    assert shown.splitlines() == ["[rank 0] waiting", "Interrupted: all 2 ranks were stopped."]
    assert error == ["KeyboardInterrupt"]


@pytest.mark.processes
def test_interactive_ranks(kernel, tmp_path):
    run_id = start(kernel, 2)

    shown, error = kernel.run("%%px\nx = torch.ones(2) * rank\ndist.all_reduce(x)\nprint('rank', rank)\nx")
    assert shown == (
        "[rank 0] rank 0\n[rank 0] tensor([1., 1.])\n[rank 1] rank 1\n[rank 1] tensor([1., 1.])\n"
    )
    assert error == []
    assert kernel.run("group = ranks.start.__globals__['_current']; group['rank']") == ("[0, 1]\n", [])

    # A worker's exception: what the others printed, one traceback, one sentence.
    shown, error = kernel.run("%%px\nprint('on', rank)\nif rank == 1:\n    raise ValueError('3 rows')")
    assert shown.splitlines() == [
        "[rank 0] on 0",
        "[rank 1] on 1",
        "[rank 1] Traceback (most recent call last):",
        "[rank 1]   Cell In[2], line 3",
        "[rank 1]     raise ValueError('3 rows')",
        "[rank 1] ValueError: 3 rows",
    ]
    assert error == ["RanksFailed: Rank 1 failed: ValueError: 3 rows."]

    # A progress bar is not shown, and an interrupt reaches the ranks, and they work on afterwards.
    cell = f"""%%px
import time
from pathlib import Path
from tqdm.auto import tqdm
for _ in tqdm(range(2)):
    pass
Path({str(tmp_path)!r}, f"{{rank}}.note").write_text({run_id!r})
time.sleep(600)"""
    kernel.interrupt_after(tmp_path)
    shown, error = kernel.run(cell)
    assert shown == "Interrupted: the ranks are ready for the next cell.\n"
    assert error == ["KeyboardInterrupt"]
    assert kernel.run("%%px\nrank * 10") == ("[rank 0] 0\n[rank 1] 10\n", [])

    # A rank that waits in a collective for one that failed: said at once, and in the next cell again.
    _, error = kernel.run("%%px\nif rank == 1:\n    raise ValueError('left')\ndist.barrier()")
    assert error == [
        "RanksFailed: Rank 1 failed: ValueError: left. Rank 0 still waits in dist.barrier in the line "
        "`dist.barrier()`: not every rank made this call. Run ranks.start() again, then the %%px cells that "
        "define what you use, such as model."
    ]
    _, error = kernel.run("%%px\n1")
    assert "Rank 0 still waits in dist.barrier" in error[0] and len(error) == 1

    _, error = kernel.run("ranks.stop()")
    assert error == []
    assert_gone(run_id, seconds=0)
    _, error = kernel.run("%%px\n1")
    assert error == [f"CourseError: {NO_RANKS}"]


@pytest.mark.processes
def test_restarting_and_killing_the_kernel_leave_no_interactive_ranks(kernel):
    run_id = start(kernel, 2)
    kernel.manager.restart_kernel()
    kernel.client.wait_for_ready(timeout=120)
    assert_gone(run_id)

    run_id = start(kernel, 1)
    kernel.sigkill()
    assert_gone(run_id)
