"""Records `trace.json`: two steps of a training loop that logs the norm of every gradient.

`python record.py` records one of your own computer in its place. The exercises refer to the stored one, which
was recorded on 2026-11-27 with PyTorch 2.13 on two shared CPU cores. The main thread is the host, a second
one with a queue is the device, as in the lesson. Of the trace only annotations and kernels are kept.
"""

import json
import math
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile, record_function
from torch.utils.data import DataLoader

from scaleup.measure import trace
from scaleup.model import GPT, GPTConfig, next_token_loss
from scaleup.text import corpus
from scaleup.text.windows import Windows

torch.set_num_threads(1)
torch.manual_seed(1)
device = ThreadPoolExecutor(max_workers=1)
model = GPT(GPTConfig(vocab_size=4096, layers=3, heads=4, dim=64, hidden=192))
optimizer = torch.optim.AdamW(model.parameters(), fused=True)
loader = DataLoader(Windows(corpus.prepare().tokens(), seq=32), batch_size=2)


def queued(name, function, *inputs):
    def work():
        with record_function(name):
            return function(*inputs)

    return device.submit(work)


def forward_backward(inputs, targets):
    next_token_loss(model(inputs), targets).backward()


def update():
    optimizer.step()
    optimizer.zero_grad()


def train(steps, log):
    for number, (inputs, targets) in enumerate(islice(loader, steps)):
        with record_function("queue a step"):
            queued("forward, backward", forward_backward, inputs, targets)
        for name, parameter in model.named_parameters():
            with record_function("read a norm"):
                norm = queued("norm", lambda p=parameter: p.grad.norm()).result().item()
            with record_function("write the log"):
                log.write(json.dumps({"step": number, "name": name, "norm": norm}) + "\n")
                log.flush()
                os.fsync(log.fileno())  # so that no line is lost if the run dies
        queued("update", update)
    device.submit(int).result()


def kept(event):
    """The event with what the exercises need, its times in whole tenths of a microsecond."""
    small = {"ph": "X", "cat": event["cat"], "name": event["name"], "tid": event["tid"]}
    small |= {"ts": round(event["ts"], 1), "dur": round(event["dur"], 1)}
    dims = event["args"].get("Input Dims")
    if dims and event["name"] == "aten::mm":
        shapes = [each for each in dims if each and all(isinstance(n, int) for n in each)]
        types = event["args"]["Input type"][: len(shapes)]
        small["args"] = {"Input Dims": shapes, "Input type": types}
    return small


def reduced(file):
    """Annotations and kernels of a trace; threads are called host and device, times begin at 0."""
    events = [e for e in json.loads(file.read_text())["traceEvents"] if e.get("ph") == "X"]
    events = [e for e in events if e.get("cat") in ("cpu_op", "user_annotation") and "#Adam" not in e["name"]]
    host = next(e["tid"] for e in events if e["name"] == "read a norm")
    zero = min(e["ts"] for e in events)
    kernels = {(round(e.start, 3), e.name) for e in trace.read(file).events if e.kernel}
    found = []
    for event in sorted(events, key=lambda e: e["ts"]):
        event["ts"] -= zero
        place = (round(event["ts"] / 1e3, 3), event["name"])
        event["tid"] = "host" if event["tid"] == host else "device"
        own_kernel = place in kernels and event["tid"] == "device"
        if event["cat"] == "user_annotation" or own_kernel:
            found.append(kept(event))
    return found


def main():
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "whole.json"
        with open(Path(folder) / "log", "w") as log:
            train(5, log)  # warm-up
            how = {"activities": [ProfilerActivity.CPU], "record_shapes": True}
            with profile(**how, experimental_config=trace.ALL_THREADS) as recording:
                train(2, log)
        recording.export_chrome_trace(str(file))
        events = reduced(file)
    lines = ",\n".join(json.dumps(event) for event in events)
    target = Path(__file__).with_name("trace.json")
    target.write_text('{"traceEvents": [\n' + lines + "\n]}\n")
    print(f"{len(events)} events, {math.ceil(target.stat().st_size / 1000)} KB")


if __name__ == "__main__":
    main()
