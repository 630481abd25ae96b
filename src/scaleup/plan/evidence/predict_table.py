"""A whole table of runs, predicted: the same rows in the same order, with five more columns."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Iterator
from pathlib import Path

from ...errors import CourseError
from ..memory import CONTEXT_BYTES, GIB, fits, memory
from ..steptime import step_time, tokens_per_s_per_device
from .read_runs import Reading, read
from .read_table import Table, encoding_of, read_table

MANY, PART, MOST_CORES = (
    20_000,
    5_000,
    8,
)  # rows that are worth other processes, rows of a piece of their work
COLUMNS = (
    "predicted_step_time_s",
    "predicted_tokens_per_s_per_gpu",
    "predicted_memory_gb",
    "predicted_fits",
    "predicted_reason",
)


def predict(reading: Reading) -> dict[str, str]:
    """The five columns of one row. Without a prediction they are empty, and the reason says why.

    Memory is in units of 2^30 bytes, as programs and nvidia-smi print it. It is that of the device where the
    row's notes name nvidia-smi, otherwise that of the program.
    """
    reason = " ".join(" ".join(remark.split()) for remark in reading.remarks)
    run = reading.run
    if run is None:
        return dict.fromkeys(COLUMNS, "") | {"predicted_reason": reason or "The row is empty."}
    seconds = step_time(run).total
    used = memory(run)
    held = fits(run, used)
    if not held and "recompute" in reading.guessed:
        full = dataclasses.replace(run, layout=dataclasses.replace(run.layout, recompute="full"))
        held = fits(full)
        if held:
            reason += " It fits with recompute only."
    total = used.total + (CONTEXT_BYTES if reading.whole_device else 0.0)
    return {
        "predicted_step_time_s": f"{seconds:.4g}",
        "predicted_tokens_per_s_per_gpu": f"{tokens_per_s_per_device(run, seconds):.4g}",
        "predicted_memory_gb": f"{total / GIB:.3g}",
        "predicted_fits": "yes" if held else "no",
        "predicted_reason": reason,
    }


def line(cells: list[str], delimiter: str) -> str:
    """One row of a CSV file. A writer quotes a carriage return only where its own line ends have one."""
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter, lineterminator="\r\n").writerow(cells)
    return text.getvalue().removesuffix("\r\n") + "\n"


def predict_row(table: Table, cells: list[str]) -> tuple[str, bool]:
    """A row of the result, and whether it is predicted."""
    cells = cells + [""] * (len(table.header) - len(cells))
    reading = read(dict(zip(table.names, cells, strict=False)))
    reading.remarks += table.twice(cells)
    if len(cells) > len(table.header):
        reading.remarks.append(f"{len(cells) - len(table.header)} cells have no column: left out.")
    found = predict(reading)
    kept = [cells[place] for place, name in enumerate(table.header) if name not in COLUMNS]
    return line(kept + list(found.values()), table.delimiter), bool(found["predicted_step_time_s"])


def predict_rows(table: Table) -> list[tuple[str, bool]]:
    return [predict_row(table, cells) for cells in table.rows]


def usable_cores() -> int:
    """Those of this process; asked for large tables only, since counting them needs more than Python has."""
    from ...computer import resources

    return resources.usable_cores()


def predicted(table: Table) -> Iterator[tuple[str, bool]]:
    """Every row of the result in its order; a large table is shared out over the cores."""
    cores = 1 if len(table.rows) < MANY else min(usable_cores(), MOST_CORES)
    if cores < 2:
        yield from predict_rows(table)
        return
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    parts = [
        dataclasses.replace(table, rows=table.rows[start : start + PART])
        for start in range(0, len(table.rows), PART)
    ]
    with ProcessPoolExecutor(cores, multiprocessing.get_context("spawn")) as pool:
        for done in pool.map(predict_rows, parts):
            yield from done


def predict_file(source: Path, target: Path) -> tuple[int, int]:
    """Predict every row of a CSV file into another one. Returns (rows, rows with a prediction).

    Columns may be separated by commas, semicolons or tabs; the result has the same, in UTF-8.
    """
    table = read_table(source)
    kept = [name for name in table.header if name not in COLUMNS]
    count = 0
    try:
        with open(target, "w", newline="", encoding="utf-8", errors="surrogateescape") as file:
            file.write(line(kept + list(COLUMNS), table.delimiter))
            for text, has_prediction in predicted(table):
                count += has_prediction
                file.write(text)
    except OSError as error:
        raise CourseError(f"{target} cannot be written: {error.strerror}. Choose another place.") from None
    return len(table.rows), count


def main(batch: str | None, out: str | None) -> None:
    """`scaleup plan --batch FILE.csv --out OUT.csv`."""
    if not (batch and out):
        raise CourseError("A table needs both names: --batch FILE.csv --out OUT.csv.")
    rows, count = predict_file(Path(batch), Path(out))
    print(f"{count} of {rows} rows are predicted in {out}; the others say why not.")
    if encoding_of(Path(batch)).startswith("utf-16"):
        print(f"{batch} is in UTF-16; {out} is in UTF-8.")
