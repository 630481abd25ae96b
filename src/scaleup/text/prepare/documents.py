"""Files become documents: text with its source, its position there and its licence, read as a stream.

Four kinds of file are read: plain text (`.txt`, `.md`: one document a file), JSON lines (`.jsonl`, `.ndjson`,
also with `.gz`: one document a line) and Parquet (one document a row), whatever the case of the ending. Long
JSON lines and Parquet files are cut into blocks that several workers can read at once; a packed file can only
be read from its beginning.
"""

from __future__ import annotations

import fnmatch
import functools
import gzip
import json
import os
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any

import yaml

from ...errors import CourseError
from ...words import one_line

TEXT, LINES, PARQUET = (".txt", ".md"), (".jsonl", ".ndjson"), (".parquet",)
PACKED = tuple(f"{suffix}.gz" for suffix in LINES)
LICENCES = "licences.yml"
UNKNOWN = "unknown"
MIB = 2**20
CONTROL = re.compile(rb"[\0-\x08\x0e-\x1a\x1c-\x1f]")  # bytes that are in no text of one byte a letter


@dataclass(frozen=True, slots=True)
class Document:
    """One text and where it comes from. (source, position) names it, and orders it among all others."""

    text: str
    source: str  # path below the corpus folder, with "/" on every system
    position: int  # its first byte (JSON lines, unpacked) or its row (Parquet); 0 in a text file
    licence: str = UNKNOWN
    url: str = ""
    language: str = ""  # known after cleaning


@dataclass(frozen=True, slots=True)
class Reading:
    """How files are read: the field that holds the text, and the largest document in bytes."""

    field: str = "text"
    largest: int = 4 * MIB
    licence: str = UNKNOWN  # of documents about which neither their record nor licences.yml says anything


@dataclass(frozen=True, slots=True)
class Block:
    """What one task reads of a file: bytes (text, JSON lines) or rows (Parquet) from `begin` up to `end`."""

    source: str
    begin: int
    end: int
    size: int  # bytes on disk, about


def find(folder: Path) -> tuple[list[str], list[str]]:
    """(files that are read, files that are not), as paths below `folder` in order. Hidden ones are neither.

    A link to a folder is not followed, since it may lead to the shards or round in a circle. It is among
    those that are not read, with "/" at its end.

    Raises CourseError where there is no such folder, nothing in it to read, or a name that is not UTF-8.
    """
    if not folder.is_dir():
        raise CourseError(f"{folder} is not a folder. Name the one that holds the texts.")
    read, others = [], []
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        here = Path(place).relative_to(folder)
        others += [
            f"{shown((here / name).as_posix())}/" for name in folders if (Path(place) / name).is_symlink()
        ]
        for name in files:
            source = (here / name).as_posix()
            if name.startswith(".") or source == LICENCES:
                continue
            if not ends(name, TEXT + LINES + PACKED + PARQUET):
                others.append(shown(source))
            elif source != shown(source):
                raise CourseError(f"The name '{shown(source)}' in {folder} is not UTF-8. Rename it.")
            else:
                read.append(source)
    if not read:
        linked = [name for name in others if name.endswith("/")]
        why = (
            f" '{linked[0]}' is a link to a folder, which is not followed: name it itself." if linked else ""
        )
        raise CourseError(f"{folder} holds nothing to read. Files may end in "
                          f"{', '.join(TEXT + LINES + PACKED + PARQUET)}.{why}")  # fmt: skip
    return sorted(read), sorted(others)


def ends(name: str, suffixes: str | tuple[str, ...]) -> bool:
    """Whether a file is of a kind: `NOTES.TXT` is text, too."""
    return name.lower().endswith(suffixes)


def shown(name: str) -> str:
    """A name that can be printed and written: bytes that are not UTF-8 become signs."""
    return name.encode("utf-8", "backslashreplace").decode()


def blocks(folder: Path, source: str, size: int) -> list[Block]:
    """Cut a file into blocks of about `size` bytes, where its kind allows it.

    Raises CourseError where the file is empty, cannot be opened or is not Parquet.
    """
    file = folder / source
    try:
        whole = file.stat().st_size
    except OSError as error:
        raise CourseError(f"{file} cannot be read: {error.strerror}.") from None
    if not whole:
        raise CourseError(f"{file} is empty. Remove it, or list it as an opt-out.")
    if ends(source, PARQUET):
        return list(_row_groups(file, source, size))
    step = size if ends(source, LINES) else whole
    return [Block(source, at, min(at + step, whole), min(step, whole - at)) for at in range(0, whole, step)]


