"""Other right answers to the exercises on profiling than the solution's, and its device without a clock."""

import numpy as np
import pytest
import torch

from scaleup.exercises import code, judge, load_checks

LESSON = "1-one-device/profiling"
STACK = "torch.stack([p.grad.norm() for p in parameters])"
WAYS = {
    "floats made on the device": [
        "made = device.submit(lambda: [p.grad.norm().item() for p in parameters])",
        "device.submit(update)",
        "write(made.result())",
    ],
    "a task for each, and a wait for the last": [
        "made = []",
        "for p in parameters:",
        "    last = device.submit(lambda p=p: made.append(p.grad.norm().item()))",
        "device.submit(update)",
        "last.result()",
        "write(made)",
    ],
    "all are waited for at once": [
        "made = [device.submit(lambda p=p: p.grad.norm().item()) for p in parameters]",
        "device.submit(update)",
        "futures.wait(made)",
        "write([each.result() for each in made])",
    ],
    "as they are completed": [
        "made = [device.submit(lambda p=p: p.grad.norm().item()) for p in parameters]",
        "device.submit(update)",
        "list(futures.as_completed(made))",
        "write(tuple(each.result() for each in made))",
    ],
    "asked until it is done": [
        f"made = device.submit(lambda: {STACK}.tolist())",
        "device.submit(lambda: update())",
        "while not made.done():",
        "    pass",
        "write(made.result())",
    ],
}


def verdict(name, answer):
    return judge(LESSON, load_checks(LESSON).exercises[name], answer)


@pytest.mark.parametrize("way", WAYS)
def test_norms_may_be_logged_in_other_ways(way):
    body = "".join(f"    {line}\n" for line in WAYS[way])
    head = "import torch\nfrom concurrent import futures\ndef log_norms(device, parameters, update, write):\n"
    found = verdict("norms", code(head + body))
    assert found.solved, found.message


def test_what_a_check_prints_is_accepted_and_so_are_tensors_and_american_spelling():
    right = {"idle": 0.40, "gains": (1.38, 1.06, 1.67)}
    shares = (0.014, 0.22, 0.69)
    for name, answer in right.items():
        for kind in (lambda x: x, torch.tensor, np.array):
            found = verdict(name, kind(answer))
            assert found.solved, found.message
            told = found.message.replace("%", "").split()
            assert all(f"{n:g}" in told or f"{100 * n:.0f}" in told for n in np.atleast_1d(answer))
    for name in ("synchronisation", "Synchronization"):
        for given in (shares, torch.tensor(shares), np.array(shares), [torch.tensor(n) for n in shares]):
            found = verdict("bottleneck", (name, given))
            assert found.solved, found.message
