"""How long ranks take to talk: a ring over links or over the network, and what hides behind computing."""

from __future__ import annotations

from .layout import Machine

HOP_S = 8e-6  # one message between two devices of a ring; of the order that NCCL's tests show
OVERLAP_LEAK = 0.15  # computing and communicating at once slow each other: both use the same memory


def members_per_node(machine: Machine, size: int, stride: int) -> int:
    """Ranks of one group that share a node, if neighbours in the group are `stride` ranks apart."""
    return max(1, min(size, machine.devices_per_node // stride))


def bandwidth(machine: Machine, size: int, stride: int) -> float:
    """Bytes/s of a ring over one group while all groups of its kind talk.

    Inside a node it is the link of a device. Between nodes a ring enters each node once, with the share of
    the network that belongs to its members.
    """
    a = machine.accelerator
    link = a.link_bytes_s * a.efficiency.link
    inside = members_per_node(machine, size, stride)
    if inside >= size:
        return link
    share = inside / machine.devices_per_node
    return min(link, machine.network_bytes_s * share * a.efficiency.network)


def gather(machine: Machine, size: int, stride: int, data: float) -> float:
    """Seconds of an all-gather or a reduce-scatter of `data` bytes in all: (n - 1) / n of it passes by."""
    if size <= 1:
        return 0.0
    hops = HOP_S * (members_per_node(machine, size, stride) + (size - 1).bit_length())
    return data * (size - 1) / size / bandwidth(machine, size, stride) + hops


def all_reduce(machine: Machine, size: int, stride: int, data: float) -> float:
    """Seconds of an all-reduce of `data` bytes: a reduce-scatter, then an all-gather."""
    return 2 * gather(machine, size, stride, data)


def send(machine: Machine, stride: int, data: float) -> float:
    """Seconds to hand `data` bytes to the rank `stride` further on."""
    a = machine.accelerator
    if stride < machine.devices_per_node:
        return data / (a.link_bytes_s * a.efficiency.link) + HOP_S
    share = machine.network_bytes_s * a.efficiency.network / machine.devices_per_node
    return data / share + HOP_S


def all_to_all(machine: Machine, size: int, stride: int, data: float) -> float:
    """Seconds until each rank has dealt its `data` bytes out evenly over the group."""
    if size <= 1:
        return 0.0
    inside = members_per_node(machine, size, stride)
    a = machine.accelerator
    local = data * (inside - 1) / size / (a.link_bytes_s * a.efficiency.link)
    share = machine.network_bytes_s * a.efficiency.network / machine.devices_per_node
    return local + data * (size - inside) / size / share + HOP_S * size


def overlap(computing: float, talking: float) -> float:
    """Seconds of two things at once: the longer one, and a part of the shorter one."""
    return max(computing, talking) + OVERLAP_LEAK * min(computing, talking)
