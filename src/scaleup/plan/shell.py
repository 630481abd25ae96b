"""`scaleup plan`: a question from the command line, its answer as a table or as JSON."""

from __future__ import annotations

import argparse
import dataclasses
import json

from ..errors import CourseError
from . import search
from .memory import GIB
from .planner import arithmetic
from .question import Answer, Question, answer, machine_facts


def main(arguments: argparse.Namespace) -> None:
    if not arguments.machine or not (arguments.model or arguments.largest):
        raise CourseError("Say what to plan: --model llama-3-8b --machine lumi-g --nodes 4.")
    fields = {field.name: getattr(arguments, field.name) for field in dataclasses.fields(Question)}
    found = answer(Question(**fields), machine_facts(arguments.machine))
    if arguments.json:
        print(json.dumps(found.as_dict(), indent=1))
    else:
        show(found)


def show(found: Answer) -> None:
    """Print a plan with its arithmetic, other plans beside it, and what should be known about both."""
    best, machine = found.best, found.best.run.machine
    print(
        f"{machine.name}: {best.nodes:g} nodes, {best.run.layout.devices} devices; {best.run.software.name}"
    )
    print(best.run.layout)
    for title, lines in arithmetic(best).items():
        print(f"\n{title}")
        first, second = (max(len(line[column]) for line in lines) for column in (0, 1))
        for what, value, how in lines:
            print(f"  {what:<{first}}  {value:>{second}}  {how}".rstrip())
    if found.others:
        print("\nother plans")
    for other in found.others:
        print(
            f"  {other.run.layout.devices:>5} devices  {other.step.total:9.3f} s  "
            f"{other.memory.total / GIB:6.1f} GiB  {other.run.layout}  ({search.beside(best, other)})"
        )
    for remark in found.remarks:
        print(f"\n{remark}")
