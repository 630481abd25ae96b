"""The five curves of a run beneath each other, with the steps at which an alarm was on."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from ..watch.alarms import Alarm, slowest_rank, wait_share
from .plots import BLUE, INK, ORANGE, STYLE

PANELS = {
    "loss": lambda step: step["loss"],
    "gradient norm": lambda step: step["gradient_norm"],
    "ktokens/s": lambda step: step["tokens_per_second"] / 1000,
    "input wait (%)": lambda step: 100 * (wait_share(step) or 0),
    "slowest rank (×)": lambda step: slowest_rank(step) or 1.0,
    "memory (MiB)": lambda step: step["memory_bytes"] / 2**20,
}
LEAST = {"input wait (%)": (0, 20), "slowest rank (×)": (1, 3), "ktokens/s": (0, 0)}  # each axis has them
BELONGS = {
    "loss spike": "loss", "not a number": "loss", "gradient norm": "gradient norm", "tokens/s": "ktokens/s",
    "slow step": "ktokens/s", "input wait": "input wait (%)", "straggler": "slowest rank (×)",
}  # fmt: skip


def run_curves(
    title: str,
    steps: Sequence[Mapping[str, Any]],
    alarms: Iterable[Alarm] = (),
    panels: Iterable[str] = PANELS,
) -> Figure:
    """A panel for each name in `panels`; an alarm shades its panel from where it went on to where off."""
    panels, numbers = list(panels), [step["step"] for step in steps]
    with plt.rc_context(STYLE):
        made, axes = plt.subplots(len(panels), 1, sharex=True, figsize=(5.2, 0.6 + 0.98 * len(panels)))
        for panel, (place, of) in zip(axes, ((name, PANELS[name]) for name in panels), strict=True):
            panel.plot(numbers, [of(step) for step in steps], color=BLUE, linewidth=1.4)
            panel.text(0, 1.04, place, transform=panel.transAxes, fontsize=10, color=INK)
            panel.locator_params(axis="y", nbins=3)
            if place in LEAST:  # small trembling is not blown up
                low, high = panel.get_ylim()
                panel.set_ylim(min(low, LEAST[place][0]), max(high, LEAST[place][1]))
            for alarm in alarms:
                if BELONGS[alarm.name] == place:
                    end = numbers[-1] if alarm.ended is None else alarm.ended
                    panel.axvspan(alarm.began, end, color=ORANGE, alpha=0.25, linewidth=0)
                    panel.axvline(alarm.began, color=ORANGE, linestyle="--", linewidth=1.2)
        axes[-1].set_xlabel("step")
        axes[0].set_title(textwrap.fill(title, 46), loc="center", color=INK, pad=20)
        made.tight_layout(h_pad=0.3)
    return made
