"""Published runs as rows of a table -> runs that the planner can predict, a remark for every gap filled."""

from __future__ import annotations

import csv
import dataclasses
import math
import re
from dataclasses import dataclass, field
from pathlib import Path

from ...errors import CourseError
from .. import accelerators, shapes
from ..layout import SOFTWARE, Layout, Machine, Run, Software
from ..memory import fits
from ..search import divisors
from ..shapes import Shape
from ..steptime import FULLY_SHARDED

GB = 1e9
USUAL_SEQ = 2048
USUAL_RANK = 16  # of LoRA's matrices
LONGEST_TEXT = 10_000  # characters of a cell
LARGEST = {"seq": 10**8, "global_batch_seqs": 10**8, "gpus": 10**6}
WAYS = ("tp", "pp", "cp", "ep", "vp")

# What a table's words about the machine mean: devices of a node, bytes/s of its network in each direction.
MACHINES: tuple[tuple[str, int, float], ...] = (
    ("Leonardo", 4, 50 * GB),  # data/machines.yml
    ("MareNostrum 5", 4, 100 * GB),  # data/machines.yml
    ("Jean Zay", 8, 50 * GB),  # 4 OmniPath of 100 Gb/s for 8 A100: notes of the rows
    ("LUMI", 8, 100 * GB),  # data/machines.yml
    ("JUPITER", 4, 100 * GB),  # data/machines.yml
    ("Alps", 4, 100 * GB),  # GH200 nodes as in data/machines.yml; the site's own figure was not read
    ("Frontier", 8, 100 * GB),
    ("AWS p5", 8, 400 * GB),
)
# Where the words say nothing: devices of a node, as usually sold.
USUAL_NODE = {"GH200": 4, "MI300A": 4, "GB200": 72, "GB300": 72}


@dataclass
class Reading:
    """A row, read. `run` is None where nothing can be predicted; `remarks` say what was filled in, or why."""

    row: dict[str, str]
    run: Run | None = None
    remarks: list[str] = field(default_factory=list)
    guessed: set[str] = field(default_factory=set)

    @property
    def whole_device(self) -> bool:
        """Is the row's memory that of the device, as nvidia-smi shows it, not that of the program?"""
        return "nvidia-smi" in (self.row.get("notes") or "").lower()

    @property
    def complete(self) -> bool:
        """Shape, batch and layout are all given by the row itself."""
        needed = ("layers", "hidden", "seq", "global_batch_seqs", "micro_batch", "tp", "pp")
        return self.run is not None and all(number(self.row, name) for name in needed)

    @property
    def measured_s(self) -> float | None:
        """Seconds of a step, given or from tokens/s and the batch."""
        if seconds := number(self.row, "step_time_s"):
            return seconds
        rate = number(self.row, "tokens_per_s_per_gpu")
        if rate and self.run:
            return self.run.tokens_per_step / rate / self.run.layout.devices
        return None

    def fill(self, name: str, value, why: str):
        """Note that `name` was not read but chosen, and return the value."""
        self.guessed.add(name)
        self.remarks.append(f"{name}={value}: {why}.")
        return value

    def whole(self, name: str) -> int | None:
        """A whole number of the row. None where the cell is empty or holds something else, which is noted.

        Raises CourseError for 0, negative numbers and numbers that no run has.
        """
        text = str(self.row.get(name) or "").strip()
        if not text:
            return None
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value) or value != int(value):
            self.remarks.append(f"{name}={text[:20]!r} is not a whole number and is not used.")
            return None
        if not 1 <= value <= LARGEST.get(name, 10**6):
            raise CourseError(f"{name}={text[:20]} is impossible. Give a number that a run can have.")
        return int(value)


def number(row: dict[str, str], name: str) -> float | None:
    """A positive finite number of a row, or None."""
    try:
        value = float(str(row.get(name) or "").strip())
    except ValueError:
        return None
    return value if math.isfinite(value) and 0 < value < 1e15 else None


def text(row: dict[str, str], *names: str) -> str:
    """What some cells say, each as far as it is read."""
    return " ".join(str(row.get(name) or "")[:LONGEST_TEXT] for name in names)


def read(row: dict[str, str]) -> Reading:
    """One row of a table. Never raises: what is wrong becomes a remark."""
    reading = Reading(row)
    try:
        reading.run = run_of(reading)
    except CourseError as error:
        reading.remarks.append(str(error))
    return reading


