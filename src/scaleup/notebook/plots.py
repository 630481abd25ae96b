"""Curves that read in both themes, in grey and for colour-blind eyes, each with a text that says it."""

from __future__ import annotations

import io
import re
import textwrap

import matplotlib.pyplot as plt
from IPython.display import display
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..plan.inks import FONTS
from ..plan.inks import INK as INKS
from .diagrams.canvas import image

INK, BLUE, ORANGE, GREEN = "#808080", "#0072b2", "#d55e00", "#009e73"  # Okabe and Ito's palette
THEMES = {
    INK: INKS,
    BLUE: (BLUE, "#5fb4e8"),
    ORANGE: (ORANGE, "#f0955a"),
    GREEN: (GREEN, "#45c9a0"),
}  # what is drawn in each of them on a light and on a dark page
STYLE = {
    "figure.figsize": (5.2, 3.2),
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
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
    "font.size": 11,
    "svg.fonttype": "none",
    "svg.hashsalt": "scaleup",
}


def figure(title: str, xlabel: str, ylabel: str) -> tuple[Figure, Axes]:
    """An empty figure in the course's style: its title is the takeaway, its labels carry units."""
    with plt.rc_context(STYLE):
        made, axes = plt.subplots()
        axes.set(title=textwrap.fill(title, 46), xlabel=textwrap.fill(xlabel, 50), ylabel=ylabel)
    return made, axes


def label(axes: Axes, words: str, point: tuple[float, float], shift: tuple[float, float] = (6, -12)) -> None:
    """Write words beside a point, `shift` printer's points away from it."""
    axes.annotate(words, point, xytext=shift, textcoords="offset points", color=INK)


def svg(made: Figure) -> str:
    """The figure as SVG with text as text, its colours as variables that follow the page's theme.

    Raises ValueError for words in black, which Matplotlib takes for an axis that was added later.
    """
    file = io.StringIO()
    with plt.rc_context(STYLE):
        if made.axes and (labels := made.axes[0].get_legend_handles_labels()[1]):
            columns = 2 if max(map(len, labels)) < 28 else 1
            below = -0.2 - 0.08 * made.axes[0].get_xlabel().count("\n")  # where no line runs
            place = {"loc": "upper center", "bbox_to_anchor": (0.5, below)}
            made.axes[0].legend(ncols=columns, **place)
        made.savefig(file, format="svg", bbox_inches="tight", metadata={"Date": None, "Creator": None})
    if hidden := re.findall(r'<text style="(?![^"]*fill:)[^"]*"[^>]*>([^<]*)', file.getvalue()):
        raise ValueError(f"'{hidden[0]}' is black, which a dark page hides: give it color=plots.INK")
    names = {colour: f"--ink-{number}" for number, colour in enumerate(THEMES)}
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", file.getvalue(), flags=re.DOTALL)
    text = re.sub(r"font: ([^;\"]*?[\d.]+px) [^;\"]*", rf"font: \1 {FONTS}", text)
    for colour, name in names.items():
        text = text.replace(colour, f"var({name})")

    def variables(theme: int) -> str:
        return ";".join(f"{name}:{THEMES[colour][theme]}" for colour, name in names.items())

    dark = f"@media screen and (prefers-color-scheme:dark){{:root{{{variables(1)}}}}}"
    style = f"<style>:root{{{variables(0)}}}{dark}</style>"
    return text.replace("<defs>", f"{style}<defs>", 1)


def show(made: Figure, alt: str) -> None:
    """Display a figure once; `alt` says what it shows. What a curve shows was measured: nbval skips it."""
    picture = svg(made)
    plt.close(made)
    width = float(re.search(r'width="([\d.]+)pt"', picture)[1])
    content = {"text/html": image(picture, alt, width * 1.09, measured=True), "text/plain": f"Figure: {alt}"}
    display(content, raw=True)
