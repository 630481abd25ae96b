"""The planner against published runs: `python -m scaleup.plan.evidence.validate` writes the page.

It prints the figures for each kind of run. With `--fit` it first fits all numbers again, and once more
without each source, which takes minutes.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from ...paths import root
from ...words import markdown_table
from .. import flops
from ..accelerators import ACCELERATORS
from ..memory import CONTEXT_BYTES, GIB, memory
from ..steptime import step_time, tokens_per_s_per_device
from . import fit
from .predict_table import predict
from .read_runs import Reading, number, read_table

COMMAND = "python -m scaleup.plan.evidence.validate"
GENERATED = f"% Generated from data/published_runs.csv by `{COMMAND}`: edit the data, not this page."
RUNS = "data/published_runs.csv"
PAGE = "book/reference/planner.md"
LEFT_OUT = "book/reference/planner.json"
TITLES = {
    "llm_foundry": "LLM Foundry, benchmark tables (PyTorch FSDP)",
    "nanotron": "Ultra-Scale Playbook, sweep (nanotron)",
    "nanotron_tp": "Ultra-Scale Playbook, tensor parallelism (nanotron)",
    "bloom_jz_a100": "BLOOM on Jean Zay, notebook (Megatron-DeepSpeed)",
    "jz_v100": "BigScience on Jean Zay's V100, notebook",
    "lumi_175b": "LUMI 175B, logs (Megatron-DeepSpeed)",
    "lumi_readme": "LUMI scaling repository, table",
    "megatron_seqsel_t5": "Megatron, Reducing Activation Recomputation, table 5",
    "mtnlg": "MT-NLG 530B, section 2.4",
    "torchtitan": "torchtitan, benchmark pages",
    "megatron_bridge": "Megatron-Bridge, performance summary",
    "nemo_2407": "NeMo 24.07, performance summary",
    "dgxc": "DGX Cloud benchmarking, tables",
    "oellm_jupiter_moe": "OpenEuroLLM on JUPITER, Qwen3-30B-A3B",
    "alps_pr": "Alps, pull requests of the Swiss AI Initiative",
    "megatron_2020": "Megatron-LM 2020, tables",
    "modalities_leonardo": "Modalities on Leonardo, table (PyTorch FSDP)",
    "moe_zoo": "Megatron MoE model zoo, table",
    "automodel": "NeMo AutoModel, performance summary",
    "megatron_bridge_2608": "Megatron-Bridge 26.08, performance summary",
    "fms_fsdp": "fms-fsdp, table",
    "modalities_mn5": "Modalities on MareNostrum 5, table (PyTorch FSDP)",
}
INTRODUCTION = """\
The planner's step time is off by {median} in the median, and by less than {most} for nine runs in ten,
over {runs} published runs of {sources} sources. Fitted without the source that it then predicts, its
median error is {unseen}.

It is compared on step time or tokens/s, never on TFLOP/s: those are counted in at least seven ways. None
of these runs was made by the course."""
ROWS = """\
`data/published_runs.csv` holds {rows} rows, read on 2026-11-21 from public documents. A row counts here
if its source is trusted (A), its model is dense, its products are in 16 bit, and model, batch and layout
are complete.

An error is predicted / measured - 1. The bias is the median with its sign: above zero, the planner is
too slow."""
BY_KIND = """\
The first two lines are the rows that a fit sees. In the second the device did less than a tenth of its peak:
something waited there that no row names. The last two lines repeat rows of the others. *Not seen* is the
error of a fit that left the row's source out. The other kinds were never fitted. Two numbers of a program
(`expert_copies`, `grouped`) and the load of the busiest device (`IMBALANCE`) were chosen in view of these
mixtures: their error on other mixtures will be larger. The six rows of LoRA in 16 bit were read after its
formulas were written, and changed nothing."""
BY_PROGRAM = """\
All dense rows in 16 bit that have a measured time, whatever their trust and gaps. A plan assumes `megatron`,
a program of today, if it is not told otherwise; **no number was fitted to a run of it**, and its few rows
have gaps."""
UNSEEN = """\
All numbers are fitted again without one source, and that source is predicted. A number of a program that
only one source has used is then unknown: without the nanotron sweep the planner does not know how slow
that program's collectives are inside a pipeline stage.

