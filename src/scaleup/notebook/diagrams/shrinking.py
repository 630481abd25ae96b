"""What is left of a whole when one thing after another is taken from it."""

from __future__ import annotations

from collections.abc import Mapping

from ...plan.inks import wide, wrapped
from .canvas import Drawing

HEIGHT, ROW = 24, 32


def shrinking(
    title: str,
    whole: tuple[str, float],
    taken: Mapping[str, float],
    left: str,
    *,
    unit: str,
    digits: int = 0,
) -> Drawing:
    """`whole` is a name and an amount, `taken` is {what takes: how much}, `left` names what remains."""
    picture = Drawing(title)
    names = [whole[0], *taken, left]
    column = min(130, 10 + max(wide(line) for name in names for line in wrapped(name, 118)))

    def told(amount: float) -> str:
        return f"{amount:,.{digits}f}"

    scale = (picture.width - column - 4) / whole[1]
    y, rest = picture.height, whole[1]
    for name, amount in [(whole[0], 0.0), *taken.items(), (left, 0.0)]:
        lines = wrapped(name, column - 8)
        for number, line in enumerate(lines):
            picture.text(0, y + 16 - (len(lines) - 1) * 7 + number * 14, line)
        rest -= amount
        words = told(rest) if amount else f"{told(rest)} {unit}"
        words = words if wide(words) + 6 <= rest * scale else told(rest)
        picture.box(column, y, rest * scale, HEIGHT, "compute" if name == left else "plain", words)
        if amount:
            x, minus = column + rest * scale, f"- {told(amount)}"
            after = x + amount * scale + 6
            behind = after + wide(minus) <= picture.width
            crowded = rest * scale < wide(words) + 2 * wide(minus) + 20  # no room for it before the part
            inside = not behind and crowded and wide(minus) + 6 <= amount * scale
            picture.box(x, y, amount * scale, HEIGHT, "idle", minus if inside else "")
            if behind:
                picture.text(after, y + 16, minus)
            elif not inside:
                picture.text(x - 6, y + 16, minus, anchor="end")
            picture.says.append(f"Less {told(amount)} for {name}: {told(rest)}.")
        y += ROW
    picture.height = y - ROW + HEIGHT
    picture.says.insert(0, f"{whole[0]}: {told(whole[1])} {unit}.")
    picture.says.append(f"{left}: {told(rest)} {unit}.")
    return picture
