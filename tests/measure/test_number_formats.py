"""Formats from their bits, against what PyTorch says of its data types."""

import math

import pytest
import torch

from scaleup.measure.number_formats import FORMATS, WideProducts, relative_error

STORED = [each for each in FORMATS.values() if each.dtype]
VALUES = [1.0, 0.1, 1 / 3, 257.0, 3.14159, 0.015, 2.0**-9, 2.0**-8 * 1.3, 17.0, 18.0, 19.0, -0.7, 0.0]


@pytest.mark.parametrize("each", STORED, ids=lambda each: each.name)
def test_bits_give_the_limits_that_pytorch_states(each):
    stated = torch.finfo(each.dtype)
    assert (each.bits, each.largest, 2.0**each.lowest) == (stated.bits, stated.max, stated.smallest_normal)
    assert each.spacing(1.0) == stated.eps


@pytest.mark.parametrize("each", STORED, ids=lambda each: each.name)
@pytest.mark.parametrize("value", VALUES)
def test_rounding_is_that_of_a_cast(each, value):
    assert each.rounded(value) == torch.tensor(value).to(each.dtype).double().item()


def test_the_smallest_number_is_kept_and_its_half_is_lost():
    for each in STORED:
        assert torch.tensor(each.smallest).to(each.dtype).double().item() == each.smallest
        assert each.rounded(each.smallest / 2) == 0


def test_too_large_is_infinite():
    assert FORMATS["fp16"].rounded(70_000) == math.inf == torch.tensor(70_000.0).half().item()
    assert FORMATS["fp16"].rounded(-70_000) == -math.inf


def test_spacing_doubles_at_a_power_of_two():
    bf16 = FORMATS["bf16"]
    assert [bf16.spacing(x) for x in (0.99, 1.0, 1.99, 2.0)] == [2**-8, 2**-7, 2**-7, 2**-6]
    assert bf16.spacing(0.0) == bf16.smallest


def test_tf32_has_the_range_of_bf16_and_the_spacing_of_fp16():
    tf32 = FORMATS["tf32"]
    assert tf32.lowest == FORMATS["bf16"].lowest
    assert tf32.spacing(1.0) == FORMATS["fp16"].spacing(1.0)


def test_relative_error():
    truth = torch.tensor([3.0, 4.0])
    assert relative_error(truth, truth) == 0
    assert relative_error(torch.tensor([3.0, 4.5]), truth) == pytest.approx(0.1)
    assert math.isnan(relative_error(torch.tensor([3.0, math.nan]), truth))


def test_wide_products_are_fp16_products_rounded_once():
    torch.manual_seed(1)
    a, b, c = torch.randn(8, 64).half(), torch.randn(64, 8).half(), torch.randn(8).half()
    with WideProducts():
        made = [a @ b, torch.addmm(c, a, b), a.expand(2, 8, 64) @ b.expand(2, 64, 8)]
        infinite = (a * 1e4) @ (b * 1e4)
    exact = a.double() @ b.double()
    assert torch.equal(made[0], exact.half()) and made[0].dtype == torch.float16
    assert torch.equal(made[1], (exact + c.double()).half())
    assert torch.equal(made[2], exact.half().expand(2, 8, 8))
    assert relative_error((a @ b).double(), made[0].double()) < 2**-10  # PyTorch's own fp16 product
    assert infinite.isinf().any()  # it overflows as fp16 does


def test_wide_products_reach_autocast_and_the_backward_pass():
    model, x = torch.nn.Linear(64, 8, bias=False), torch.randn(4, 64)
    seen = []

    class Watch(WideProducts):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            seen.append((func.overloadpacket.__name__, args[0].dtype) if func in self.PRODUCTS else None)
            return super().__torch_dispatch__(func, types, args, kwargs)

    with Watch(), torch.autocast("cpu", torch.float16):
        model(x).sum().backward()
    assert seen.count(("mm", torch.float16)) == 2  # forward, and the gradient of the weight
    narrow = x.half().float().sum(0).expand(8, 64)
    assert relative_error(model.weight.grad, narrow) < 2**-10


def test_other_types_are_left_alone():
    a = torch.randn(4, 4)
    with WideProducts():
        assert torch.equal(a @ a, a.mm(a)) and (a.bfloat16() @ a.bfloat16()).dtype == torch.bfloat16