def software_of(row: dict[str, str]) -> Software:
    """Which program a row means, by its column `software`, else by its words, and by its year."""
    words = text(row, "software").lower().replace("deepspeed", "megatron-deepspeed")
    words = words or text(row, "source", "notes", "model", "machine").lower()
    if "nanotron" in words or "ultra-scale" in words:
        return SOFTWARE["nanotron"]
    if any(w in words for w in ("bigscience", "2201.11990", "deepspeed", "meg-ds", "lumi-llm", "neox")):
        precision = text(row, "precision").lower()
        bf16 = "bf16" in precision and "fp16" not in precision
        return SOFTWARE["megatron-deepspeed" if bf16 else "megatron-deepspeed fp16"]
    if "bigcode" in words:  # forked from the Megatron-LM of 2022
        return SOFTWARE["megatron-2022 without sequence parallelism"]
    if "automodel" in words:
        return SOFTWARE["automodel"]
    if not any(w in words for w in ("megatron", "nemo")):
        if "foundry" in words:
            return SOFTWARE["llm-foundry"]
        if any(w in words for w in ("fsdp", "titan", "modalities")):
            return SOFTWARE["fsdp"]
    year = number(row, "year") or 2025
    if year >= 2023:
        return SOFTWARE["megatron"]
    mode = text(row, "activation_recompute").lower()
    whole = "+sp" not in mode and (mode.startswith("full") or year < 2022)
    return SOFTWARE["megatron-2022 without sequence parallelism" if whole else "megatron-2022"]


def machine_of(row: dict[str, str]) -> Machine:
    """Device, node and network that a row's words mean. Raises CourseError for an unknown device."""
    words = text(row, "accelerator")
    device = accelerators.find(words)
    if "full card" in words:
        raise CourseError("The row counts whole MI250 cards; the planner counts their two devices.")
    words = text(row, "machine", "source", "notes")
    if device.name == "V100" and "jean zay" in words.lower():
        return Machine(device, 4, 12.5 * GB, "Jean Zay")
    for name, per_node, network in MACHINES:
        if name.lower() in words.lower():
            return Machine(device, per_node, network, name)
    per_node = USUAL_NODE.get(device.name, 8)
    if stated := re.search(r"(\d{3,4})\s*Gbps", words):
        return Machine(device, per_node, float(stated[1]) / 8 * GB)
    return Machine(device, per_node, per_node * accelerators.usual_network(device))


def shape_of(reading: Reading, tp: int) -> Shape:
    """The model that a row means: a public one by its name, or one from the sizes that are given."""
    row = reading.row
    name = text(row, "model").strip()[: shapes.LONGEST_NAME]
    low = name.lower()
    for stem, why in shapes.UNSUPPORTED.items():
        if stem in low:
            raise CourseError(f"The planner cannot describe {name}: {why}.")
    public = shapes.known(name)
    layers, hidden, heads, kv, ffn, vocab = (
        reading.whole(key) for key in ("layers", "hidden", "heads", "kv_heads", "ffn", "vocab")
    )
    if public and (not layers or layers == public.layers) and (not hidden or hidden == public.hidden):
        if not (layers and hidden and heads):
            reading.fill("shape", name, "the public model of this name")
        changes = {}
        if vocab and vocab != public.vocab:
            changes["vocab"] = vocab
        if heads and heads != public.heads:
            changes |= {"heads": heads, "kv_heads": kv or heads, "head_dim": 0}
        elif kv and kv != public.kv_heads:
            changes["kv_heads"] = kv
        if ffn and ffn != public.ffn and not public.experts:
            changes["ffn"] = ffn
        return shapes.scaled(public, **changes) if changes else public
    if "moe" in low or (reading.whole("ep") or 1) > 1:
        raise CourseError(f"{name or 'This model'} is a mixture of experts whose experts are not given.")
    params = number(row, "params_b")
    params = params * 1e9 if params else None
    if params and not 1e5 <= params <= 1e15:
        raise CourseError(f"params_b={text(row, 'params_b')[:20]} is impossible as a model's size.")
    gated = any(w in low for w in ("llama", "mistral", "qwen", "gemma"))
    if inside := text(row, "mlp").strip().lower():
        gated = inside == "gated"
    elif "two-matrix mlp" in text(row, "notes").lower():
        gated = False
    tied = text(row, "tied").strip().lower()
    if tied not in ("yes", "no"):
        said = "yes" if "tied embedding" in text(row, "notes").lower().replace("untied", "") else ""
        tied = said or ("yes" if not gated or (params or 8e9) < 5e9 else "no")
    if not vocab:
        vocab = 250880 if "bloom" in low else 128256 if "llama" in low else 51200
        reading.fill("vocab", vocab, "not given")
    if not hidden:
        if not params:
            raise CourseError("Neither the model's sizes nor its number of parameters are given.")
        guess = math.sqrt(params / 12 / layers) if layers else (params * 128 / 12) ** (1 / 3)
        unit = 64 * tp if guess >= 64 * tp else 64
        hidden = reading.fill(
            "hidden", max(unit, round(guess / unit) * unit), "from the number of parameters"
        )
    if not layers:
        if not params:
            raise CourseError("The number of layers is not given and cannot be derived.")
        layers = max(1, round((params - vocab * hidden) / (12 * hidden**2)))
        pp = reading.whole("pp") or 1
        if abs(layers - round(layers / pp) * pp) <= 2:  # whole stages are likelier than an odd layer
            layers = max(pp, round(layers / pp) * pp)
        reading.fill("layers", layers, "from the number of parameters")
    if not heads:
        wide = 192 if hidden >= 12288 else 128  # what large models of these tables use
        options = [n for n in divisors(hidden) if n % tp == 0] or divisors(hidden)
        heads = reading.fill("heads", min(options, key=lambda n: abs(hidden / n - wide)), "not given")
    if not ffn:
        ffn = 4 * hidden
        if gated and params:
            ffn = max(256, round((params / layers - 4 * hidden**2) / 3 / hidden / 256) * 256)
        reading.fill("ffn", ffn, "not given")
    return Shape(
        layers,
        hidden,
        heads,
        ffn,
        vocab,
        kv_heads=kv or 0,
        gated=gated,
        tied=tied == "yes",
        bias=not gated,
        norm_vectors=1 if gated else 2,
        positions=0 if gated else USUAL_SEQ,
    )


