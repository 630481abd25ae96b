"""`scaleup plan`: a plan, or a search for the best one, as a table or as JSON."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

from ..errors import CourseError
from . import search, shapes
from .batch import predict_file
from .facts import KEYS, machine_from
from .layout import SOFTWARE, Layout
from .memory import GIB
from .planner import Plan, arithmetic, as_dict, plan

WAYS = ("tp", "pp", "cp", "ep", "vp")


def machine_facts(name: str) -> dict[str, object]:
    """The facts of data/machines.yml that a plan needs, as plain values."""
    from .. import machines

    known = machines.machine(name)
    return {key: known[key].value for key in KEYS}


def main(arguments: argparse.Namespace) -> None:
    if arguments.batch or arguments.out:
        if not (arguments.batch and arguments.out):
            raise CourseError("A table needs both names: --batch FILE.csv --out OUT.csv.")
        rows, predicted = predict_file(Path(arguments.batch), Path(arguments.out))
        print(f"{predicted} of {rows} rows are predicted in {arguments.out}; the others say why not.")
        return
    if not arguments.machine or not (arguments.model or arguments.largest):
        raise CourseError("Say what to plan: --model llama-3-8b --machine lumi-g --nodes 4.")
    machine, bill, remarks = machine_from(machine_facts(arguments.machine))
    if not 1 <= arguments.nodes <= 10**5:
        raise CourseError(f"{arguments.nodes} nodes are impossible. Give a number from 1 to 100,000.")
    if arguments.seq < 1 or arguments.global_batch < 1:
        raise CourseError("A step needs at least one sequence of at least one token.")
    if arguments.software not in SOFTWARE:
        raise CourseError(
            f"There is no program '{arguments.software}'. Choose one of: {', '.join(SOFTWARE)}."
        )
    common = {
        "seq": arguments.seq,
        "global_batch": arguments.global_batch,
        "machine": machine,
        "software": SOFTWARE[arguments.software],
        "bits": 8 if arguments.precision == "fp8" else 16,
    }
    if arguments.largest:
        found = search.largest_model(
            list(shapes.KNOWN.values()), arguments.largest, 20, arguments.nodes, **common
        )
        name = next(name for name, shape in shapes.KNOWN.items() if shape == found.run.shape)
        chosen = plan(found.run, found.tokens, bill, arguments.price)
        remarks.append(f"The largest public model is {name}, on 20 tokens per active parameter.")
        return show(chosen, [], remarks, arguments.json)
    task = search.Task(shape=shapes.model(arguments.model), **common)
    if arguments.deadline or arguments.scale:
        counts = [2**n for n in range(14) if 2**n <= max(arguments.nodes, 1)]
        if arguments.deadline:
            best = search.cheapest(task, arguments.tokens, arguments.deadline, counts, bill)
            others = []
        else:
            others = search.scaling(task, counts)
            best = search.nodes_that_pay(others)
            remarks.append(
                f"On {best.nodes:g} nodes a device still does 80 % of what it does on the fewest nodes."
            )
        return show(plan(best.run, arguments.tokens, bill, arguments.price), others, remarks, arguments.json)
    devices = arguments.nodes * machine.devices_per_node
    given = {way: getattr(arguments, way) for way in (*WAYS, "zero", "micro_batch", "recompute")}
    given = {name: value for name, value in given.items() if value is not None}
    if given:
        ways = given.get("tp", 1) * given.get("pp", 1) * given.get("cp", 1)
        if ways < 1 or devices % ways:
            raise CourseError(f"{devices} devices do not split into tp x pp x cp = {ways}.")
        run = task.run(Layout(dp=devices // ways, **given))
        return show(plan(run, arguments.tokens, bill, arguments.price), [], remarks, arguments.json)
    found = search.search(task, devices, keep=6)
    best = plan(found.best.run, arguments.tokens, bill, arguments.price)
    lost = ", ".join(f"{count:,} {reason}" for reason, count in found.lost.items())
    remarks.append(f"{found.weighed:,} layouts weighed, {found.feasible:,} fit. Those that lost: {lost}.")
    show(best, list(found.plans[1:]), remarks, arguments.json)


def show(best: Plan, others: list[Plan], remarks: list[str], as_json: bool) -> None:
    """Print a plan with its arithmetic, other plans beside it, and what should be known about both."""
    if as_json:
        found = as_dict(best) | {"remarks": remarks}
        found["others"] = [
            as_dict(dataclasses.replace(other, tokens=best.tokens, bill=best.bill)) for other in others
        ]
        print(json.dumps(found, indent=1))
        return
    machine = best.run.machine
    print(
        f"{machine.name}: {best.nodes:g} nodes, {best.run.layout.devices} devices; {best.run.software.name}"
    )
    print(best.run.layout)
    print()
    lines = arithmetic(best)
    first, second = (max(len(line[column]) for line in lines) for column in (0, 1))
    for what, value, how in lines:
        print(f"{what:<{first}}  {value:>{second}}  {how}".rstrip())
    if others:
        print("\nother plans")
        for other in others:
            print(
                f"  {other.run.layout.devices:>5} devices  {other.step.total:9.3f} s  "
                f"{other.memory.total / GIB:6.1f} GiB  {other.run.layout}"
                + (
                    f"  ({search.why_slower(best, other)})"
                    if other.run.layout.devices == best.run.layout.devices
                    else f"  (MFU {other.mfu:.1%})"
                )
            )
    for remark in remarks:
        print(f"\n{remark}")
