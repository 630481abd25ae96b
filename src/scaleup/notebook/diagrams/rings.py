"""A ring in steps: a column per rank, a row per moment, arrows from what is sent to where it arrives.

The still picture is the whole strip. "Play" shows the rows one after the other.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from ...plan.inks import wrapped
from .canvas import Drawing, image

Moment = Sequence[Sequence[str]]  # what each rank holds in each of its chunks, as words
CELL, GAP, LEFT, STRIP = 24, 34, 84, 6


class Ring(Drawing):
    """The strip, and the same strip row by row behind "Play"."""

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        still = super()._repr_mimebundle_()
        moving = image(self.svg(seconds=1.6), f"The same, row by row: {self.title}", self.width)
        still["text/html"] += f'<details class="motion"><summary>Play</summary>{moving}</details>'
        return still


def ring(
    title: str,
    moments: Sequence[Moment],
    sends: Sequence[Sequence[int]],
    notes: Sequence[str],
    *,
    whole: Sequence[Collection[tuple[int, int]]] = (),
) -> Ring:
    """`moments[m][rank][chunk]` is what a rank holds; `sends[m][rank]` is the chunk that it then sends on.

    `sends` has one entry less than `moments`, or an empty one for a moment after which nothing is sent.
    The chunk that is sent has a strip below. `notes` say what each moment is. `whole[m]` are the (rank,
    chunk) that are finished by then.
    """
    picture = Ring(title)
    ranks, chunks = len(moments[0]), len(moments[0][0])
    column = (picture.width - LEFT) / ranks
    cell = (column - 14) / chunks
    top = picture.height
    for rank in range(ranks):
        picture.text(LEFT + (rank + 0.5) * column, top + 12, f"rank {rank}", anchor="middle", style="bold")

    def middle(rank: int, chunk: int) -> float:
        return LEFT + rank * column + 7 + (chunk + 0.5) * cell

    y = top + 20
    for number, moment in enumerate(moments):
        before = len(picture.shapes)
        sent = sends[number] if number < len(sends) else ()
        ready = whole[number] if number < len(whole) else ()
        lines = wrapped(notes[number], LEFT - 8)
        for place, line in enumerate(lines):
            picture.text(0, y + 16 - (len(lines) - 1) * 7 + place * 14, line)
        for rank in range(ranks):
            for chunk, words in enumerate(moment[rank]):
                kind = "optimizer state" if (rank, chunk) in ready else "plain"
                picture.box(middle(rank, chunk) - cell / 2, y, cell, CELL, kind, words)
                if sent and sent[rank] == chunk:  # at its lower edge, so that what is finished stays so
                    strip = y + CELL - STRIP / 2
                    picture.box(middle(rank, chunk) - cell / 2, strip, cell, STRIP, "communication")
        for place in range(before, len(picture.shapes)):
            picture.shapes[place] = (number + 1, picture.shapes[place][1])
        if sent:
            before = len(picture.shapes)
            for rank in range(ranks):
                start, end = y + CELL + STRIP / 2 + 1, y + CELL + GAP - 1
                x, to = middle(rank, sent[rank]), middle((rank + 1) % ranks, sent[rank])
                if rank + 1 < ranks:
                    picture.line(x, start, to, end, arrow=True)
                else:  # the last rank's goes round
                    half = (start + end) / 2
                    picture.line(x, start, picture.width, half)
                    picture.line(LEFT - 6, half, to, end, arrow=True)
                    picture.text(LEFT - 9, half + 4, f"from rank {rank}", anchor="end")
            for place in range(before, len(picture.shapes)):
                picture.shapes[place] = (number + 2, picture.shapes[place][1])
        held = "; ".join(f"rank {rank}: {', '.join(chunks)}" for rank, chunks in enumerate(moment))
        picture.says.append(f"{notes[number]}: {held}.")
        y += CELL + GAP
    picture.height = y - GAP + 4
    done = {"optimizer state": "finished"} if any(whole) else {}
    picture.legend({"communication": "is sent next", **done})
    return picture
