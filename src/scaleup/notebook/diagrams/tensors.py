"""Who holds what: tensors on ranks, whole or in shards, before and after the ranks talk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...plan.inks import wide, wrapped
from .canvas import LINE, Drawing

ROW = 34
THINNEST = 8  # of a slice, where its fill and pattern can still be seen


@dataclass(frozen=True)
class Piece:
    """A part of a tensor: its kind, the words in it, and which of `of` equal slices it is (0 of 1: all).

    Slices lie beside each other, as columns do, or with `below` beneath each other, as rows.
    """

    kind: str
    words: str = ""
    part: int = 0
    of: int = 1
    below: bool = False

    def __str__(self) -> str:
        kind = "rows" if self.below else "slice"
        share = "" if self.of == 1 else f", {kind} {self.part + 1} of {self.of}"
        return f"{self.words or 'all'}{share}"


Row = Sequence[Piece | None]


def on_ranks(
    title: str,
    rows: Mapping[str, Row],
    *,
    names: Sequence[str] | None = None,
    nodes: int = 1,
    after: Mapping[str, Row] | None = None,
    step: str = "",
    width: float = 440,
    groups: Sequence[str] = (),
    exchange: bool = False,
    legend: Mapping[str, str] | None = None,
) -> Drawing:
    """A column per rank, a row per tensor; a slice has the rest of its tensor as an outline.

    `rows` are {name of the tensor: a Piece, or None for nothing, per rank}. With `nodes` above 1 the ranks
    stand in as many frames, or in those of `groups`, the frames' names, where they are not nodes. `after` has
    the same form: what they hold after `step`, below an arrow, or with `exchange` below one arrow per rank
    and a line that joins them. `legend` is {kind: words} where the names of the kinds do not say what the
    pieces are; an empty one draws no legend, for a caller who adds to the picture first.
    """
    nodes = len(groups) or nodes
    frames = groups or [f"node {node}" for node in range(nodes)]
    picture = Drawing(title, width=width)
    ranks = len(next(iter(rows.values())))
    names = names or [f"rank {rank}" for rank in range(ranks)]
    left = min(130, 10 + max(wide(line) for name in [*rows, *(after or {})] for line in wrapped(name, 110)))
    gap = 14 if nodes > 1 else 0
    column = (width - left - gap * (nodes - 1)) / ranks

    def x_of(rank: int) -> float:
        return left + rank * column + gap * (rank * nodes // ranks)

    def block(rows: Mapping[str, Row]) -> None:
        top = picture.height + (16 if nodes > 1 else 0)
        for rank, name in enumerate(names):
            picture.text(x_of(rank) + column / 2, top + 13, name, anchor="middle", style="bold")
        y = top + 20
        for name, pieces in rows.items():
            lines = wrapped(name, left - 8)
            for number, line in enumerate(lines):
                picture.text(0, y + ROW / 2 + 2 - (len(lines) - 1) * LINE / 2 + number * LINE, line)
            for rank, piece in enumerate(pieces):
                _piece(picture, piece, x_of(rank) + 5, y, column - 10, ROW - 8)
            y += ROW
        if nodes > 1:
            each = ranks // nodes
            for node in range(nodes):
                x = x_of(node * each)
                picture.frame(x, top - 16, each * column, y - top + 18)
                picture.text(x + 8, top - 3, frames[node])
        picture.height = max(picture.height, y + 2)

    block(rows)
    if groups:
        each = ranks // nodes
        shares = [", ".join(names[n * each : (n + 1) * each]) for n in range(nodes)]
        told = [f"{name} is {share}" for name, share in zip(groups, shares, strict=True)]
        picture.says.append(f"{'; '.join(told)}.")
    picture.says.append(_sentence(rows, names))
    if after:
        y, centre = picture.height + 4, left + (width - left) / 2
        if exchange:
            middles = [x_of(rank) + column / 2 for rank in range(ranks)]
            picture.line(middles[0], y + 9, middles[-1], y + 9, width=2)
            for x in middles:
                picture.line(x, y, x, y + 26, arrow=True, width=2)
            picture.text(middles[0] + column / 2, y + 25, step, anchor="middle", style="bold")
        else:
            picture.line(centre, y, centre, y + 26, arrow=True, width=2)
            picture.text(centre + 12, y + 17, step, style="bold")
        picture.height = y + 30
        block(after)
        picture.says.append(f"After {step}: {_sentence(after, names)}")
    kinds = {p.kind for row in [*rows.values(), *(after or {}).values()] for p in row if p}
    if legend is None and len(kinds) > 1:
        picture.legend(sorted(kinds))
    elif legend:
        picture.legend(legend)
    return picture


def _piece(picture: Drawing, piece: Piece | None, x: float, y: float, w: float, h: float) -> None:
    if piece is None:
        return
    if piece.of > 1:
        picture.ghost(x, y, w, h)
    if piece.below:
        slice_ = h / piece.of
        picture.box(x, y + piece.part * slice_, w, slice_, piece.kind)
        before, behind = piece.part * slice_, h - (piece.part + 1) * slice_
        middle = y + h - behind / 2 if behind >= before else y + before / 2
        picture.text(x + w / 2, middle + 4, piece.words, anchor="middle")
        return
    slice_ = w / piece.of
    inside = slice_ >= wide(piece.words) + 2
    drawn = max(slice_, THINNEST)
    start = min(piece.part * slice_, w - drawn)
    picture.box(x + start, y, drawn, h, piece.kind, piece.words if inside or piece.of == 1 else "")
    if piece.words and not inside and piece.of > 1:
        before, behind = start, w - start - drawn
        if wide(piece.words) > max(before, behind):
            picture.text(x + w / 2, y + h / 2 + 4, piece.words, anchor="middle")
        elif behind >= before:
            picture.text(x + before + drawn + 4, y + h / 2 + 4, piece.words)
        else:
            picture.text(x + before - 4, y + h / 2 + 4, piece.words, anchor="end")


def _sentence(rows: Mapping[str, Row], names: Sequence[str]) -> str:
    said = []
    for name, pieces in rows.items():
        held = [str(piece) if piece else "nothing" for piece in pieces]
        if len(set(held)) == 1:
            said.append(f"{name}: {held[0]} on each of {', '.join(names)}")
        else:
            said.append(
                f"{name}: " + ", ".join(f"{who} {what}" for who, what in zip(names, held, strict=True))
            )
    return "; ".join(said) + "."


def cut(
    title: str,
    shape: tuple[int, int],
    parts: int,
    *,
    by: str,
    kind: str = "parameters",
    names: Sequence[str] | None = None,
    says: str = "",
) -> Drawing:
    """A matrix of `shape` cut by "rows" or "columns" into one part per rank."""
    picture = Drawing(title)
    rows, columns = shape
    scale = min(240 / max(rows, columns), 1e9)
    w, h = max(80, columns * scale), max(60, rows * scale)
    names = names or [f"rank {rank}" for rank in range(parts)]
    y, x = picture.height + 18, 100.0
    picture.text(x + w / 2, y - 5, f"{columns:,} columns", anchor="middle")
    picture.text(x - 8, y + h / 2 + 4, f"{rows:,} rows", anchor="end")
    for part, name in enumerate(names):
        if by == "columns":
            picture.box(x + part * w / parts, y, w / parts, h, kind, name)
        else:
            picture.box(x, y + part * h / parts, w, h / parts, kind, name)
    each = (rows, columns // parts) if by == "columns" else (rows // parts, columns)
    held = f"each of {parts} ranks holds {each[0]} x {each[1]}"
    picture.says.append(f"A matrix of {rows} rows and {columns} columns, cut by {by}: {held}.")
    if says:
        picture.says.append(says)
    return picture
