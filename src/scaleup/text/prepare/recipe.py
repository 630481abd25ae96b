"""A recipe: everything that decides which bytes come out of a corpus, and nothing that does not.

How many workers there are, where they run and how often they were interrupted is no part of it.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

from ...errors import CourseError
from . import languages
from .documents import MIB, UNKNOWN, Reading
from .filters import RULES, Rule


@dataclass(frozen=True)
class Recipe:
    """How a folder of texts becomes token shards."""

    tokenizer: Path | None = None  # a tokenizer.json; None takes the course's own
    end: str | None = None  # the token that closes a document; None takes the tokenizer's usual one
    languages: tuple[str, ...] = ()  # the only ones to keep, such as ("de", "fr"); none: keep all
    threshold: float | None = 0.8  # texts at least this similar to an earlier one go; None keeps them
    rules: Mapping[str, Rule] = field(default_factory=lambda: dict(RULES))
    scrub: bool = True  # replace what looks like personal data
    identify: bool = True  # find out each document's language
    opt_out: Path | None = None  # a list of sources, addresses and hashes to leave out
    validation: int = 100  # one document in so many is held out, chosen by its own text; 0: none
    licence: str = UNKNOWN  # of documents that bring none
    field: str = "text"  # of a JSON record or a Parquet file, where the text is
    largest: int = 4 * MIB  # bytes; a larger document ends the preparing with a sentence
    partition: int = 32 * MIB  # bytes on disk that one task works on; more for a corpus of over 100 GB
    shard: int = 2**26  # tokens after which a new shard begins
    skip_unreadable: bool = False  # leave out what follows damage in a file and say so, instead of ending

    def __post_init__(self) -> None:
        """Raises CourseError for values that cannot be meant."""
        if self.threshold is not None and not 0 < self.threshold <= 1:
            raise CourseError(f"A similarity is more than 0 and at most 1, and {self.threshold:g} is not.")
        for name in ("largest", "partition", "shard"):
            if getattr(self, name) < 1:
                raise CourseError(f"The recipe's '{name}' has to be at least 1.")
        if self.validation < 0:
            raise CourseError("The recipe's 'validation' is one document in so many, or 0 for none.")
        if self.languages and not self.identify:
            raise CourseError("To keep some languages only, the recipe has to identify them.")
        if self.languages and (strange := set(self.languages) - set(languages.known())):
            raise CourseError(f"No language has the code '{min(strange)}'. The codes are those of ISO 639-1, "
                              "such as de, en, fr.")  # fmt: skip

    @property
    def reading(self) -> Reading:
        return Reading(self.field, self.largest, self.licence)

    def facts(self) -> dict:
        """The recipe as it is written into the manifest: files and functions by name and checksum."""
        found: dict = {one.name: getattr(self, one.name) for one in fields(self)}
        found["languages"] = sorted(self.languages)
        found["rules"] = {name: checksum_of_code(rule) for name, rule in self.rules.items()}
        for name in ("tokenizer", "opt_out"):
            if found[name] is not None:
                found[name] = {"name": Path(found[name]).name, "sha256": checksum_of_file(Path(found[name]))}
        return found


def checksum_of_code(rule: Rule) -> str:
    """SHA-256 of a function's source, or of its byte code where the source is not to be had."""
    try:
        code = inspect.getsource(rule).encode()
    except (OSError, TypeError):
        compiled = getattr(rule, "__code__", None)
        code = compiled.co_code + repr(compiled.co_consts).encode() if compiled else repr(rule).encode()
    return hashlib.sha256(code).hexdigest()


def checksum_of_file(file: Path) -> str:
    """SHA-256 of a file's bytes. Raises CourseError where it cannot be read."""
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise CourseError(f"{file} cannot be read: {error.strerror}.") from None
