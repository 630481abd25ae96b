"""The page of the benchmark: tables, figure and text from the numbers that `bench` measured."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

from scaleup.errors import CourseError
from scaleup.notebook import plots
from scaleup.words import count, markdown_table

from .bench_data import OURS, THEIRS
from .bench_feeding import FEED, STATEFUL
from .contenders import COURSE, GPT2, LLAMA

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


def millions(number: int) -> str:
    return f"{number / 1e6:.1f} M"


def numbers_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [markdown_table(header, rows, numbers=True), ""]


def between(ratio: Mapping[str, float]) -> str:
    """A ratio with its quartiles, e.g. 1.05 (1.02-1.08)."""
    return f"{ratio['median']:.2f} ({ratio['low']:.2f}–{ratio['high']:.2f})"


def per_second(found: Mapping[str, float]) -> str:
    return f"{found['tokens_per_second']:,.0f} ± {found['spread'] / 2:.0%}"


def configuration(step: Mapping[str, Any]) -> str:
    return f"{step['size']}, {step['dtype']}, {count(step['threads'], 'thread')}"


def takeaway(result: Mapping[str, Any]) -> str:
    """The figure's title: true for any outcome."""
    ratios = [step["course_over"][LLAMA]["median"] for step in result["steps"]]
    return (
        f"The course's GPT runs at {min(ratios):.2f} to {max(ratios):.2f} times the speed of the same Llama"
    )


def alt_text(result: Mapping[str, Any]) -> str:
    parts = []
    for step in result["steps"]:
        llama, gpt2 = (step["course_over"][name]["median"] for name in (LLAMA, GPT2))
        parts.append(f"{configuration(step)}: {llama:.2f} and {gpt2:.2f}")
    return (
        "Points beside a line at 1, one pair for each configuration: speed of the course's GPT over "
        f"transformers' Llama, then over GPT-2. {'; '.join(parts)}."
    )


def render(result: Mapping[str, Any]) -> str:
    """What stands between the page's markers: every figure, from benchmark.json alone."""
    versions = result["versions"]
    machine = (
        f"Measured on {result['date']} on {count(result['cores'], 'CPU core')} ({result['instructions']}), "
        f"with Python {versions['python']}, PyTorch {versions['torch']} and transformers "
        f"{versions['transformers']}. Medians of {result['rounds']} rounds."
    )
    lines = [machine, "", "## Shapes", ""]
    lines += numbers_table(
        ["model", "layers", "dim", "heads", "hidden", "sequences x tokens", *(COURSE, LLAMA, GPT2)],
        [
            [f"{entry['size']}", *(str(entry["shape"][key]) for key in ("layers", "dim", "heads", "hidden")),
             f"{entry['sequences']} x {entry['shape']['context']}",
             *(f"{entry['parameters'][name]:,}" for name in (COURSE, LLAMA, GPT2))]
            for entry in result["shapes"]
        ],
    )  # fmt: skip
    vocabulary = result["shapes"][0]["shape"]["vocab_size"]
    lines += [f"The last three columns count parameters. The vocabulary has {vocabulary:,} tokens.", ""]
    lines += ["## Tokens per second", ""]
    lines += numbers_table(
        ["model, data type, threads", COURSE, LLAMA, GPT2, "course / Llama", "course / GPT-2"],
        [
            [configuration(step), *(per_second(step["found"][name]) for name in (COURSE, LLAMA, GPT2)),
             *(between(step["course_over"][name]) for name in (LLAMA, GPT2))]
            for step in result["steps"]
        ],
    )  # fmt: skip
    lines += ["```{figure} benchmark.png", f":alt: {alt_text(result)}", ":width: 100%", ""]
    lines += [
        f"{takeaway(result)}. Above 1 the course's GPT is faster. Bars span the middle half of the rounds."
    ]
    lines += ["```", "", "## Model FLOPs utilisation", ""]
    lines += numbers_table(
        ["model, data type, threads", "matrix-multiply rate, GFLOP/s", COURSE, LLAMA, GPT2],
        [
            [configuration(step), f"{step['peak_flops'] / 1e9:,.0f}",
             *(f"{step['found'][name]['mfu']:.1%}" for name in (COURSE, LLAMA, GPT2))]
            for step in result["steps"]
        ],
    )  # fmt: skip
    loop = result["loop"]
    lines += ["## The loop around the step", ""]
    lines += numbers_table(
        ["model, threads", "`scaleup.train.train`", "bare loop", "course's loop / bare"],
        [[f"{loop['size']}, float32, {count(loop['threads'], 'thread')}", per_second(loop["loop"]),
          per_second(loop["bare"]), f"{loop['loop_over_bare']:.2f}"]],
    )  # fmt: skip
    lines += ["## Two ranks", ""]
    lines += numbers_table(
        ["model, float32", *result["ranks"][0]["found"], "weak-scaling efficiency", "ranks / threads"],
        [
            [entry["size"], *(per_second(found) for found in entry["found"].values()),
             between(entry["weak_scaling_efficiency"]), between(entry["ranks_over_threads"])]
            for entry in result["ranks"]
        ],
    )  # fmt: skip
    lines += data_lines(result["data"])
    lines += feeding(result["feeding"])
    return "\n".join(lines).strip()


