"""Kill a run at random moments and look at what is left: `python -m tools.kill_sweep [KILLS] [--seed N]`.

Two ranks save every few steps. SIGKILL ends one of them, torchrun, or both with all ranks, while they train,
save or publish; `--nodes N` then ends the slurmd of a job's node N times, on the practice supercomputer.
Each time every checkpoint that has a name must be whole, and the run goes on from the newest one; what is
done twice is at most an interval, and one whose checkpoint was being written.
Prints a line for each kill, and the sum.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from scaleup.checkpoint import publication, trust
from scaleup.paths import root, state
from scaleup.train.run_folder import read_metrics

EVERY, STEPS = 2, 400
CONFIG = """
out = "{name}"
[model]
layers = 1
heads = 2
dim = 64
hidden = 96
context = 32
[data]
seq = 32
[train]
steps = {steps}
global_batch = 4
micro_batch = 2
warmup_steps = 2
validate_every = 100000
log_every = 1
[checkpoint]
every = {every}
[parallel]
shard = 2
"""


def started(config: Path) -> subprocess.Popen:
    words = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--no-python"]
    words += [sys.executable, "-m", "scaleup.cli", "train", "--config", str(config)]
    return subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            text=True, start_new_session=True,
                            env=os.environ | {"OMP_NUM_THREADS": "1"})  # fmt: skip


def wait_for(true: Callable[[], object], seconds: float, pause: float = 0.02) -> bool:
    end = time.monotonic() + seconds
    while not (found := true()) and time.monotonic() < end:
        time.sleep(pause)
    return bool(found)


def moment(chance: random.Random, folder: Path) -> str:
    """Wait for a random moment; what the run does then."""
    when, part = chance.choice(["trains", "saves", "publishes"]), folder / "checkpoints"
    if when == "trains":
        time.sleep(chance.uniform(0, 0.5))
    elif when == "saves":
        wait_for(lambda: any(part.glob(".step-*.part")), 20, 0.001)
        time.sleep(chance.uniform(0, 0.03))
    else:
        wait_for(lambda: any(part.glob(f".step-*.part/{publication.MANIFEST}")), 20, 0.0002)
    return when


def killed(run: subprocess.Popen, folder: Path, before: int, chance: random.Random) -> str:
    """Wait until the run has saved anew and for a moment, then kill; what was killed, and when."""
    if not wait_for(lambda: newest(folder) > before or run.poll() is not None, 180) or run.poll() is not None:
        os.killpg(run.pid, signal.SIGKILL)
        raise RuntimeError(f"The run saved nothing. It said: {run.communicate()[0][-2000:]}")
    ranks = [p for p in psutil.Process(run.pid).children(recursive=True) if "train" in p.cmdline()]
    victim, first = chance.choice(["a rank", "torchrun", "all"]), chance.choice(ranks)
    when = moment(chance, folder)
    if victim == "a rank":
        first.kill()  # torchrun ends the other
        run.wait(60)
    else:
        run.kill()
        if victim == "torchrun":  # the ranks go on without it until their job ends
            time.sleep(chance.uniform(0, 1))
        for rank in ranks:
            with contextlib.suppress(psutil.NoSuchProcess):
                rank.kill()
    psutil.wait_procs(ranks, 60)
    run.communicate(timeout=60)
    return f"{victim} while it {when}"


def newest(folder: Path) -> int:
    names = publication.published(folder / "checkpoints")
    return int(names[0].name.removeprefix("step-")) if names else 0


def looked_at(folder: Path) -> tuple[int, int]:
    """How many checkpoints have a name, and how many of them are not whole."""
    bad = 0
    checkpoints = publication.published(folder / "checkpoints")
    for checkpoint in checkpoints:
        try:
            told = trust.manifest(checkpoint)
            trust.check_files(checkpoint, told, told["files"])
        except Exception as error:
            print(error)
            bad += 1
    return len(checkpoints), bad


class Count:
    """What was found after each kill of the run in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.before = folder, 0
        self.sum = {"kills": 0, "unreadable": 0, "repeated": 0, "lost": 0}

    def look(self, what: str) -> None:
        reached, (total, bad) = newest(self.folder), looked_at(self.folder)
        lines = read_metrics(self.folder)
        done = lines[-1]["step"] + 1 if lines else 0
        self.sum["kills"] += 1
        self.sum["unreadable"] += bad
        self.sum["lost"] += reached < self.before
        # One interval, and the checkpoint that was being written when the run was killed.
        self.sum["repeated"] += done - reached > 2 * EVERY
        print(f"{self.sum['kills']:>3}: killed {what}, at step {done}; the newest of {total} checkpoints is "
              f"of step {reached}, {bad} unreadable", flush=True)  # fmt: skip
        self.before = reached


def sweep(kills: int, seed: int) -> dict[str, int]:
    """`kills` times one training is killed and started again; counts what was lost."""
    chance, name = random.Random(seed), f"kill-sweep-{seed}"
    count = Count(state() / "runs" / name)
    with tempfile.TemporaryDirectory() as place:
        config = Path(place) / "run.toml"
        config.write_text(CONFIG.format(name=name, steps=STEPS * kills, every=EVERY))
        for _ in range(kills):
            count.look(killed(started(config), count.folder, count.before, chance))
    return count.sum


def sweep_nodes(kills: int, seed: int) -> dict[str, int]:
    """`kills` times the node of a job is switched off; Slurm queues the job again, which then goes on."""
    from scaleup import practice
    from scaleup.machines import job

    chance, name = random.Random(seed), f"node-sweep-{seed}"
    count = Count(state() / "runs" / name)
    with tempfile.TemporaryDirectory() as place:
        config, script = Path(place) / "run.toml", Path(place) / "job.sh"
        config.write_text(CONFIG.format(name=name, steps=STEPS * kills, every=EVERY))
        script.write_text(job.render(config, "practice", 1))
        practice.up(nodes=2)
        try:
            words = ["sbatch", "--parsable", f"--output={place}/log", str(script)]
            number = practice.run(*words).stdout.strip()

            def told(what: str) -> str:
                return practice.run(
                    "squeue", "--noheader", f"--jobs={number}", f"--format={what}"
                ).stdout.strip()

            for _ in range(kills):
                if not wait_for(lambda: newest(count.folder) > count.before, 240):
                    raise RuntimeError(
                        f"The job saved nothing. Its log: {Path(place, 'log').read_text()[-2000:]}"
                    )
                node = told("%N")
                when = moment(chance, count.folder)
                practice.run("pkill", "-KILL", "--full", f"slurmd -D -N {node}")
                wait_for(lambda: told("%T") != "RUNNING", 120, 1)
                count.look(f"slurmd of {node} while the run {when}")
                practice.up(nodes=2)
            practice.run("scancel", number)
        finally:
            practice.down()
    return count.sum


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kills", nargs="?", type=int, default=50)
    parser.add_argument("--nodes", type=int, default=0, help="how often to end a node's slurmd as well")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}, in {root()}")
    print(json.dumps(sweep(arguments.kills, arguments.seed)))
    if arguments.nodes:
        print(json.dumps(sweep_nodes(arguments.nodes, arguments.seed)))
