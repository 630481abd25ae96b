"""A drawing of a few kinds of shapes, as an SVG that reads in both themes, in grey, on a phone and on paper.

Colour and pattern say what a thing is (`KINDS`), a column says who holds it, size is bytes or seconds.
A unit is a pixel where the picture is 440 wide, and 0.8 on a phone: 12 units is the smallest text.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import drawsvg

from ...plan.inks import COLOURS, FONTS, INK, PAGE, PATTERNS, SMALL, WIDTH, wide, wrapped

LINE = 16  # from one line of text to the next


@dataclass(frozen=True)
class Look:
    """Fill and edge on a light and on a dark page, and the pattern that tells kinds apart in grey."""

    light: tuple[str, str]
    dark: tuple[str, str]
    pattern: str = ""


def _look(colour: str, pattern: str = "") -> Look:
    return Look(*COLOURS[colour], pattern)


KINDS = {
    "parameters": _look("parameters"),
    "gradients": _look("gradients", "up"),
    "optimizer state": _look("optimizer state", "dots"),
    "activations": _look("activations", "down"),
    "tokens": _look("tokens", "flat"),
    "compute": _look("parameters"),
    "backward": _look("optimizer state", "dots"),
    "communication": _look("gradients", "up"),
    "idle": _look("idle", "wide"),
    "plain": _look("plain"),
    "here": _look("here"),
}


def named(kind: str) -> str:
    """The kind as a name in a stylesheet."""
    return kind.replace(" ", "-")


def _style() -> str:
    """One stylesheet for all pictures: variables for the inks, redefined on a dark screen."""

    def variables(theme: int) -> str:
        inks = [f"--ink:{INK[theme]};--page:{PAGE[theme]}"]
        for kind, look in KINDS.items():
            fill, edge = (look.light, look.dark)[theme]
            inks.append(f"--{named(kind)}:{fill};--{named(kind)}-edge:{edge}")
        return ";".join(inks)

    names = map(named, KINDS)
    kinds = "".join(f".{name}{{fill:var(--{name});stroke:var(--{name}-edge)}}" for name in names)
    return (
        f":root{{{variables(0)}}}@media screen and (prefers-color-scheme:dark){{:root{{{variables(1)}}}}}"
        f"text{{font-family:{FONTS};fill:var(--ink)}}"
        ".title,.bold{font-weight:600}.line{stroke:var(--ink);fill:none}.head{fill:var(--ink)}"
        ".ghost{fill:none;stroke:var(--plain-edge);stroke-dasharray:4 3}"
        ".frame{fill:none;stroke:var(--plain-edge)}.halo{stroke:var(--page);stroke-width:3;paint-order:stroke}"
        f"{kinds}"
    )


def image(svg: str, alt: str, width: float, measured: bool = False) -> str:
    """The SVG as an <img> of HTML: it is shown even where a notebook is not trusted, and has its words."""
    kind = ' class="measured"' if measured else ""
    data = base64.b64encode(svg.encode()).decode()
    style = f"width:{width:g}px;max-width:100%;height:auto;padding:0"
    words = html.escape(alt, quote=True)
    return f'<img{kind} alt="{words}" style="{style}" src="data:image/svg+xml;base64,{data}">'


def _motion(moments: int, seconds: float) -> str:
    """Where motion is welcome each moment is hidden until its time. In the end all of them are there."""
    plays = "".join(f".m{n}{{animation:wait {(n - 1) * seconds:g}s steps(1)}}" for n in range(2, moments + 1))
    return (
        f"@media screen and (prefers-reduced-motion:no-preference){{{plays}}}"
        "@keyframes wait{from{opacity:0}to{opacity:0}}"
    )


class Drawing:
    """Shapes placed from the top left, in units; `height` grows with them. Shows itself in a notebook.

    `title` is the takeaway and stands above the picture. `says` are sentences that tell the rest of it to
    who cannot see it. `measured` is for pictures whose values vary from run to run: nbval skips those only.
    """

    def __init__(self, title: str, *, width: float = WIDTH, measured: bool = False) -> None:
        self.title, self.width, self.measured = title, width, measured
        self.says: list[str] = []
        self.shapes: list[tuple[int, Any]] = []  # when a shape appears in the moving picture, and the shape
        self.height = 0.0
        self._patterns: set[str] = set()
        for line in wrapped(title, 0.9 * width, 14):
            self.height += 18
            self.text(0, self.height - 3, line, size=14, style="title")
        self.height += 8

    # Shapes

    def _add(self, shape: Any, bottom: float) -> None:
        self.shapes.append((0, shape))
        self.height = max(self.height, bottom)

    def text(
        self, x: float, y: float, words: str, *, size: float = SMALL, anchor: str = "start", style: str = ""
    ) -> None:
        """Words on the baseline `y`; `anchor` is start, middle or end; `style` may be bold."""
        shape = drawsvg.Text(words, size, x, y, text_anchor=anchor, class_=f"halo {style}".strip())
        self._add(shape, y + 4)

    def box(
        self,
        x: float,
        y: float,
        w: float,
        h: float,
        kind: str = "plain",
        words: str = "",
        size: float = SMALL,
    ) -> None:
        """A rectangle of this kind with its words in the middle, on several lines where they are long."""
        edge = {"class_": named(kind), "stroke_width": 1.2, "rx": 2}
        self._add(drawsvg.Rectangle(x, y, w, h, **edge), y + h)
        if pattern := KINDS[kind].pattern:
            self._patterns.add(kind)
            name = f"url(#{kind.replace(' ', '-')}-pattern)"
            self._add(drawsvg.Rectangle(x, y, w, h, fill=name, fill_opacity=0.5, rx=2), y + h)
            assert pattern in PATTERNS
        lines = wrapped(words, w - 6, size) if words else []
        start = y + h / 2 - (len(lines) - 1) * (size + 2) / 2 + size * 0.36
        for number, line in enumerate(lines):
            shape = drawsvg.Text(line, size, x + w / 2, start + number * (size + 2), text_anchor="middle")
            self._add(shape, y + h)

    def ghost(self, x: float, y: float, w: float, h: float) -> None:
        """The outline of what is elsewhere."""
        self._add(drawsvg.Rectangle(x, y, w, h, class_="ghost", rx=2), y + h)

    def frame(self, x: float, y: float, w: float, h: float, words: str = "") -> None:
        """A frame around what belongs together, such as a node, with its name above its upper edge."""
        self._add(drawsvg.Rectangle(x, y, w, h, class_="frame", rx=6, stroke_width=1.2), y + h + 2)
        if words:
            self.text(x + 8, y + 15, words, style="bold")

    def line(
        self,
        x1: float,
        y1: float,
        x2: float,
        y2: float,
        *,
        width: float = 1.5,
        arrow: bool = False,
        dashed: bool = False,
        words: str = "",
        kind: str = "",
    ) -> None:
        """A line of this width, with an arrow's head at its end where asked, and words at its middle."""
        style = {"class_": f"line {kind}".strip(), "stroke_width": width}
        if dashed:
            style["stroke_dasharray"] = "4 3"
        length = ((x2 - x1) ** 2 + (y2 - y1) ** 2) ** 0.5 or 1
        ux, uy = (x2 - x1) / length, (y2 - y1) / length
        back = 7 if arrow else 0
        self._add(drawsvg.Line(x1, y1, x2 - back * ux, y2 - back * uy, **style), max(y1, y2))
        if arrow:
            bx, by = x2 - 8 * ux, y2 - 8 * uy
            corners = (x2, y2, bx - 4 * uy, by + 4 * ux, bx + 4 * uy, by - 4 * ux)
            self._add(drawsvg.Lines(*corners, close=True, class_="head"), max(y1, y2))
        if words:
            self.text(
                (x1 + x2) / 2 + 5, (y1 + y2) / 2 - 5, words, anchor="start" if abs(ux) < 0.5 else "middle"
            )

    def area(self, points: Iterable[tuple[float, float]], kind: str) -> None:
        """A closed shape of this kind through these points, such as the area below a curve."""
        corners = list(points)
        flat = [round(number, 1) for corner in corners for number in corner]
        bottom = max(y for _, y in corners)
        self._add(drawsvg.Lines(*flat, close=True, class_=named(kind), stroke_width=1.2), bottom)
        if KINDS[kind].pattern:
            self._patterns.add(kind)
            self._add(
                drawsvg.Lines(*flat, close=True, fill=f"url(#{named(kind)}-pattern)", fill_opacity=0.5),
                bottom,
            )

    def legend(self, kinds: Iterable[str] | Mapping[str, str], y: float | None = None) -> None:
        """What the fills mean, below everything or at `y`: {kind: words}, or kinds that say it themselves."""
        x, y = 0.0, self.height + 10 if y is None else y
        names = kinds if isinstance(kinds, Mapping) else {kind: kind for kind in kinds}
        for kind, words in names.items():
            need = 18 + wide(words) + 16
            if x + need > self.width:
                x, y = 0.0, y + LINE + 2
            self.box(x, y, 14, 12, kind)
            self.text(x + 19, y + 10.5, words)
            x += need

    # What comes out

    @property
    def alt(self) -> str:
        """The text for who does not see the picture: the takeaway, then what is drawn."""
        return " ".join([self.title.rstrip(".") + ".", *self.says])

    def svg(self, seconds: float = 0) -> str:
        """The picture as SVG, the same text in every run.

        With `seconds` the shapes of each moment appear so long after those of the moment before. Who prefers
        no motion sees all of them at once.
        """
        height = round(self.height + 4)
        made = drawsvg.Drawing(self.width + 4, height, origin=(-2, 0), style="max-width:100%;height:auto")
        last = max((moment for moment, _ in self.shapes), default=0)
        made.append_css(_style() + (_motion(last, seconds) if seconds else ""))
        for kind in sorted(self._patterns):
            name = named(kind)
            look = PATTERNS[KINDS[kind].pattern]
            fill = "fill" if "circle" in look else "stroke"
            made.append(
                drawsvg.Raw(
                    f'<defs><pattern id="{name}-pattern" width="8" height="8" patternUnits="userSpaceOnUse">'
                    f'<g style="{fill}:var(--{name}-edge);stroke-width:1.1">{look}</g></pattern></defs>'
                )
            )
        groups = {moment: drawsvg.Group(class_=f"m{moment}") for moment in range(1, last + 1)}
        for moment, shape in self.shapes:
            (groups[moment] if moment else made).append(shape)
        for group in groups.values():
            made.append(group)
        return made.as_svg()

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        picture = image(self.svg(), self.alt, self.width, self.measured)
        return {"text/html": picture, "text/plain": f"Figure: {self.alt}"}