def partitions(
    folder: Path, sources: list[str], size: int, unreadable: dict[str, str] | None = None
) -> list[list[Block]]:
    """Blocks in order, grouped so that each partition has about `size` bytes on disk: one task's work.

    Where `unreadable` is given, files that cannot be read are noted there; without it, the first is an error.
    """
    found: list[list[Block]] = []
    full = size
    for source in sources:
        try:
            cut = blocks(folder, source, size)
        except CourseError as error:
            if unreadable is None:
                raise
            unreadable[source] = str(error)
            continue
        for block in cut:
            if full + block.size > size:
                found.append([])
                full = 0
            found[-1].append(block)
            full += block.size
    return found


def read(folder: Path, block: Block, reading: Reading = Reading()) -> Iterator[Document]:
    """The documents of a block, one at a time. Raises CourseError, naming the file and the place in it."""
    file = folder / block.source
    licence = licence_of(block.source, licences(folder)) or reading.licence
    try:
        if ends(block.source, TEXT):
            records: Iterator[tuple[int, Any]] = _text(file, reading)
        elif ends(block.source, PARQUET):
            records = _rows(file, block, reading)
        else:
            records = _lines(file, block, reading)
        for position, record in records:
            yield _document(file, block.source, position, record, reading.field, licence)
    except OSError as error:
        raise CourseError(f"{file} cannot be read: {error.strerror or error}.") from None


def read_folder(folder: Path, reading: Reading = Reading()) -> Iterator[Document]:
    """Every document of a folder in order of source and position: the simple way, in one process."""
    for source in find(folder)[0]:
        for block in blocks(folder, source, 2**62):
            yield from read(folder, block, reading)


def licences(folder: Path) -> dict[str, str]:
    """What `licences.yml` says: patterns of paths and their licences, such as `reports/*: CC-BY-4.0`."""
    file = folder / LICENCES
    if not file.exists():
        return {}
    found = _patterns(file.read_bytes())
    if found is None:
        raise CourseError(f"{file} is not a list of lines such as 'reports/*: CC-BY-4.0'.")
    return found


