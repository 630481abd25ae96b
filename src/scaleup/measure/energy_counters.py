"""Energy as the machine counts it: joules since some start, what is inside them and what is not.

`meters()` finds what this machine lets you read. No counter sees everything, so each says its `inside` and
its `outside`. Reading costs a file or a call; nothing here starts a process or needs a package.
"""

from __future__ import annotations

import ctypes
import functools
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..words import one_line

POWERCAP, CRAY = Path("/sys/class/powercap"), Path("/sys/cray/pm_counters")
BESIDES_PACKAGE = "devices, network, fans, power supplies, cooling"
BESIDES_DEVICE = "processor, memory, network, fans, cooling"
NVML, ROCM = "libnvidia-ml.so.1", "librocm_smi64.so"


@dataclass(frozen=True)
class Meter:
    """A counter: `read()` gives joules since some start, `wraps` joules after which it begins at 0 again.

    `source` names it, `inside` and `outside` say what it counts and what it misses.
    """

    source: str
    inside: str
    outside: str
    read: Callable[[], float]
    wraps: float = math.inf

    def since(self, before: float, now: float) -> float:
        """Joules between two readings, over at most one wrap. Read more often than it wraps."""
        return now - before if now >= before else now - before + self.wraps


def meters(powercap: Path = POWERCAP, cray: Path = CRAY) -> list[Meter]:
    """Every counter that may be read here, the one that sees most of the node first; often there is none."""
    found = [*_node(cray), *_packages(powercap)]
    for load in (_nvidia, _amd):
        try:
            found += load()
        except (OSError, AttributeError):  # no such library, or one without this call
            continue
    return found


def best(found: list[Meter]) -> list[Meter]:
    """The counters that may be added up: the node's alone, or else devices and packages side by side."""
    whole = [meter for meter in found if meter.inside.startswith("node")]
    return whole[:1] or found


def why_none(powercap: Path = POWERCAP, cray: Path = CRAY) -> str:
    """A sentence on what was looked for and why it cannot be read."""
    zones = _zones(powercap)
    if zones:
        rapl = f"{powercap} is there, but energy_uj may be read by root only"
    else:
        rapl = f"no {powercap}: a virtual machine does not show its host's counters"
    node = "" if cray.is_dir() else f"; no {cray}"
    return f"{rapl}{node}; neither {NVML} nor {ROCM} gives a device's energy"


# ---------------------------------------------------------------- the node, as HPE Cray EX counts it


def _node(folder: Path) -> list[Meter]:
    """`energy` in /sys/cray/pm_counters is in joules, with the unit and a time stamp behind the number."""
    try:
        _cray_joules(folder / "energy")
    except (OSError, ValueError):
        return []
    read = functools.partial(_cray_joules, folder / "energy")
    return [Meter("Cray pm_counters", "node: processor, memory, devices", "switches, storage, cooling", read)]


def _cray_joules(file: Path) -> float:
    return float(file.read_text().split()[0])


# ---------------------------------------------------------------- processors: RAPL


def _zones(folder: Path) -> list[Path]:
    """The zones of whole packages, and of DRAM where the processor counts it; no part of a package."""
    zones = []
    for zone in sorted(folder.glob("intel-rapl:*")) if folder.is_dir() else []:
        try:
            name = (zone / "name").read_text().strip()
        except OSError:
            continue
        if re.fullmatch(r"package-\d+|dram", name):
            zones.append(zone)
    return zones


