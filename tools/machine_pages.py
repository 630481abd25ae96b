"""The pages of `book/machines/`, made from `data/machines.yml`: python -m tools.machine_pages."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from scaleup import machines
from scaleup.machines import FIELDS, Fact, Field, Machine, Pitfall, Source, job
from scaleup.paths import root
from scaleup.words import markdown_table

GENERATED = (
    "% Generated from data/machines.yml by `python -m tools.machine_pages`: edit the data, not this page."
)
GROUPS = {
    "identity": "What it is",
    "hardware": "Hardware",
    "queues": "Account and scheduler",
    "files": "Files",
    "cost": "Billing",
    "access": "Access and software",
    "job": "Settings of a job",
}
CODE = {field.name for field in FIELDS if field.group == "job"} | {
    "account_example",
    "account_pattern",
    "mandatory_options",
}
ELSEWHERE = {"partitions", "binding_masks"}  # they have tables of their own
CHECK = """\
Limits and queues change. Before you rely on a number, compare it with what the machine says: `sinfo` lists
partitions and nodes, `scontrol show partition` their limits, `sacctmgr show qos` those of each QOS."""
KINDS = """\
*Official* is the site's or EuroHPC's own page. *Course* is training material. *User* is what one project or
consortium published, mostly about its own use; it may not hold for yours, and **user only** marks what nobody
else confirms. *Press* is a news article. *Derived* is arithmetic of this course. Unknown means that no source
read gives the value."""
EVERYWHERE = "What goes wrong on every machine has [a page of its own](goes-wrong.md)."
DEVICES = {
    "nodes": "nodes",
    "devices_per_node": "devices per node",
    "device": "device",
    "memory_gb": "GB per device",
    "peak_bf16_tflops": "peak TFLOP/s per device",
}
NODES = {
    "memory_bandwidth_gb_s": "memory GB/s per device",
    "network_gb_s_per_node": "network GB/s per node",
    "cores_per_node": "cores per node",
    "cores_per_device": "cores per device",
    "architecture": "architecture",
}
SOFTWARE = {
    "accelerator_stack": "software of the device",
    "container": "containers",
    "internet_on_compute": "internet on compute nodes",
    "local_storage": "storage on the node",
}


TO_COME = ("contracted", "expected", "cost")
PLACE = ("site", "country", "devices_per_node", "nodes", "cpu", "network")
NOTES = {
    "status": "status",
    "device": "device",
    "devices_per_node": "device",
    "cpu": "processor",
    "network": "network",
    "contracted": "contract",
    "expected": "expected",
    "cost": "cost",
}


def plain(text: object) -> str:
    """Text that Markdown shows as it is, also in a table's cell."""
    return re.sub(r"([\\`*_{}\[\]<>$|~^])", r"\\\1", str(text))


def code(text: object) -> str:
    return f"`{text}`"


def shown(value: object, in_code: bool = False) -> str:
    """A value as the cell of a table: null is "unknown", an empty list or mapping is "none"."""
    style = code if in_code else plain
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict) and not in_code:
        value = [f"{name} ({what})" for name, what in value.items()]
    if isinstance(value, dict):
        value = [f"{name}={setting}" for name, setting in value.items()]
    if isinstance(value, list):
        return ", ".join(style(item) for item in value) or "none"
    return f"{value:g}" if isinstance(value, float) else style(value)


def mark(sources: Sequence[Source]) -> str:
    """Footnotes of the sources, and whether users alone say so."""
    alone = " user only" if sources and {source.kind for source in sources} == {"user"} else ""
    return " ".join(f"[^{source.key}]" for source in sources) + alone


def meaning(field: Field) -> str:
    return field.meaning + (f" ({field.unit})" if field.unit else "")


def fact_table(machine: Machine, group: str) -> str:
    rows = []
    for field in FIELDS:
        if field.group == group and field.name not in ELSEWHERE:
            fact = machine[field.name]
            cells = [meaning(field), shown(fact.value, field.name in CODE), fact.date, mark(fact.sources)]
            rows.append([*cells, plain(fact.note)])
    return markdown_table(["fact", "value", "as of", "source", "note"], rows)


