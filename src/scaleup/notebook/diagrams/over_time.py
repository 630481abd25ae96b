"""What is held while time passes: kinds stacked on each other, to scale, with the moment of most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...plan.inks import wide
from .canvas import Drawing

HEIGHT, COLUMNS = 170, 140


def over_time(
    title: str,
    moments: Sequence[float],
    series: Mapping[str, Sequence[float]],
    *,
    unit: str,
    across: str,
    phases: Mapping[str, float],
    digits: int = 0,
    legend: Mapping[str, str] | None = None,
    measured: bool = False,
) -> Drawing:
    """`series` is {kind: amount held from each of `moments` on}, the first kind lowest.

    `phases` is {name: when it ends}, in order, from moment 0; `across` is the unit of time. Of the moments
    that share a column of the picture the one with most is drawn, so no peak is lost.
    """
    picture = Drawing(title, measured=measured)
    left, top, end = 52, picture.height + 22, max(phases.values())
    totals = [sum(values) for values in zip(*series.values(), strict=True)]
    most = max(totals)
    across_scale, up_scale = (picture.width - left - 4) / end, HEIGHT / (1.08 * most)
    base = top + HEIGHT

    columns: dict[int, int] = {}  # column of the picture: which moment is drawn there
    for place, moment in enumerate(moments):
        column = min(COLUMNS - 1, int(COLUMNS * moment / end))
        if column not in columns or totals[place] > totals[columns[column]]:
            columns[column] = place
    drawn = sorted(columns.items())
    starts = [column * end / COLUMNS for column, _ in drawn]
    edges = list(zip(starts, [*starts[1:], end], strict=True))
    low = [0.0] * len(drawn)
    for kind, values in series.items():
        high = [below + values[place] for below, (_, place) in zip(low, drawn, strict=True)]
        upper, lower = (
            [(left + x * across_scale, base - y * up_scale)
             for edge, y in zip(edges, level, strict=True) for x in edge]
            for level in (high, low)
        )  # fmt: skip
        if max(values) * up_scale >= 0.5:
            picture.area([*upper, *reversed(lower)], kind)
        low = high

    sign = "≈ " if measured else ""
    y = base - most * up_scale
    picture.line(left, y, picture.width, y, dashed=True)
    picture.text(left - 6, y + 4, f"{most:,.{digits}f}", anchor="end", style="bold")
    picture.text(left - 6, base, "0", anchor="end")
    picture.text(left - 6, top - 8, unit, anchor="end")
    when = moments[totals.index(most)]
    where = next((name for name, stop in phases.items() if when <= stop), list(phases)[-1])
    picture.says.append(f"Most is held during {where}: {sign}{most:,.{digits}f} {unit}.")
    begin, free = 0.0, 0.0
    for name, stop in phases.items():
        middle = left + (begin + stop) / 2 * across_scale
        place = min(max(middle, free + wide(name) / 2), picture.width - wide(name) / 2)
        picture.text(place, top - 8, name, anchor="middle")
        free = place + wide(name) / 2 + 8
        if stop < end:
            x = left + stop * across_scale
            picture.line(x, top - 2, x, base, dashed=True)
        last = max((n for n, moment in enumerate(moments) if moment <= stop), default=0)
        held = ", ".join(
            f"{(legend or {}).get(kind, kind)} {sign}{values[last]:,.{digits}f}"
            for kind, values in series.items()
        )
        picture.says.append(f"At the end of {name}: {held}.")
        begin = stop
    words = f"{sign}{end:,.0f} {across}"
    picture.text(left, base + 16, f"0 {across}")
    picture.text(picture.width, base + 16, words, anchor="end")
    picture.legend(legend or list(series))
    return picture
