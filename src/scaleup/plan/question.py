"""A question to the planner and its answer: one front for the shell, a notebook, the panel and the page."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import CourseError
from . import hub_config, measured, node_counts, search, shapes
from .accelerators import BEST_SEEN
from .amounts import amount, whole
from .given_machine import KEYS, check_nodes, machine_from, queue_remarks, usual_most, written
from .layout import SOFTWARE, Layout
from .planner import Plan, as_dict, predict_run
from .shapes import Shape

LAYOUT = ("tp", "pp", "cp", "ep", "vp", "zero", "micro_batch", "recompute")
WHOLE = ("nodes", "devices", "seq", "global_batch", "tp", "pp", "cp", "ep", "vp", "zero", "micro_batch")
NUMBERS = ("tokens", "price", "deadline", "budget", "largest")
OPTIONAL = ("nodes", "devices", "deadline", "budget", "largest", *LAYOUT)
BITS = {"bf16": 16, "fp8": 8}
# Median error for a source that no number was fitted to: book/reference/planner.json, kept in step by a test.
UNSEEN = 0.10
CAUTION = (
    f"For programs and sites that it had not seen, the planner was off by {UNSEEN:.0%} in the median, and "
    "by much more for one run in ten. A search adds to that: it picks the layout that the planner is most "
    "hopeful about. Measure a few steps before you ask for hours."
)


@dataclass(frozen=True)
class Question:
    """What is to be trained, where. Without a layout (`tp` to `recompute`) the best one is searched.

    `model` is a public one's name, its sizes, or the text of its `config.json`.
    `seq` in tokens, `global_batch` in sequences, `tokens` of the whole training, `price` of one unit of the
    machine's bill. `deadline`: the cheapest number of nodes, up to `nodes`, within so many hours. `budget`:
    the quickest within so many node-hours. `scale`: how many nodes, up to `nodes`, still pay. `largest`: the
    largest public model within so many node-hours. Without `nodes` it is one node, or for these questions as
    many as a usual job may have. `devices`: so many of one node.
    `measured`: one or a few measured steps of the same training, such as "3,910tok/s@8"; see measured.parse.
    """

    model: str | Shape | None
    machine: str
    nodes: int | None = None
    seq: int = 4096
    global_batch: int = 1024
    tokens: float = 0.0
    software: str = "megatron"
    precision: str = "bf16"
    price: float = 0.0
    deadline: float | None = None
    budget: float | None = None
    scale: bool = False
    largest: float | None = None
    tp: int | None = None
    pp: int | None = None
    cp: int | None = None
    ep: int | None = None
    vp: int | None = None
    zero: int | None = None
    micro_batch: int | None = None
    recompute: str | None = None
    measured: str | None = None
    devices: int | None = None

    @property
    def layout(self) -> dict[str, int | str]:
        """The layout's fields that are given."""
        return {name: value for name in LAYOUT if (value := getattr(self, name)) is not None}

    def check(self) -> None:
        """Raise CourseError where a field is of the wrong kind or out of every range."""
        for name in WHOLE:
            value = getattr(self, name)
            if value is None and name in OPTIONAL:
                continue
            if isinstance(value, bool) or not isinstance(value, int):
                raise CourseError(f"{name}={value!r:.40} is not a whole number. Give one, such as {name}=4.")
        for name in NUMBERS:
            value = getattr(self, name)
            if value is None and name in OPTIONAL:
                continue
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e18:
                raise CourseError(f"{name}={value!r:.40} is impossible. Give a number from 0 to 1e18.")
        if self.nodes is not None and not 1 <= self.nodes <= 10**5:
            raise CourseError(f"{self.nodes} nodes are impossible. Give a number from 1 to 100,000.")
        if not (1 <= self.seq <= 10**8 and 1 <= self.global_batch <= 10**8):
            raise CourseError(
                "A step needs at least one sequence of at least one token, at most 1e8 of each."
            )
        if not isinstance(self.software, str) or self.software not in SOFTWARE:
            known = ", ".join(SOFTWARE)
            raise CourseError(f"There is no program {self.software!r:.40}. Choose one of: {known}.")
        if not isinstance(self.precision, str) or self.precision not in BITS:
            raise CourseError(f"precision={self.precision!r:.40}. Choose bf16 or fp8.")
        if (self.deadline is not None or self.budget is not None) and not self.tokens:
            raise CourseError("How long is the training? A deadline or a budget needs tokens, such as 100e9.")
        if self.deadline is not None and self.budget is not None:
            raise CourseError("A deadline gives the cheapest, a budget the quickest: ask for one of them.")
        if self.devices is not None and (self.devices < 1 or (self.nodes or 1) > 1):
            raise CourseError("devices are those of one node, at least one: leave out nodes.")
        if self.model is None and self.largest is None:
            raise CourseError("Say what to plan: a model, such as llama-3-8b.")


def as_numbers(fields: Mapping[str, object]) -> dict[str, object]:
    """Fields of a question whose numbers may be text, such as "100B". Raises CourseError for other text."""
    read = dict.fromkeys(NUMBERS, amount) | dict.fromkeys(WHOLE, whole)
    found = dict(fields)
    for name, value in fields.items():
        if name in read and isinstance(value, str):
            try:
                found[name] = read[name](value)
            except CourseError as error:
                raise CourseError(f"{name}: {error}") from None
    return found


