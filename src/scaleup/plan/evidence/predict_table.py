"""A whole table of runs, predicted: the same rows in the same order, with five more columns."""

from __future__ import annotations

import csv
import dataclasses
import io
from pathlib import Path

from ...errors import CourseError
from ..memory import CONTEXT_BYTES, GIB, fits, memory
from ..steptime import step_time, tokens_per_s_per_device
from .read_runs import Reading, read

LONGEST_CELL = 2**31 - 1  # characters; Python's own limit is 131,072
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


def predict_file(source: Path, target: Path) -> tuple[int, int]:
    """Predict every row of a CSV file into another one. Returns (rows, rows with a prediction).

    Columns may be separated by commas, semicolons or tabs; the result has the same.
    """
    csv.field_size_limit(LONGEST_CELL)
    try:
        with open(source, newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
            first = file.readline()
            delimiter = max(",;\t", key=first.count)  # programs write what is usual in their country
            file.seek(0)
            table = list(csv.reader(file, delimiter=delimiter))
    except OSError as error:
        raise CourseError(
            f"{source} cannot be read: {error.strerror}. Give the path of a CSV file."
        ) from None
    except csv.Error as error:
        raise CourseError(f"{source} is no CSV file: {error}. Save it as comma-separated text.") from None
    if not table or not any(cell.strip() for cell in table[0]):
        raise CourseError(f"{source} has no header. Its first line must name the columns, such as gpus.")
    header = table[0]
    rows = [cells for cells in table[1:] if cells]
    kept = [place for place, name in enumerate(header) if name not in COLUMNS]
    predicted = 0
    try:
        with open(target, "w", newline="", encoding="utf-8", errors="surrogateescape") as file:
            file.write(line([header[place] for place in kept] + list(COLUMNS), delimiter))
            for cells in rows:
                cells = cells + [""] * (len(header) - len(cells))
                reading = read(dict(zip((name.strip() for name in header), cells, strict=False)))
                if len(cells) > len(header):
                    reading.remarks.append(f"{len(cells) - len(header)} cells have no column: left out.")
                found = predict(reading)
                predicted += bool(found["predicted_step_time_s"])
                file.write(line([cells[place] for place in kept] + list(found.values()), delimiter))
    except OSError as error:
        raise CourseError(f"{target} cannot be written: {error.strerror}. Choose another place.") from None
    return len(rows), predicted


def main(batch: str | None, out: str | None) -> None:
    """`scaleup plan --batch FILE.csv --out OUT.csv`."""
    if not (batch and out):
        raise CourseError("A table needs both names: --batch FILE.csv --out OUT.csv.")
    rows, predicted = predict_file(Path(batch), Path(out))
    print(f"{predicted} of {rows} rows are predicted in {out}; the others say why not.")
