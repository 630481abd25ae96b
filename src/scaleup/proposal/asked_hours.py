"""From a plan to the hours of a proposal: parts of the work, units of machines, sizes of access modes."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..errors import CourseError
from ..machines import Machine
from ..plan import Plan
from ..plan.accelerators import BEST_SEEN
from ..study import Study
from ..words import did_you_mean
from .own_words import Words

UNITS = ("node-hour", "device-hour", "GPU-hour", "core-hour")
ROOM = 1.3  # hours asked over hours computed: beyond, a reviewer asks what the rest is for


def unit(words: str) -> str:
    """One of UNITS for 'GPU hours', 'node-hours'. Raises CourseError for another."""
    plain = re.sub(r"[\s_-]+", "-", words.strip()).casefold().removesuffix("s")
    for known in UNITS:
        if plain == known.casefold():
            return known
    raise CourseError(f"'{words}' is not a unit of computing time. {did_you_mean(words, UNITS)}")


def per_node_hour(machine: Machine) -> dict[str, float]:
    """What one node for one hour is in each unit of this machine; core-hours only where it bills them.

    A GPU-hour is what the site calls one: on LUMI-G a module of two devices. Where the bill has no such
    unit, it is a device for an hour. Unknown: 0.
    """
    devices = float(machine["devices_per_node"].value)
    billed, cost = str(machine["billing_unit"].value), float(machine["node_hour_cost"].value or 0)
    found = {"node-hour": 1.0, "device-hour": devices, "GPU-hour": devices, "core-hour": 0.0}
    for name in ("GPU-hour", "core-hour"):
        if billed.startswith(name) and cost:
            found[name] = cost
    return found


def bill(machine: Machine) -> tuple[str, float]:
    """The unit in which the site bills, and how many a node-hour is; ("", 0) where no source says."""
    cost = machine["node_hour_cost"].value
    return (str(machine["billing_unit"].value), float(cost)) if cost else ("", 0.0)


def convert(amount: float, source: str, target: str, machine: Machine) -> float:
    """Hours of one unit in another. Raises CourseError where the machine does not know one of them."""
    known = per_node_hour(machine)
    for name in (source, target):
        if not known.get(name):
            raise CourseError(f"{machine['name']} has no {name}s: it bills by {machine['billing_unit']}.")
    return amount / known[source] * known[target]


@dataclass(frozen=True)
class Basis:
    """What the hours of the main run rest on: its node-hours, the MFU that they count with, and why that."""

    node_hours: float
    mfu: float
    why: str
    measured: bool = False


def basis(plan: Plan, words: Words, study: Study | None, machine_name: str) -> Basis:
    """The node-hours of the main run, by the best evidence there is.

    First a study of this model on this machine, at the most nodes it measured; then the company's own MFU;
    else the plan, at most with the best MFU that a published run on this device reached.
    """
    if study is not None and speaks_for(study, plan, machine_name):
        point = max(study.points("strong") or study.points("weak"), key=lambda each: each["nodes"])
        rate = point["tokens_per_s"]["value"]
        mfu = plan.mfu * rate / point["nodes"] * plan.nodes / (plan.run.tokens_per_step / plan.step.total)
        why = f"measured in the study on {point['nodes']} nodes: {rate:,.0f} tokens/s"
        return Basis(plan.tokens / rate / 3600 * point["nodes"], mfu, why, True)
    own, device = words.get("hours", "mfu"), plan.run.machine.accelerator.name
    if own:
        if not 0 < own < 1:
            raise CourseError(f"hours.mfu={own!r} is no share of the peak. Write 38 % as 0.38.")
        source = words.get("hours", "mfu_source")
        why = f"the company's own: {' '.join(source.split())}" if source else "the company's own"
        return Basis(plan.node_hours * plan.mfu / own, own, why)
    seen = BEST_SEEN.get(device, plan.mfu)
    if plan.mfu > seen:
        why = f"the best of the published runs on {device}; the planner hopes for {plan.mfu:.1%}"
        return Basis(plan.node_hours * plan.mfu / seen, seen, why)
    return Basis(plan.node_hours, plan.mfu, "the planner's, not measured")


def speaks_for(study: Study, plan: Plan, machine_name: str) -> bool:
    """Whether a study measured this model, in these sequences, on this machine."""
    return bool(
        study.content["machine"] == machine_name
        and (study.points("strong") or study.points("weak"))
        and abs(parameters(study) / plan.run.shape.parameters - 1) < 0.02
        and study.content["config"]["data"]["seq"] == plan.run.seq
    )


def parameters(study: Study) -> int:
    """Parameters of the model that a study trained, by the planner's count."""
    from ..plan import Shape

    model, experts = study.model, study.content["config"]["experts"]
    count, active = experts["count"], experts["top_k"] if experts["count"] else 0
    hidden = model.hidden // (active or 1)
    shape = Shape(model.layers, model.dim, model.heads, hidden, model.vocab_size,
                  experts=count, experts_per_token=active)  # fmt: skip
    return shape.parameters


@dataclass(frozen=True)
class Part:
    """Node-hours of one part of the work, and how they come about; None where the company has not said."""

    name: str
    node_hours: float | None
    how: str


def parts(found: Basis, words: Words) -> tuple[Part, ...]:
    """Main run, tuning, evaluation, failures. A share that the company has not given stays None."""
    made = [Part("main run", found.node_hours, "")]
    for name in ("tuning", "evaluation"):
        share = words.get("hours", name)
        made.append(Part(name, None if share is None else share * found.node_hours,
                         "" if share is None else f"{share:.0%} of the main run"))  # fmt: skip
    share = words.get("hours", "failures")
    work = sum(part.node_hours or 0.0 for part in made)
    made.append(Part("failures", None if share is None else share * work,
                     "" if share is None else f"{share:.0%} of all the runs above"))  # fmt: skip
    return tuple(made)


def total(made: tuple[Part, ...]) -> float:
    """Node-hours of the parts that are known."""
    return sum(part.node_hours or 0.0 for part in made)


# Modes of access


@dataclass(frozen=True)
class Mode:
    """Size and duration of an access mode as data/access.yml has them; None where no source says."""

    key: str
    name: str
    unit: str
    least: float | None
    most: float | None
    months: tuple[int, ...]
    decided: str
    said: str  # where the size is from, and of when
    machines: tuple[str, ...] = ()  # those on offer, where a source names them
    machines_said: str = ""
    cut_offs: tuple[str, ...] = ()
    status: str = ""

    def holds(self, hours: float) -> bool:
        return (self.least or 0) <= hours <= (self.most or float("inf"))


def size_of(mode: Mode) -> str:
    """'10,000 to 50,000 GPU-hours'."""
    if mode.least is None and mode.most is None:
        return f"of unknown size, in {mode.unit}s"
    if mode.least is None or mode.least == 0:
        return f"up to {mode.most:,.0f} {mode.unit}s"
    if mode.most is None:
        return f"from {mode.least:,.0f} {mode.unit}s"
    return f"{mode.least:,.0f} to {mode.most:,.0f} {mode.unit}s"


def size_problem(hours: float, mode: Mode, others: tuple[Mode, ...]) -> str | None:
    """A sentence where a mode does not take so many hours of its unit, with one that does; else None."""
    if mode.holds(hours):
        return None
    fit = [other for other in others if other.unit == mode.unit and other.holds(hours)]
    where = f" {' or '.join(other.name for other in fit)} takes them." if fit else ""
    return f"{hours:,.0f} {mode.unit}s do not fit {mode.name}, which takes {size_of(mode)}.{where}"