@dataclass(frozen=True)
class Answer:
    """The best plan, others beside it, and what should be known about both. A notebook shows it unfolding."""

    best: Plan
    others: tuple[Plan, ...]
    remarks: tuple[str, ...]
    calibration: measured.Calibration | None = None

    def __repr__(self) -> str:
        p = self.best
        return f"{p.run.machine.name}, {p.nodes:g} nodes: {p.step.total:.3g} s a step, {p.verdict}"

    def _repr_html_(self) -> str:
        from .unfold import page, table

        whole = page(self.best, self.others, self.remarks)
        if self.calibration is None:
            return whole
        rows = self.calibration.lines(self.best)
        head = ("", "likely", "eight in ten between")
        return table(head, rows, "Planned from what was measured") + whole

    def as_dict(self) -> dict:
        """Plain numbers, for JSON."""
        best = self.best
        others = [dataclasses.replace(other, tokens=best.tokens, bill=best.bill) for other in self.others]
        found = as_dict(best) | {
            "remarks": list(self.remarks),
            "others": [as_dict(other) for other in others],
        }
        return found | ({"calibrated": self.calibration.numbers(best)} if self.calibration else {})


def answer(question: Question, facts: Mapping[str, object]) -> Answer:
    """Answer a question about a machine with these facts (see given_machine.KEYS).

    Raises CourseError, with a sentence, for every question that has no answer.
    """
    found = _answer(question, facts)
    if found.calibration:
        said = (*found.calibration.remarks(found.best), *found.remarks)
        found = dataclasses.replace(found, remarks=said)
    limits = queue_remarks(facts, int(found.best.nodes))
    found = dataclasses.replace(found, remarks=(*limits, *found.remarks))
    device = found.best.run.machine.accelerator.name
    seen = BEST_SEEN.get(device, 0.0)
    if found.calibration is None and question.precision == "bf16" and seen and found.best.mfu > seen:
        least = found.best.mfu / seen
        hope = (
            f"The plan counts on {found.best.mfu:.0%} MFU. No run on {device} in our table did better than "
            f"{seen:.0%}: its hours times {least:.2f} are the least, not a plan. Until you measure, take "
            "the MFU of a run like yours."
        )
        found = dataclasses.replace(found, remarks=(hope, *found.remarks))
    return found


