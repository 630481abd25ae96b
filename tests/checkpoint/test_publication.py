"""Killed before any call that changes the disk, a publication leaves a whole checkpoint by its name."""

import os
import signal
from pathlib import Path

import pytest

from scaleup import ranks
from scaleup.checkpoint import publication, trust

CHANGES = ("rename", "fsync", "unlink", "rmdir")


def published_and_retained(folder: Path, step: int, keep: int = 9) -> None:
    part = publication.hidden(folder, step)
    part.mkdir(parents=True)
    files = {}
    for name in ("rank-00000.json", "shard.safetensors"):
        (part / name).write_bytes(b"%d" % step * 5000)
        files[name] = publication.settle(part / name)
    publication.publish(folder, step, files, {"run": {}, "layout": {}})
    publication.retain(folder, keep)


def ended(folder: Path, last: int) -> int:
    """Step 9 is published in a process that is killed before its `last` change of the disk; its status."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    calls = 0

    def counted(call):
        def instead(*words, **options):
            nonlocal calls
            calls += 1
            if calls == last:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*words, **options)

        return instead

    try:
        for name in CHANGES:
            setattr(os, name, counted(getattr(os, name)))
        published_and_retained(folder, 9, keep=1)
        os._exit(0)
    finally:
        os._exit(1)


def sound(folder: Path) -> list[int]:
    """The steps that a reader finds, each compared with its manifest."""
    publication.restore(folder)
    publication.sweep(folder)
    found = []
    for checkpoint in publication.published(folder):
        told = trust.manifest(checkpoint)
        trust.check_files(checkpoint, told, told["files"])
        found.append(told["step"])
    return found


@pytest.mark.processes
@pytest.mark.parametrize("before", [6, 9], ids=["over an older step", "over the same step"])
def test_there_is_always_a_whole_one(tmp_path, before):
    for last in range(1, 100):
        folder = tmp_path / str(last)
        published_and_retained(folder, before)
        status, found = ended(folder, last), sound(folder)
        assert found in ([before], [9], [9, before]), f"killed before change {last}: {found}"
        assert {path.name for path in folder.iterdir()} == {f"step-{step:08}" for step in found}
        if status == 0:
            break
        assert status == -signal.SIGKILL
    assert status == 0 and found == [9] and last > 8


@pytest.mark.processes
def test_all_ranks_hear_that_a_checkpoint_got_no_name_and_save_the_next(tmp_path):
    program = Path(__file__).parents[1] / "programs" / "publish_fails.py"
    done = ranks.run(program, 2, tmp_path, quiet=True, timeout=300)
    for told in done.results.values():
        assert told == [
            "The checkpoint of step 3 could not be published: OSError: [Errno 122] Disk quota exceeded"
        ]
    assert sound(tmp_path) == [6]
