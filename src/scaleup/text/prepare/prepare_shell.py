"""`scaleup prepare FOLDER --out FOLDER2`: the shell's side of preparing, and its report."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from ...errors import CourseError
from .documents import MIB
from .preparing import prepare
from .recipe import Recipe


def main(arguments: argparse.Namespace) -> None:
    """Prepare and print what was kept, what was removed and where it is."""
    if not arguments.folder or not arguments.out:
        raise CourseError("Name both folders: scaleup prepare TEXTS --out SHARDS.")
    if arguments.workers is not None and arguments.workers < 1:
        raise CourseError("At least one worker is needed.")
    manifest = prepare(
        Path(arguments.folder), Path(arguments.out), recipe(arguments), workers=arguments.workers
    )
    print(report(manifest))
    if manifest["shards"]:
        print(f"The shards and manifest.json are in {arguments.out}")
    else:
        print(
            f"No text is left, so there are no shards. What removed them is in {arguments.out}/manifest.json"
        )


def recipe(arguments: argparse.Namespace) -> Recipe:
    """The options as a recipe. Raises CourseError for values that cannot be meant."""
    for name in ("largest", "partition"):
        if not math.isfinite(getattr(arguments, name)):
            raise CourseError(f"--{name} is a number of MiB, such as 4.")
    return Recipe(
        tokenizer=Path(arguments.tokenizer) if arguments.tokenizer else None,
        end=arguments.end,
        languages=tuple(filter(None, map(str.strip, (arguments.languages or "").split(",")))),
        threshold=arguments.similar or None,
        scrub=not arguments.keep_personal_data,
        opt_out=Path(arguments.opt_out) if arguments.opt_out else None,
        validation=arguments.validation,
        licence=arguments.licence,
        field=arguments.field,
        largest=int(arguments.largest * MIB),
        partition=int(arguments.partition * MIB),
        skip_unreadable=arguments.skip_unreadable,
    )


def report(manifest: dict) -> str:
    """A few lines for people; all of it is in the manifest."""
    documents, tokens = manifest["documents"], manifest["tokens"]
    lines = [f"{documents['read']:,} documents read, {documents['kept']:,} kept: "
             f"{tokens['train']:,} training and {tokens['valid']:,} validation tokens."]  # fmt: skip
    for name, told in (("removed", documents["removed"]), ("blotted out", manifest["scrubbed"])):
        if told:
            lines.append(
                f"{name}: " + ", ".join(f"{count:,} {rule.replace('_', ' ')}" for rule, count in told.items())
            )
    for one in manifest["opt_outs"]:
        if not one["files"] and not one["documents"]:
            lines.append(f"The opt-out '{one['line']}' fits nothing: is it spelt as the sources are?")
    for source, said in manifest["unreadable"].items():
        lines.append(f"left out, or a part of it: {source}. {said}")
    linked = [name for name in manifest["not_read"] if name.endswith("/")]
    lines += [
        f"{name[:-1]} is a link to a folder and is not read: name the folder itself." for name in linked
    ]
    if other := [name for name in manifest["not_read"] if name not in linked]:
        lines.append(f"not read, because of their kind: {len(other):,} files, such as {other[0]}")
    return "\n".join(lines)
