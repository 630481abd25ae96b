"""Figures of a study for a proposal: speed-up and efficiency with their error, as SVG and PNG.

Matplotlib is a package of lessons: on a login node without it a study is written all the same, and the same
command draws it where it is.
"""

from __future__ import annotations

import html
from pathlib import Path
from typing import TYPE_CHECKING

from ..files import write_whole
from ..words import markdown_table
from .spread import Interval
from .study_file import Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LOOKS = {"strong": ("o", "-"), "weak": ("s", "--")}
NAMES = {"strong": "strong scaling", "weak": "weak scaling"}


def percent(found: Interval) -> str:
    if found.low is None:
        return f"{100 * found.value:.0f} % (error unknown)"
    return f"{100 * found.value:.0f} % ({100 * found.low:.0f} to {100 * found.high:.0f})"


def alt(study: Study, what: str) -> str:
    """What a figure shows, from its own values."""
    said = []
    for mode in study.content["scaling"]:
        found = getattr(study, what)(mode)
        values = [
            f"{percent(value) if what == 'efficiency' else value} on {nodes}"
            for nodes, value in found.items()
        ]
        said.append(f"{NAMES[mode].capitalize()}: {'; '.join(values)} nodes.")
    name = {"efficiency": "Efficiency", "speed_up": "Speed-up"}[what]
    return f"{name} over nodes, with 95 % intervals. {' '.join(said)}"


def scaling_figure(study: Study, what: str, title: str | None = None, fitted: dict | None = None) -> Figure:
    """`what` is "efficiency" or "speed_up"; `fitted` are {mode: {nodes: value of a model}}, as lines."""
    from ..notebook import plots

    titles = {
        "efficiency": "Efficiency against the fewest nodes",
        "speed_up": "Speed-up over the fewest nodes",
    }
    unit = "efficiency (%)" if what == "efficiency" else "times as fast"
    figure, axes = plots.figure(title or titles[what], "nodes", unit)
    factor = 100 if what == "efficiency" else 1
    every: set[int] = set()
    for (mode, (mark, line)), colour in zip(LOOKS.items(), (plots.BLUE, plots.ORANGE), strict=True):
        found = getattr(study, what)(mode)
        if not found:
            continue
        every |= set(found)
        nodes, values = list(found), [factor * value.value for value in found.values()]
        known = [(v.value if v.low is None else v.low, v.value, v.high or v.value) for v in found.values()]
        errors = [[factor * (v - low) for low, v, _ in known], [factor * (high - v) for _, v, high in known]]
        # Two curves at one number of nodes: their bars stand beside each other.
        places = [n * (0.97 if mode == "strong" else 1.03) for n in nodes]
        model = (fitted or {}).get(mode)
        axes.errorbar(places, values, errors, marker=mark, linestyle="none" if model else line, color=colour,
                      capsize=4, label=NAMES[mode] + (", measured" if model else ""))  # fmt: skip
        if model:
            drawn = [factor * value for value in model.values()]
            axes.plot(list(model), drawn, linestyle=line, color=colour, label=f"{NAMES[mode]}, model")
    ticks = sorted(every)
    if what == "speed_up" and ticks:
        ideal = [n / ticks[0] for n in ticks]
        axes.plot(ticks, ideal, linestyle=":", color=plots.INK, label="ideal")
    if what == "efficiency":
        axes.axhline(100, linestyle=":", color=plots.INK)
        axes.set_ylim(0, max(110, axes.get_ylim()[1]))
    axes.set_xscale("log", base=2)
    axes.set_xticks(ticks, [str(n) for n in ticks])
    axes.minorticks_off()
    return figure


def draw(study: Study, folder: Path) -> list[Path]:
    """Write both figures, as SVG (its text is in it as `title`) and PNG (as Description), and `study.md`.

    Returns the files; none of a study without a baseline, none where Matplotlib is missing.
    """
    if not any(study.content["scaling"].values()):
        return []
    try:
        import matplotlib.pyplot as plt

        from ..notebook import plots
    except ModuleNotFoundError:
        return []
    written = []
    for what in ("efficiency", "speed_up"):
        words, figure = alt(study, what), scaling_figure(study, what)
        text = plots.svg(figure)
        text = text.replace("<defs>", f"<title>{html.escape(words)}</title><defs>", 1)
        path = folder / f"{what.replace('_', '-')}.svg"
        write_whole(path, text)
        picture = path.with_suffix(".png")
        part = picture.with_name(f".{picture.name}")
        figure.savefig(part, format="png", dpi=200, facecolor="white", bbox_inches="tight",
                       metadata={"Description": words})  # fmt: skip
        part.replace(picture)
        plt.close(figure)
        written += [path, picture]
    page = folder / "study.md"
    write_whole(page, as_page(study))
    return [*written, page]


def as_page(study: Study) -> str:
    """The study in words, for a proposal: what was held fixed, each point, what is to be remarked."""
    content, rows = study.content, []
    for mode in content["scaling"]:
        for point in study.points(mode):
            step, tokens = Interval(**point["step_seconds"]), Interval(**point["tokens_per_s"])
            good = study.efficiency(mode)[point["nodes"]]
            cells = [mode, f"{point['nodes']}", f"{point['ranks']}", f"{point['global_batch']}",
                     f"{len(point['runs'])}", str(step), f"{tokens.value:,.0f}", percent(good)]  # fmt: skip
            rows.append(cells)
    head = ["scaling", "nodes", "ranks", "global batch", "runs", "seconds a step", "tokens/s", "efficiency"]
    fixed = [f"- {mode}: {'; '.join(said)}" for mode, said in content["held_fixed"].items()]
    measured = content["measured"]
    said = [
        f"# Scaling study {content['name']}",
        f"{content['machine']}, {content['device']}, {content['date']}. {measured['repeats']} runs a point, "
        f"{measured['steps']} steps each after {measured['warmup_steps_left_out']} of warm-up. "
        "In brackets: 95 % intervals over runs.",
        markdown_table(head, rows),
        "Held fixed:\n\n" + "\n".join(fixed),
        *(f"![{alt(study, what)}]({what.replace('_', '-')}.svg)" for what in ("efficiency", "speed_up")),
        *(
            ["Remarks:\n\n" + "\n".join(f"- {each}" for each in content["remarks"])]
            if content["remarks"]
            else []
        ),
    ]
    return "\n\n".join(said) + "\n"
