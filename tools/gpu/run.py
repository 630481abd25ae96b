"""Run the GPU road of every lesson on one CUDA or ROCm device, and record what it gave: `make gpu`.

`parts` has what is measured. Each part runs in a process of its own, under a time limit: what one of them
breaks, the device's state included, stays with it. The record is written anew after each part.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import json
import math
import os
import platform
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import torch

from scaleup.computer.torch_probe import reason, run_together
from scaleup.errors import CourseError
from scaleup.files import write_whole
from scaleup.measure import recorded
from scaleup.paths import root
from scaleup.words import count

from ..progress import Progress
from . import page
from .device import Device
from .parts import PARTS
from .work import FULL, QUICK, attempt, told

LIMIT = 470  # seconds for all parts together: under eight minutes
ANSWER = "the part's answer: "
NOT_RUN = {"failed": "The run ended before this part."}


def tidy(value: Any) -> Any:
    """Numbers with five digits; None for what JSON has no number for."""
    if isinstance(value, dict):
        return {str(key): tidy(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [tidy(each) for each in value]
    if isinstance(value, float):
        return float(f"{value:.5g}") if math.isfinite(value) else None
    return value


def answer(name: str, kind: str, quick: bool) -> None:
    """Runs in the part's own process: print what it found, or why it found nothing."""
    found = attempt(lambda: PARTS[name].call(Device(kind), QUICK if quick else FULL))
    print(ANSWER + json.dumps(tidy(found)), flush=True)


def ask(name: str, kind: str, quick: bool, seconds: float) -> dict[str, Any]:
    """What a part found, from a process of its own that has `seconds`."""
    code = f"from tools.gpu.run import answer; answer({name!r}, {kind!r}, {quick!r})"
    paths = [str(root()), str(root() / "src"), os.environ.get("PYTHONPATH", "")]
    start = time.monotonic()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as cache:
        environment = {
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            "TORCHINDUCTOR_CACHE_DIR": f"{cache}/inductor",  # empty, so that compiling is timed, not finding
            "TRITON_CACHE_DIR": f"{cache}/triton",
        }
        [ended] = run_together(sys.executable, code, [environment], seconds)
    answers = [line for line in ended.out.splitlines() if line.startswith(ANSWER)]
    if answers:
        found = json.loads(answers[-1].removeprefix(ANSWER))
    elif ended.status is None:
        found = {"failed": f"It gave no result within {count(round(seconds), 'second')}."}
    else:
        found = {"failed": f"Its process failed: {told(reason(ended))}."}
    return found | {"seconds": round(time.monotonic() - start, 1)}


def measure_all(kind: str, quick: bool, folder: Path, progress: Progress) -> tuple[Path, dict[str, Any]]:
    """Ask every part; the file that holds the record, and the record.

    Raises CourseError, with nothing written, where there is no device.
    """
    begun = time.monotonic()
    progress.part("device")
    facts = ask("device", kind, quick, PARTS["device"].seconds)
    if "failed" in facts:
        raise CourseError(facts["failed"])
    progress.tick()
    del facts["seconds"]
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):  # where it is only on PYTHONPATH
        versions["scaleup"] = importlib.metadata.version("scaleup")
    versions |= facts.pop("versions", {})
    parts = {name: NOT_RUN for name in PARTS if name != "device"}
    record = {"date": date.today().isoformat(), **facts, "versions": versions, "parts": parts}
    card = re.sub(r"[^a-z0-9]+", "-", record["card"].lower()).strip("-")
    file = folder / f"{record['date']}-{card}.json"
    for name in parts:
        left = LIMIT - (time.monotonic() - begun)
        if left < 5:
            parts[name] = {"failed": "No time was left for it."}
        else:
            progress.part(name)
            parts[name] = ask(name, kind, quick, min(PARTS[name].seconds, left))
            progress.tick()
        record["seconds"] = round(time.monotonic() - begun, 1)
        write_whole(file, json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    return file, record


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.gpu", description="Measure the course on a GPU.")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to try it out; needs --out")
    parser.add_argument("--out", type=Path, help="folder for the record (default: data/measured)")
    chosen = parser.parse_args(arguments)
    if chosen.quick and not chosen.out:
        parser.error("--quick needs --out FOLDER: its numbers are not for the book")
    progress = Progress(len(PARTS), "part")
    try:
        file, record = measure_all("cuda", chosen.quick, chosen.out or recorded.folder(), progress)
    except CourseError as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        progress.close()
    if not chosen.out:
        page.main()
    for name, found in record["parts"].items():
        if "failed" in found:
            print(f"{name}: {found['failed']}")
    print(f"{count(record['seconds'], 'second')}. Wrote {file}")
    print("How to send it is in book/reference/measured-on-a-gpu.md")
    return 0
