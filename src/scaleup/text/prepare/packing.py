"""The last step of a preparing: tokenise the documents of a partition that stay, and write shards.

Documents follow each other without padding, each closed by the end-of-text token. Beside the two files of a
shard, `NAME.jsonl` has a line for each of its documents: where it comes from, its licence and its checksum.
Whoever asks later that a text be taken out can so be given the shard and the place in it.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from ...errors import CourseError
from ..shards import smallest_type, write_shard
from . import duplicates
from .cleaning import Tally
from .comparing import repeats_of
from .documents import Document
from .steps import Preparation, batches, task, writing

ENDS = ("<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>", "<|im_end|>", "[SEP]")


@functools.lru_cache(maxsize=2)
def load_tokenizer(file: Path) -> Tokenizer:
    """Raises CourseError where the file is no tokenizer.json."""
    try:
        return Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises no narrower one
        raise CourseError(f"{file} cannot be read as a tokenizer.json ({' '.join(str(error).split())[:120]})."
                          ) from None  # fmt: skip


def end_of_text(tokenizer: Tokenizer, name: str | None) -> int:
    """The id of the token that closes a document: `name`, or the first usual one that the tokenizer has."""
    found = [tokenizer.token_to_id(token) for token in ([name] if name else ENDS)]
    known = [number for number in found if number is not None]
    if not known:
        raise CourseError("The tokenizer has no end-of-text token "
                          f"{name or 'such as ' + ', '.join(ENDS)}. Name its own with --end.")  # fmt: skip
    return known[0]


class Split:
    """The shards of one split ("train", "valid") of one partition, written as they fill."""

    def __init__(self, prep: Preparation, name: str, partition: int, dtype: type) -> None:
        self.prep, self.name, self.partition, self.dtype = prep, name, partition, dtype
        self.documents: list[np.ndarray] = []
        self.lines: list[dict] = []
        self.tokens = 0
        self.shards: list[dict] = []

    def add(self, ids: np.ndarray, about: dict) -> None:
        self.documents.append(ids)
        self.lines.append(about | {"tokens": len(ids)})
        self.tokens += len(ids)
        if self.tokens >= self.prep.recipe.shard:
            self.write()

    def write(self) -> None:
        if not self.documents:
            return
        stem = self.prep.work / "shards" / f"{self.name}-{self.partition:05d}-{len(self.shards):03d}"
        facts = {"split": self.name, **write_shard(stem, self.documents, self.dtype)}
        raw = b"".join(json.dumps(line, ensure_ascii=False).encode() + b"\n" for line in self.lines)
        with writing(stem.with_name(f"{stem.name}.jsonl")) as stream:
            stream.write(raw)
        facts["sha256"]["jsonl"] = hashlib.sha256(raw).hexdigest()
        for name, key in (("licences", "licence"), ("languages", "language")):
            tokens: Counter = Counter()
            for line in self.lines:
                tokens[line[key] or "not asked"] += line["tokens"]
            facts[name] = dict(sorted(tokens.items()))
        facts["sources"] = len({line["source"] for line in self.lines})
        self.shards.append(facts)
        self.documents, self.lines, self.tokens = [], [], 0


@task
def pack(prep: Preparation, number: int) -> None:
    """Write the shards of one partition, unless they are there."""
    if prep.facts("pack", number):
        return
    tokenizer = load_tokenizer(prep.work / "tokenizer.json")
    end = end_of_text(tokenizer, prep.recipe.end)
    dtype = smallest_type(tokenizer.get_vocab_size())
    splits = [Split(prep, name, number, dtype) for name in ("train", "valid")]
    tally = Tally()
    for batch in batches(staying(prep, number, tally), lambda record: len(record["text"])):
        texts = [record.pop("text") for record in batch]
        for text, record, encoded in zip(
            texts, batch, tokenizer.encode_batch_fast(texts, add_special_tokens=False), strict=True
        ):
            split = splits[is_held_out(text, prep.recipe.validation)]
            split.add(np.array([*encoded.ids, end], dtype), record)
    for split in splits:
        split.write()
    facts = {"removed": tally.removed, "samples": tally.samples}
    prep.finish("pack", number, facts | {"shards": [shard for split in splits for shard in split.shards]})


def is_held_out(text: str, one_in: int) -> bool:
    """Chosen by the text alone: wherever and whenever it is prepared, it is in the same split."""
    return bool(one_in) and duplicates.exact(text)[1] % one_in == 0


def staying(prep: Preparation, number: int, tally: Tally) -> Iterator[dict]:
    """The cleaned documents of a partition that repeat no earlier one, as records."""
    repeats = repeats_of(prep, number)
    with prep.file("clean", number, ".jsonl").open("rb") as stream:
        for place, line in enumerate(stream):
            record = json.loads(line)
            if place not in repeats:
                yield record
                continue
            rule = "near duplicate" if repeats[place][1] else "duplicate"
            tally.remove(rule, Document(record["text"], record["source"], record["position"]), record["text"])
