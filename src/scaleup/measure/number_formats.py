"""The number formats of training: range and spacing from their bits, and how far off a result is.

A floating-point number is a sign, an exponent that says between which two powers of two it lies, and a
fraction that says where between them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


@dataclass(frozen=True)
class NumberFormat:
    """A format of one sign bit and so many exponent and fraction bits.

    `dtype` is None where PyTorch stores no tensor of it. `infinite`: whether its highest exponent is kept
    for infinity and NaN (IEEE 754); float8 e4m3fn keeps only one pattern, for NaN.
    """

    name: str
    exponent: int
    fraction: int
    dtype: torch.dtype | None
    infinite: bool = True

    @property
    def bits(self) -> int:
        return 1 + self.exponent + self.fraction

    @property
    def lowest(self) -> int:
        """The exponent of the smallest normal number: 2 - 2^(exponent bits - 1)."""
        return 2 - 2 ** (self.exponent - 1)

    @property
    def largest(self) -> float:
        highest = 1 - self.lowest + (not self.infinite)
        below = 2.0**-self.fraction * (1 if self.infinite else 2)
        return (2 - below) * 2.0**highest

    @property
    def smallest(self) -> float:
        """The smallest number above zero, which is subnormal: its leading bit is a zero."""
        return 2.0 ** (self.lowest - self.fraction)

    def spacing(self, value: float) -> float:
        """From |value| to the next number above: 2^(exponent - fraction bits), never below `smallest`."""
        power = math.frexp(value)[1] - 1 if value else self.lowest
        return 2.0 ** (max(power, self.lowest) - self.fraction)

    def rounded(self, value: float) -> float:
        """The nearest number of the format; of two that are equally near the one with an even fraction."""
        step = self.spacing(value)
        nearest = round(value / step) * step
        return nearest if abs(nearest) <= self.largest else math.copysign(math.inf, value)


FORMATS = {
    each.name: each
    for each in (
        NumberFormat("fp32", 8, 23, torch.float32),
        NumberFormat("tf32", 8, 10, None),
        NumberFormat("bf16", 8, 7, torch.bfloat16),
        NumberFormat("fp16", 5, 10, torch.float16),
        NumberFormat("fp8 e4m3", 4, 3, torch.float8_e4m3fn, infinite=False),
        NumberFormat("fp8 e5m2", 5, 2, torch.float8_e5m2),
    )
}


def relative_error(result: Tensor, truth: Tensor) -> float:
    """|result - truth| / |truth|, both lengths over all numbers of the tensors; NaN where a number is."""
    result, truth = (tensor.detach().double() for tensor in (result, truth))
    return ((result - truth).norm() / truth.norm()).item()


class WideProducts(TorchDispatchMode):
    """Within it, fp16 products are made as a matrix unit makes them: added up in fp32, rounded once to fp16.

    Most CPUs have no unit for fp16: PyTorch then multiplies such matrices up to a hundred times slower than
    in fp32. What comes out are the numbers of its own fp16 products, but for the order of their sums.
    """

    PRODUCTS = {getattr(torch.ops.aten, name).default for name in ("mm", "addmm", "bmm", "baddbmm")}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func not in self.PRODUCTS or args[0].dtype != torch.float16:
            return func(*args, **kwargs)
        return func(*(a.float() if isinstance(a, Tensor) else a for a in args), **kwargs).half()
