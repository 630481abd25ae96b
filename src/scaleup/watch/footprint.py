"""What a run's energy comes to: kWh at the device, the node and the building, CO2 by grid, euros.

Facts are in `data/energy.yml`. Energy in kWh, power in W, time in hours. Estimates name what they rest on.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass

from ..decide import costs
from ..errors import CourseError
from ..files import read_data
from ..machines.facts import Fact, source_of
from ..words import did_you_mean

JOULES = 3.6e6  # in a kWh


def _fact(entry: Mapping) -> Fact:
    known = read_data("energy.yml")["sources"]
    keys = entry["source"] or []
    keys = [keys] if isinstance(keys, str) else keys
    sources = tuple(source_of(key, known[key]) for key in keys)
    return Fact(entry["value"], sources, entry.get("note", ""), entry["unit"])


def _facts(part: str) -> dict[str, Fact]:
    return {name: _fact(entry) for name, entry in read_data("energy.yml")[part].items()}


def fact(name: str) -> Fact:
    """A fact on power. Raises CourseError for a name that is unknown."""
    known = _facts("facts")
    if name not in known:
        raise CourseError(f"There is no fact '{name}' in data/energy.yml. {did_you_mean(name, known)}")
    return known[name]


def grids() -> dict[str, Fact]:
    """Grams of CO2-equivalent per kWh by country, the cleanest first: a year's mean over the life cycle."""
    return dict(sorted(_facts("grids").items(), key=lambda item: item[1].value))


def grid(country: str) -> Fact:
    """One country's grid. Raises CourseError for a country that is not there."""
    known = grids()
    if country not in known:
        raise CourseError(
            f"data/energy.yml has no grid of '{country}'. {did_you_mean(country, known)} Or give g/kWh."
        )
    return known[country]


def machine(name: str) -> dict[str, Fact]:
    """`node` and `board` in W per node and `pue` of a machine; a value is None where no source gave one."""
    known = read_data("energy.yml")["machines"]
    if name not in known:
        raise CourseError(f"data/energy.yml has no power of '{name}'. {did_you_mean(name, known)}")
    return {key: _fact(entry) for key, entry in known[name].items()}


@functools.cache
def _average_pue() -> float:
    return costs.fact("pue").value


# ---------------------------------------------------------------- formulas


@dataclass(frozen=True)
class Energy:
    """kWh of a run: its `devices`, the `hosts` around them, and what the building adds (`overhead`)."""

    devices: float
    hosts: float
    overhead: float

    @property
    def it(self) -> float:
        """What the computers draw: the denominator of PUE."""
        return self.devices + self.hosts

    @property
    def total(self) -> float:
        return self.it + self.overhead


def energy(hours: float, nodes: int, node_w: float, devices_w: float, pue: float) -> Energy:
    """Energy of `nodes` for `hours`: `node_w` is a whole node's draw, `devices_w` that of its devices in it.

    PUE is the building's energy over the computers' (ISO/IEC 30134-2), so the overhead is (PUE - 1) times
    what the computers draw. Raises CourseError for numbers that cannot be.
    """
    if not (hours >= 0 and nodes >= 1 and node_w >= devices_w >= 0):
        raise CourseError(
            f"hours={hours!r}, nodes={nodes!r}, node_w={node_w!r} and devices_w={devices_w!r} cannot be: "
            "a node draws at least what its devices draw, in W."
        )
    if not 1 <= pue < 10:
        raise CourseError(f"pue={pue!r} cannot be: it is at least 1, and near 1.1 with liquid cooling.")
    kwh = hours * nodes / 1000
    return Energy(kwh * devices_w, kwh * (node_w - devices_w), kwh * node_w * (pue - 1))


def co2_kg(kwh: float, where: str | float) -> float:
    """Kilograms of CO2-equivalent of `kwh`, on a country's grid or at so many g/kWh."""
    grams = grid(where).value if isinstance(where, str) else where
    return kwh * grams / 1000


def hours(tokens: float, tokens_per_second: float) -> float:
    """Hours of a run of `tokens` at the rate of all its devices together."""
    if not tokens_per_second > 0:
        raise CourseError(
            f"tokens_per_second={tokens_per_second!r} trains nothing. Give the rate of all ranks."
        )
    return tokens / tokens_per_second / 3600


def per_billion(amount: float, tokens: float) -> float:
    """`amount` of anything for `tokens`, for a billion of them."""
    if not tokens > 0:
        raise CourseError(f"tokens={tokens!r} leaves nothing to divide by.")
    return 1e9 * amount / tokens


def euros(kwh: float, price: float | None = None) -> float:
    """EUR for electricity, at `price` EUR/kWh or the EU's average for companies (data/prices.yml)."""
    return kwh * (costs.fact("electricity").value if price is None else price)


def idle_share(dynamic: float, idle: float) -> float:
    """The part of the computers' energy that they draw without computing: idle over both."""
    return idle / (dynamic + idle)


def power(busy: float, full_w: float, idle_part: float) -> float:
    """A model of a node's draw in W when a part `busy` (0 to 1) of the time computes: idle, plus the rest."""
    return full_w * (idle_part + (1 - idle_part) * busy)


# ---------------------------------------------------------------- what a node draws


@dataclass(frozen=True)
class Draw:
    """W of a whole node and of the devices in it, and the words on where that comes from."""

    node_w: float
    devices_w: float
    says: str


def node_draw(name: str) -> Draw:
    """What a node of a machine draws while it trains, from what was published: never a measurement of a run.

    A node's share of the whole machine under Linpack where that is known; else the limits of its devices,
    scaled as measured on a server of eight H100: 10.2 kW rated for 8 x 700 W, of which training drew 76 %.
    """
    known = machine(name)
    node, board = known["node"], known["board"]
    if node.value is not None:
        devices = min(board.value or node.value, node.value)
        return Draw(node.value, devices, f"the machine under Linpack, over its nodes ({node.date})")
    if board.value is None:
        raise CourseError(f"No power of {name} was found in any source. Ask the site, or read its counters.")
    share = fact("h100_node_share").value
    rated = board.value * 1000 * fact("h100_node_rated").value / (8 * 700)
    return Draw(share * rated, share * board.value, f"limits of its devices, scaled ({board.date})")


def pue(name: str) -> tuple[float, str]:
    """The PUE of a machine's building, or the world's average where no source gave one; and which it is."""
    found = machine(name)["pue"]
    if found.value is not None:
        return found.value, f"the site's own ({found.date})"
    return _average_pue(), "the world's average, because none was found for the site"
