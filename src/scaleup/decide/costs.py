"""Supercomputer, cloud or own cluster: what a token costs in each, in money and in days.

Facts and assumptions are in `data/prices.yml`, the routes' in `data/access.yml`. Money is in EUR, a
device-hour is one device for one hour.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..access import doors
from ..errors import CourseError
from ..files import read_data
from ..machines.facts import Fact, source_of
from ..words import did_you_mean

KINDS = ("statistics", "tariff", "copy", "quote", "survey", "paper", "press", "blog", "notes")
HOURS_A_YEAR = 8760

Values = Mapping[str, float]  # the assumptions of a comparison, name to number


# ---------------------------------------------------------------- facts and assumptions


@dataclass(frozen=True)
class Assumption:
    """A number that the example chose, with its range; `facts` names the facts that it rests on."""

    name: str
    value: float
    low: float
    high: float
    unit: str
    why: str
    facts: tuple[str, ...]


def content() -> dict:
    """The file as it stands, parsed."""
    return read_data("prices.yml")


def facts() -> dict[str, Fact]:
    """Every fact of the file by its name."""
    known = content()["sources"]

    found = {}
    for name, entry in content()["facts"].items():
        keys = entry["source"] or []
        keys = [keys] if isinstance(keys, str) else keys
        sources = tuple(source_of(key, known[key]) for key in keys)
        found[name] = Fact(entry["value"], sources, entry.get("note", ""), entry["unit"])
    return found


def fact(name: str) -> Fact:
    """One fact that has a value. Raises CourseError for a name that is unknown or has none."""
    return _with_value(name, facts())


def _with_value(name: str, known: Mapping[str, Fact]) -> Fact:
    if name not in known:
        raise CourseError(f"There is no fact '{name}' in data/prices.yml. {did_you_mean(str(name), known)}")
    if known[name].value is None:
        raise CourseError(f"No source gave a value for '{name}': {known[name].note}. Put in your own number.")
    return known[name]


def assumptions() -> dict[str, Assumption]:
    """Every assumption of the example by its name."""
    known, found = facts(), {}
    for name, entry in content()["assumptions"].items():
        ends = [entry[end] for end in ("value", "low", "high")]
        numbers = [_with_value(end, known).value if isinstance(end, str) else end for end in ends]
        named = tuple(dict.fromkeys(end for end in ends if isinstance(end, str)))
        found[name] = Assumption(name, *numbers, entry["unit"], entry["why"], named)
    return found


def example(**mine: float) -> dict[str, float]:
    """The example's assumptions as numbers, with yours in place of those that you name.

    Raises CourseError for a name that is unknown and for a number that cannot be.
    """
    known = assumptions()
    values = {name: assumption.value for name, assumption in known.items()}
    for name, value in mine.items():
        if name not in values:
            raise CourseError(f"There is no assumption '{name}'. {did_you_mean(str(name), values)}")
        most = 1 if known[name].unit.startswith("share") else math.inf
        values[name] = _number(name, value, most=most)
    return values


def _number(name: str, value: float, least: float = 0.0, most: float = math.inf) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise CourseError(f"{name}={value!r} is no number. Give one, such as 0.8.")
    if not least <= value <= most:
        ends = f"from {least:g} to {most:g}" if most < math.inf else f"of at least {least:g}"
        raise CourseError(f"{name}={value!r} cannot be. Give a number {ends}.")
    return value


def _positive(name: str, value: float, most: float = math.inf) -> float:
    if _number(name, value, 0.0, most) == 0:
        raise CourseError(f"{name}=0 leaves nothing to divide by. Give a number above 0.")
    return value


# ---------------------------------------------------------------- formulas


def useful_share(*lost: float) -> float:
    """The share of hours that train, after shares `lost` (0 to 1) one after another: (1-a)(1-b)…"""
    return math.prod(1 - _number("lost", share, most=1) for share in lost)


def price_per_token(price: float, tokens_per_s: float, useful: float = 1.0) -> float:
    """EUR for one useful token: `price` in EUR per device-hour, `tokens_per_s` of one device."""
    return _number("price", price) * device_hours(1, tokens_per_s, useful)


def device_hours(tokens: float, tokens_per_s: float, useful: float = 1.0) -> float:
    """Hours of one device for so many useful tokens."""
    per_hour = 3600 * _positive("tokens_per_s", tokens_per_s) * _positive("useful", useful, 1)
    return _number("tokens", tokens) / per_hour


def loaded_year(salary: float, nonwage_share: float) -> float:
    """EUR that a person costs in a year: gross salary, and what the employer pays on top.

    `nonwage_share` is the latter's share of the sum, as Eurostat counts it.
    """
    wages = 1 - _number("nonwage_share", nonwage_share, most=1)
    return _number("salary", salary) / _positive("1 - nonwage_share", wages)


def loaded_week(salary: float, nonwage_share: float, working_weeks: float) -> float:
    """EUR for one week's work of one person who works so many weeks a year."""
    return loaded_year(salary, nonwage_share) / _positive("working_weeks", working_weeks, 52)


