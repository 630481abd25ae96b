"""The end of a preparing: everything that was counted becomes manifest.json, which is written last.

A folder with a manifest is complete; one without is not published, whatever else it holds.
"""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from pathlib import Path

from ...files import write_whole
from ..shards import MANIFEST, open_shard
from .cleaning import SAMPLES
from .documents import LICENCES
from .packing import end_of_text, load_tokenizer
from .recipe import checksum_of_file
from .steps import Preparation, writing

FORMAT = "scaleup-shards-1"
KINDS = ("bin", "idx", "jsonl")


class Sources:
    """Writes `sources.jsonl`, a line for each file: bytes, SHA-256, documents. Parts of a file become one."""

    def __init__(self, stream) -> None:
        self.stream, self.count, self.open = stream, 0, {}

    def add(self, source: str, facts: dict) -> None:
        if self.open.get("source") == source:
            self.open["documents"] += facts["documents"]
            return
        self.close()
        self.open = {"source": source, **facts}

    def close(self) -> None:
        if self.open:
            self.stream.write(json.dumps(self.open, ensure_ascii=False).encode() + b"\n")
            self.count += 1


def publish(prep: Preparation, facts: dict, versions: dict, unread: dict) -> dict:
    """Move the shards to where they are found, write sources and manifest, remove what was between."""
    counts: Counter = Counter()
    totals = {name: Counter() for name in ("removed", "scrubbed", "opted_out")}
    samples: dict[str, list] = {}
    unreadable = dict(unread["unreadable"])
    shards: list[dict] = []
    with writing(prep.out / "sources.jsonl") as stream:
        sources = Sources(stream)
        for number in range(prep.partitions):
            cleaned, packed = prep.facts("clean", number), prep.facts("pack", number)
            for name in ("read", "read_bytes", "kept"):
                counts[name] += cleaned[name]
            for step in (cleaned, packed):
                for name, total in totals.items():
                    total.update(step.get(name, {}))
                for rule, found in step["samples"].items():
                    kept = samples.setdefault(rule, [])
                    kept += found[: SAMPLES - len(kept)]
            for source, said in cleaned["unreadable"].items():  # parts of a file lie in several partitions
                unreadable[source] = " ".join(filter(None, [unreadable.get(source), said]))
            for source, about in cleaned["sources"].items():
                sources.add(source, about)
            shards += packed["shards"]
        sources.close()
    publish_files(prep, shards)
    tokenizer = load_tokenizer(prep.out / "tokenizer.json")
    found = {
        "format": FORMAT,
        "recipe": facts,
        "versions": versions,
        "tokenizer": {
            "sha256": checksum_of_file(prep.out / "tokenizer.json"),
            "vocab_size": tokenizer.get_vocab_size(),
            "end_of_text": end_of_text(tokenizer, prep.recipe.end),
        },
        "documents": {
            "read": counts["read"],
            "kept": sum(shard["documents"] for shard in shards),
            "removed": dict(sorted(totals["removed"].items())),
        },
        "bytes": {"read": counts["read_bytes"]},
        "tokens": {
            split: sum(shard["tokens"] for shard in shards if shard["split"] == split)
            for split in ("train", "valid")
        },
        "scrubbed": dict(sorted(totals["scrubbed"].items())),
        "samples": dict(sorted(samples.items())),
        "licences": summed(shards, "licences"),
        "languages": summed(shards, "languages"),
        "opt_outs": [
            {"line": line, "files": unread["opted_out"].get(line, 0), "documents": totals["opted_out"][line]}
            for line in prep.opt_outs
        ],
        "sources": {"files": sources.count, "sha256": checksum_of_file(prep.out / "sources.jsonl")},
        "not_read": unread["others"],
        "unreadable": unreadable,
        "shards": shards,
    }
    write_whole(prep.out / MANIFEST, json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    clear(prep)
    return found


def publish_files(prep: Preparation, shards: list[dict]) -> None:
    """Give shards and tokenizer their places. A call that was killed here finds some of them moved."""
    write_whole(prep.out / "tokenizer.json", (prep.work / "tokenizer.json").read_bytes())
    if (prep.folder / LICENCES).exists():
        write_whole(prep.out / LICENCES, (prep.folder / LICENCES).read_bytes())
    for shard in shards:
        for kind in KINDS:
            name = f"{shard['name']}.{kind}"
            made = prep.work / "shards" / name
            if made.exists():
                os.replace(made, prep.out / name)
        open_shard(prep.out / shard["name"])


def summed(shards: list[dict], name: str) -> dict[str, int]:
    """{licence or language: tokens} of all shards."""
    total: Counter = Counter()
    for shard in shards:
        total.update(shard[name])
    return dict(sorted(total.items()))


def clear(prep: Preparation) -> None:
    """Remove what lay between; the recipe stays, so that a later call knows what this folder is."""
    for place in ("clean", "compare", "pack", "shards"):
        shutil.rmtree(prep.work / place, ignore_errors=True)
    Path(prep.work / "tokenizer.json").unlink(missing_ok=True)
