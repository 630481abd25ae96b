"""Measuring a training step: time with its spread, bytes, energy, traces, rates of a device, MFU, parity.

`timing` times, `rates` finds what a device reaches, `memory_use` where bytes go, `trace` reads a profiler's
record, `utilisation` counts, `energy_counters` reads joules, `parity` proves that N ranks equal one,
`alpha_beta` fits times of messages, `recorded` reads a GPU's records. May import the model, ranks and below.
"""

from .memory_use import MemoryUse, kept_for_backward, watch
from .rates import copy_bandwidth, matmul_peak, operator_times
from .timing import Timings, device, repeat, synchronize
from .utilisation import flops_per_token, matmul_parameters, mfu, parameters

__all__ = [
    "MemoryUse",
    "Timings",
    "copy_bandwidth",
    "device",
    "flops_per_token",
    "kept_for_backward",
    "matmul_parameters",
    "matmul_peak",
    "mfu",
    "operator_times",
    "parameters",
    "repeat",
    "synchronize",
    "watch",
]