The form of the formulas, and constants such as the cost of stragglers, were chosen once, in view of all
rows; this test does not cover them, so it is still too kind."""
SCALING = """\
LUMI, a model of 175 billion parameters on more and more devices, predicted from the time on 128 devices.
What is lost on the way is mostly the pipeline's bubble. The network's share on the MI250X was fitted to these
rows, too."""
MEMORY = """\
Against the rows that print their memory, in units of 2^30 bytes. nvidia-smi shows the whole device, programs
print their own share; the planner follows the row. How many bytes a program keeps for each parameter and
activation was set in view of these rows: this is no test on runs that nobody had seen."""
OTHERS = """\
The same planner on rows of lower trust, in 8 or 4 bit, with experts, or with gaps that it fills and says so.
Sources go by their names in `data/published_runs.yml`. No number was fitted to these rows. Two traits of
newer Megatron programs were set in view of those of NeMo and Megatron-Bridge: a faster attention kernel, and
communication that hides behind computing."""
FAR = """\
In the nanotron sweep a few layouts took four to fifty times as long as their neighbours, on one node as
well as on 64; the source gives no reason row by row. All of them have a pipeline, or tensor parallelism over
several nodes, which reached a tenth of what the network allows in some runs, and half of it in others."""
KNOWN_LIMITS = """\
- The notebook of Jean Zay repeats some configurations with times that differ by 5 % to 9 %. No planner
  can be better than that.
- The best of many layouts is likely to be one of the hopeful estimates: a search is off by more than a plan
  for a layout that was chosen before.
- Mixtures of experts: between two releases of a program the same run became 1.8 times as fast
  (Qwen3-30B-A3B, Megatron-Bridge 25.09 and 26.04). A plan lies between the two.
