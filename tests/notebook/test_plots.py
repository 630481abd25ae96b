"""Figures: readable on white and on black, in grey, and in words."""

import matplotlib
import matplotlib.pyplot as plt
import pytest
from matplotlib.colors import to_rgb

from scaleup.notebook import plots

matplotlib.use("agg")


def luminance(colour: str) -> float:
    parts = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.fixture
def shown(monkeypatch):
    """What was displayed, as (data, metadata) of each picture; no figure stays open."""
    found = []
    monkeypatch.setattr(plots, "display", lambda data, raw, metadata: found.append((data, metadata)))
    yield found
    assert plt.get_fignums() == []


@pytest.mark.parametrize("name", ["INK", "BLUE", "ORANGE", "GREEN"])
@pytest.mark.parametrize("background", ["white", "black"])
def test_lines_stand_out_from_both_themes(name, background):
    """3:1 is what the accessibility guidelines ask of graphics."""
    assert contrast(getattr(plots, name), background) >= 3


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
    ((data, metadata),) = shown
    assert metadata == {"image/png": {"alt": "The loss falls from 3 to 1."}}
    assert data["text/plain"] == "Figure: The loss falls from 3 to 1."
    assert data["image/png"].startswith(b"\x89PNG") and len(data["image/png"]) > 2000


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


def test_who_holds_what_draws_equal_things_alike_and_different_things_differently(shown, monkeypatch):
    kept = []
    show = plots.show
    monkeypatch.setattr(plots, "show", lambda made, alt: (kept.append(made), show(made, alt)))
    rows = {
        "weights": ["all", "all"],
        "batch": ["rows 0-3", "rows 4-7"],
        "sums": ["a", "b"],
        "more": ["c", "all"],
    }
    plots.who_holds_what("T", ["rank 0", "rank 1"], rows, alt="Who.")
    ((_, metadata),) = shown
    assert metadata["image/png"]["alt"] == "Who."
    axes = kept[0].axes[0]
    texts = [t.get_text() for t in axes.texts]
    assert {"weights", "batch", "rank 0", "rank 1", "rows 0-3"} <= set(texts) and texts.count("all") == 3
    looks = {}
    for word, box in zip([w for row in rows.values() for w in row], axes.patches, strict=True):
        looks.setdefault(word, set()).add((box.get_edgecolor(), box.get_hatch()))
    assert all(len(found) == 1 for found in looks.values())
    assert len({next(iter(found)) for found in looks.values()}) == len(looks) == 6
    assert len({hatch for found in looks.values() for _, hatch in found}) == 6, "without colour, by hatching"
