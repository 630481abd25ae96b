"""A trace written by hand, a small one that PyTorch records, and the work of operators counted by PyTorch."""

import json
import math
import threading

import pytest
import torch
import torch.nn.functional as F
from torch.profiler import ProfilerActivity, profile, record_function
from torch.utils.flop_counter import FlopCounterMode

from scaleup.errors import CourseError
from scaleup.measure import trace
from scaleup.measure.rates import quiet_stderr
from scaleup.measure.trace import Event


def chrome(name, start, length, thread=1, kind="cpu_op", **args):
    """An event as a file has it: start and length in microseconds."""
    return {"ph": "X", "cat": kind, "name": name, "ts": start, "dur": length, "tid": thread, "args": args}


BY_HAND = [
    chrome("step", 1000, 100, kind="user_annotation"),
    chrome("aten::linear", 1010, 60),
    chrome("aten::t", 1012, 8),
    chrome("aten::mm", 1020, 40, **{"Input Dims": [[2, 3], [3, 5]], "Input type": ["float", "float"]}),
    chrome("aten::mul", 1080, 10),
    chrome("wait", 1000, 150, thread=2, kind="user_annotation"),
    {"ph": "i", "name": "moment", "ts": 1000, "tid": 1},
]


def written(tmp_path, events):
    file = tmp_path / "trace.json"
    file.write_text(json.dumps({"traceEvents": events}), encoding="utf-8")
    return file


def test_a_trace_by_hand(tmp_path):
    found = trace.read(written(tmp_path, BY_HAND))
    (step,) = found.named("step")
    assert (step.start, step.ms) == pytest.approx((0, 0.1))
    assert step.own == pytest.approx(0.03)
    (linear,) = found.named("linear")
    assert linear.own == pytest.approx(0.012)
    assert [event.name for event in found.inside(step)] == [
        "aten::linear", "aten::t", "aten::mm", "aten::mul"
    ]  # fmt: skip
    assert [event.name for event in found.events if event.kernel] == ["aten::mm", "aten::mul"]


def test_operators_are_summed_and_ordered(tmp_path):
    mm, mul = trace.operators(trace.read(written(tmp_path, BY_HAND)).events)
    assert (mm.name, mul.name) == ("aten::mm", "aten::mul")
    assert (mm.count, mm.own, mm.flops, mm.bytes) == pytest.approx((1, 0.04, 60, 4 * 31))
    assert mm.intensity == pytest.approx(60 / 124)
    assert mm.rate == pytest.approx(60 / 40e-6)
    assert math.isnan(mul.intensity)  # no shapes were recorded
    assert math.isnan(mul.rate)


ON_A_GPU = [
    *BY_HAND,
    chrome("cudaLaunchKernel", 1025, 5, kind="cuda_runtime", correlation=9),
    chrome("step", 1030, 60, thread=7, kind="gpu_user_annotation"),
    chrome("gemm", 1030, 40, thread=7, kind="kernel", correlation=9),
    chrome("Memcpy DtoH", 1080, 10, thread=7, kind="gpu_memcpy"),
]


def test_where_a_gpu_computed_only_its_work_is_a_kernel(tmp_path):
    found = trace.read(written(tmp_path, ON_A_GPU))
    assert [event.name for event in found.events if event.kernel] == ["gemm", "Memcpy DtoH"]
    assert [event.kind for event in found.named("step")] == ["user_annotation", "gpu_user_annotation"]
    host, device = found.named("step")
    assert not any(event.kernel for event in found.inside(host))
    assert [event.name for event in found.inside(device)] == ["gemm", "Memcpy DtoH"]
    gemm, copy = trace.operators(found.events)
    assert (gemm.name, gemm.own, gemm.flops) == ("gemm", pytest.approx(0.04), 0)
    assert (copy.name, copy.counted) == ("Memcpy DtoH", 0)


def test_a_name_that_is_not_there_is_told_with_those_that_are(tmp_path):
    with pytest.raises(CourseError, match=r"'forward'.*step, wait"):
        trace.read(written(tmp_path, BY_HAND)).named("forward")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no trace"),
        ('{"traceEvents": [', "not JSON"),
        ('{"traceEvents": []}', "no event"),
        ("[]", "no event"),
    ],
)
def test_a_file_without_a_trace_is_a_sentence(tmp_path, text, message):
    file = tmp_path / "trace.json"
    if text is not None:
        file.write_text(text, encoding="utf-8")
    with pytest.raises(CourseError, match=message):
        trace.read(file)


SPANS = [(1, 4), (2, 3), (3.5, 6), (8, 9)]


def test_busy_and_gaps_by_hand():
    assert trace.busy(SPANS) == 6
    assert trace.busy([]) == 0
    assert trace.gaps(SPANS, 0, 10) == [(0, 1), (6, 8), (9, 10)]
    assert trace.gaps(SPANS, 2, 8.5) == [(6, 8)]
    assert trace.gaps(SPANS, 6.5, 7) == [(6.5, 7)]
    assert trace.gaps([], 0, 1) == [(0, 1)]
    assert trace.busy([Event("a", 0, 2, 1), (1, 3)]) == 3


