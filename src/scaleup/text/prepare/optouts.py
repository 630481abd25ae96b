"""Who asked that their texts are left out: a list of sources, addresses and hashes.

A line is a pattern of paths below the corpus folder (`blog/2019-*`), a pattern of the addresses that records
bring in their field `url` (`https://example.org/*`), or `sha256:` and the checksum of one text in UTF-8, as
`sha256sum` prints it for a file. What follows `#` is a remark.
"""

from __future__ import annotations

import fnmatch
import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from ...errors import CourseError
from .documents import Document


def read_list(file: Path | None) -> list[str]:
    """The list's lines without remarks, in order, each once. Raises CourseError where one cannot be meant."""
    if file is None:
        return []
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise CourseError(f"The list of opt-outs {file} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise CourseError(f"The list of opt-outs {file} is not UTF-8 text.") from None
    lines = [re.split(r"(?:^|\s)#", line)[0].strip() for line in text.splitlines()]
    for line in lines:
        if line.startswith("sha256:") and not re.fullmatch(r"sha256:[0-9a-f]{64}", line):
            raise CourseError(f"{file} has the line '{line[:80]}': a SHA-256 has 64 digits from 0 to f.")
    return list(dict.fromkeys(filter(None, lines)))


class OptOuts:
    """Asks of each file and each document whether a line of the list leaves it out."""

    def __init__(self, lines: Sequence[str]) -> None:
        self.hashes = {line for line in lines if line.startswith("sha256:")}
        self.patterns = [line for line in lines if line not in self.hashes]

    def pattern_for(self, name: str) -> str | None:
        """The first pattern that fits a path or an address, or None. A file that one fits is never opened."""
        return next((pattern for pattern in self.patterns if fnmatch.fnmatchcase(name, pattern)), None)

    def line_for(self, document: Document) -> str | None:
        """The line that leaves this document out, or None."""
        if document.url and (pattern := self.pattern_for(document.url)):
            return pattern
        if self.hashes:
            name = f"sha256:{hashlib.sha256(document.text.encode('utf-8')).hexdigest()}"
            return name if name in self.hashes else None
        return None
