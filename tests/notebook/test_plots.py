"""Figures: readable on white and on black, in grey, and in words."""

import base64
import re

import matplotlib
import matplotlib.pyplot as plt
import pytest
from matplotlib.colors import to_rgb

from scaleup.notebook import plots
from scaleup.plan.inks import PAGE

matplotlib.use("agg")


def luminance(colour: str) -> float:
    parts = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.fixture
def shown(monkeypatch):
    """What was displayed of each picture; no figure stays open."""
    found = []
    monkeypatch.setattr(plots, "display", lambda data, raw: found.append(data))
    yield found
    assert plt.get_fignums() == []


@pytest.mark.parametrize("colour", plots.THEMES)
@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_lines_stand_out_from_both_themes(colour, theme):
    """3:1 is what the accessibility guidelines ask of graphics."""
    assert contrast(plots.THEMES[colour][theme], PAGE[theme]) >= (7 if colour == plots.INK else 3)


def test_colours_are_not_the_only_difference_between_lines():
    looks = list(plots.STYLE["axes.prop_cycle"])
    assert len({look["linestyle"] for look in looks}) == len(looks) == len({look["color"] for look in looks})


def test_a_figure_has_its_takeaway_and_its_units():
    made, axes = plots.figure("It falls", "step", "loss (nats)")
    assert (axes.get_title(), axes.get_xlabel(), axes.get_ylabel()) == ("It falls", "step", "loss (nats)")
    assert axes.title.get_color() == plots.INK
    assert made.get_facecolor()[3] == 0, "transparent, so that the page's theme shows"
    plt.close(made)


def test_showing_gives_one_picture_with_its_words(shown):
    made, axes = plots.figure("It falls", "step", "loss (nats)")
    axes.plot([3, 2, 1], label="training")
    plots.show(made, "The loss falls from 3 to 1.")
    assert axes.get_legend() is not None, "a labelled line has a legend"
    (data,) = shown
    assert data["text/plain"] == "Figure: The loss falls from 3 to 1."
    assert data["text/html"].startswith('<img class="measured" alt="The loss falls from 3 to 1."')
    svg = base64.b64decode(re.search(r'base64,([^"]+)', data["text/html"])[1]).decode()
    assert ">It falls</text>" in svg and "var(--ink-1)" in svg, "text as text, colours of the theme"
    assert not set(plots.THEMES) & set(re.findall(r"#[0-9a-f]{6}", svg.split("</style>", 1)[1])) - {""}


def test_words_in_black_are_refused():
    made, axes = plots.figure("It falls", "step", "loss")
    top = axes.secondary_xaxis("top")
    with pytest.raises(ValueError, match="is black, which a dark page hides"):
        plots.svg(made)
    top.tick_params(labelcolor=plots.INK)
    assert "<text" in plots.svg(made)
    plt.close(made)


def test_a_curve_is_the_same_in_every_run():
    def once() -> str:
        made, axes = plots.figure("It falls", "step", "loss")
        axes.plot([3, 2, 1])
        drawn = plots.svg(made)
        plt.close(made)
        return drawn

    assert once() == once()


def test_the_style_does_not_leak_into_a_learners_own_figures(shown):
    before = dict(plt.rcParams)
    made, _ = plots.figure("a", "b", "c")
    plots.show(made, "Nothing.")
    assert dict(plt.rcParams) == before


def test_a_label_can_be_read_in_both_themes():
    made, axes = plots.figure("a", "b", "c")
    plots.label(axes, "here", (0.5, 0.5))
    assert [(t.get_text(), t.get_color()) for t in axes.texts] == [("here", plots.INK)]
    plt.close(made)