def _answer(question: Question, facts: Mapping[str, object]) -> Answer:
    question.check()
    machine, bill, remarks = machine_from(facts)
    several = question.scale or question.deadline is not None or question.budget is not None
    nodes = question.nodes or (usual_most(facts) if several else 1)
    check_nodes(facts, nodes)
    remarks = [CAUTION, *remarks]
    if question.devices is not None:
        if question.devices > machine.devices_per_node:
            raise CourseError(
                f"A node of {machine.name} has {machine.devices_per_node} devices. Ask for nodes."
            )
        remarks.append(
            "The hours of a whole node are counted; where nodes are shared, a part of them is billed."
        )
    software = SOFTWARE[question.software]
    common = {
        "seq": question.seq,
        "global_batch": question.global_batch,
        "machine": machine,
        "software": software,
        "bits": BITS[question.precision],
    }
    counts = sorted({2**n for n in range(17) if 2**n < nodes} | {nodes})

    calibration = None

    def answered(p: Plan, others: tuple[Plan, ...] = (), tokens: float = question.tokens) -> Answer:
        whole = predict_run(p.run, tokens, bill, question.price)
        return Answer(whole, others, (*batch_remarks(question, p), *remarks), calibration)

    if question.largest is not None:
        if question.measured is not None:
            raise CourseError("A measured step belongs to one model: leave out --largest, or --measured.")
        known = list(shapes.KNOWN.values())
        found = search.largest_model(known, question.largest, 20, nodes, **common)
        name = next(name for name, shape in shapes.KNOWN.items() if shape == found.run.shape)
        remarks.insert(0, f"The largest public model is {name}, on 20 tokens per active parameter.")
        return answered(found, tokens=found.tokens)

    shape, left_out = described(question.model)
    remarks[:0] = left_out
    task = search.Task(shape=shape, **common)
    devices = question.devices or nodes * machine.devices_per_node
    steps = measured.parse(question.measured) if question.measured is not None else []
    if steps:
        calibration = measured.calibrated(steps, task, devices, question.layout)
    longer = calibration.factor if calibration else 1.0
    searched = node_counts.Counts(task, question.tokens, nodes, bill, longer)
    if question.deadline is not None:
        return answered(node_counts.cheapest(searched, question.deadline))
    if question.budget is not None:
        return answered(node_counts.quickest(searched, question.budget))
    if question.scale:
        plans = search.scaling(task, counts)
        best = search.nodes_that_pay(plans)
        remarks.insert(
            0, f"On {best.nodes:g} nodes a device still does 80 % of what it does on the fewest nodes."
        )
        changed = [p for p in plans if p.run.global_batch != question.global_batch and p is not best]
        if changed:
            batches = ", ".join(f"{p.run.global_batch:,} on {p.nodes:g} nodes" for p in changed)
            remarks.insert(
                1, f"Other plans with another batch, where the asked one does not split: {batches}."
            )
        return answered(best, tuple(plans))

    if given := question.layout:
        ways = given.get("tp", 1) * given.get("pp", 1) * given.get("cp", 1)
        if ways < 1 or devices % ways:
            raise CourseError(f"{devices} devices do not split into tp x pp x cp = {ways}.")
        layout = Layout(dp=devices // ways, **given)
        return answered(predict_run(search.whole_batch(task, layout).run(layout)))
    found = search.search(task, devices, keep=6)
    if steps and found.plans:
        calibration = measured.calibrated(steps, task, devices, {}, found.best.run.layout)
    lost = ", ".join(f"{count:,} {reason}" for reason, count in found.lost.items())
    remarks.insert(0, f"{found.weighed:,} layouts weighed, {found.feasible:,} fit. Those that lost: {lost}.")
    best, whole_rounds = found.best, search.nearest(question.global_batch, devices)
    if best.run.global_batch == question.global_batch != whole_rounds:
        remarks[:0] = better_batch(task, best, whole_rounds)
    elif not search.is_close(best.run.global_batch, question.global_batch) and (
        fewer := search.fewer_nodes(task, nodes)
    ):
        remarks.insert(0, f"{fewer.nodes:,} nodes take a batch of {fewer.run.global_batch:,}.")
    return answered(best, found.plans[1:])


def described(model: str | Shape) -> tuple[Shape, list[str]]:
    """The shape that a question means, and remarks on what of it is not planned. Raises CourseError."""
    if isinstance(model, Shape):
        return model, []
    if isinstance(model, str) and hub_config.looks_like_one(model):
        return hub_config.parse(model)
    return shapes.model(model), []


def batch_remarks(question: Question, p: Plan) -> list[str]:
    """What to know about a plan with another batch than the one that was asked for."""
    asked, batch, layout = question.global_batch, p.run.global_batch, p.run.layout
    if batch == asked:
        return []
    ways = f"in this layout (dp {layout.dp})" if question.layout else "in a layout that fits"
    said = f"A batch of {asked:,} sequences does not split over {layout.devices:,} devices {ways}."
    if search.is_close(batch, asked):
        share = f"{abs(batch / asked - 1):.1%} {'more' if batch > asked else 'fewer'}"
        return [f"{said} Planned with {batch:,} ({share}): {p.run.tokens_per_step:,} tokens per step."]
    return [
        f"{said} Planned with {batch:,}, the nearest that does, which is {batch / asked:.3g} times as many: "
        f"a step of {p.run.tokens_per_step:,} tokens is another training, with another learning rate."
    ]


def better_batch(task: search.Task, best: Plan, batch: int) -> list[str]:
    """Say so where the asked batch splits in poor ways only, and one close to it is much faster."""
    if not search.is_close(batch, task.global_batch):
        return []
    other = search.weigh(dataclasses.replace(task, global_batch=batch), best.run.layout.devices, keep=1)
    if not other.plans or (gain := other.best.tokens_per_s_per_device / best.tokens_per_s_per_device) < 1.1:
        return []
    return [
        f"{task.global_batch:,} sequences split over {best.run.layout.devices:,} devices in poor ways only. "
        f"With {batch:,} a step does {gain - 1:.0%} more tokens per second ({other.best.run.layout})."
    ]


def machine_facts(name: str) -> dict[str, object]:
    """The facts of data/machines.yml that a plan needs, as plain values; or those of an own machine.

    That is a file, or words such as "device=H100,devices_per_node=8,network_gb_s_per_node=400".
    """
    if own := written(name):
        return own
    from .. import machines
    from ..machines.job_script import label

    known = machines.machine(name)
    facts = {key: known[key].value for key in KEYS if key in known}
    nodes = known["nodes"]
    facts["nodes_source"] = f"{nodes.source}, {nodes.date}{f': {nodes.note}' if nodes.note else ''}"
    facts["queues"] = [
        {"name": label(queue), "nodes": queue["nodes"], "note": said_of(queue)}
        for queue in known["partitions"].value or []
    ]
    return facts


def said_of(queue: dict) -> str | None:
    """The note of a queue, and whether it has to be asked for."""
    said = [queue.get("note"), "on request" if queue.get("on_request") else None]
    return ", ".join(filter(None, said)) or None


def plan(model: str | Shape | None, machine: str, **more) -> Answer:
    """Plan a training in a notebook: `plan("llama-3-8b", "lumi-g", nodes=4, tokens=100e9)`.

    What else can be asked is written at Question. Raises CourseError for a question without an answer.
    """
    known = {field.name for field in dataclasses.fields(Question)}
    if unknown := sorted(set(more) - known):
        raise CourseError(f"plan() knows no {', '.join(unknown)}. It knows {', '.join(sorted(known))}.")
    return answer(Question(model, machine, **more), machine_facts(machine))
