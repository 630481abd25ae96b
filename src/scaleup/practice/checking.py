"""`scaleup practice check`: ask about a script, print or write what comes of it."""

from __future__ import annotations

from pathlib import Path

from .. import machines
from ..errors import CourseError
from . import keeper, mending
from .validator import Validator, read
from .verdicts import Verdict, report


def main(script: Path, machine_id: str, as_json: bool = False, fix: bool = False, once: bool = False) -> int:
    """Returns 0 if the script is accepted, else 1; with `fix` of the mended one. `once` keeps no "
    "scheduler."""
    script = Path(script)
    text = read(script)
    machine = machines.machine(machine_id)
    if fix and (new := mending.write(script, text, machine)):
        script, text, done = new
        if not as_json:
            print(f"Mended in {script}:")
            print("\n".join(f"  line {remark.line}: {remark.sentence}" for remark in done))
    elif fix and not as_json:
        print("Nothing in it can be mended for certain.")
    verdict = judge(machine_id, text, script.resolve(), once)
    print(verdict.as_json(machine_id, script) if as_json else report(verdict, machine["name"].value))
    return 0 if verdict.accepted else 1


def judge(machine_id: str, text: str, script: Path, once: bool) -> Verdict:
    if once:
        with Validator(machine_id) as validator:
            return validator.judge(text, script)
    return keeper.ask(machine_id, text, script)


def kept_sentence() -> str:
    """What to say of schedulers that wait for the next check; empty if there are none."""
    try:
        waiting = keeper.kept()
    except (OSError, CourseError):
        return ""
    if not waiting:
        return ""
    names = ", ".join(waiting)
    return f"Ready for the next check of a script: {names}. 'down' ends them; so do ten idle minutes."