# Limits of a queue beside hours and nodes, in words.
LIMITS = {
    "least_nodes": "at least {} nodes",
    "devices": "at most {} devices",
    "least_devices": "at least {} device",
    "cores": "at most {} cores",
    "memory_mb": "{} MB of memory",
    "jobs": "at most {} jobs of a user",
    "running_jobs": "{} jobs run at once",
    "default_hours": "{:g} h if no time is given",
}
RULES = {
    "default": "where a job goes that names no partition",
    "on_request": "on request",
    "internet": "with internet",
}


def queue_rules(entry: dict) -> str:
    """All that the data say of a queue beside hours and nodes."""
    said = [words.format(entry[name]) for name, words in LIMITS.items() if entry.get(name)]
    said += [words for name, words in RULES.items() if entry.get(name)]
    if entry.get("devices") == 0:
        said.append("no device")
    if start := entry.get("whole_nodes_from"):
        said.append("whole nodes" if start == 1 else f"whole nodes from {start} nodes on")
    return "; ".join([*said, *filter(None, [entry.get("note", "")])])


def partition_table(fact: Fact) -> str:
    rows = [
        [
            code(entry["partition"]),
            code(entry["qos"]) if entry["qos"] else "none to give",
            shown(entry["hours"]),
            shown(entry["nodes"]),
            plain(queue_rules(entry)),
        ]
        for entry in fact.value
    ]
    said = f"As of {fact.date} {mark(fact.sources)}" + (f": {plain(fact.note)}." if fact.note else ".")
    header = ["partition", "QOS", "most hours of a job", "most nodes of a job", "rules and notes"]
    return f"{said}\n\n{markdown_table(header, rows)}"


def cores(mask: str) -> list[int]:
    """The numbers of the cores that a hexadecimal mask names."""
    bits = int(mask, 16)
    return [core for core in range(bits.bit_length()) if bits >> core & 1]


def core_section(fact: Fact) -> str:
    if fact.value is None:
        return ""
    rows = [
        [str(device), f"{min(cores(mask))} to {max(cores(mask))}", code(mask)]
        for device, mask in enumerate(fact.value)
    ]
    table = markdown_table(["device number", "cores", "mask"], rows)
    return (
        f"\n## Which cores belong to which device\n\nA mask has one bit per core, core 0 last. "
        f"As of {fact.date} {mark(fact.sources)}.\n\n{table}\n"
    )


def device_hour(machine: Machine) -> str:
    """What a device's share of a node-hour costs, or "unknown"."""
    whole = machine["node_hour_cost"].value
    return "unknown" if whole is None else f"{whole / machine['devices_per_node'].value:g}"


def cost_section(machine: Machine) -> str:
    whole, unit = machine["node_hour_cost"], plain(machine["billing_unit"])
    if whole.value is None:
        return "What an hour costs is unknown: no source read gives it. Ask before you plan."
    devices = machine["devices_per_node"].value
    return (
        f"The unit is the {unit}.\n\n"
        f"- One node for one hour costs {whole}.\n"
        f"- A node has {devices} devices, so a device's share of that hour is {whole} / {devices} = "
        f"{device_hour(machine)}. Whether you can buy a share depends on the rule above.\n"
        f"- Four nodes for a day cost 4 × 24 × {whole} = {4 * 24 * whole.value:g}."
    )


def pitfall_list(found: Iterable[Pitfall]) -> str:
    return "\n".join(f"- **{plain(p.title)}.** {plain(p.text)} {mark(p.sources)}" for p in found)


def job_section(name: str) -> str:
    return f"\n## A job script\n\n```bash\n{job.example(name).rstrip()}\n```\n"


def every_source(machine: Machine, found: Iterable[Pitfall]) -> dict[str, Source]:
    cited = [*machine.values(), *found]
    return {source.key: source for place in cited for source in place.sources}