def test_busy_and_gaps_fill_the_time():
    made = torch.Generator().manual_seed(0)
    for _ in range(50):
        starts = (10 * torch.rand(8, generator=made)).tolist()
        spans = [(start, min(10, start + index / 4)) for index, start in enumerate(starts)]
        idle = sum(end - start for start, end in trace.gaps(spans, 0, 10))
        assert trace.busy(spans) + idle == pytest.approx(10)


def test_amdahl():
    assert trace.amdahl(0.5, 2) == pytest.approx(4 / 3)
    assert trace.amdahl(0, 100) == 1
    assert trace.amdahl(1, 3) == pytest.approx(3)
    assert trace.amdahl(0.25, math.inf) == pytest.approx(4 / 3)
    with pytest.raises(CourseError, match="share lies between"):
        trace.amdahl(25, 2)


def recorded(function, **options):
    with (
        quiet_stderr(),
        profile(activities=[ProfilerActivity.CPU], record_shapes=True, **options) as recording,
    ):
        function()
    return trace.of(recording)


def test_a_recorded_trace_has_annotations_kernels_and_shapes():
    a, b = torch.ones(8, 4), torch.ones(4, 6)

    def run():
        with record_function("part"):
            torch.relu(a @ b)

    found = recorded(run)
    (part,) = found.named("part")
    kernels = [event for event in found.inside(part) if event.kernel]
    assert [event.name for event in kernels] == ["aten::mm", "aten::clamp_min"]
    assert kernels[0].dims[:2] == ((8, 4), (4, 6))
    assert part.start <= kernels[0].start < kernels[0].end <= part.end


def test_a_thread_that_ran_before_is_recorded_where_all_are_asked_for():
    ready, stop = threading.Event(), threading.Event()

    def work():
        ready.wait()
        torch.ones(3).exp()
        stop.set()

    thread = threading.Thread(target=work)
    thread.start()
    found = recorded(lambda: (ready.set(), stop.wait()), experimental_config=trace.ALL_THREADS)
    thread.join()
    assert found.named("aten::exp")


def test_the_work_of_products_and_attention_is_what_pytorch_counts():
    a, b = torch.ones(8, 4), torch.ones(4, 6)
    q, k = (torch.randn(2, 3, n, 16, requires_grad=True) for n in (32, 48))

    def products():
        return (a @ b).sum() + torch.bmm(a[None], b[None]).sum()

    with FlopCounterMode(display=False) as counter:
        products()
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
            F.scaled_dot_product_attention(q, k, k).sum().backward()
    ours = trace.operators(recorded(products).events)
    ours += trace.operators(recorded(lambda: F.scaled_dot_product_attention(q, k, k).sum().backward()).events)
    flops = {each.name: each.flops for each in ours}
    forward = 4 * 2 * 3 * 32 * 48 * 16
    assert flops["aten::mm"] == flops["aten::bmm"] == 2 * 8 * 4 * 6
    attention = {name: n for name, n in flops.items() if "scaled_dot" in name and n}
    assert sorted(attention.values()) == [forward, 2.5 * forward]
    # The plain attention keeps its scores, so its backward pass takes four products and not five.
    assert counter.get_total_flops() == 2 * 2 * 8 * 4 * 6 + 3 * forward


def test_the_work_of_what_goes_number_by_number():
    def event(name, *dims, kind="float"):
        return Event(name, 0, 1, 1, dims=dims, types=(kind,) * len(dims))

    assert trace.work_of(event("aten::mul", (4, 8), (8,))) == (32, 4 * (32 + 8 + 32))
    assert trace.work_of(event("aten::add_", (4, 8), (4, 8), ())) == (32, 4 * 96)
    assert trace.work_of(event("aten::silu", (10,), kind="c10::BFloat16")) == (40, 2 * 20)
    assert trace.work_of(event("aten::addcmul", (2, 1), (1, 3), (3,), ())) == (12, 4 * (2 + 3 + 3 + 6))
    assert trace.work_of(event("aten::sort", (10,))) is None
    assert trace.work_of(event("aten::mul")) is None


def test_a_kernel_may_fill_and_convert_but_not_call_another():
    x, layer = torch.randn(4, 8), torch.nn.RMSNorm(8)
    x.requires_grad_()

    def run():
        torch.nn.functional.silu(layer(x) * 2.0).sum().backward()

    kernels = [event for event in recorded(run).events if event.kernel]
    names = {event.name for event in kernels}
    assert {"aten::mul", "aten::silu", "aten::sum", "aten::silu_backward"} <= names
    assert not names & {"aten::rms_norm", "aten::_fused_rms_norm", "aten::to", "aten::empty", "aten::clone"}
    copies = [event for event in kernels if event.name == "aten::copy_"]
    assert all(event.dims[0] for event in copies)  # the factor 2.0 is copied, too, as one number