def transfer_hours(terabytes: float, gbit_s: float, efficiency: float = 1.0) -> float:
    """Hours to move `terabytes` (10^12 bytes) over a line of `gbit_s` (10^9 bits a second)."""
    bits = 8e12 * _number("terabytes", terabytes)
    rate = 1e9 * _positive("gbit_s", gbit_s) * _positive("efficiency", efficiency, 1)
    return bits / rate / 3600


@dataclass(frozen=True)
class DeviceHour:
    """What an hour of one's own device costs, in EUR per hour in which it runs a job."""

    capital: float
    power: float
    hosting: float
    staff: float

    @property
    def total(self) -> float:
        return self.capital + self.power + self.hosting + self.staff


def purchase(a: Values) -> float:
    """EUR for one's own servers, due on the day of delivery, without storage, switches and support."""
    a = example(**a)
    return a["own_servers"] * a["server_usd"] / _positive("usd_per_eur", a["usd_per_eur"])


def own_device_hour(a: Values) -> DeviceHour:
    """An hour of a device that you own. Idle hours are paid by the others; idle power is left out."""
    a = example(**a)
    run_hours = HOURS_A_YEAR * _positive("utilization", a["utilization"])
    years = _positive("life_years", a["life_years"])
    price = a["server_usd"] / _positive("usd_per_eur", a["usd_per_eur"]) / 8
    kw = a["server_kw"] / 8
    devices = 8 * _positive("own_servers", a["own_servers"])
    year = loaded_year(a["salary"], a["nonwage_share"])
    return DeviceHour(
        capital=price * (1 - a["residual"]) / (years * run_hours),
        power=kw * a["pue"] * a["electricity"],
        hosting=12 * a["hosting"] * kw / run_hours,
        staff=a["admin_share"] * year / devices / run_hours,
    )


# ---------------------------------------------------------------- the three worlds


@dataclass(frozen=True)
class World:
    """One way to train. `fixed` and `per_token` in EUR, `start` and `end` in days from today.

    Training runs from `start` on. Where the devices are lent, they are taken back at `end`.
    """

    name: str
    fixed: float
    per_token: float
    start: float
    tokens_per_day: float
    end: float = math.inf

    def cost(self, tokens: float) -> float:
        """EUR for so many useful tokens."""
        return self.fixed + self.per_token * _number("tokens", tokens)

    def days(self, tokens: float) -> float:
        """Days from today to the last token, should the devices stay so long (see `end`)."""
        return self.start + _number("tokens", tokens) / self.tokens_per_day


@dataclass(frozen=True)
class Route:
    """A way into EuroHPC's machines for companies: days to a decision and of a grant, by the calendar."""

    name: str
    days: float
    grant_days: float


def calendar_days(working_days: float) -> float:
    """Working days as calendar days: seven for five."""
    return _number("working_days", working_days) * 7 / 5


def route(gpu_hours: float) -> Route:
    """The smallest route that gives so many GPU-hours, as the call counts them: LUMI's is two devices.

    One source lets the Fast Lane begin at 10,000; here it begins where the Playground ends.
    """
    hours = _number("gpu_hours", gpu_hours)
    known = doors.modes()
    if hours <= known["playground"]["most"].value:
        return _route(known["playground"])
    if hours <= known["fast-lane"]["most"].value:
        return _route(known["fast-lane"])
    half_of_the_gap = 365.25 / 24 / 2  # two cut-offs a month, and one is ready on any day between them
    return _route(known["large-scale"], before=half_of_the_gap)


def _route(mode: doors.Mode, before: float = 0.0) -> Route:
    decision = calendar_days(mode["decision_days"].value)
    return Route(str(mode["name"]), before + decision, max(mode["months"].value) * 365.25 / 12)


def week(a: Values) -> float:
    """EUR for a person-week under these assumptions."""
    a = example(**a)
    return loaded_week(a["salary"], a["nonwage_share"], a["working_weeks"])


