"""Job scripts: what is wished of a machine of `data/machines.yml`, checked against what it allows.

`job_script` writes the text. What differs between machines is in the data.
"""

from __future__ import annotations

import argparse
import math
import re
import shlex
import tomllib
from pathlib import Path

from .. import machines
from ..config import load
from ..errors import CourseError
from ..parallel.refusals import reasons
from ..paths import root, state
from ..words import count, nearest
from .job_script import ACCOUNTS, Job, fitting_batch, label, limits, script

LAUNCHES = ("torchrun", "srun")
# Queues that no script of whole nodes with all their devices is for, and why.
UNFIT = {
    lambda queue: queue.get("devices") == 0: "has no devices",
    lambda queue: queue["nodes"] == 1 and "cores" in queue: "gives no whole node",
    lambda queue: queue.get("on_request", False): "is open only to projects that asked for it",
}
SHORTEST = 0.1  # hours; less would leave no time before the warning


def render(
    config_path: str | Path,
    machine_id: str,
    nodes: int,
    hours: float | None = None,
    queue: str | None = None,
    launch: str = "torchrun",
) -> str:
    """The script, with the account and container of `.scaleup/accounts.toml` where they are given.

    `hours` is the wall time, one hour unless the queue allows less; `queue` a partition or QOS, the first
    in the data unless named. Raises CourseError for what the machine would refuse. A global batch
    or [parallel] that does not fit is a remark in the script; the command line refuses it: `check_ways`.
    """
    return script(make_job(config_path, machine_id, nodes, hours, queue, launch, own(machine_id)))


def example(machine_id: str) -> str:
    """The script of `data/two-nodes.toml` on two nodes, whatever account the reader has."""
    return script(make_job(root() / "data" / "two-nodes.toml", machine_id, 2, None, None, "torchrun", {}))


def check_ways(config_path: str | Path, machine_id: str, nodes: int) -> None:
    """Raises CourseError if so many ranks cannot train this, and says which batch would fit."""
    config = load(config_path)
    ranks = nodes * machines.machine(machine_id)["devices_per_node"].value
    for reason in reasons(config, ranks):
        fits = fitting_batch(config, ranks)
        hint = f" train.global_batch={fits} would fit." if reason.startswith("train.global_batch") else ""
        raise CourseError(f"{reason}{hint}")


def main(arguments: argparse.Namespace) -> None:
    """`scaleup job`: print the script, or write it to a file that must not be there yet."""
    wanted = arguments.config, arguments.machine, arguments.nodes
    text = render(*wanted, arguments.hours, arguments.queue, arguments.launch)
    check_ways(*wanted)
    if not arguments.out:
        print(text, end="")
        return
    try:
        with open(arguments.out, "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise CourseError(
            f"{arguments.out} is there already. Give --out another name, or remove it."
        ) from None
    except OSError as error:
        raise CourseError(f"{arguments.out} cannot be written: {error.strerror}. Correct --out.") from None
    print(f"Submit it in the course's folder: sbatch {shlex.quote(arguments.out)}")


# What is wished, against what the machine allows


def make_job(
    config_path: str | Path,
    machine_id: str,
    nodes: int,
    hours: float | None,
    queue: str | None,
    launch: str,
    mine: dict[str, str],
) -> Job:
    """Check every wish. `mine` holds the user's own account and container. Raises CourseError."""
    config = load(config_path)
    machine = machines.machine(machine_id)
    name = machine["name"].value
    if launch not in LAUNCHES:
        raise CourseError(f"There is no launch '{launch}'. Use {' or '.join(LAUNCHES)}.")
    if not machine["partitions"].value:
        raise CourseError(f"{name} takes no jobs yet ({machine['status']}). Choose a machine that runs.")
    if nodes < 1:
        raise CourseError(f"A job needs at least 1 node, not {nodes}. Correct --nodes.")
    most = machine["nodes"].value
    if most and nodes > most:
        raise CourseError(f"{name} has {count(most, 'node')}, not {nodes}. Ask for fewer with --nodes.")
    if hours is not None and not (math.isfinite(hours) and hours >= SHORTEST):
        raise CourseError(
            f"{hours:g} hours are too few, or no time at all. Give --hours at least {SHORTEST}."
        )
    chosen = choose(name, machine["partitions"].value, nodes, hours, queue)
    return Job(
        config=config,
        config_path=portable(Path(config_path)),
        machine_id=machine_id,
        machine=machine,
        nodes=nodes,
        hours=hours or min(1, chosen["hours"] or 1),
        queue=chosen,
        launch=launch,
        account=mine.get("account"),
        container=mine.get("container"),
    )


def portable(path: Path) -> str:
    """Relative to the course's folder, where the job is submitted, if it lies in there."""
    path, top = path.resolve(), root().resolve()
    return str(path.relative_to(top) if path.is_relative_to(top) else path)


def choose(name: str, queues: list[dict], nodes: int, hours: float | None, wanted: str | None) -> dict:
    """The wanted queue, or the first. Raises CourseError if there is none or it does not take the job."""
    found = [queue for queue in queues if wanted in (None, label(queue))]
    found = found or [queue for queue in queues if queue["partition"] == wanted]
    if not found:
        known = [label(queue) for queue in queues]
        near = nearest(wanted, known)
        hint = f"Did you mean '{near}'? " if near else ""
        raise CourseError(f"{name} has no queue '{wanted}'. {hint}Its queues: {', '.join(known)}.")

    def takes(queue: dict) -> bool:
        fits = nodes <= (queue["nodes"] or nodes) and (hours or 0) <= (queue["hours"] or math.inf)
        return fits and nodes >= queue.get("least_nodes", 1)

    if reason := next((said for field, said in UNFIT.items() if field(found[0])), ""):
        usual = label(queues[0])
        raise CourseError(f"The queue {label(found[0])} of {name} {reason}. The usual one is {usual}.")
    if takes(found[0]):
        return found[0]
    others = [
        label(queue)
        for queue in queues
        if queue["nodes"] and takes(queue) and not any(unfit(queue) for unfit in UNFIT)
    ]
    hint = f", or see whether {' or '.join(others)} suits with --queue" if others else ""
    asked = count(nodes, "node") + (f" for {count(hours, 'hour')}" if hours else "")
    raise CourseError(
        f"The queue {label(found[0])} of {name} takes {limits(found[0])}, not {asked}. Ask for less{hint}."
    )


def own(machine_id: str) -> dict[str, str]:
    """The user's `account` and `container` for one machine, as far as `.scaleup/accounts.toml` has them."""
    try:
        tables = tomllib.loads((state() / "accounts.toml").read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CourseError(f"{ACCOUNTS} is not valid TOML: {error}. Correct that line.") from None
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise CourseError(
                f"{ACCOUNTS}: '{name}' is under no machine. Write [MACHINE] on a line above it."
            )
        machines.machine(name)
        for key, value in table.items():
            if key not in ("account", "container") or not isinstance(value, str) or not value.isprintable():
                raise CourseError(
                    f"{ACCOUNTS}: [{name}] takes account and container, as text in quotes. Correct '{key}'."
                )
    machine, mine = machines.machine(machine_id), tables.get(machine_id, {})
    pattern = machine["account_pattern"].value
    if "account" in mine and pattern and not re.fullmatch(pattern, mine["account"]):
        raise CourseError(
            f"The account '{mine['account']}' under [{machine_id}] in {ACCOUNTS} cannot be one of "
            f"{machine['name']}: there they look like {machine['account_example']}. Correct that line."
        )
    return mine
