"""How long ranks take to talk: a ring over links or over the network, and what hides behind computing."""

from __future__ import annotations

from .layout import Machine

HOP_S = 8e-6  # one message between two devices of a ring; of the order that NCCL's tests show
DIRECT = 0.9  # of a link's and of a port's bandwidth, by kernels that write to others' memory (DeepEP's page)
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
    return data * (size - 1) / size / bandwidth(machine, size, stride) + hops(machine, size, stride)


def hops(machine: Machine, size: int, stride: int, tree: bool = False) -> float:
    """Seconds that messages need beside their bytes: few inside a node, more for each node of a ring."""
    inside = members_per_node(machine, size, stride)
    nodes = -(-size // inside)
    in_a_row = (nodes - 1).bit_length() if tree else nodes - 1
    return HOP_S * (inside + (size - 1).bit_length()) + machine.accelerator.efficiency.hop_s * in_a_row


def all_reduce(machine: Machine, size: int, stride: int, data: float) -> float:
    """Seconds of an all-reduce of `data` bytes: as much as a reduce-scatter and an all-gather move.

    Between nodes its messages follow a tree: few of them are in a row.
    """
    if size <= 1:
        return 0.0
    moved = data * (size - 1) / size / bandwidth(machine, size, stride)
    return 2 * (moved + hops(machine, size, stride, tree=True))


def send(machine: Machine, stride: int, data: float) -> float:
    """Seconds to hand `data` bytes to the rank `stride` further on."""
    a = machine.accelerator
    if stride < machine.devices_per_node:
        return data / (a.link_bytes_s * a.efficiency.link) + HOP_S
    share = machine.network_bytes_s * a.efficiency.network / machine.devices_per_node
    return data / share + HOP_S


def all_to_all(
    machine: Machine, size: int, stride: int, data: float, copies: float = 1.0, most: int = 0
) -> float:
    """Seconds until each rank has dealt its `data` bytes out evenly over the group.

    Where the data are `copies` of each token for as many members, and a node's members share what comes over
    the network, a token crosses it once for each node that it is meant for; there are `most` of them at most.
    """
    if size <= 1:
        return 0.0
    inside = members_per_node(machine, size, stride)
    a = machine.accelerator
    link = a.link_bytes_s * a.efficiency.link
    share = machine.network_bytes_s * a.efficiency.network / machine.devices_per_node
    away = data * (size - inside) / size
    if copies <= 1.0:
        return data * (inside - 1) / size / link + away / share + HOP_S * size
    here = inside / size  # share of the group's members that a node has
    nodes = (1 - (1 - here) ** copies) / here  # different ones that a token is meant for
    away = data / copies * (1 - here) * min(nodes, most or nodes)
    link = DIRECT * a.link_bytes_s
    share = DIRECT * machine.network_bytes_s / machine.devices_per_node
    return max(data * (inside - 1) / inside / link, away / share) + HOP_S * size


def overlap(computing: float, talking: float) -> float:
    """Seconds of two things at once: the longer one, and a part of the shorter one."""
    return max(computing, talking) + OVERLAP_LEAK * min(computing, talking)
