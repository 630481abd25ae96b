"""Mends a job script where the mend is certain: the lines that remarks know a better text for."""

from __future__ import annotations

from pathlib import Path

from ..errors import CourseError
from ..machines import Machine
from .reading import Reading
from .remark_table import HEADER, REFUSED
from .remarks import Remark, remarks
from .script_text import BYTE_ORDER_MARK

MOST = 50  # mends of one script


def mended(text: str, machine: Machine) -> tuple[str, list[Remark]]:
    """The better script, and the remarks that were mended. Each mend is looked at again from the start."""
    text = text.removeprefix(BYTE_ORDER_MARK)
    unix = text.replace("\r\n", "\n")
    done: list[Remark] = []
    reading = Reading(unix, machine)
    while len(done) < MOST and (todo := _next(reading, done)):
        lines = reading.script.lines
        new = [todo.mend.get(number, line) for number, line in enumerate(lines, start=1)]
        text = "\n".join(line for line in new if line is not None) + "\n"
        done.append(todo)
        reading = Reading(text, machine)
    return reading.text, done


def _next(reading: Reading, done: list[Remark]) -> Remark | None:
    """The first that can be mended; what Slurm does not read comes first, since it changes the request."""
    tried = {(remark.name, remark.sentence) for remark in done}
    for rules in (HEADER, REFUSED):
        for remark in remarks(reading, rules):
            changes = any(
                text is None or text != reading.script.lines[line - 1] for line, text in remark.mend.items()
            )
            if changes and (remark.name, remark.sentence) not in tried:
                return remark
    return None


def target(script: Path) -> Path:
    """A new file beside the script: job.sh gives job.mended.sh."""
    return script.with_name(f"{script.stem}.mended{script.suffix}")


def write(script: Path, text: str, machine: Machine) -> tuple[Path, str, list[Remark]] | None:
    """Write the mended script into a new file; None where there is nothing to mend."""
    better, done = mended(text, machine)
    if better == text:
        return None
    place = target(script)
    try:
        with open(place, "x", encoding="utf-8", newline="") as file:
            file.write(better)
    except FileExistsError:
        raise CourseError(f"{place} is there already. Remove it, then mend again.") from None
    except OSError as error:
        raise CourseError(f"{place} cannot be written: {error.strerror}.") from None
    place.chmod(script.stat().st_mode & 0o777)
    return place, better, done
