"""The first step of a preparing: read a partition, leave out what goes by rule, scrub, and note keys.

Its files are the documents that stay (`.jsonl`), the hash and the MinHash of each (`.hashes`,
`.signatures`), the keys by which documents meet, sorted by bucket (`.keys`, `.offsets`), and the counts
(`.json`), which are written last.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from ...errors import CourseError
from ...words import count as count_of
from . import duplicates, languages
from .documents import PARQUET, Block, Document, ends, read
from .filters import first_reason, scrub, tidy
from .optouts import OptOuts
from .recipe import checksum_of_file
from .steps import Preparation, batches, save_array, task, writing

KEY = np.dtype([("key", "<u8"), ("index", "<u4"), ("near", "?")])
SAMPLES = 3  # of what each rule removed, from each partition


class Tally:
    """What happened to the documents of one partition."""

    def __init__(self) -> None:
        self.read = self.read_bytes = self.kept = 0
        self.removed: Counter = Counter()
        self.scrubbed: Counter = Counter()
        self.opted_out: Counter = Counter()
        self.samples: dict[str, list[dict]] = {}
        self.sources: dict[str, dict] = {}
        self.unreadable: dict[str, str] = {}

    def remove(self, rule: str, document: Document, text: str) -> None:
        """Count it, and keep the beginning of the first few: `text` is "" where none may be shown."""
        self.removed[rule] += 1
        seen = self.samples.setdefault(rule, [])
        if len(seen) < SAMPLES:
            begin = {"begin": text[:120]} if text else {}
            seen.append({"source": document.source, "position": document.position, **begin})


@task
def clean(prep: Preparation, number: int, blocks: Sequence[Block]) -> None:
    """Carry out the step for one partition, unless its result is there."""
    if prep.facts("clean", number):
        return
    tally, hashes, keys = Tally(), [], []
    with (
        writing(prep.file("clean", number, ".jsonl")) as texts,
        writing(prep.file("clean", number, ".signatures")) as signatures,
    ):
        for batch in batches(kept(prep, blocks, tally), lambda found: len(found[0].text)):
            bodies = [document.text for document, _ in batch]
            first = len(hashes)
            hashes += [duplicates.exact(body) for body in bodies]
            if prep.recipe.threshold is not None:
                found = duplicates.signatures(bodies)
                signatures.write(found.tobytes())
                keys.append(near_keys(found, first, prep.recipe.threshold))
            for document, checksum in batch:
                texts.write(line(document, checksum))
        tally.kept = len(hashes)
    table = np.array(hashes, dtype=np.uint64).reshape(-1, 2)
    exact = np.zeros(len(table), KEY)
    exact["key"], exact["index"] = table[:, 0], np.arange(len(table))
    by_bucket(prep, number, np.concatenate([exact, *keys]))
    save_array(prep.file("clean", number, ".hashes"), table)
    prep.finish("clean", number, vars(tally))


def kept(prep: Preparation, blocks: Sequence[Block], tally: Tally) -> Iterator[tuple[Document, str]]:
    """(cleaned document, checksum of its text as it was) of every document that stays."""
    leave_out = OptOuts(prep.opt_outs)
    for block in blocks:
        facts = tally.sources.setdefault(block.source, {"bytes": 0, "documents": 0})
        before = facts["documents"]
        try:
            if block.begin == 0:
                file = prep.folder / block.source
                facts |= {"bytes": file.stat().st_size, "sha256": checksum_of_file(file)}
            for document in read(prep.folder, block, prep.recipe.reading):
                tally.read += 1
                tally.read_bytes += len(document.text.encode("utf-8"))
                facts["documents"] += 1
                if found := stays(prep, document, leave_out, tally):
                    yield found
        except CourseError as error:
            if not prep.recipe.skip_unreadable:
                raise
            count, whole = facts["documents"] - before, block.begin == 0 and block.end >= facts["bytes"]
            said = str(error) if whole and not count else f"{error} {partly(count, block)}"
            tally.unreadable[block.source] = " ".join(
                filter(None, [tally.unreadable.get(block.source), said])
            )


def partly(count: int, block: Block) -> str:
    """What is not left out of a file that cannot be read at one place: the rest of one block is."""
    unit = "row" if ends(block.source, PARQUET) else "byte"
    rest = f"What follows up to {unit} {block.end:,}" if not ends(block.source, ".gz") else "What follows"
    are = "is" if count == 1 else "are"
    return f"{rest} is left out, and {count_of(count, 'document')} before it {are} read."


def stays(
    prep: Preparation, document: Document, leave_out: OptOuts, tally: Tally
) -> tuple[Document, str] | None:
    """The document as it is kept, or None after counting why it goes."""
    if line := leave_out.line_for(document):
        tally.opted_out[line] += 1
        return tally.remove("opted out", document, "")
    checksum = hashlib.sha256(document.text.encode("utf-8")).hexdigest()
    text = tidy(document.text)
    if prep.recipe.scrub:
        text, found = scrub(text)
        tally.scrubbed += found
    if rule := first_reason(text, prep.recipe.rules):
        return tally.remove(rule, document, text)
    language = languages.identify(text)[0] if prep.recipe.identify else ""
    if prep.recipe.languages and language not in prep.recipe.languages:
        return tally.remove("other language", document, text)
    return replace(document, text=text, language=language), checksum


def line(document: Document, checksum: str) -> bytes:
    names = ("text", "source", "position", "licence", "url", "language")
    record = {name: getattr(document, name) for name in names} | {"sha256": checksum}
    return json.dumps(record, ensure_ascii=False).encode("utf-8") + b"\n"


def near_keys(signatures: np.ndarray, first: int, threshold: float) -> np.ndarray:
    """Keys of all bands of some documents, the first of which has the index `first`."""
    bands, rows = duplicates.bands_for(threshold)
    found = np.zeros(len(signatures) * bands, KEY)
    found["key"] = duplicates.band_keys(signatures, bands, rows).ravel()
    found["index"] = np.repeat(np.arange(first, first + len(signatures)), bands)
    found["near"] = True
    return found


def by_bucket(prep: Preparation, number: int, keys: np.ndarray) -> None:
    """Sort keys by their bucket, and note where each bucket begins: so a task reads only its own share."""
    bucket = keys["key"] % np.uint64(prep.buckets)
    order = np.argsort(bucket, kind="stable")
    offsets = np.searchsorted(bucket[order], np.arange(prep.buckets + 1))
    save_array(prep.file("clean", number, ".keys"), keys[order])
    save_array(prep.file("clean", number, ".offsets"), offsets.astype(np.int64))