@functools.lru_cache(maxsize=4)
def _patterns(raw: bytes) -> dict[str, str] | None:
    """Parsed once as long as the bytes are the same: a folder of small files asks for each."""
    try:
        found = yaml.safe_load(raw.decode("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        return None
    return {str(name): str(licence) for name, licence in found.items()} if isinstance(found, dict) else None


def licence_of(source: str, patterns: Mapping[str, str]) -> str | None:
    """The licence of the first pattern that fits the path, or None."""
    return next((name for pattern, name in patterns.items() if fnmatch.fnmatchcase(source, pattern)), None)


def _document(file: Path, source: str, position: int, record: Any, field: str, licence: str) -> Document:
    fields = record if isinstance(record, dict) else {}
    if field not in fields:
        raise CourseError(
            f"{file} has a record without the field '{field}', at {position:,}. {others(fields)}"
        )
    text = fields[field]
    if not isinstance(text, str):
        raise CourseError(f"{file} has a record whose field '{field}' is not text, at {position:,}.")
    licence = str(fields.get("licence") or fields.get("license") or licence)
    url = str(fields.get("url") or "")
    try:
        f"{text}{licence}{url}".encode()
    except UnicodeEncodeError:  # JSON can name half of a character, such as "\\ud800"
        raise CourseError(f"{file} has a record with half a character, at {position:,}.") from None
    return Document(text, source, position, licence, url)


def others(names: Iterable[str]) -> str:
    """What there is instead of a field, and how to name it."""
    few = [one_line(name, 40) for name in islice(names, 9)]
    told = ", ".join(few[:8]) + ", …" * (len(few) > 8)
    return f"It has {told}. Name another with --field." if few else "It has no fields: see --field."


def too_large(file: Path, position: int, reading: Reading) -> CourseError:
    return CourseError(
        f"{file} has a document of more than {reading.largest / MIB:g} MiB, which begins at {position:,}. "
        "Split it, or allow larger ones with --largest: to tokenise one takes 150 times its size in memory."
    )


def _decoded(file: Path, raw: bytes, position: int) -> str:
    try:
        return raw.decode("utf-8-sig" if position == 0 else "utf-8")
    except UnicodeDecodeError as error:
        where = f"{file} is not UTF-8 at byte {position + error.start:,}"
        if CONTROL.search(raw):  # UTF-16 has a zero in every second byte of a Western text
            advice = "it is binary or UTF-16. Move it away, or convert it, for example: iconv -f UTF-16"
            raise CourseError(f"{where}: {advice} -t UTF-8 {file.name} > new.txt") from None
        raise CourseError(
            f"{where}. Convert it, for example: iconv -f ISO-8859-1 -t UTF-8 {file.name} > new.txt"
        ) from None


def _text(file: Path, reading: Reading) -> Iterator[tuple[int, dict]]:
    with file.open("rb") as stream:
        raw = stream.read(reading.largest + 1)
    if len(raw) > reading.largest:
        raise too_large(file, 0, reading)
    yield 0, {reading.field: _decoded(file, raw, 0)}


def _lines(file: Path, block: Block, reading: Reading) -> Iterator[tuple[int, Any]]:
    """Records of the lines that begin within the block; no more than `largest` bytes of a line are held."""
    packed = ends(file.name, ".gz")
    try:
        with gzip.open(file, "rb") if packed else file.open("rb") as stream:
            position = _next_line(stream, block.begin)
            while packed or position < block.end:
                line = stream.readline(reading.largest + 1)
                if not line:
                    break
                if len(line) > reading.largest:
                    raise too_large(file, position, reading)
                if line.strip():
                    yield position, _json(file, line, position)
                position += len(line)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise CourseError(f"{file} is cut off or damaged: it cannot be unpacked. Copy it again.") from None


def _next_line(stream: IO[bytes], begin: int) -> int:
    """Go to the first line that begins at or after `begin`, and say where that is."""
    if begin:
        stream.seek(begin - 1)
        while (piece := stream.readline(MIB)) and not piece.endswith(b"\n"):
            pass
    return stream.tell()


def _json(file: Path, line: bytes, position: int) -> Any:
    text = _decoded(file, line, position)
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise CourseError(
            f"{file} is not JSON lines: the line at byte {position:,} cannot be read."
        ) from None


def _parquet(file: Path) -> Any:
    """The opened file: pyarrow is imported here, because only who has Parquet needs it."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise CourseError(
            f"{file} is Parquet, and pyarrow, which reads it, is not installed. "
            "Run: .venv/bin/python -m pip install -c constraints.txt pyarrow"
        ) from None
    try:
        return pyarrow.parquet.ParquetFile(file, memory_map=True)
    except (pyarrow.ArrowException, OSError) as error:
        raise _not_parquet(file, error) from None


def _not_parquet(file: Path, error: Exception) -> CourseError:
    return CourseError(f"{file} cannot be read as Parquet ({' '.join(str(error).split())[:120]}). "
                       "Write or copy it again.")  # fmt: skip


def _row_groups(file: Path, source: str, size: int) -> Iterator[Block]:
    """Row groups are Parquet's own units of reading; neighbours are joined up to `size` bytes."""
    about = _parquet(file).metadata
    if not about.num_rows:
        raise CourseError(f"{file} is empty. Remove it, or list it as an opt-out.")
    begin = end = held = 0
    for group in range(about.num_row_groups):
        facts = about.row_group(group)
        here = sum(facts.column(i).total_compressed_size for i in range(facts.num_columns))
        if held and held + here > size:
            yield Block(source, begin, end, held)
            begin, held = end, 0
        end, held = end + facts.num_rows, held + here
    yield Block(source, begin, end, held)


def _rows(file: Path, block: Block, reading: Reading) -> Iterator[tuple[int, Any]]:
    """Rows of the row groups within the block; lengths are looked at before any text is copied."""
    import pyarrow
    import pyarrow.compute

    opened = _parquet(file)
    wanted = {reading.field, "licence", "license", "url"}
    columns = [name for name in opened.schema_arrow.names if name in wanted]
    if reading.field not in columns:
        raise CourseError(f"{file} has no column '{reading.field}'. {others(opened.schema_arrow.names)}")
    row = 0
    try:
        for group in range(opened.metadata.num_row_groups):
            rows = opened.metadata.row_group(group).num_rows
            if block.begin <= row < block.end:
                at = row
                for batch in opened.iter_batches(64, row_groups=[group], columns=columns):
                    kind = batch.schema.field(reading.field).type
                    if pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind):
                        lengths = pyarrow.compute.binary_length(batch.column(reading.field)).to_pylist()
                        for i, length in enumerate(lengths):
                            if (length or 0) > reading.largest:
                                raise too_large(file, at + i, reading)
                    yield from enumerate(batch.to_pylist(), at)
                    at += batch.num_rows
            row += rows
    except (pyarrow.ArrowException, OSError) as error:
        raise _not_parquet(file, error) from None
    except UnicodeDecodeError:
        raise CourseError(f"{file} holds text that is not UTF-8. Write it again from its source.") from None
