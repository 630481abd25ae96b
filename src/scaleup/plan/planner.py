"""The whole plan of a run: memory, time, tokens/s, MFU, hours, units of the bill, energy, money."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import CourseError
from . import collectives, flops, pipeline
from .layout import Run
from .memory import GIB, RESERVED_BYTES, Memory, fits, fits_well, memory
from .steptime import StepTime, step_time, tokens_per_s_per_device


@dataclass(frozen=True)
class Bill:
    """How a machine counts: `units` for one node for one hour, in the machine's own `unit`; 0: unknown."""

    unit: str = ""
    units: float = 0.0


@dataclass(frozen=True)
class Plan:
    """A run, predicted. `tokens` is the length of the whole training (0: not asked)."""

    run: Run
    memory: Memory
    step: StepTime
    tokens: float = 0.0
    bill: Bill = Bill()
    price: float = 0.0

    @property
    def fits(self) -> bool:
        return fits(self.run, self.memory)

    @property
    def verdict(self) -> str:
        """Whether the fullest device holds it, in words."""
        if fits_well(self.run, self.memory):
            return "it fits"
        return "it fits without any reserve" if self.fits else "it does not fit"

    @property
    def tokens_per_s_per_device(self) -> float:
        return tokens_per_s_per_device(self.run, self.step.total)

    @property
    def mfu(self) -> float:
        """Share of the dense 16-bit peak under the rule "model" (see flops.RULES)."""
        peak = self.run.machine.accelerator.peak_flops
        return flops.mfu(self.run.shape, self.run.seq, self.tokens_per_s_per_device, peak)

    @property
    def nodes(self) -> float:
        """Whole nodes; half a node is billed as one where nodes are not shared."""
        return -(-self.run.layout.devices // self.run.machine.devices_per_node)

    @property
    def steps(self) -> float:
        return self.tokens / self.run.tokens_per_step

    @property
    def hours(self) -> float:
        """Wall time of the whole training: steps only, without start, checkpoints and failures."""
        return self.steps * self.step.total / 3600

    @property
    def node_hours(self) -> float:
        return self.nodes * self.hours

    @property
    def units(self) -> float:
        return self.node_hours * self.bill.units

    @property
    def kwh(self) -> float:
        """Energy of the devices at their board's limit: at most that, without the rest of the node."""
        return self.run.layout.devices * self.hours * self.run.machine.accelerator.power_w / 1000

    @property
    def cost(self) -> float:
        """Price of all units, in the currency of the price."""
        return self.units * self.price


def predict_run(run: Run, tokens: float = 0.0, bill: Bill | None = None, price: float = 0.0) -> Plan:
    """Predict a run. Raises CourseError where the layout cannot run at all.

    A layout that does not fit in memory is planned all the same: `Plan.fits` says so.
    """
    if problem := run.problem():
        raise CourseError(problem)
    for what, value in (("tokens", tokens), ("price", price)):
        if not isinstance(value, int | float) or not 0 <= value < 1e18:
            raise CourseError(
                f"{what}={value!r:.40} is impossible. Give a number from 0, such as 100e9 tokens."
            )
    return Plan(run, memory(run), step_time(run), tokens, bill or Bill(), price)


Line = tuple[str, str, str]  # what it is, its value, how it comes about


def arithmetic(p: Plan) -> dict[str, list[Line]]:
    """Every number of a plan with the sum that gives it, under the heading it belongs to."""
    groups = {
        "The run": _run_lines(p),
        "Memory of the fullest device": _memory_lines(p),
        "One layer, one micro-batch": _layer_lines(p),
        "One step": _step_lines(p),
    }
    if p.tokens:
        groups["The whole training"] = _training_lines(p)
    return groups


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.2f} ms"


def _gib(data: float) -> str:
    return f"{data / GIB:.1f} GiB"


def _run_lines(p: Plan) -> list[Line]:
    w = p.run.layout
    batch = f"{p.run.global_batch} sequences / (dp {w.dp} x {w.micro_batch})"
    return [
        ("parameters", f"{p.run.shape.parameters:,}", "layers, embedding, logits and the last norm"),
        ("devices", f"{w.devices:,}", f"dp {w.dp} x tp {w.tp} x pp {w.pp} x cp {w.cp}"),
        ("micro-batches", f"{p.run.micro_batches:g}", batch),
    ]