def recompute_of(reading: Reading) -> str:
    mode = text(reading.row, "activation_recompute").strip().lower()
    for known in ("full", "selective", "none"):
        if mode.startswith(known):
            return known
    return reading.fill("recompute", "none", "not given")


def bits_of(reading: Reading) -> int:
    words = text(reading.row, "precision").strip().lower()
    if not words:
        return reading.fill("precision", 16, "not given; 16 bit")
    if words in ("fp32", "float32", "tf32"):
        raise CourseError(f"The planner knows training in 16 and 8 bit, not in {words}.")
    if "fp4" in words:
        return 4
    return 8 if "fp8" in words or "float8" in words else 16


def run_of(reading: Reading) -> Run:
    """The run that a row means. Raises CourseError, with the reason, where there is none to predict."""
    row = reading.row
    given = {name: reading.whole(name) for name in WAYS}
    ways = {name: value or 1 for name, value in given.items()}
    model = ways["tp"] * ways["pp"] * ways["cp"]
    devices, dp = reading.whole("gpus"), reading.whole("dp")
    if not devices and not dp:
        raise CourseError("The number of devices is not given.")
    if not devices:
        devices = reading.fill("gpus", dp * model, "dp x tp x pp x cp")
    if model > devices:
        raise CourseError(f"tp x pp x cp = {model} needs more than the {devices} devices of the row.")
    batch = reading.whole("global_batch_seqs")
    exact = max(1, devices // model)
    if not dp:
        dp = reading.fill("dp", exact, "devices / (tp x pp x cp)")
    elif dp != exact and not (batch and batch < exact):
        reading.remarks.append(
            f"dp={dp} does not fit {devices} devices with tp x pp x cp = {model}: {exact}."
        )
        dp = exact
    machine = machine_of(row)
    shape = shape_of(reading, ways["tp"])
    program = software_of(row)
    seq = reading.whole("seq")
    if not seq:
        usual = 1024 if (number(row, "year") or 2025) < 2021 else USUAL_SEQ
        seq = reading.fill("seq", usual, "not given")
    micro, stated = reading.whole("micro_batch"), None
    if not micro:
        found = re.search(r"micro-batch that fits printed as (\d+)|BS column = (\d+)", text(row, "notes"))
        stated = int(next(filter(None, found.groups()))) if found else None
        if stated and ways["pp"] > 1:  # a batch per replica, which the pipeline cuts into single sequences
            batch = batch or stated * dp
            stated = None
        micro = reading.fill("micro_batch", min(stated or 1, 10**5), "not given in its column")
    if not batch:
        batch = 4 * micro * dp * ways["pp"]
        reading.fill("global_batch", batch, "not given; 4 micro-batches per stage")
    zero = reading.row.get("zero_stage")
    zero = str(zero or "").strip().removesuffix(".0")
    if zero not in ("0", "1", "2", "3"):
        zero = reading.fill("zero", 3 if program.name in FULLY_SHARDED else 1, "not given")
    zero = int(zero)
    if program.name == "megatron-deepspeed" and zero == 0:
        zero = reading.fill("zero", 1, "DeepSpeed shards its bf16 optimizer even where stage 0 is written")
    bits = bits_of(reading)
    shards = shards_of(row, machine, dp * ways["cp"]) if zero else 0
    layout = Layout(
        dp=dp, zero=zero, micro_batch=micro, recompute=recompute_of(reading), shards=shards, **ways
    )  # fmt: skip
    run = Run(shape, seq, batch, layout, machine, program, bits, adapters_of(reading), forced(row))
    if not given["tp"] and not given["pp"] and not reading.whole("dp") and not fits(run):
        run = smallest_that_fits(reading, run)
    elif "micro_batch" in reading.guessed and not stated:
        run = larger_micro_batch(reading, run)
    if problem := run.problem():
        reading.remarks.append(problem)
        if not run.can_be_estimated():
            raise CourseError("Nothing is predicted.")
        reading.remarks.append("Predicted as if it were even.")
    return run


def shards_of(row: dict[str, str], machine: Machine, replicas: int) -> int:
    """Replicas that share the states: those of a node with hybrid sharding, 0 for all of them."""
    said = text(row, "sharding").strip().lower()
    hybrid = said == "hybrid" or not said and "hybrid_shard" in text(row, "notes").lower()
    inside = math.gcd(replicas, machine.devices_per_node)
    return inside if hybrid and inside < replicas else 0


def forced(row: dict[str, str]) -> bool:
    """Were tokens dealt out evenly over the experts by force?"""
    said = text(row, "routing").strip().lower()
    return said == "forced" or not said and "force-balance" in text(row, "notes").lower()


def adapters_of(reading: Reading) -> int:
    """Rank of LoRA's matrices; 0 where a run trains all weights."""
    said = text(reading.row, "tuning").strip().lower()
    if said == "lora" or not said and "lora" in text(reading.row, "model").lower():
        return reading.fill("adapters", USUAL_RANK, "the rank is not given")
    return 0


def smallest_that_fits(reading: Reading, run: Run) -> Run:
    """The run with the fewest devices per replica that fit, where a row does not say its layout."""
    devices = run.layout.devices
    options = [
        (tp * pp, pp, mode)
        for mode in ("none", "full")
        for tp in (1, 2, 4, 8)
        for pp in divisors(devices)
        if devices % (tp * pp) == 0 and tp <= run.machine.devices_per_node and pp <= run.shape.layers
    ]
    for size, pp, mode in sorted(options):
        mode = mode if "recompute" in reading.guessed else run.layout.recompute
        dp = devices // size
        layout = dataclasses.replace(run.layout, dp=dp, tp=size // pp, pp=pp, recompute=mode)
        batch = run.global_batch
        if "global_batch" in reading.guessed:
            batch = 4 * dp * pp * layout.micro_batch
        trial = dataclasses.replace(run, layout=layout, global_batch=batch)
        if not trial.problem() and fits(trial):
            reading.fill("layout", str(layout), "not given; the smallest that fits")
            return trial
    return run


def larger_micro_batch(reading: Reading, run: Run) -> Run:
    """The run with the largest micro-batch of at most 8 that divides the batch and fits, without stages."""
    if run.layout.pp > 1 or "global_batch" in reading.guessed:
        return run
    for micro in (8, 4, 2):
        trial = dataclasses.replace(run, layout=dataclasses.replace(run.layout, micro_batch=micro))
        if run.global_batch % (run.layout.dp * micro) == 0 and fits(trial):
            reading.fill("micro_batch", micro, "the largest that fits, up to 8")
            return trial
    return run


def read_table(path: Path | str) -> list[Reading]:
    """Every row of a CSV file, in its order."""
    with open(path, newline="", encoding="utf-8-sig", errors="replace") as file:
        return [read(row) for row in csv.DictReader(file)]
