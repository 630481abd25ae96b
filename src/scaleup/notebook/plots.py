"""Figures that read in both themes, in grey and for colour-blind eyes, each with a text that says it."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
from IPython.display import display
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK = "#808080"  # readable on white and on black
BLUE, ORANGE, GREEN = "#0072b2", "#d55e00", "#009e73"  # Okabe and Ito's palette
HATCHES = ("", "///", "...", "xxx", "\\\\\\", "ooo")
STYLE = {
    "figure.figsize": (7, 3.6),
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "legend.labelcolor": INK,
    "legend.frameon": False,
    "grid.color": INK,
    "grid.alpha": 0.25,
    "axes.grid": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": plt.cycler(color=[BLUE, ORANGE, GREEN], linestyle=["-", "--", ":"]),
    "font.size": 10,
}


def figure(title: str, xlabel: str, ylabel: str) -> tuple[Figure, Axes]:
    """An empty figure in the course's style: its title is the takeaway, its labels carry units."""
    with plt.rc_context(STYLE):
        made, axes = plt.subplots()
        axes.set(title=title, xlabel=xlabel, ylabel=ylabel)
    return made, axes


def label(axes: Axes, words: str, point: tuple[float, float], shift: tuple[float, float] = (6, -12)) -> None:
    """Write words beside a point, `shift` printer's points away from it."""
    axes.annotate(words, point, xytext=shift, textcoords="offset points", color=INK)


def show(made: Figure, alt: str) -> None:
    """Display a figure once, as a PNG whose alternative text says what the picture shows."""
    picture = io.BytesIO()
    with plt.rc_context(STYLE):
        if made.axes and made.axes[0].get_legend_handles_labels()[0]:
            made.axes[0].legend()
        made.savefig(picture, format="png", dpi=110, bbox_inches="tight")
    plt.close(made)
    content = {"image/png": picture.getvalue(), "text/plain": f"Figure: {alt}"}
    display(content, raw=True, metadata={"image/png": {"alt": alt}})


def who_holds_what(title: str, holders: Sequence[str], rows: Mapping[str, Sequence[str]], alt: str) -> None:
    """Draw a grid: a column per rank, a row per thing held. Cells with the same words have the same look."""
    looks: dict[str, int] = {}
    with plt.rc_context(STYLE):
        made, axes = plt.subplots(figsize=(1.6 + 2.1 * len(holders), 0.6 + 0.62 * len(rows)))
        axes.set(title=title, xlim=(-0.05, len(holders)), ylim=(len(rows), 0))
        for y, (name, contents) in enumerate(rows.items()):
            axes.text(-0.1, y + 0.45, name, ha="right", va="center")
            for x, words in enumerate(contents):
                look = looks.setdefault(words, len(looks))
                colour, hatch = (BLUE, ORANGE, GREEN)[look % 3], HATCHES[look % len(HATCHES)]
                place = {"xy": (x + 0.03, y + 0.08), "width": 0.94, "height": 0.74, "alpha": 0.8}
                box = plt.Rectangle(**place, facecolor="none", edgecolor=colour, hatch=hatch)
                axes.add_patch(box)
                background = {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none"}
                axes.text(x + 0.5, y + 0.45, words, ha="center", va="center", color="black", bbox=background)
        for x, name in enumerate(holders):
            axes.text(x + 0.5, -0.05, name, ha="center", va="bottom", weight="bold")
        axes.title.set_position((0.5, 1.2))
        axes.axis("off")
        axes.set_title(title, pad=24)
    show(made, alt)