def _memory_lines(p: Plan) -> list[Line]:
    w, soft = p.run.layout, p.run.software
    shared = f" / {w.dp * w.cp} replicas"
    weights = "4 bytes per parameter" + shared if w.zero == 3 else "2 bytes per parameter"
    gradients = f"{soft.gradient_bytes} bytes per parameter{shared if w.zero == 3 or w.sums_often else ''}"
    state = soft.optimizer_bytes - (4 if w.zero == 3 else 0)
    optimizer = f"{state} bytes per parameter{shared if w.zero else ''}"
    device = p.run.machine.accelerator.memory_bytes
    hows = (
        weights,
        gradients,
        optimizer,
        "what ZeRO 3 holds whole for a moment",
        f"kept for the backward pass, recompute {w.recompute}",
        f"{soft.logit_bytes} bytes x tokens x vocabulary / tp",
        "what the allocator keeps on top",
    )
    return [
        *((part.name, _gib(part.amount), how) for part, how in zip(memory_parts(p), hows, strict=True)),
        ("memory", _gib(p.memory.total), f"of {_gib(device)}: {p.verdict}"),
        ("unusable", _gib(RESERVED_BYTES), "of the device's memory: no program can have it"),
    ]


def _layer_lines(p: Plan) -> list[Line]:
    layer, a = p.step.layer, p.run.machine.accelerator
    numbers = p.run.shape.matmul_parameters_per_layer / p.run.layout.tp
    products = (
        f"forward: 2 x {p.run.micro_tokens:g} tokens x {numbers:,.0f} numbers / "
        f"({a.peak_flops / 1e12:g} TFLOP/s x {a.efficiency.matmul}), and writing results"
    )
    lines = [
        ("products", _ms(layer.products), products),
        ("attention", _ms(layer.attention), "forward"),
        ("between", _ms(layer.between), "norms, activation function, residual sums: limited by memory"),
        ("forward", _ms(layer.forward), "products + attention + between"),
        ("backward", _ms(layer.backward), "about twice the forward pass"),
    ]
    more = (
        ("recompute", layer.recompute, f"forward work done again: {p.run.layout.recompute}"),
        ("tensor parallel", layer.tensor, "collectives that nothing hides"),
        ("context parallel", layer.context, "keys and values of other ranks, what attention does not hide"),
        ("experts", layer.experts, "tokens on their way to experts and back"),
        ("weights gathered", layer.gather, "by ZeRO 3, partly hidden behind the rest"),
        ("pauses", p.run.software.pause_s, f"between the kernels of {p.run.software.name}"),
    )
    lines += [(what, _ms(seconds), how) for what, seconds, how in more if seconds]
    least = f"all of it; at least {_ms(layer.least)} for the host to start its kernels"
    return [*lines, ("layer", _ms(layer.total), least)]


def _step_lines(p: Plan) -> list[Line]:
    w, step = p.run.layout, p.step
    slots = f"{p.run.micro_batches:g} micro-batches + (pp {w.pp} - 1) / vp {w.vp} of bubble"
    slot = f"{step.layers_per_stage} layers of the slowest stage, logits, handing on"
    rate = f"{p.run.tokens_per_step:,} tokens / step / {w.devices}"
    return [
        ("logits and loss", _ms(step.head), "forward and backward, on the last stage"),
        ("slot", _ms(step.slot), slot),
        ("slots", f"{step.slots:.2f}", slots),
        ("pipeline", f"{step.pipeline:.3f} s", "slot x slots"),
        ("gradients' sum", f"{step.data:.3f} s", "over the replicas, what the backward pass does not hide"),
        ("optimizer step", f"{step.optimizer:.3f} s", "reading and writing its state once"),
        ("stragglers", f"{step.straggler:.3f} s", "waiting for the slowest replica"),
        ("step", f"{step.total:.3f} s", "pipeline + gradients' sum + optimizer step + stragglers"),
        ("tokens/s per device", f"{p.tokens_per_s_per_device:,.0f}", rate),
        ("MFU", f"{p.mfu:.1%}", 'rule "model": full attention, no recompute, against the dense 16-bit peak'),
    ]


def _training_lines(p: Plan) -> list[Line]:
    power = (
        f"{p.run.layout.devices} devices x {p.run.machine.accelerator.power_w:g} W: their limit, so at most"
    )
    lines = [
        ("steps", f"{p.steps:,.0f}", f"{p.tokens:.4g} tokens / {p.run.tokens_per_step:,}"),
        ("wall time", f"{p.hours:,.1f} h", "steps x step; no start, checkpoint or failure in it"),
        ("node-hours", f"{p.node_hours:,.0f}", f"{p.nodes:g} nodes x wall time"),
        ("energy", f"{p.kwh:,.0f} kWh", power),
    ]
    if p.bill.units:
        lines.append(("bill", f"{p.units:,.0f}", f"{p.bill.unit}: node-hours x {p.bill.units:g}"))
    if p.bill.units and p.price:
        lines.append(("price", f"{p.cost:,.0f}", f"bill x {p.price:g}"))
    return lines