def _packages(folder: Path) -> list[Meter]:
    """One meter a zone: `energy_uj` counts microjoules up to `max_energy_range_uj`, then from 0 again.

    AMD's processors show their packages under the same names. Many give no DRAM: its energy is then missing.
    """
    readable = []
    for zone in _zones(folder):
        try:
            _microjoules(zone / "energy_uj")
            wraps = _microjoules(zone / "max_energy_range_uj")
        except (OSError, ValueError):
            continue
        readable.append((zone, (zone / "name").read_text().strip(), wraps))
    has_dram = any(name == "dram" for _, name, _ in readable)
    meters = []
    for zone, name, wraps in readable:
        inside = (
            "memory (DRAM)" if name == "dram" else f"processor {name}" + ("" if has_dram else ", no DRAM")
        )
        read = functools.partial(_microjoules, zone / "energy_uj")
        meters.append(Meter(f"RAPL {zone.name}", inside, BESIDES_PACKAGE, read, wraps))
    return meters


def _microjoules(file: Path) -> float:
    return int(file.read_text()) / 1e6


# ---------------------------------------------------------------- devices


def _nvidia(load: Callable[[str], Any] = ctypes.CDLL) -> list[Meter]:
    """NVML counts millijoules of each board since the driver was loaded (Volta and newer)."""
    library = load(NVML)
    count = ctypes.c_uint()
    if library.nvmlInit_v2() or library.nvmlDeviceGetCount_v2(ctypes.byref(count)):
        return []

    def joules(handle: Any) -> float:
        value = ctypes.c_ulonglong()
        if error := library.nvmlDeviceGetTotalEnergyConsumption(handle, ctypes.byref(value)):
            raise OSError(f"NVML error {error}")
        return value.value / 1e3

    found = []
    for index in range(count.value):
        handle = ctypes.c_void_p()
        if library.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(handle)):
            continue
        try:
            joules(handle)
        except OSError:
            continue
        read = functools.partial(joules, handle)
        found.append(Meter(f"NVML device {index}", "device: chip and its memory", BESIDES_DEVICE, read))
    return found


def _amd(load: Callable[[str], Any] = ctypes.CDLL) -> list[Meter]:
    """ROCm SMI counts in steps of `resolution` microjoules.

    An MI250X is one card of two devices: a device that shows 0 is left out, its card counts for both.
    """
    library = load(ROCM)
    count = ctypes.c_uint32()
    if library.rsmi_init(ctypes.c_uint64(0)) or library.rsmi_num_monitor_devices(ctypes.byref(count)):
        return []

    def joules(index: int) -> float:
        steps, resolution, when = ctypes.c_uint64(), ctypes.c_float(), ctypes.c_uint64()
        answer = (ctypes.byref(steps), ctypes.byref(resolution), ctypes.byref(when))
        if error := library.rsmi_dev_energy_count_get(ctypes.c_uint32(index), *answer):
            raise OSError(f"ROCm SMI error {error}")
        return steps.value * resolution.value / 1e6

    found = []
    for index in range(count.value):
        try:
            if not joules(index):
                continue
        except OSError:
            continue
        read = functools.partial(joules, index)
        found.append(Meter(f"ROCm SMI device {index}", "device: card with its memory", BESIDES_DEVICE, read))
    return found


# ---------------------------------------------------------------- a stretch of time


class Metered:
    """Energy between `Metered()` and each `joules()`, None where the machine shows no counter."""

    def __init__(self, found: list[Meter] | None = None) -> None:
        self.meters = best(meters() if found is None else found)
        self.before = [meter.read() for meter in self.meters]
        self.total = 0.0

    @property
    def says(self) -> str:
        """The source and its limits in one line, for whoever reads the number."""
        if not self.meters:
            return "no counter"
        inside = ", ".join(dict.fromkeys(meter.inside for meter in self.meters))
        outside = ", ".join(dict.fromkeys(meter.outside for meter in self.meters))
        sources = ", ".join(meter.source for meter in self.meters)
        return one_line(f"{sources}: {inside}; not in it: {outside}", 240)

    def joules(self) -> float | None:
        """Joules since the beginning. A counter that fails later raises OSError."""
        if not self.meters:
            return None
        for place, meter in enumerate(self.meters):
            now = meter.read()
            self.total += meter.since(self.before[place], now)
            self.before[place] = now
        return self.total
