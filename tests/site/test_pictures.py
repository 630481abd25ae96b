"""Every stored picture of a lesson or a page, in a real browser: no word is cut or lies on another one."""

import base64
import json
import re

import pytest
from chromium import chromium, needs_chromium, new_page

from scaleup.notebook.diagrams import Drawing
from scaleup.paths import root

pytestmark = [
    pytest.mark.processes,
    needs_chromium,
]
SMALLEST = 9.5  # pixels where the column is 358 of them, as on a phone of 390
LOOK = """() => [...document.querySelectorAll("svg")].map(svg => {
    const width = Number(svg.getAttribute("viewBox").split(" ")[2]), frame = svg.getBoundingClientRect();
    const scale = width / frame.width, height = frame.height * scale;
    const texts = [...svg.querySelectorAll("text")];
    const boxes = texts.map(text => {
        const r = text.getBoundingClientRect();
        const [x, y] = [(r.x - frame.x) * scale, (r.y - frame.y) * scale];
        return [text.textContent, {x: x, y: y, width: r.width * scale, height: r.height * scale}];
    });
    const cut = boxes.filter(([, b]) => b.x < 0 || b.x + b.width > width || b.y + b.height > height);
    const touch = ([, a], [, b]) => Math.min(a.x + a.width, b.x + b.width) - Math.max(a.x, b.x) > 1.5
        && Math.min(a.y + a.height, b.y + b.height) - Math.max(a.y, b.y) > 4.5;
    const over = boxes.flatMap((a, i) => boxes.slice(i + 1).filter(b => touch(a, b)).map(b => [a[0], b[0]]));
    const sizes = texts.map(text => parseFloat(getComputedStyle(text).fontSize) * 358 / width);
    return {cut: cut.map(([words]) => words), over: over, smallest: Math.min(...sizes)};
})"""


def stored() -> dict[str, str]:
    """{notebook and cell, or file: SVG} of every drawn picture that is stored."""
    drawn = root() / "book" / "_static" / "pictures"
    found = {file.name: file.read_text(encoding="utf-8") for file in sorted(drawn.glob("*.svg"))}
    for file in sorted(root().glob("notebooks/**/*.ipynb")):
        for number, cell in enumerate(json.loads(file.read_text(encoding="utf-8"))["cells"], 1):
            for output in cell.get("outputs", []):
                source = "".join(output.get("data", {}).get("text/html", ""))
                for count, code in enumerate(re.findall(r"data:image/svg\+xml;base64,([^\"]+)", source)):
                    found[f"{file.stem} {number}.{count}"] = base64.b64decode(code).decode()
    return found


@pytest.fixture(scope="module")
def look():
    """Faults of each of some pictures, drawn with this machine's fonts."""
    with chromium() as browser:
        page = new_page(browser)

        def seen(svgs: list[str]) -> list[dict]:
            page.set_content("".join(svg[svg.index("<svg") :] for svg in svgs))
            return page.evaluate(LOOK)

        yield seen


def test_no_word_of_a_stored_picture_is_cut_covered_or_too_small(look):
    pictures = stored()
    faults = dict(zip(pictures, look(list(pictures.values())), strict=True))
    bad = {name: f for name, f in faults.items() if f["cut"] or f["over"] or f["smallest"] < SMALLEST}
    assert not bad


def test_the_look_finds_what_is_cut_covered_and_small(look):
    picture = Drawing("Faults")
    picture.text(430, 60, "beyond the edge")
    picture.text(10, 90, "one upon the other")
    picture.text(20, 92, "other")
    picture.text(10, 120, "small", size=8)
    fault = look([picture.svg()])[0]
    assert fault["cut"] == ["beyond the edge"] and fault["over"] == [["one upon the other", "other"]]
    assert fault["smallest"] < SMALLEST
