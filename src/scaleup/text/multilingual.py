"""The raw folder of the lesson on preparing data: real texts in several languages from installed packages.

The interface texts of JupyterLab in six languages (language packs, BSD-3-Clause) and the explanations inside
SymPy's modules (English prose, BSD-3-Clause). `data/corpus.yml` carries versions, licences and checksums.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Planted:
    """What was put into the raw folder by hand, because such things may not be taken from real people."""

    personal_data: int  # documents with invented addresses and numbers
    near_duplicates: int  # documents that repeat another with a few words changed
    opted_out: str  # the address whose documents the lesson's list of opt-outs leaves out


def raw_folder(folder: Path) -> Planted:
    """Write the lesson's raw texts below `folder`: text files, JSON lines and packed JSON lines.

    The same bytes on every platform. Raises CourseError where a package is missing or of another version.
    """
    raise NotImplementedError
