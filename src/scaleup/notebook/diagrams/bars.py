"""Bars to scale: bytes against a limit, seconds against each other."""

from __future__ import annotations

from collections.abc import Mapping

from ...plan.inks import wide, wrapped
from .canvas import Drawing


def bars(
    title: str,
    rows: Mapping[str, Mapping[str, float]],
    *,
    unit: str,
    limit: float | None = None,
    limit_name: str = "",
    digits: int = 0,
    legend: Mapping[str, str] | None = None,
    measured: bool = False,
    called: Mapping[str, str] | None = None,
    verdicts: tuple[str, str] | None = None,
    notes: Mapping[str, str] | None = None,
    beside: Mapping[str, float] | None = None,
    beside_name: str = "",
) -> Drawing:
    """A stacked bar per row, all to one scale: {row: {kind: amount}}. `limit` is a line that bars may cross.

    `called` are {kind: what it is called in this picture}.

    The alternative text says which bars do, unless they were measured: that may differ from run to run.
    A part too narrow for its number has it in the alternative text only; the sum stands behind each bar.
    `legend` is {kind: words} where the names of the kinds do not say what the parts are.
    With `verdicts`, (words for a bar within the limit, words for one beyond it), the sum and its verdict
    stand beneath the name of each row. `notes` are {row: words}, written behind an
    arrow that points at the sum of the row, or at its bar where the sum stands beneath the name.
    `beside` are {row: another amount}, such as seconds, and `beside_name` says with its unit what they are:
    bars of a second panel, hollow where the row is beyond the limit, whose line is then a solid one.
    """
    picture = Drawing(title, measured=measured)
    sums = {name: sum(parts.values()) for name, parts in rows.items()}
    told = {name: f"{total:,.{digits}f} {unit}".rstrip() for name, total in sums.items()}
    judged = {}
    if verdicts and limit:
        judged = {name: f"{told[name]} {verdicts[total > limit]}" for name, total in sums.items()}
    behind = {name: told[name] + (f" ← {notes[name]}" if name in (notes or {}) else "") for name in rows}
    named = [line for name in rows for line in wrapped(name, 108)]
    left = 10 + max(min(110, max(map(wide, named))), *(1.2 * wide(words) for words in judged.values()), 0)
    panel = 118 if beside else 0  # the width of the second one
    room = picture.width - panel - left - 14 - (0 if judged else 1.1 * max(map(wide, behind.values())))
    scale = room / max([*sums.values(), limit or 0])
    top = picture.height + (18 if limit or beside else 0)
    ends: dict[str, tuple[float, float]] = {}  # where each sum is written, above the line of the limit
    y = top
    for name, parts in rows.items():
        lines = wrapped(name, left - 8)
        up = (len(lines) - (not judged)) * 8
        for number, line in enumerate(lines):
            picture.text(0, y + 17 - up + number * 15, line)
        if judged:
            picture.text(0, y + 17 - up + len(lines) * 15, judged[name], style="bold")
        x = left
        for kind, amount in parts.items():
            words = f"{amount:,.{digits}f}"
            if amount * scale >= 1:
                picture.box(x, y, amount * scale, 24, kind, words if amount * scale > wide(words) + 6 else "")
            x += amount * scale
        ends[name] = x + 6, y + 17
        y += 46 if judged else 34
    picture.height = y - 4
    if limit:
        x = left + limit * scale
        picture.line(x, top - 4, x, y - 6, dashed=not beside, width=2)
        words = f"{limit_name} {limit:,.{digits}f} {unit}".strip()
        anchor = "end" if x + wide(words) / 2 > picture.width - panel else "middle"
        edge = picture.width - panel
        picture.text(min(x, edge) if anchor == "end" else x, top - 8, words, anchor=anchor)
        picture.says.append(f"The limit is {words}.")
    for name, (x, y) in ends.items():
        words = behind[name]
        if judged:
            words = words.removeprefix(told[name]).strip()
            words and picture.text(max(x, left + (limit or 0) * scale + 6), y, words, style="bold")
            continue
        crossed = left + limit * scale if limit else -1.0
        x = crossed + 6 if x - 3 < crossed < x + wide(words) else x  # behind the line, not beneath it
        picture.text(x, y, words, style="bold")
    sign = "≈ " if measured else ""
    for name, parts in rows.items():
        shares = ", ".join(
            f"{(legend or {}).get(kind, kind)} {sign}{amount:,.{digits}f}" for kind, amount in parts.items()
        )
        over = " That is over the limit." if limit and sums[name] > limit and not measured else ""
        total = f"{sign}{sums[name]:,.{digits}f} {unit}".rstrip()
        noted = f" {notes[name].capitalize()}." if name in (notes or {}) else ""
        picture.says.append(f"{name}: {total} ({shares}).{over}{noted}")
    if beside:
        _second(picture, beside, beside_name, {n: limit and sums[n] > limit for n in rows}, ends, top)
    kinds = list(dict.fromkeys(kind for parts in rows.values() for kind in parts))
    if legend or len(kinds) > 1:
        picture.legend(legend or kinds)
    return picture


def _second(
    picture: Drawing,
    amounts: Mapping[str, float],
    name: str,
    beyond: Mapping[str, bool | None],
    ends: Mapping[str, tuple[float, float]],
    top: float,
) -> None:
    """The panel at the right, each bar in the row of its first one."""
    left = picture.width - 100
    scale = (100 - max(wide(f"{amount:.1f}") for amount in amounts.values()) - 8) / max(amounts.values())
    picture.text(picture.width, top - 8, name, anchor="end")
    for row, amount in amounts.items():
        y = ends[row][1] - 17
        if beyond[row]:
            picture.ghost(left, y, amount * scale, 24)
        else:
            picture.box(left, y, amount * scale, 24, "plain")
        picture.text(left + amount * scale + 6, y + 17, f"{amount:.1f}")
    told = (f"{row} {amount:.1f}{', hollow' * bool(beyond[row])}" for row, amount in amounts.items())
    picture.says.append(f"Beside it, {name}: {'; '.join(told)}.")
