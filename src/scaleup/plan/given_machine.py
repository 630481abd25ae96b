"""A machine as plain facts, such as a browser can hand over -> what the planner needs of it."""

from __future__ import annotations

import dataclasses
import json
import tomllib
from collections.abc import Mapping
from pathlib import Path

from ..errors import CourseError
from . import accelerators
from .amounts import amount
from .layout import Machine
from .planner import Bill

KEYS = (
    "name",
    "device",
    "devices_per_node",
    "memory_gb",
    "peak_bf16_tflops",
    "memory_bandwidth_gb_s",
    "link_gb_s_per_device",
    "network_gb_s_per_node",
    "billing_unit",
    "node_hour_cost",
    "nodes",
    "nodes_source",  # where the number of nodes comes from, in words
    "queues",  # [{"name", "nodes" of one job at most or None, "note"}], the usual one first
)
WORDS = ("name", "device", "billing_unit", "nodes_source", "queues")  # what is no number


USUAL_MOST = 64  # nodes of a job where nothing is known of a machine's queues


def written(name: str) -> dict[str, object] | None:
    """The facts of an own machine from words or from a file of JSON or TOML; None for a name of a machine."""
    if not isinstance(name, str):
        return None
    if "=" in name:
        words = [word.partition("=") for word in name.split(",") if word.strip()]
        found: dict[str, object] = {key.strip(): value.strip() for key, _, value in words}
    elif Path(name).suffix in (".json", ".toml"):
        found = from_file(Path(name))
    else:
        return None
    known = [key for key in KEYS if key not in ("nodes_source", "queues")]
    if unknown := [key for key in found if key not in known]:
        raise CourseError(f"A machine has no {unknown[0][:40]!r}. It has {', '.join(known)}.")
    for key, value in found.items():
        if key not in WORDS and isinstance(value, str):
            found[key] = amount(value)
    found.setdefault("name", "own machine")
    if "node_hour_cost" not in found and isinstance(found.get("devices_per_node"), int | float):
        found |= {"billing_unit": "device-hour", "node_hour_cost": found["devices_per_node"]}
    return found


def from_file(path: Path) -> dict[str, object]:
    """The facts in a file. Raises CourseError where it is no table of them."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        found = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (OSError, ValueError) as error:
        raise CourseError(f"{path} cannot be read as a machine: {error}.") from None
    if not isinstance(found, dict):
        raise CourseError(f"{path} is a list or a number. Write the facts of a machine with their names.")
    return found


def usual_most(facts: Mapping[str, object]) -> int:
    """How many nodes a job may have in the usual queue, or the machine, as far as it is known."""
    queues = facts.get("queues")
    first = queues[0] if isinstance(queues, list | tuple) and queues else {}
    limit = first.get("nodes") if isinstance(first, Mapping) else None
    return int(limit or facts.get("nodes") or USUAL_MOST)


def _line(words: object) -> str:
    """Words from outside as one line of a length that can be printed."""
    return " ".join("".join(c if c.isprintable() else " " for c in str(words)[:200]).split())


def machine_from(facts: Mapping[str, object]) -> tuple[Machine, Bill, list[str]]:
    """(machine, how it bills, remarks on what is not known) from the facts named in KEYS.

    Raises CourseError where the device or the number of devices in a node is unknown.
    """
    name = _line(facts.get("name") or "this machine")
    if not facts.get("device") or not facts.get("devices_per_node"):
        raise CourseError(f"The device of {name} or their number in a node is unknown. Plan for another one.")
    for key in KEYS:
        value = facts.get(key)
        if value is None or key in WORDS:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not 1e-3 <= value < 1e9:
            raise CourseError(
                f"{key}={value!r:.40} of {name} is not a number from 0.001. Leave out what is unknown."
            )
    if facts["devices_per_node"] != int(facts["devices_per_node"]):
        raise CourseError(f"devices_per_node={facts['devices_per_node']!r} of {name} is not a whole number.")
    device = accelerators.find(_line(facts["device"]))
    remarks = []
    if not device.fitted:
        remarks.append(
            f"No run on {device.name} was fitted: its efficiency is that of the device it is nearest to."
        )
    if device.name == "MI250X":
        remarks.append(
            "The numbers of the MI250X were fitted to programs of 2023 without fused attention: for newer "
            "programs they are a guess."
        )
    if facts.get("memory_gb"):
        device = accelerators.with_memory(device, float(facts["memory_gb"]))
    if facts.get("peak_bf16_tflops"):
        device = dataclasses.replace(device, peak_flops=float(facts["peak_bf16_tflops"]) * 1e12)
    if facts.get("memory_bandwidth_gb_s"):
        device = dataclasses.replace(device, memory_bytes_s=float(facts["memory_bandwidth_gb_s"]) * 1e9)
    if facts.get("link_gb_s_per_device"):
        device = dataclasses.replace(device, link_bytes_s=float(facts["link_gb_s_per_device"]) * 1e9)
    per_node = int(facts["devices_per_node"])
    network = float(facts.get("network_gb_s_per_node") or 0) * 1e9
    if not network:
        network = per_node * accelerators.usual_network(device)
        remarks.append(f"The network of {name} is unknown: {network / 1e9:g} GB/s per node is assumed.")
    bill = Bill(_line(facts.get("billing_unit") or ""), float(facts.get("node_hour_cost") or 0))
    return Machine(device, per_node, network, name), bill, remarks


def check_nodes(facts: Mapping[str, object], nodes: int) -> None:
    """Raise CourseError where a machine has fewer nodes than are asked for; facts as in KEYS."""
    most = facts.get("nodes")
    if most and nodes > most:
        name, source = _line(facts.get("name") or "This machine"), _line(facts.get("nodes_source") or "")
        raise CourseError(
            f"{name} has {int(most):,} nodes{f' ({source})' if source else ''}, and {nodes:,} are asked for. "
            f"Ask for at most {int(most):,}."
        )


def queue_remarks(facts: Mapping[str, object], nodes: int) -> list[str]:
    """What to know where a job on so many nodes is more than the machine's usual queue takes."""
    given = facts.get("queues")
    queues = [
        (_line(queue.get("name") or ""), queue.get("nodes"), _line(queue.get("note") or ""))
        for queue in (given if isinstance(given, list | tuple) else [])
        if isinstance(queue, Mapping)
    ]
    limits = [(most, name, note) for name, most, note in queues if isinstance(most, int) and most > 0]
    if not limits or queues[0][1] != limits[0][0] or nodes <= limits[0][0]:
        return []
    usual, name, _ = limits[0]
    said = f"The queue {name} takes at most {usual:,} nodes per job, and this plan needs {nodes:,}"
    noted = "{0[1]}, which takes {0[0]:,}{1}".format
    enough = [limit for limit in limits if limit[0] >= nodes]
    unknown = [name for name, most, _ in queues if not most]
    most = min(enough) if enough else max(limits, key=lambda limit: limit[0])
    note = f" ({most[2]})" if most[2] else ""
    if enough:
        return [f"{said}: see {noted(most, note)}."]
    if unknown:
        return [f"{said}. What {', '.join(unknown)} take is not known here{note}."]
    larger = f", not even {noted(most, note)}" if most[0] > usual else ""
    return [f"{said}: no queue takes so many{larger}."]
