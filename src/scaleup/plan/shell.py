"""`scaleup plan`: a question from the command line, its answer drawn and as a table, or as JSON."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import locale
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path

from ..errors import CourseError
from . import measured, search
from .drawn import COLUMNS, FINE, drawings
from .given_machine import machine_from
from .memory import GIB
from .planner import arithmetic
from .question import Answer, Question, answer, machine_facts
from .ways import asked_by, sections


def main(arguments: argparse.Namespace) -> None:
    if arguments.what and arguments.model:
        raise CourseError(f"Two models are given, {arguments.what} and {arguments.model}. Leave one out.")
    arguments.model = arguments.model or arguments.what
    if arguments.largest is not None and (arguments.model or arguments.tokens):
        raise CourseError(
            "--largest looks for the model, on 20 tokens per parameter: leave out --model and --tokens. How "
            "quickly a model is trained within so many node-hours: --budget."
        )
    if not arguments.machine or not (
        arguments.model or arguments.largest or arguments.config or arguments.measured
    ):
        raise CourseError("Say what to plan: --model llama-3-8b --machine lumi-g --nodes 4.")
    fields = {field.name: getattr(arguments, field.name) for field in dataclasses.fields(Question)}
    facts = machine_facts(arguments.machine)
    if arguments.config:
        fields |= configured(arguments, facts)
    elif arguments.model:
        fields["model"] = from_file(arguments.model)
    if arguments.measured:
        fields |= from_measured(arguments, fields)
    found = answer(Question(**fields), facts)
    if arguments.json:
        print(json.dumps(found.as_dict(), indent=1))
        return
    show(found)
    if arguments.config:
        print(f"\n{for_training(found)}")


def from_file(model: str) -> str:
    """What a model's file says, where a file or its folder is named; else the name as it is."""
    path = Path(model)
    try:
        if path.is_dir() and (path / "config.json").exists():
            path = path / "config.json"
        elif path.suffix != ".json":
            return model
        return path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        why = (
            "it is not UTF-8 text"
            if isinstance(error, UnicodeDecodeError)
            else getattr(error, "strerror", error)
        )
        raise CourseError(f"{model} cannot be read: {why}. Give the path of a model's config.json.") from None


def from_measured(arguments: argparse.Namespace, fields: Mapping[str, object]) -> dict[str, object]:
    """Measured steps as they are written, or those of a study with the training that it measured."""
    path = Path(arguments.measured)
    if path.suffix != ".json" and not path.is_dir():
        return {"measured": arguments.measured}
    from ..config import Config, build

    path = path / "study.json" if path.is_dir() else path
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise CourseError(f"{path} cannot be read as a study: {error}.") from None
    steps = measured.from_study(content if isinstance(content, dict) else {})
    if (there := content.get("machine")) != arguments.machine:
        raise CourseError(f"{path} was measured on {there}, and the plan is for {arguments.machine}.")
    config = build(Config, content["config"], str(path))
    asked = asked_by(config, steps[0].devices)
    found = {"measured": measured.as_words(steps), "software": asked["software"]}
    if not fields["model"]:  # the study's own training on more nodes
        found |= {"model": asked["model"], "seq": asked["seq"]}
    return found


def configured(arguments: argparse.Namespace, facts: Mapping[str, object]) -> dict[str, object]:
    """What a file for `scaleup train` says of the question."""
    from ..config import load

    if arguments.model or arguments.largest:
        raise CourseError("--config says which model to plan. Leave out --model and --largest.")
    machine, _, _ = machine_from(facts)
    return asked_by(load(arguments.config), (arguments.nodes or 1) * machine.devices_per_node)


def for_training(found: Answer) -> str:
    """The settings of the first of the plans that `scaleup train` can do."""
    plans = (found.best, *found.others)
    for plan in plans:
        with contextlib.suppress(CourseError):
            which = "" if plan is found.best else f" for {plan.run.layout}"
            return f"for scaleup train{which}\n\n{sections(plan)}"
    return folded("scaleup train can do none of these plans: they recompute, or have many chunks in a stage.")


def show(found: Answer) -> None:
    """Print a plan drawn, its arithmetic, other plans beside it, and what should be known about both."""
    best, machine = found.best, found.best.run.machine
    where = (
        f"{machine.name}: {best.nodes:g} nodes, {best.run.layout.devices} devices; {best.run.software.name}"
    )
    print(folded(where))
    print(folded(str(best.run.layout)))
    if found.calibration:
        print("\nplanned from what was measured (and where eight in ten lie)")
        for what, likely, between in found.calibration.lines(best):
            print(f"  {what:<20}  {likely:>14}  {between}")
    fine = has_blocks()
    for drawing in drawings(best):
        print(f"\n{drawing.text(fine)}")
    for title, lines in arithmetic(best).items():
        print(f"\n{title}")
        first, second = (max(len(line[column]) for line in lines) for column in (0, 1))
        for what, value, how in lines:
            print(folded(how, f"  {what:<{first}}  {value:>{second}}  "))
    if found.others:
        print("\nother plans")
    for other in found.others:
        numbers = (
            f"{other.run.layout.devices:>9} devices  {other.step.total:9.3f} s  "
            f"{other.memory.total / GIB:6.1f} GiB  "
        )
        print(folded(str(other.run.layout), "  "))
        print(folded(search.beside(best, other), numbers))
    for remark in found.remarks:
        print(f"\n{folded(remark)}")


def folded(words: str, first: str = "") -> str:
    """Words in lines of at most 80 characters behind the first one's beginning, the others beneath it."""
    whole = {"break_long_words": False, "break_on_hyphens": False}
    lines = textwrap.wrap(words, COLUMNS - len(first), **whole)
    return (first + f"\n{' ' * len(first)}".join(lines)).rstrip()


def has_blocks() -> bool:
    """Can this terminal show the drawing's finer characters? Python writes UTF-8 in a locale that cannot."""
    try:
        FINE.encode(sys.stdout.encoding or "ascii")
    except (LookupError, UnicodeEncodeError):
        return False
    return locale.setlocale(locale.LC_CTYPE) not in ("C", "POSIX")
