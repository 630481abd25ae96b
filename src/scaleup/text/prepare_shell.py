"""`scaleup prepare FOLDER --out FOLDER2`: the shell's side of preparing, and its report."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..errors import CourseError
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
    print(f"The shards and manifest.json are in {arguments.out}")


def recipe(arguments: argparse.Namespace) -> Recipe:
    return Recipe(
        tokenizer=Path(arguments.tokenizer) if arguments.tokenizer else None,
        end=arguments.end,
        languages=tuple(filter(None, (arguments.languages or "").split(","))),
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
        lines.append(f"left out: {source}. {said}")
    if manifest["not_read"]:
        lines.append(f"not read, because of their kind: {len(manifest['not_read']):,} files, "
                     f"such as {manifest['not_read'][0]}")  # fmt: skip
    return "\n".join(lines)
