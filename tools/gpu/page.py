"""The page on what was measured on a GPU, from the records in `data/measured/`, and their number there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from scaleup.errors import CourseError
from scaleup.files import write_whole
from scaleup.measure import recorded
from scaleup.paths import root
from scaleup.plan import accelerators
from scaleup.words import count, markdown_table

BEGIN, END = "<!-- recorded: begin -->", "<!-- recorded: end -->"
NONE = (
    "**The GPU road of the lessons has not been run.** `data/measured/` holds no record. Every number that "
    "this course marks as measured comes from CPU cores. What it says about code for a GPU follows PyTorch's "
    "documentation, and `make gpu` itself has so far been tested only on a CPU, with tiny sizes."
)

Found = Mapping[str, Any]


def tera(flops: float) -> str:
    return f"{flops / 1e12:,.4g} TFLOP/s"


def giga(rate: float) -> str:
    return f"{rate / 1e9:,.4g} GB/s"


def gigabytes(size: float | None) -> str:
    return "unknown" if size is None else f"{size / 1e9:,.3g} GB"


def share(part: float | None) -> str:
    return "unknown" if part is None else f"{part:.1%}"


def number(value: float | None, form: str = ",.0f") -> str:
    return "not a number" if value is None else f"{value:{form}}"


def lines_of(found: Found, words: Callable[[Found], list[str]]) -> list[str]:
    """What a part says, or why it has nothing to say."""
    return [f"Not measured: {found['failed']}"] if "failed" in found else words(found)


def table(header: list[str], rows: Iterable[list[str]]) -> list[str]:
    return [markdown_table(header, rows, numbers=True)]


def failed_row(name: str, found: Found, columns: int) -> list[str]:
    return [name, f"not measured: {found['failed']}", *[""] * (columns - 2)]


# One function for each part


def matmul(found: Found, record: Found) -> list[str]:
    sheet: float | None = None
    try:
        sheet = accelerators.find(record["card"]).peak_flops
    except CourseError:
        after = "The course has no data sheet of this card."
    else:
        after = f"The share is of {tera(sheet)}, the dense bf16 peak of the stock card of that name."
    rows = []
    for name, each in found["formats"].items():
        if "failed" in each:
            rows.append(failed_row(name, each, 4))
            continue
        of = share(each["flops"] / sheet) if sheet and name == "bf16" else ""
        rows.append([name, f"{each['size']:,}", tera(each["flops"]), of])
    lines = table(["format", "size", "best rate", "of the data sheet"], rows)
    lesson = found["bf16_by_the_lessons"]
    told = tera(lesson["flops"]) if "flops" in lesson else f"not measured: {lesson['failed']}"
    return [*lines, "", f"{after} The lessons' own clock gives {told} in bf16."]


def bandwidth(found: Found, _: Found) -> list[str]:
    rows = [["copy, read plus written", giga(found["copy"])], ["scaling by 2", giga(found["scale"])]]
    rows.append(["copy, by the lessons' clock", giga(found["copy_by_the_lessons"])])
    link = found["link"]
    if "failed" in link:
        rows.append(["host's memory", f"not measured: {link['failed']}"])
    else:
        rows.append(["from the host's pinned memory", giga(link["host_to_device"])])
        rows.append(["to the host's pinned memory", giga(link["device_to_host"])])
    return table(["what", "bytes per second"], rows)


def training(parts: Found) -> list[str]:
    header = ["model", "windows x tokens", "tokens/s", "MFU", "tokens/s, bare step", "MFU, bare step"]
    header += ["loss, first and last step", "memory", "memory by formula"]
    rows = []
    for name, found in parts.items():
        if "failed" in found:
            rows.append(failed_row(name, found, len(header)))
            continue
        shape, bare, held = found["shape"], found["bare"], found["memory"]
        rows.append(
            [f"{name}, {found['parameters'] / 1e6:,.1f} M", f"{found['windows']} x {shape['context']:,}",
             number(found["tokens_per_second"]), share(found["mfu"]),
             number(bare["tokens_per_second"]), share(found["bare_mfu"]),
             f"{number(found['first_loss'], '.2f')}, {number(found['last_loss'], '.2f')}",
             gigabytes(held["measured"]), gigabytes(held["formula"])]
        )  # fmt: skip
    return [
        *table(header, rows),
        "",
        "The course's own loop trains on real text, with bf16 autocast. The bare step repeats one batch. "
        "MFU is of the best bf16 product that the same process measured, and counts "
        "6 N + 12 · layers · dim · seq FLOPs per token. Memory is what tensors used at most.",
    ]


def memory(found: Found, _: Found) -> list[str]:
    rows = [
        [name, gigabytes(each["formula"]), gigabytes(each["measured"]), share(each["off"])]
        for name, each in found["bytes"].items()
    ]
    shape = found["shape"]
    return [
        *table(["bytes of", "formula", "the device's counter", "formula is off by"], rows),
        "",
        f"{count(shape['layers'], 'layer')} of width {shape['dim']:,} in fp32, on {found['windows']} x "
        f"{shape['context']:,} tokens. Hooks see {gigabytes(found['activations_by_hooks'])} kept for the "
        "backward pass.",
    ]


def precision(found: Found, _: Found) -> list[str]:
    header = ["mode", "tokens/s", "over fp32", "largest difference of a loss", "error of the first gradient"]
    rows = []
    for name, each in found["modes"].items():
        if "failed" in each:
            rows.append(failed_row(name, each, len(header)))
            continue
        against = ["", "", ""]
        if "losses_compared" in each:
            agrees = "agrees" if each["agrees"] else "does not agree"
            against = [
                number(each["faster_than_fp32"], ".2f"),
                f"{share(each['largest_difference_of_loss'])} of {each['losses_compared']} steps, {agrees}",
                share(each["error_of_first_gradient"]),
            ]
        rows.append([name, number(each["tokens_per_second"]), *against])
    within = share(found["agrees_within"])
    return [
        *table(header, rows),
        "",
        f"All modes start alike. They agree if no loss differs by more than {within}.",
    ]


def profile(found: Found, _: Found) -> list[str]:
    header = ["model", "time with work on the device", "pieces of work per step", "median gap", "largest gap"]
    header += ["products", "attention"]
    rows = []
    for name, each in found.items():
        if name == "seconds":
            continue
        if "failed" in each:
            rows.append(failed_row(name, each, len(header)))
            continue
        gaps = [f"{each[key] * 1e6:,.3g} µs" for key in ("median_gap_s", "largest_gap_s")]
        rows.append(
            [f"{name}, {each['parameters'] / 1e6:,.1f} M", share(each["share_at_work"]),
             f"{each['pieces_per_step']:,.0f}", *gaps, share(each["products"]), share(each["attention"])]
        )  # fmt: skip
    return [
        *table(header, rows),
        "",
        "Bare steps under the profiler, which slows the host. The last two columns are shares of the time "
        "that the device worked.",
    ]


def compiled(found: Found, _: Found) -> list[str]:
    rows = [
        [name, number(found[name]["tokens_per_second"]), gigabytes(found[name]["peak_bytes"])]
        for name in ("plain", "compiled")
    ]
    pays = found["steps_until_it_pays"]
    when = "It is no faster." if pays is None else f"It pays from {pays:,.0f} steps on."
    return [
        *table(["model", "tokens/s", "memory"], rows),
        "",
        f"`torch.compile` makes the step {number(found['faster'], '.2f')} times as fast and takes "
        f"{number(found['compile_s'], '.1f')} s at first. {when} The losses differ by "
        f"{number(100 * found['difference_of_loss'], '.2g')} %.",
    ]


def checkpoint(found: Found, _: Found) -> list[str]:
    rows = [
        ["from the device to the host", giga(found["to_host_bytes_s"])],
        ["`torch.save` to disk, synced", giga(found["write_bytes_s"])],
        ["`torch.load` from disk", giga(found["read_bytes_s"])],
    ]
    same = "What comes back is the same, bit for bit." if found["same_bits"] else "What comes back differs."
    return [
        *table(["way", "bytes per second"], rows),
        "",
        f"{gigabytes(found['bytes'])} of model and optimizer, on the disk of the course's folder. {same}",
    ]


def all_reduce(found: Found, _: Found) -> list[str]:
    rows = [[f"{each['bytes']:,}", f"{each['seconds'] * 1e6:,.4g} µs"] for each in found["calls"]]
    return [
        *table(["bytes", "time of a call"], rows),
        "",
        f"One rank of {found['backend']}, so nothing travels. Gradients under DDP differ from the bare "
        f"model's by {number(100 * found['error_of_ddp_gradient'], '.2g')} %.",
    ]


TITLES = {
    "matmul": ("Matrix products", matmul),
    "bandwidth": ("Memory", bandwidth),
    "training": ("Training", training),
    "memory": ("Where the bytes go", memory),
    "precision": ("Precision", precision),
    "profile": ("A profile", profile),
    "compile": ("Compiling", compiled),
    "checkpoint": ("A checkpoint", checkpoint),
    "all-reduce": ("One rank", all_reduce),
}


def section(record: Found) -> list[str]:
    """All that a record says, as lines of Markdown."""
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    lines = [f"## {record['card']}, {record['date']}", ""]
    lines += [f"{record['kind']}, {gigabytes(record['memory_bytes'])} of memory, {versions}.", ""]
    parts = record["parts"]
    for name, (title, words) in TITLES.items():
        lines += [f"### {title} ({record['card']})", ""]
        if name == "training":
            sizes = {each.partition(", ")[2]: part for each, part in parts.items() if each.startswith(name)}
            lines += training(sizes)
        else:
            lines += lines_of(parts[name], lambda found, words=words: words(found, record))
        lines.append("")
    return lines


def render(records: list[dict[str, Any]]) -> str:
    """What stands between the page's markers: the newest record of each card, the newest card first."""
    newest = {record["card"]: record for record in records}
    if not newest:
        return NONE
    cards = sorted(newest.values(), key=lambda record: record["date"], reverse=True)
    lines = [f"Recorded on {count(len(cards), 'card')}, the newest first. Each was one run.", ""]
    return "\n".join(line for record in [lines, *map(section, cards)] for line in record).strip()


def how_many(records: list[dict[str, Any]]) -> str:
    """What the README of the records says of them."""
    if not records:
        return "None has been recorded yet."
    days = [record["date"] for record in records]
    return f"{count(len(records), 'record')}, the newest of {max(days)}."


def filled(page: str, text: str) -> str:
    """The page with the part between its markers made anew."""
    before, found_begin, rest = page.partition(BEGIN)
    _, found_end, after = rest.partition(END)
    if not found_begin or not found_end:
        raise CourseError(
            f"A page on the records has lost its markers. Put {BEGIN} and {END} where the records belong."
        )
    return f"{before}{BEGIN}\n\n{text}\n\n{END}{after}"


def pages() -> dict[Path, str]:
    """{file: text} of the two pages that follow from the records."""
    records, page = recorded.records(), root() / "book" / "reference" / "measured-on-a-gpu.md"
    told = {page: render(records), recorded.folder() / "README.md": how_many(records)}
    return {file: filled(file.read_text("utf-8"), text) for file, text in told.items()}


def main() -> None:
    for file, text in pages().items():
        write_whole(file, text)
        print(f"{file.relative_to(root())} is in step with the records")


if __name__ == "__main__":
    main()