def footnote(source: Source) -> str:
    """Title as a link, day and kind; where there is no address, why."""
    title = f"[{plain(source.title)}]({source.url})" if source.url else plain(source.title)
    why = "" if source.url else f" No address: {plain(source.why)}."
    return f"[^{source.key}]: {title}. {source.date}, {source.kind}.{why}"


def footnotes(sources: Iterable[Source]) -> str:
    return "\n".join(map(footnote, sources)) + "\n"


def days(machine: Machine) -> list[str]:
    """The days of all sources of a machine's facts, in order."""
    return sorted(source.date for fact in machine.values() for source in fact.sources)


def machine_page(name: str) -> str:
    """The page of one machine that takes jobs."""
    machine, found = machines.machine(name), [p for p in machines.pitfalls(name) if p.machines]
    sources = every_source(machine, found)
    first, *_, last = days(machine)
    parts = [
        f"{GENERATED}\n\n# {plain(machine['name'])}\n",
        f"{plain(machine['name'])} is a EuroHPC machine at {plain(machine['site'])}, "
        f"{plain(machine['country'])}: {shown(machine['nodes'].value)} nodes with "
        f"{machine['devices_per_node']} devices each.\nA device is {plain(machine['device'])}. "
        f"The machine is {plain(machine['status'])}.\n"
        f"Its sources were written or read between {first} and {last}; nothing here was run on it.\n",
        f"{CHECK}\n\n{KINDS}\n",
    ]
    for group, title in GROUPS.items():
        if group == "queues":
            parts.append(f"## Queues\n\n{partition_table(machine['partitions'])}\n")
        parts.append(f"## {title}\n\n{fact_table(machine, group)}\n")
        if group == "hardware":
            parts.append(core_section(machine["binding_masks"]).strip("\n") + "\n")
        if group == "cost":
            parts.append(f"## What an hour costs\n\n{cost_section(machine)}\n")
    here = f"{pitfall_list(found)}\n\n" if found else ""
    parts.append(f"## What goes wrong here\n\n{here}{EVERYWHERE}\n")
    parts.append(job_section(name).strip("\n") + "\n")
    parts.append(footnotes(sources.values()))
    return "\n".join(part for part in parts if part.strip())


def link(name: str, machine: Machine) -> str:
    return f"[{plain(machine['name'])}]({name}.md)"


def comparison(known: dict[str, Machine], columns: dict[str, str]) -> str:
    """One table of a machine a row; columns are {field: header}."""
    rows = [[link(n, m), *(shown(m[field].value) for field in columns)] for n, m in known.items()]
    return markdown_table(["machine", *columns.values()], rows)


def queue_table(known: dict[str, Machine]) -> str:
    rows = []
    for name, machine in known.items():
        first = machine["partitions"].value[0]
        cost = [shown(machine["node_hour_cost"].value), device_hour(machine)]
        limits = [code(first["partition"]), shown(first["hours"]), shown(first["nodes"])]
        rows.append([link(name, machine), *limits, *cost, plain(machine["billing_unit"])])
    header = ["machine", "partition", "most hours", "most nodes", "a node-hour", "a device-hour", "unit"]
    return markdown_table(header, rows)


def age_table(known: dict[str, Machine]) -> str:
    rows = []
    for name, machine in known.items():
        facts = [fact for fact in machine.values() if fact.value is not None]
        alone = sum({source.kind for source in fact.sources} == {"user"} for fact in facts)
        counts = [str(len(facts)), str(len(machine) - len(facts)), str(alone)]
        rows.append([link(name, machine), days(machine)[0], days(machine)[-1], *counts])
    return markdown_table(
        ["machine", "oldest source", "newest source", "known", "unknown", "user only"], rows
    )


