"""A machine's node from `data/machines.yml`: devices, the cores that belong to them, the way out."""

from __future__ import annotations

from typing import Any

from ...machines import machine
from ...plan.inks import wrapped
from .canvas import Drawing


def node(name: str, title: str = "") -> Drawing:
    """One node of a machine of `data/machines.yml`: a line from each device to the cores beside it.

    The cores are those of the published masks, in the order of their numbers; without masks they are the even
    share. The line at the bottom is the network, its width is its bandwidth (2 units for 25 GB/s).
    """
    facts = machine(name)
    count, share = facts["devices_per_node"].value, facts["cores_per_device"].value
    masks = _value(facts, "binding_masks")
    cores = [_cores(mask) for mask in masks] if masks else [
        list(range(device * share, (device + 1) * share)) for device in range(count)
    ]  # fmt: skip
    order = sorted(range(count), key=lambda device: cores[device][0])
    picture = Drawing(title or f"One node of {facts['name']}")
    column = (picture.width - 84) / count
    top = picture.height + 6

    def x_of(place: int) -> float:
        return 72 + place * column

    memory = _value(facts, "memory_gb")
    picture.text(8, top + 40, "devices")
    for number, words in enumerate(["their cores"] if masks else ["an even", "share"]):
        picture.text(8, top + (130 if masks else 122) + number * 15, words)
    for device in range(count):
        x, to = x_of(device) + column / 2, x_of(order.index(device)) + column / 2
        picture.line(x, top + 58, to, top + 108, width=1.8)
    for device in range(count):
        picture.box(x_of(device) + 2, top + 20, column - 4, 38, "parameters", f"{device}", size=15)
    for place, device in enumerate(order):
        first, last = cores[device][0], cores[device][-1]
        words = f"{first}-{last}"
        picture.box(x_of(place) + 2, top + 108, column - 4, 34, "plain", words)
    bandwidth = _value(facts, "network_gb_s_per_node")
    y = top + 160
    if bandwidth:
        picture.line(72, y, picture.width - 14, y, width=bandwidth / 12.5)
    picture.text(8, y + 4, "network")
    picture.frame(0, top, picture.width, y + 14 - top)
    picture.text(
        10, top + 14, f"node: {count} devices of {memory} GB" if memory else f"node: {count} devices"
    )
    picture.height = y + 18
    lines = [f"Between the devices: {facts['intra_node']}.", f"Out of the node: {facts['network']}."]
    for text in lines:
        for line in wrapped(text, picture.width):
            picture.height += 15
            picture.text(0, picture.height - 4, line)
    told = "; ".join(
        f"device {device}: cores {cores[device][0]} to {cores[device][-1]}" for device in range(count)
    )
    source = "" if masks else "An even share of the cores, for no masks are published: "
    picture.says += [f"{source}{told}.", *lines]
    return picture


def _cores(mask: str) -> list[int]:
    bits = int(mask, 16)
    return [core for core in range(bits.bit_length()) if bits >> core & 1]


def _value(facts: Any, name: str) -> Any:
    fact = facts.get(name)
    return getattr(fact, "value", fact)