- The runs on V100 come from a notebook whose author gives plus or minus 40 %."""
NUMBERS = """\
Seven numbers for each accelerator, and two for programs. A program is told by the column `software`, and by
the year. nanotron, LLM Foundry and Megatron-DeepSpeed on the A100 are each known from one or two sources, so
what belongs to such a program cannot be told from what belongs to its source. `stage_hop_s` rests on one
sweep: without it the median over all rows is {median}, the 90th percentile {most}. The two sources of the
MI250X are from one site, and its attention number is a guess: none of its runs used a fused kernel. No
number was fitted to a run of GH200, B200, GB200, GB300, H200 or MI300X."""
PROGRAMS = """\
`pause_s` of Megatron-DeepSpeed is {pause_s:g}, `stage_hop_s` of nanotron {stage_hop_s:g}. What each
number means is written in `src/scaleup/plan/accelerators.py` and `src/scaleup/plan/layout.py`.
{borrowed}"""
SLOW_MFU = 0.1  # a device that is busy for less waits for something
LONG = 16384  # tokens
KINDS = (
    "dense, complete, trust A, 16 bit",
    "of it: MFU under 10 %",
    "dense, 16 bit, gaps or lower trust",
    "dense, 8 or 4 bit",
    "mixtures of experts",
    "fine-tuning of all weights",
    "LoRA",
    "long context, 16,384 tokens and more",
    "full and hybrid sharding, Leonardo and MareNostrum 5",
)
Pair = tuple[float, Reading]  # relative error, and the row


def target(r: Reading) -> bool:
    """Is this a row that must be right: trusted, dense, 16 bit, complete, with a measured time?"""
    return bool(
        r.run
        and r.complete
        and r.row["trust"] == "A"
        and r.row["status"] == "ok"
        and r.run.bits == 16
        and not r.run.shape.experts
        and r.measured_s
    )


def time_errors(readings: Iterable[Reading], numbers: dict | None = None) -> list[Pair]:
    """Predicted / measured - 1 of the step time, with the shipped numbers or with others."""
    pairs = []
    for r in readings:
        run = fit.with_numbers(r.run, numbers[r.run.machine.accelerator.name]) if numbers else r.run
        pairs.append((step_time(run).total / r.measured_s - 1, r))
    return pairs


def memory_errors(readings: Iterable[Reading]) -> list[Pair]:
    pairs = []
    for r in readings:
        measured = number(r.row, "memory_gb")
        if r.run and measured:
            used = memory(r.run).total + (CONTEXT_BYTES if r.whole_device else 0)
            pairs.append((used / GIB / measured - 1, r))
    return pairs


def quantile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def summary(errors: Sequence[float]) -> list[str]:
    """Number of rows, median and 90th percentile of the error, median with its sign."""
    sizes = [abs(error) for error in errors]
    return [
        str(len(errors)),
        f"{statistics.median(sizes):.1%}",
        f"{quantile(sizes, 0.9):.1%}",
        f"{statistics.median(errors):+.1%}",
    ]


def grouped(pairs: Iterable[Pair], name: Callable[[Reading], str]) -> dict[str, list[float]]:
    groups = defaultdict(list)
    for error, reading in pairs:
        groups[name(reading)].append(error)
    return dict(sorted(groups.items(), key=lambda item: -len(item[1])))


def source(r: Reading) -> str:
    return r.row["src_key"]


def accelerator(r: Reading) -> str:
    return r.run.machine.accelerator.name


def program(r: Reading) -> str:
    return f"`{r.run.software.name}`"


def dense_16_bit(r: Reading) -> bool:
    """Is this a dense run in 16 bit with a measured time, of any trust and with any gap?"""
    ran = r.run and r.measured_s and r.row["status"] == "ok"
    return bool(ran and r.run.bits == 16 and not r.run.shape.experts)


def measured_mfu(r: Reading) -> float:
    """What the measured time makes of the dense 16-bit peak, by the rule "model"."""
    rate = tokens_per_s_per_device(r.run, r.measured_s)
    return flops.mfu(r.run.shape, r.run.seq, rate, r.run.machine.accelerator.peak_flops)


def kinds(r: Reading) -> list[str]:
    """The lines of KINDS that a row with a measured time belongs to."""
    tuning = (r.row.get("tuning") or "").strip().lower()
    if r.run.shape.experts:
        return [KINDS[4]]
    if tuning or r.run.adapters:
        return [KINDS[6 if r.run.adapters else 5]]
    found = []
    if target(r):
        found = [KINDS[1 if measured_mfu(r) < SLOW_MFU else 0]]
    elif r.run.seq < LONG:
        found = [KINDS[3 if r.run.bits < 16 else 2]]
    if r.run.seq >= LONG:
        found.append(KINDS[7])
    if source(r).startswith("modalities"):
        found.append(KINDS[8])
    return found


def by_kind(readings: Iterable[Reading], left_out: dict) -> list[list[str]]:
    """Rows of a table: kind, rows, median error, 90th percentile, bias; median and 90th percentile unseen."""
    groups: dict[str, list[Pair]] = defaultdict(list)
    for error, r in time_errors(r for r in readings if r.run and r.measured_s and r.row["status"] == "ok"):
        for name in kinds(r):
            groups[name].append((error, r))
    rows = []
    for name in KINDS:
        pairs = groups[name]
        unseen = [left_out["errors"][r.row["id"]] for _, r in pairs if r.row["id"] in left_out["errors"]]
        known = len(unseen) == len(pairs) and unseen
        sizes = summary(unseen)[1:3] if known else ["", ""]
        rows.append([name, *(summary([e for e, _ in pairs]) if pairs else ["0", "", "", ""]), *sizes])
    return rows


KIND_HEADER = (
    "kind", "rows", "median error", "90th percentile", "bias", "not seen: median", "90th percentile"
)  # fmt: skip


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return markdown_table(header, [[str(cell).replace("|", "\\|") for cell in row] for row in rows])


def error_table(pairs: Sequence[Pair], name: Callable[[Reading], str], first: str) -> str:
    rows = [[TITLES.get(key, key), *summary(errors)] for key, errors in grouped(pairs, name).items()]
    rows.append(["all", *summary([error for error, _ in pairs])])
    return table([first, "rows", "median error", "90th percentile", "bias"], rows)


def median_error(readings: Sequence[Reading], numbers: dict) -> float:
    """Median of the error with some fitted numbers: it changes with every change of the planner."""
    return round(statistics.median(abs(error) for error, _ in time_errors(readings, numbers)), 6)


def leave_out(readings: Sequence[Reading]) -> dict:
    """Fit without each source in turn and predict it; and what a fit to all of them gives."""
    runs = [(r.run, r.measured_s, source(r)) for r in readings]
    found = {"fitted": fit.fit_all(runs), "errors": {}}
    found["median"] = median_error(readings, found["fitted"])
    for name in sorted({key for *_, key in runs}):
        numbers = fit.fit_all(run for run in runs if run[2] != name)
        pairs = time_errors([r for r in readings if source(r) == name], numbers)
        found["errors"] |= {r.row["id"]: round(error, 4) for error, r in pairs}
        print(f"without {name}: {summary([error for error, _ in pairs])}", flush=True)
    return found


def from_first_point(readings: Sequence[Reading]) -> list[list[str]]:
    """LUMI's strong scaling: every time predicted from the one measured on the fewest devices."""
    points = sorted((r for r in readings if source(r) == "lumi_175b"), key=lambda r: r.run.layout.devices)
    first = points[0]
    scale = first.measured_s / step_time(first.run).total
    rows = []
    for r in points:
        predicted = step_time(r.run).total * scale
        error = predicted / r.measured_s - 1
        rows.append([str(r.run.layout.devices), f"{r.measured_s:.2f}", f"{predicted:.2f}", f"{error:+.1%}"])
    return rows