def index_page() -> str:
    """The comparison of all machines."""
    running, later = machines.operational(), machines.announced()
    return f"""{GENERATED}

# The machines compared

These are {len(running)} partitions of EuroHPC machines that train models, with what you need to choose one
and to write a job for it. Each name leads to a page with every fact, its source and its date. Nothing here
was run on them.

{CHECK}

## Devices

{comparison(running, DEVICES)}

A **device** is what Slurm counts as one GPU. Its GB are those that it is sold with, in effect GiB: CINECA
writes 64 GiB, and the 96 GB of JUPITER's devices are 95.6 GiB. The peak is the vendor's figure for dense
bf16; for parts made for one machine, those of Leonardo and MareNostrum 5, it is the stock part's, and their
pages say what follows from the machine's own figures. No run reaches it.

## Memory, network and cores

{comparison(running, NODES)}

The network's figure is for one direction, all cards of the node together. Cores are those that jobs can use.

## Queues and cost

{queue_table(running)}

The partition is the one for a normal run on several nodes, with the most hours and nodes of one job. Sites
count in units of their own: the columns say what one node, and a device's share of it, costs for one hour. On
some machines only whole nodes are sold.

## Software and internet

{comparison(running, SOFTWARE)}

## How old these facts are

{age_table(running)}

Known and unknown count the facts of a machine's page. **User only** counts what is known from the public
notes of projects or consortia alone, or from a table that one person keeps.

## Announced

[{len(later)} machines to come](to-come.md) are announced, with what is known of each and since when. What
goes wrong on every machine has [a page of its own](goes-wrong.md).
"""


def said(machine: Machine, field: str) -> str:
    """A fact of an announced machine with its footnotes, or "unknown"."""
    fact = machine.get(field)
    if fact is None or fact.value is None:
        return "unknown"
    return f"{shown(fact.value)} {mark(fact.sources)}"


def to_come_page() -> str:
    """What is announced, when and by whom."""
    known = machines.announced()
    rows, places, notes = [], [], []
    for machine in known.values():
        name, status = plain(machine["name"]), machine["status"]
        what = f"{plain(status.value.partition(': ')[2])} {mark(status.sources)}"
        told = [said(machine, field) for field in ("device", *TO_COME)]
        rows.append([name, what, *told, days(machine)[-1]])
        places.append([name, *(said(machine, field) for field in PLACE)])
        found = [
            f"{meaning}: {plain(machine[field].note)}"
            for field, meaning in NOTES.items()
            if field in machine and machine[field].note
        ]
        notes += [f"- **{name}.** {'; '.join(found)}."] if found else []
    text = f"""{GENERATED}

# Machines to come

{len(known)} machines of EuroHPC and its AI factories are announced and were not said to take jobs when their
sources were written. You can plan for none of them: what is not here was not found. The footnotes lead to the
sources; "as of" is the day of the newest.

{markdown_table(["machine", "what is announced", "device", "contract", "expected", "cost", "as of"], rows)}

## Where, and of what

{markdown_table(["machine", "site", "country", "devices per node", "nodes", "processor", "network"], places)}

## What the sources add, and where they differ

{chr(10).join(notes)}
"""
    sources = {
        source.key: source for machine in known.values() for source in every_source(machine, []).values()
    }
    return f"{text}\n{footnotes(source for key, source in sources.items() if f'[^{key}]' in text)}"


def goes_wrong_page() -> str:
    """What goes wrong on every machine."""
    found = [p for p in machines.pitfalls(next(iter(machines.operational()))) if not p.machines]
    sources = {source.key: source for pitfall in found for source in pitfall.sources}
    return f"""{GENERATED}

# What goes wrong on every machine

These came up on machines of different sites. What goes wrong on one machine only is on [its page](index.md).

{pitfall_list(found)}

{KINDS}

{footnotes(sources.values())}"""


def pages() -> dict[str, str]:
    """{file name in book/machines/: text} of every generated page."""
    others = {"index.md": index_page(), "to-come.md": to_come_page(), "goes-wrong.md": goes_wrong_page()}
    return others | {f"{name}.md": machine_page(name) for name in machines.operational()}


def main() -> None:
    folder = root() / "book" / "machines"
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (folder / name).write_text(text, encoding="utf-8")
    print(f"{len(pages())} pages in {folder.relative_to(root())}/")


if __name__ == "__main__":
    main()