def data_lines(data: Mapping[str, Any]) -> list[str]:
    """The part on preparing data, with a date of its own: it can be measured alone."""
    versions = ", ".join(f"{name} {version}" for name, version in data["versions"].items())
    lines = ["## Preparing data", ""]
    lines += [
        f"Measured on {data['date']} on {count(data['cores'], 'CPU core')} with {versions}: "
        f"{data['megabytes']:g} MB of text in JSON lines, two processes, the same tokenizer and the same "
        f"call of it. Medians of {count(data['rounds'], 'round')}, each in a fresh process, with the least "
        "and the most of the ratio. A cold run includes the start of Python and of the workers; a warm one "
        "is the next run of the same process.",
        "",
    ]
    lines += numbers_table(
        ["work, start", f"{OURS}, MB/s", f"{THEIRS}, MB/s", "course / datasets"],
        [
            [f"{one['work']}, {one['start']}",
             *(f"{one['megabytes_per_second'][name]:.2f}" for name in (OURS, THEIRS)),
             f"{one['ours_over_theirs']:.2f} ({one['least']:.2f}–{one['most']:.2f})"]
            for one in data["speed"]
        ],
    )  # fmt: skip
    lines += [
        '"Tokens only" is reading, tokenising and writing. "Cleaned" adds tidying, scrubbing, rules and '
        "languages on both sides, by the same functions, and near-duplicates on the course's side alone: "
        "`datasets` has no step for them.",
        "",
    ]
    lines += numbers_table(
        ["text, MB", "most memory of all processes together, MB"],
        [[f"{one['megabytes']:g}", f"{one['peak_megabytes']:,.0f}"] for one in data["memory"]],
    )
    return lines


def feeding(found: Mapping[str, Any]) -> list[str]:
    """The part on loaders."""
    lines = ["## Feeding data", ""]
    lines += numbers_table(
        ["tokens per second", FEED, STATEFUL, "feed / torchdata"],
        [
            [count(row["workers"], "worker"), *(per_second(row["found"][name]) for name in (FEED, STATEFUL)),
             between(row["feed_over_torchdata"])]
            for row in found["speed"]
        ],
    )  # fmt: skip
    lines += numbers_table(
        ["windows after a restart on 3 ranks instead of 2", "came twice", "never came"],
        [[name, *(f"{found['restart'][name][key]:,}" for key in ("twice", "never"))]
         for name in (FEED, STATEFUL)],
    )  # fmt: skip
    lines += [f"Without a worker the feed delivers {found['feed_over_model']:,.0f} times the "
              f"{found['model_tokens_per_second']:,.0f} tokens per second of the fastest model above. "
              f"An epoch has {found['windows']:,} windows of {found['seq']} tokens. Measured on "
              f"{found['date']} with torchdata {found['torchdata']}.", ""]  # fmt: skip
    return lines


def filled(page: str, result: Mapping[str, Any]) -> str:
    """The page with the part between its markers made anew."""
    before, found_begin, rest = page.partition(BEGIN)
    _, found_end, after = rest.partition(END)
    if not found_begin or not found_end:
        raise CourseError(
            f"benchmark.md has lost its markers. Put {BEGIN} and {END} where the tables belong."
        )
    return f"{before}{BEGIN}\n\n{render(result)}\n\n{END}{after}"


def draw(result: Mapping[str, Any], place: Path) -> None:
    """Save the ratios as a PNG."""
    names = [configuration(step) for step in result["steps"]]
    made, axes = plots.figure(
        takeaway(result), "speed of the course's GPT / speed of the other (1 = equal)", ""
    )
    with plt.rc_context(plots.STYLE):
        looks = ((LLAMA, plots.BLUE, "o", -0.12), (GPT2, plots.ORANGE, "s", 0.12))
        for name, colour, marker, shift in looks:
            ratios = [step["course_over"][name] for step in result["steps"]]
            middle = [ratio["median"] for ratio in ratios]
            # With few rounds rounding can put a quartile on the wrong side of the median.
            left = [max(0.0, ratio["median"] - ratio["low"]) for ratio in ratios]
            right = [max(0.0, ratio["high"] - ratio["median"]) for ratio in ratios]
            places = [row + shift for row in range(len(names))]
            axes.errorbar(middle, places, xerr=[left, right], fmt=marker, color=colour, label=f"over {name}")
        axes.axvline(1.0, color=plots.INK, linestyle="--", linewidth=1)
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        axes.title.set_fontsize("medium")
        axes.legend(loc="upper left", bbox_to_anchor=(0, -0.16), ncols=2)
        made.savefig(place, format="png", dpi=144, bbox_inches="tight", metadata={"Software": None})
    plt.close(made)


def publish(result: Mapping[str, Any], page: str, folder: Path) -> None:
    """Write benchmark.json, benchmark.png and benchmark.md into the folder."""
    text = filled(page, result)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "benchmark.json").write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", "utf-8")
    draw(result, folder / "benchmark.png")
    (folder / "benchmark.md").write_text(text, "utf-8")