def verdicts(readings: Sequence[Reading]) -> dict[tuple[str, bool], int]:
    """{(status, predicted to fit): rows} of rows that ran with a known memory, or ran out of it."""
    found: Counter[tuple[str, bool]] = Counter()
    for r in readings:
        if r.run and (r.row["status"] == "oom" or number(r.row, "memory_gb")):
            found[(r.row["status"], predict(r)["predicted_fits"] == "yes")] += 1
    return found


def page(readings: Sequence[Reading], left_out: dict) -> str:
    """The page, from the rows and from the errors of fits that did not see them."""
    targets = [r for r in readings if target(r)]
    pairs = time_errors(targets)
    by_id = {r.row["id"]: r for r in targets}
    unseen = [(error, by_id[key]) for key, error in left_out["errors"].items()]
    others = time_errors(
        r for r in readings if r.run and r.measured_s and r.row["status"] == "ok" and not target(r)
    )
    error, unseen_error = summary([e for e, _ in pairs]), summary([e for e, _ in unseen])
    no_hop = {name: numbers | {"stage_hop_s": 0.0} for name, numbers in fit.shipped().items()}
    without = summary([e for e, _ in time_errors(targets, no_hop)])
    megatron = [(e, r) for e, r in pairs if source(r) == "megatron_seqsel_t5"]
    parts = [
        GENERATED,
        "# The planner against published runs",
        INTRODUCTION.format(
            median=error[1],
            most=error[2],
            runs=len(pairs),
            sources=len({source(r) for r in targets}),
            unseen=unseen_error[1],
        ),
        "## Which rows",
        ROWS.format(rows=len(readings)),
        "## By kind of run",
        BY_KIND,
        table(KIND_HEADER, by_kind(readings, left_out)),
        "## By source",
        error_table(pairs, source, "source"),
        "## By accelerator",
        error_table(pairs, accelerator, "accelerator"),
        "## By program",
        BY_PROGRAM,
        error_table(time_errors(filter(dense_16_bit, readings)), program, "program"),
        "## Without the source that is predicted",
        UNSEEN,
        error_table(unseen, source, "source left out"),
        "## Two harder tests",
        f"Megatron's table on activation recomputation: {statistics.mean(abs(e) for e, _ in megatron):.1%} "
        "in the mean.",
        table(
            ["model", "devices", "recompute", "measured (s)", "predicted (s)", "error"],
            [
                [r.row["model"], r.row["gpus"], r.row["activation_recompute"]]
                + [f"{r.measured_s:.2f}", f"{r.measured_s * (1 + e):.2f}", f"{e:+.1%}"]
                for e, r in megatron
            ],
        ),
        SCALING,
        table(["devices", "measured (s)", "predicted (s)", "error"], from_first_point(targets)),
        "## Memory",
        MEMORY,
        error_table(memory_errors(readings), source, "source"),
        memory_verdicts(readings),
        "## Rows with gaps, fewer bits or experts",
        OTHERS,
        error_table(others, lambda r: f"{source(r)}, {kind(r)}", "source, kind"),
        "## What it cannot predict, and why",
        cannot(readings, pairs),
        "## The fitted numbers",
        NUMBERS.format(median=without[1], most=without[2]),
        fitted_numbers(),
    ]
    return "\n\n".join(parts) + "\n"