def cloud_price(a: Values) -> float:
    """EUR for a device-hour in the cloud."""
    a = example(**a)
    return a["cloud_usd"] / _positive("usd_per_eur", a["usd_per_eur"])


def supercomputer(
    tokens_per_s: float, tokens: float, a: Values, price: float = 0.0, devices_per_gpu: int = 1
) -> World:
    """Training on a EuroHPC machine: free for an eligible SME, or at `price` EUR per device-hour.

    `tokens_per_s` is that of one device. The route, and so start and end, follows from `tokens`, in GPU-hours
    of `devices_per_gpu` devices (two on LUMI). The grant begins with the decision.
    """
    a = example(**a)
    useful = useful_share(a["lost_failures"], a["lost_trials_super"])
    hours = device_hours(tokens, tokens_per_s, useful) / _positive("devices_per_gpu", devices_per_gpu)
    way = route(hours)
    decided = 7 * a["proposal_weeks"] + way.days
    porting_days = 7 * a["porting_weeks"] / _positive("porting_people", a["porting_people"])
    moving = transfer_hours(a["data_tb"], a["line_gbit_s"], a["line_efficiency"]) / 24
    running = _positive("job_hours", a["job_hours"]) / (a["job_hours"] + a["wait_hours"])
    return World(
        "supercomputer",
        fixed=week(a) * (a["porting_weeks"] + a["proposal_weeks"] + a["report_weeks"]),
        per_token=price_per_token(price, tokens_per_s, useful),
        start=decided + a["onboarding_days"] + max(porting_days, moving),
        tokens_per_day=86400 * tokens_per_s * a["super_devices"] * useful * running,
        end=decided + way.grant_days,
    )


def cloud(tokens_per_s: float, a: Values) -> World:
    """Training on rented devices, beginning today. What leaves the cloud, `data_tb`, may cost a fee."""
    a = example(**a)
    useful = useful_share(a["lost_failures"], a["lost_trials"], a["lost_idle_cloud"])
    moving = transfer_hours(a["data_tb"], a["line_gbit_s"], a["line_efficiency"]) / 24
    leaving = 1000 * a["data_tb"] * a["egress_usd_gb"] / a["usd_per_eur"]
    return World(
        "cloud",
        fixed=week(a) * a["cloud_weeks"] + leaving,
        per_token=price_per_token(cloud_price(a), tokens_per_s, useful),
        start=max(7 * a["cloud_weeks"], moving),
        tokens_per_day=86400 * tokens_per_s * a["cloud_devices"] * useful,
    )


def own(tokens_per_s: float, a: Values) -> World:
    """Training on one's own servers, if others' jobs use and pay the other hours in use (see `purchase`)."""
    a = example(**a)
    useful = useful_share(a["lost_failures"], a["lost_trials"])
    return World(
        "own cluster",
        fixed=week(a) * a["own_weeks"],
        per_token=price_per_token(own_device_hour(a).total, tokens_per_s, useful),
        start=7 * a["own_lead_weeks"] + 7 * a["own_weeks"],
        tokens_per_day=86400 * tokens_per_s * 8 * a["own_servers"] * useful,
    )


def break_even(first: World, second: World) -> float | None:
    """Tokens at which both cost the same, None where they never do. Below, less fixed cost wins."""
    each = first.per_token - second.per_token
    fixed = second.fixed - first.fixed
    if each == 0 or fixed / each <= 0:
        return None
    return fixed / each


def about(value: float) -> str:
    """A number to two digits: what rests on guesses has no more."""
    return f"{float(f'{value:.2g}'):,g}" if value < 10 else f"{float(f'{value:.2g}'):,.0f}"


def billions(tokens: float | None) -> str:
    """Tokens in words, "never" where there is no such number."""
    return "never" if tokens is None else f"at {about(tokens / 1e9)} billion tokens"


# ---------------------------------------------------------------- what decides


@dataclass(frozen=True)
class Swing:
    """What an outcome becomes when one assumption is at its low and at its high, all others as they are."""

    name: str
    at_low: float
    at_high: float

    @property
    def size(self) -> float:
        return abs(self.at_high - self.at_low)


def sensitivity(outcome: Callable[[Values], float], a: Values) -> list[Swing]:
    """Every assumption that moves `outcome(a)`, the strongest first."""
    swings = []
    for name, known in assumptions().items():
        swing = Swing(name, outcome({**a, name: known.low}), outcome({**a, name: known.high}))
        if swing.size:
            swings.append(swing)
    return sorted(swings, key=lambda swing: -swing.size)