@dataclass(frozen=True)
class Part:
    """Seconds of a step in one of `LANES`, or bytes on the fullest device."""

    name: str
    amount: float
    lane: str = ""


COMPUTING, HIDDEN, SHOWN, WAITING = LANES = ("computing", "hidden communication", "communication", "waiting")


def memory_parts(p: Plan) -> list[Part]:
    """What fills the fullest device; together it is all of `p.memory`."""
    used = p.memory
    amounts = (used.weights, used.gradients, used.optimizer, used.gathered, used.activations, used.logits)
    names = ("weights", "gradients", "optimizer", "gathered layers", "activations", "logits", "reserve")
    return [Part(name, amount) for name, amount in zip(names, (*amounts, used.buffers), strict=True)]


def step_parts(p: Plan) -> list[Part]:
    """What the slowest stage spends a step on; without hidden communication, that adds up to the step."""
    step, layer, run = p.step, p.step.layer, p.run
    talk = layer.tensor + layer.context + layer.experts
    busy = layer.forward + layer.backward + layer.recompute + talk
    work = busy + run.software.pause_s
    gathered = collectives.overlap(work, layer.gather) - work  # what computing does not hide
    stage, layers = step.slot - step.send, float(step.layers_per_stage)
    last = pipeline.layers_of_stages(run.shape.layers, run.layout.pp)[2]
    if not run.software.balanced_stages and last * layer.total + step.head > layers * layer.total:
        layers = last  # the stage with the logits is the slowest one
    layers = min(layers, stage / layer.total)
    turns = run.micro_batches * layers
    slots = run.micro_batches
    return [
        Part("forward", layer.forward * turns, COMPUTING),
        Part("backward", layer.backward * turns, COMPUTING),
        Part("recompute", layer.recompute * turns, COMPUTING),
        Part("logits and loss", (stage - layers * layer.total) * slots, COMPUTING),
        Part("optimizer step", step.optimizer, COMPUTING),
        Part("tensor parallel, hidden", layer.tensor_hidden * turns, HIDDEN),
        Part("context parallel, hidden", layer.context_hidden * turns, HIDDEN),
        Part("experts, hidden", layer.experts_hidden * turns, HIDDEN),
        Part("weights gathered, hidden", (layer.gather - gathered) * turns, HIDDEN),
        Part("handing on, hidden", step.send_hidden * slots, HIDDEN),
        Part("gradients' sum, hidden", step.data_hidden, HIDDEN),
        Part("tensor parallel", layer.tensor * turns, SHOWN),
        Part("context parallel", layer.context * turns, SHOWN),
        Part("experts", layer.experts * turns, SHOWN),
        Part("weights gathered", gathered * turns, SHOWN),
        Part("handing on", step.send * slots, SHOWN),
        Part("gradients' sum", step.data, SHOWN),
        Part("waiting for the host", (layer.total - busy - gathered) * turns, WAITING),
        Part("bubble", step.pipeline - step.slot * slots, WAITING),
        Part("stragglers", step.straggler, WAITING),
    ]


def parts(p: Plan) -> dict[str, float]:
    """Seconds of a step by what they are spent on; they add up to the step."""
    return {part.name: part.amount for part in step_parts(p) if part.lane != HIDDEN}


def as_dict(p: Plan) -> dict:
    """The plan as plain numbers, for JSON."""
    import dataclasses

    found = {
        "layout": dataclasses.asdict(p.run.layout),
        "devices": p.run.layout.devices,
        "global_batch": p.run.global_batch,
        "parameters": p.run.shape.parameters,
        "software": p.run.software.name,
        "memory_gib": {n: v / GIB for n, v in dataclasses.asdict(p.memory).items()}
        | {"total": p.memory.total / GIB, "device": p.run.machine.accelerator.memory_bytes / GIB},
        "fits": p.fits,
        "step_s": p.step.total,
        "parts_s": {
            "pipeline": p.step.pipeline,
            "data": p.step.data,
            "optimizer": p.step.optimizer,
            "straggler": p.step.straggler,
        },
        "tokens_per_s_per_device": p.tokens_per_s_per_device,
        "mfu": p.mfu,
        "mfu_rule": "model",
    }
    if p.tokens:
        found |= {"tokens": p.tokens, "steps": p.steps, "hours": p.hours, "node_hours": p.node_hours}
        found |= {"kwh_at_most": p.kwh, "bill": p.units or None, "bill_unit": p.bill.unit or None}
        found |= {"price": p.cost or None}
    return found