def kind(r: Reading) -> str:
    experts = "experts" if r.run.shape.experts else "dense"
    return f"{accelerator(r)}, {r.run.bits} bit, {experts}"


def memory_verdicts(readings: Sequence[Reading]) -> str:
    found = verdicts(readings)
    ran, failed = (found[("ok", True)], found[("ok", False)]), (found[("oom", True)], found[("oom", False)])
    right = (ran[0] + failed[1]) / max(1, sum(ran) + sum(failed))
    return (
        table(
            ["what happened", "predicted to fit", "predicted not to fit"],
            [["ran", *map(str, ran)], ["out of memory", *map(str, failed)]],
        )
        + f"\n\n{right:.1%} of these answers are right; of the runs that ran out of memory "
        f"{failed[1]} of {sum(failed)}."
    )


def cannot(readings: Sequence[Reading], pairs: Sequence[Pair]) -> str:
    reasons: dict[str, list[str]] = defaultdict(list)
    for r in readings:
        if r.run is None:
            reasons[r.remarks[-1]].append(r.row["src_key"])
    lines = [f"- {len(keys)} of {', '.join(sorted(set(keys)))}: {why}" for why, keys in reasons.items()]
    far = [(error, r) for error, r in pairs if abs(error) > 0.5]
    sources = Counter(source(r) for _, r in far)
    counts = ", ".join(f"{count} of {name}" for name, count in sources.items())
    far_text = f"- {len(far)} complete rows are off by more than half ({counts}). {FAR}"
    lines.append(far_text.replace("\n", "\n  "))
    lines.append(KNOWN_LIMITS)
    return "\n".join(lines)


def fitted_numbers() -> str:
    numbers = fit.shipped()
    names = [name for name in numbers["A100"] if name in fit.NAMES]
    rows = [[a, *(f"{numbers[a][n]:g}" for n in names)] for a in ("A100", "H100", "MI250X")]
    programs = numbers["A100"]
    return table(["accelerator", *names], rows) + "\n\n" + PROGRAMS.format(**programs, borrowed=borrowed())


def borrowed() -> str:
    """A sentence: which devices have the numbers of which fitted one."""
    fitted = [device for device in ACCELERATORS.values() if device.fitted]
    parts = []
    for one in fitted:
        names = [d.name for d in ACCELERATORS.values() if not d.fitted and d.efficiency == one.efficiency]
        parts.append(f"{', '.join(names[:-1])} and {names[-1]} have those of the {one.name}")
    return ";\n".join(parts) + "."


def main(words: Sequence[str] = ()) -> None:
    readings = read_table(root() / RUNS)
    stored = Path(root() / LEFT_OUT)
    if "--fit" in words:
        found = leave_out([r for r in readings if target(r)])
        stored.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        for name, numbers in found["fitted"].items():
            print(name, fit.rounded(numbers))
    left_out = json.loads(stored.read_text())
    (root() / PAGE).write_text(page(readings, left_out), encoding="utf-8")
    print(table(KIND_HEADER, by_kind(readings, left_out)))
    print(PAGE)


if __name__ == "__main__":
    main(sys.argv[1:])
