"""What a device can do, and which part of it training reaches: one small set of numbers for each."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from ..errors import CourseError

T, G, GIB = 1e12, 1e9, 2**30


@dataclass(frozen=True)
class Efficiency:
    """The fitted numbers of an accelerator. Shares lie between 0 and 1.

    `matmul`: share of the peak that large matrix products reach. `attention`: share of the peak that a fused
    attention kernel reaches, causal work counted. `memory`: share of the memory bandwidth that the operators
    between the products reach. `link` and `network`: share of the stated bandwidth that collectives reach
    inside a node and between nodes. `layer_s`: the least time that one layer of one micro-batch takes,
    forward and backward, however little it computes: the host must start its kernels. `hop_s`: what each
    node of a ring adds to the time that a piece of data needs to pass by all of them, in seconds.
    """

    matmul: float
    attention: float
    memory: float
    link: float
    network: float
    layer_s: float
    hop_s: float


@dataclass(frozen=True)
class Accelerator:
    """One device as a scheduler counts it. Dense 16-bit peak; bandwidths in bytes/s; memory in bytes.

    A device sold as 80 GB has 80 GiB.

    `link_bytes_s` is what one device sends to its node's other devices, in one direction. `power_w` is the
    board's limit for one device, an upper bound of what it draws.
    """

    name: str
    peak_flops: float
    memory_bytes: float
    memory_bytes_s: float
    link_bytes_s: float
    power_w: float
    efficiency: Efficiency
    fitted: bool
    peak_8bit: float = 0.0  # 0: no faster than 16 bit
    peak_4bit: float = 0.0


# Bytes/s of parts with another memory. An H100 of 64 or 96 GB has four or six stacks of HBM2e, at the
# 400 GB/s each that five of them give the PCIe part (2 TB/s): derived, no vendor's figure was found.
OTHER_MEMORY = {
    ("A100", 40): 1555 * G,
    ("H100", 64): 1600 * G,
    ("H100", 95): 2400 * G,
    ("H100", 96): 2400 * G,
}
USUAL_NETWORK = {"V100": 12.5e9, "A100": 25e9, "MI250X": 12.5e9, "GH200": 25e9}


def usual_network(accelerator: Accelerator) -> float:
    """Bytes/s of a node's network for each of its devices, as usually sold: for want of the machine's own."""
    return USUAL_NETWORK.get(accelerator.name, 50e9)


def with_memory(accelerator: Accelerator, gigabytes: float) -> Accelerator:
    """The same device with another memory size, which may be slower memory, too."""
    speed = OTHER_MEMORY.get((accelerator.name, gigabytes), accelerator.memory_bytes_s)
    return replace(accelerator, memory_bytes=gigabytes * GIB, memory_bytes_s=speed)


_A100 = Efficiency(
    matmul=0.84, attention=0.31, memory=0.76, link=0.7, network=0.9, layer_s=0.003, hop_s=1.8e-4
)  # fmt: skip
_H100 = Efficiency(
    matmul=0.67, attention=0.19, memory=0.73, link=0.48, network=0.76, layer_s=0.0042, hop_s=3.2e-5
)  # fmt: skip
_MI250X = Efficiency(
    matmul=0.54, attention=0.25, memory=0.62, link=0.95, network=0.5, layer_s=0.003, hop_s=4e-5
)  # fmt: skip

# Peaks, bandwidths and power are those of the vendors' data sheets, without sparsity; data/machines.yml has
# what is known of its machines, and that goes first. The MI250X is one of a card's two devices. Its link is
# two links of 50 GB/s each way to devices of other cards, of which it has two or three; the four to the other
# device of its card are not counted.
ACCELERATORS = {
    a.name: a
    for a in (
        Accelerator("V100", 125 * T, 32 * GIB, 900 * G, 150 * G, 300, _A100, False),
        Accelerator("A100", 312 * T, 80 * GIB, 2039 * G, 300 * G, 400, _A100, True),
        Accelerator("A800", 312 * T, 80 * GIB, 2039 * G, 200 * G, 400, _A100, False),
        Accelerator("H100", 989 * T, 80 * GIB, 3350 * G, 450 * G, 700, _H100, True, 1979 * T),
        Accelerator("H800", 989 * T, 80 * GIB, 3350 * G, 200 * G, 700, _H100, False, 1979 * T),
        Accelerator("H200", 989 * T, 141 * GIB, 4800 * G, 450 * G, 700, _H100, False, 1979 * T),
        Accelerator("GH200", 989 * T, 96 * GIB, 4000 * G, 450 * G, 700, _H100, False, 1979 * T),
        Accelerator("B200", 2250 * T, 180 * GIB, 8000 * G, 900 * G, 1000, _H100, False, 4500 * T, 9000 * T),
        Accelerator("GB200", 2500 * T, 186 * GIB, 8000 * G, 900 * G, 1200, _H100, False, 5000 * T, 10000 * T),
        Accelerator("GB300", 2500 * T, 279 * GIB, 8000 * G, 900 * G, 1400, _H100, False, 5000 * T, 15000 * T),
        Accelerator("MI250X", 191.5 * T, 64 * GIB, 1638 * G, 100 * G, 280, _MI250X, True),
        Accelerator("MI300X", 1307 * T, 192 * GIB, 5300 * G, 448 * G, 750, _MI250X, False),
        Accelerator("MI300A", 981 * T, 128 * GIB, 5300 * G, 128 * G, 760, _MI250X, False),
    )
}


# The highest MFU, by the rule "model", that a 16-bit run of data/published_runs.csv with trust A or B
# reached on a device, with all weights trained and sequences below 16,384 tokens: the rule counts all of the
# attention and all gradients. Runs on a custom part are left out: theirs is not the usual part's peak, of
# which Leonardo's A100 reached 71 %. A test keeps it in step.
BEST_SEEN = {"V100": 0.440, "A100": 0.641, "H100": 0.567, "GH200": 0.485, "GB200": 0.460, "MI250X": 0.285}


def find(text: str) -> Accelerator:
    """The device that a table's or a machine's words mean: "H100-96GB HBM2e 500W", "AMD MI250X (one GCD)".

    A memory size in the words replaces the usual one. Raises CourseError if no device is meant.
    """
    words = str(text)
    for name in sorted(ACCELERATORS, key=len, reverse=True):
        stem = "MI250" if name == "MI250X" else name
        if re.search(rf"(?<![A-WYZa-wyz0-9]){stem}(?![0-9])", words, re.IGNORECASE):
            device = ACCELERATORS[name]
            size = re.search(r"(?<![\d.])(\d{2,3})\s*GB", words)
            if size and 16 <= float(size[1]) <= 400 and "full card" not in words:
                device = with_memory(device, float(size[1]))
            return device
    raise CourseError(f"The planner has no numbers for '{words[:60]}'. Known are {', '.join(ACCELERATORS)}.")
