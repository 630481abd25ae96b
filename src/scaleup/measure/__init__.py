"""Measuring a training step: time with its spread, the device's own rates, model FLOPs and MFU; equal or not.

`timing` times, `rates` measures what the device reaches, `utilisation` counts what a model needs, `parity`
proves that N ranks compute what one rank does. May import the model, the ranks and what is below them.
"""

from .rates import copy_bandwidth, matmul_peak, operator_times
from .timing import Timings, device, repeat, synchronize
from .utilisation import flops_per_token, matmul_parameters, mfu, parameters

__all__ = [
    "Timings",
    "copy_bandwidth",
    "device",
    "flops_per_token",
    "matmul_parameters",
    "matmul_peak",
    "mfu",
    "operator_times",
    "parameters",
    "repeat",
    "synchronize",
]
