"""Token shards on disk, in the indexed format of Megatron-LM: `NAME.bin` and `NAME.idx`.

NAME.bin is nothing but token ids, one document after another, so `np.memmap` reads it without any library.
NAME.idx says where each document begins: nine letters, the version, a code for the type of the ids, two
counts, then lengths (int32), first bytes (int64) and the documents' boundaries (int64), all little-endian.
Format: megatron/core/datasets/indexed_dataset.py of NVIDIA/Megatron-LM, version 1 (read on 2026-11-27).

A folder of shards has a `manifest.json`, written last: what it does not name is not published.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import CourseError
from ..files import write_whole

LETTERS = b"MMIDIDX\x00\x00"
HEADER = struct.Struct("<9sQBQQ")  # letters, version, code of the type, documents, boundaries
CODES = {1: np.uint8, 2: np.int8, 3: np.int16, 4: np.int32, 5: np.int64, 8: np.uint16}
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Shard:
    """One shard, read through memory maps: opening it costs nothing, whatever its size."""

    tokens: np.ndarray  # (tokens,), of the type that the index names
    lengths: np.ndarray  # (documents,) int32, in tokens
    starts: np.ndarray  # (documents,) int64, in tokens

    def __len__(self) -> int:
        return len(self.lengths)

    def document(self, i: int) -> np.ndarray:
        """The token ids of document i: (length,), a view without a copy."""
        return self.tokens[self.starts[i] : self.starts[i] + self.lengths[i]]


def smallest_type(vocab_size: int) -> type:
    """uint16 holds ids below 65,536; a larger vocabulary needs int32."""
    return np.uint16 if vocab_size <= 2**16 else np.int32


def write_shard(stem: Path, documents: Sequence[np.ndarray], dtype: type) -> dict:
    """Write `stem`.bin and `stem`.idx, each whole or not at all, and return the shard's line of the manifest.

    `documents` are arrays of token ids, each (length,). The .idx comes second: without one there is no shard.
    """
    lengths = np.array([len(ids) for ids in documents], dtype=np.int32)
    code = next(code for code, known in CODES.items() if known is dtype)
    ids = np.concatenate([np.empty(0, dtype), *documents]).astype(dtype, casting="same_kind").tobytes()
    starts = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])[:-1] * np.dtype(dtype).itemsize
    boundaries = np.arange(len(lengths) + 1, dtype=np.int64)
    header = HEADER.pack(LETTERS, 1, code, len(lengths), len(boundaries))
    index = header + lengths.tobytes() + starts.astype(np.int64).tobytes() + boundaries.tobytes()
    write_whole(stem.with_name(f"{stem.name}.bin"), ids)
    write_whole(stem.with_name(f"{stem.name}.idx"), index)
    return {
        "name": stem.name,
        "documents": len(lengths),
        "tokens": int(lengths.sum()),
        "dtype": np.dtype(dtype).name,
        "sha256": {"bin": hashlib.sha256(ids).hexdigest(), "idx": hashlib.sha256(index).hexdigest()},
    }


def open_shard(stem: Path) -> Shard:
    """Open `stem`.bin and `stem`.idx. Raises CourseError if one is missing, cut off or of another format."""
    ids, index = (stem.with_name(f"{stem.name}.{kind}") for kind in ("bin", "idx"))
    for file in (ids, index):
        if not file.exists():
            raise CourseError(f"The shard has no {file.name} in {file.parent}. Prepare it again.")
    raw = index.read_bytes() if index.stat().st_size < HEADER.size else np.memmap(index, np.uint8, "r")
    if len(raw) < HEADER.size or bytes(raw[: len(LETTERS)]) != LETTERS:
        raise CourseError(f"{index} is not an index of token shards (MMIDIDX).")
    _, version, code, documents, boundaries = HEADER.unpack(bytes(raw[: HEADER.size]))
    if version != 1 or code not in CODES:
        raise CourseError(f"{index} is of version {version} with type code {code}; version 1 with one of "
                          f"{sorted(CODES)} can be read here.")  # fmt: skip
    if len(raw) < HEADER.size + 12 * documents + 8 * boundaries:
        raise CourseError(f"{index} is cut off. Prepare the shard again, or copy it again.")
    dtype = np.dtype(CODES[code])
    lengths = np.frombuffer(raw, np.int32, documents, HEADER.size)
    starts = np.frombuffer(raw, np.int64, documents, HEADER.size + 4 * documents)
    end = int(starts[-1]) + int(lengths[-1]) * dtype.itemsize if documents else 0
    if ids.stat().st_size != end:
        raise CourseError(f"{ids} has {ids.stat().st_size:,} bytes, and its index says {end:,}. "
                          "Prepare the shard again, or copy it again.")  # fmt: skip
    tokens = np.memmap(ids, dtype, "r") if end else np.empty(0, dtype)
    return Shard(tokens, lengths, starts // dtype.itemsize)


def read_manifest(folder: Path) -> dict:
    """What `manifest.json` says of a folder of shards. Raises CourseError where it is missing or damaged."""
    file = folder / MANIFEST
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CourseError(f"{folder} has no {MANIFEST}: the preparing has not finished, or it is another "
                          "folder.") from None  # fmt: skip
    except ValueError:
        raise CourseError(f"{file} is damaged. Prepare the shards again.") from None
    if not isinstance(found, dict) or not isinstance(found.get("shards"), list):
        raise CourseError(f"{file} names no shards. Prepare them again.")
    return found


def verify(folder: Path) -> None:
    """Compare every shard with the manifest's checksums. Raises CourseError at the first difference."""
    for shard in read_manifest(folder)["shards"]:
        open_shard(folder / shard["name"])
        for kind, expected in shard["sha256"].items():
            file = folder / f"{shard['name']}.{kind}"
            with file.open("rb") as bytes_of:
                if hashlib.file_digest(bytes_of, "sha256").hexdigest() != expected:
                    raise CourseError(f"{file} is not what {MANIFEST} says: its checksum differs. "
                                      "Prepare the shard again, or copy it again.")  # fmt: skip
