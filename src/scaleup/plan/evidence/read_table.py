"""A CSV file as people have it: any of three separators, UTF-8 or UTF-16, headers in any case."""

from __future__ import annotations

import codecs
import csv
from dataclasses import dataclass
from pathlib import Path

from ...errors import CourseError

LONGEST_CELL = 2**31 - 1  # characters; Python's own limit is 131,072
# Columns that are read. Others are kept as they are, and may stand twice.
READ = {
    "accelerator", "activation_recompute", "cp", "dp", "ep", "ffn", "global_batch_seqs", "gpus", "heads",
    "hidden", "kv_heads", "layers", "machine", "memory_gb", "micro_batch", "mlp", "model", "notes",
    "params_b", "pp", "precision", "seq", "sharding", "software", "source", "step_time_s", "tied",
    "tokens_per_s_per_gpu", "tp", "tuning", "vocab", "vp", "year", "zero_stage",
}  # fmt: skip


@dataclass(frozen=True)
class Table:
    """`header` as the file has it, `names` as rows are read by them, the cells of each row, the separator."""

    header: list[str]
    names: list[str]
    rows: list[list[str]]
    delimiter: str

    def twice(self, cells: list[str]) -> list[str]:
        """A remark for each column that stands twice and says two things in a row of cells."""
        said = []
        for name in sorted(name for name in set(self.names) & READ if self.names.count(name) > 1):
            places = [place for place, other in enumerate(self.names) if other == name]
            if len({cells[place].strip() for place in places}) > 1:
                where = ", ".join(str(place + 1) for place in places)
                said.append(f"{name} stands in columns {where} and differs: the last one is used.")
        return said


def encoding_of(path: Path) -> str:
    """What a file's first bytes say: UTF-16 has a mark, or a zero in every second byte."""
    with open(path, "rb") as file:
        start = file.read(64)
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    for zeros, encoding in ((start[1::2], "utf-16-le"), (start[::2], "utf-16-be")):
        if len(zeros) >= 8 and not zeros.strip(b"\0"):
            return encoding
    return "utf-8-sig"


def read_table(path: Path) -> Table:
    """Read a table. Raises CourseError where it cannot be read or has no header."""
    csv.field_size_limit(LONGEST_CELL)
    try:
        encoding = encoding_of(path)
        with open(path, newline="", encoding=encoding, errors=errors_in(encoding)) as file:
            first = file.readline()
            delimiter = max(",;\t", key=first.count)  # programs write what is usual in their country
            file.seek(0)
            table = list(csv.reader(file, delimiter=delimiter))
    except OSError as error:
        raise CourseError(f"{path} cannot be read: {error.strerror}. Give the path of a CSV file.") from None
    except (csv.Error, UnicodeError) as error:
        raise CourseError(f"{path} is no CSV file: {error}. Save it as comma-separated text.") from None
    if not table or not any(cell.strip() for cell in table[0]):
        raise CourseError(f"{path} has no header. Its first line must name the columns, such as gpus.")
    header = table[0]
    names = [name.strip().lower() if name.strip().lower() in READ else name.strip() for name in header]
    return Table(header, names, [cells for cells in table[1:] if cells], delimiter)


def errors_in(encoding: str) -> str:
    """Bytes that are no text are handed through, which only UTF-8 can do."""
    return "surrogateescape" if encoding == "utf-8-sig" else "replace"
