"""Where a batch goes: a list of windows, dealt out to the ranks like cards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...plan.inks import wide
from .canvas import Drawing

ROW, GAP = 22, 3


def dealt(
    title: str,
    rows: Mapping[str, Sequence[Sequence[int]]],
    *,
    batch: int = 1,
    per_step: int = 0,
    left_out: Mapping[str, Sequence[int]] | None = None,
) -> Drawing:
    """`rows` are {name, such as an epoch: what each rank gets, in its order}; the ranks take turns,
    and `batch` windows at a time.

    With `per_step`, how many a rank takes in one step, dashed lines divide the steps. A number that comes a
    second time has a colour of its own. `left_out` are {name: numbers that no rank gets}.
    """
    picture = Drawing(title)
    out = left_out or {}
    places = max(sum(map(len, shares)) + len(out.get(name, ())) for name, shares in rows.items())
    left = 14 + wide("rank 0")
    cell = (picture.width - left) / places
    kinds = {"plain": "the list", "tokens": "what a rank gets"}
    for name, shares in rows.items():
        ranks, rounds = len(shares), max(map(len, shares))
        top = picture.height + 4
        picture.text(0, top + 11, name, style="bold")
        step = per_step * ranks
        for number in range(-(-rounds // per_step) if per_step else 0):
            x = left + number * step * cell
            end = min(x + step * cell, picture.width)
            picture.text(end - 6, top + 11, f"step {number}", anchor="end")
            if number:
                picture.line(x, top, x, top + 20 + (ranks + 1) * (ROW + GAP), dashed=True)
        top += 18
        for line, words in enumerate(["list", *(f"rank {rank}" for rank in range(ranks))]):
            picture.text(0, top + line * (ROW + GAP) + 15, words)
        seen = set()
        for place in range(ranks * -(-rounds // batch) * batch):
            rank = place // batch % ranks
            turn = place // (batch * ranks) * batch + place % batch
            if turn >= len(shares[rank]):
                continue
            number, x = shares[rank][turn], left + place * cell + 2
            kind = "here" if number in seen else "tokens"
            if number in seen:
                kinds["here"] = "a second time"
            seen.add(number)
            picture.box(x, top, cell - 4, ROW, "plain", str(number))
            picture.box(x, top + (rank + 1) * (ROW + GAP), cell - 4, ROW, kind, str(number))
        for place, number in enumerate(out.get(name, ()), start=sum(map(len, shares))):
            kinds["idle"] = "left out"
            picture.box(left + place * cell + 2, top, cell - 4, ROW, "idle", str(number))
        told = [f"rank {rank} gets {', '.join(map(str, share))}" for rank, share in enumerate(shares)]
        rest = f"; {', '.join(map(str, out[name]))} left out" if out.get(name) else ""
        picture.says.append(f"{name}: {'; '.join(told)}{rest}.")
        picture.height = top + (ranks + 1) * (ROW + GAP) + 4
    picture.legend(kinds)
    return picture
