"""The book as readers get it: no warning, no request to another site, and nothing said that is not so."""

import html
import json
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml

from scaleup.cli import parser
from scaleup.paths import root

TOP = root()
TOC = yaml.safe_load((TOP / "book/_toc.yml").read_text())
ENTRIES = [
    entry["file"]
    for part in TOC["parts"]
    for chapter in part["chapters"]
    for entry in [chapter, *chapter.get("sections", [])]
]
LESSONS = [
    file.removeprefix("notebooks/")
    for file in ENTRIES
    if file.startswith("notebooks/") and file.count("/") > 1
]
NOTEBOOKS = [file for file in ENTRIES if (TOP / f"{file}.ipynb").is_file()]
TEXTS = [TOP / "README.md", TOP / "CONTRIBUTING.md", *sorted((TOP / "book").rglob("*.md"))]


def onward(text: str) -> str:
    """The last link to a lesson in a lesson's closing words: where it sends its reader."""
    links = re.findall(r"\]\(([^)#\s]+)\.ipynb", text)
    return next((link.split("/")[-1] for link in reversed(links) if "exercises/" not in link), "")


def test_the_last_lesson_that_is_linked_counts_and_no_exercise():
    assert onward("[a](../1/a.ipynb), [b](b.ipynb#x), the [exercises](../../exercises/1/c.ipynb)") == "b"
    assert onward("the [exercises](../../exercises/1/c.ipynb)") == ""


@pytest.mark.parametrize(("lesson", "following"), list(pairwise(LESSONS)))
def test_every_lesson_ends_with_a_link_to_the_next(lesson, following):
    last = json.loads((TOP / f"notebooks/{lesson}.ipynb").read_text())["cells"][-1]
    assert onward("".join(last["source"])) == following.split("/")[-1]


class Page(HTMLParser):
    """What one built page loads, links to, shows and names."""

    LOADED = {
        "script": "src",
        "img": "src",
        "source": "src",
        "iframe": "src",
        "video": "src",
        "embed": "src",
        "object": "data",
        "use": "href",
    }

    def __init__(self, file: Path):
        super().__init__()
        self.file = file
        self.loads: list[str] = []
        self.links: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.ids: set[str] = set()
        self.lang = None
        self.feed(file.read_text())

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.ids |= {found[name] for name in ("id", "name") if found.get(name)}
        if tag == "html":
            self.lang = found.get("lang")
        if tag == "img":
            self.images.append(found)
        if tag == "a" and found.get("href"):
            self.links.append(found["href"])
        if tag in self.LOADED and found.get(self.LOADED[tag]):
            self.loads.append(found[self.LOADED[tag]])
        # A link element names a thing to load only for these; rel="license" and rel="canonical" do not.
        if tag == "link" and re.search(r"stylesheet|icon|preload|preconnect|prefetch|manifest", found["rel"]):
            self.loads.append(found["href"])


@pytest.fixture(scope="session")
def pages(site) -> dict[str, Page]:
    return {
        str(file.relative_to(site)): Page(file)
        for file in sorted(site.rglob("*.html"))
        if "_static" not in file.relative_to(site).parts
    }


def is_elsewhere(address: str) -> bool:
    return bool(re.match(r"(https?:)?//", address))


# ---- the site ----


@pytest.mark.processes
def test_the_book_builds_without_a_warning(build):
    done = build[1]
    said = done.stdout + done.stderr
    warnings = [line for line in said.splitlines() if "WARNING" in line or "ERROR" in line]
    assert done.returncode == 0, "The book did not build:\n" + ("\n".join(warnings) or said[-3000:])


@pytest.mark.processes
def test_every_entry_of_the_table_of_contents_is_a_page_in_english(pages):
    assert TOC["root"] + ".html" in pages
    assert [file for file in ENTRIES if f"{file}.html" not in pages] == []
    assert [name for name, page in pages.items() if page.lang not in ("en", None)] == []
    assert pages[TOC["root"] + ".html"].lang == "en"


@pytest.mark.processes
@pytest.mark.parametrize("lesson", LESSONS)
def test_every_lesson_has_a_card(site, pages, lesson):
    about = json.loads((TOP / f"notebooks/{lesson}.ipynb").read_text())["metadata"]["scaleup"]
    landing = html.unescape((site / "book/index.html").read_text())
    assert f"../notebooks/{lesson}.html" in pages["book/index.html"].links, f"{lesson} has no card"
    for part in (about["title"], about["summary"], f"{about['minutes']} min · {about['level']}"):
        assert part in landing, f"the card of {lesson} does not say '{part}'"


def text_of(page: Path) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]+>", "", page.read_text())).split())


@pytest.mark.processes
@pytest.mark.parametrize("file", NOTEBOOKS)
def test_every_stored_output_is_on_the_page(site, pages, file):
    text, missing, images = text_of(site / f"{file}.html"), [], 0
    for number, cell in enumerate(json.loads((TOP / f"{file}.ipynb").read_text())["cells"]):
        if "remove-output" in cell["metadata"].get("tags", []) or "remove-cell" in cell["metadata"].get(
            "tags", []
        ):
            continue
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            assert "application/vnd.jupyter.widget-view+json" not in data, (
                f"{file}, cell {number}: a live widget is stored, and the site loads no widget scripts."
            )
            if any(kind.startswith("image/") for kind in data):
                images += 1
            elif not {"text/html", "text/markdown"} & data.keys():
                said = " ".join("".join(output.get("text", data.get("text/plain", ""))).split())
                said = " ".join(re.sub(r"\x1b\[[0-9;]*m", "", said).split())
                if said not in text:
                    missing.append(f"cell {number}: {said[:80]}")
    assert missing == [], f"{file}: stored outputs are not on the page"
    shown = [image["src"] for image in pages[f"{file}.html"].images if "_images" in image["src"]]
    assert len(shown) >= images, f"{file}: {images} stored pictures, {len(shown)} on the page"


@pytest.mark.processes
def test_no_page_asks_another_site_for_anything(pages):
    found = {name: [each for each in page.loads if is_elsewhere(each)] for name, page in pages.items()}
    assert {name: addresses for name, addresses in found.items() if addresses} == {}


@pytest.mark.processes
def test_no_style_sheet_asks_another_site_for_anything(site):
    found = {}
    for sheet in site.rglob("*.css"):
        addresses = re.findall(r"url\(\s*['\"]?([^'\")]+)|@import\s+['\"]([^'\"]+)", sheet.read_text())
        if elsewhere := [each for pair in addresses for each in pair if is_elsewhere(each)]:
            found[str(sheet.relative_to(site))] = elsewhere
    assert found == {}


@pytest.mark.processes
def test_math_comes_from_the_site(site, pages):
    with_math = [name for name, page in pages.items() if 'class="math' in page.file.read_text()]
    assert with_math, "no page has a formula, so this test shows nothing"
    for name in with_math:
        scripts = [each for each in pages[name].loads if "mathjax" in each]
        assert scripts, f"{name} has a formula and does not load MathJax"
        assert (pages[name].file.parent / urlsplit(scripts[0]).path).is_file()
    assert list((site / "_static/mathjax/output/chtml/fonts").rglob("*.woff"))


@pytest.mark.processes
def test_every_internal_link_resolves(site, pages):
    broken = []
    for name, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or link.startswith("//"):
                continue
            target = (page.file.parent / unquote(parts.path)).resolve() if parts.path else page.file
            target = target / "index.html" if target.is_dir() else target
            if not target.is_file():
                broken.append(f"{name}: {link}")
            elif parts.fragment and target.suffix == ".html":
                goal = pages[str(target.relative_to(site))]
                if unquote(parts.fragment) not in goal.ids:
                    broken.append(f"{name}: {link} (no such place on the page)")
    assert broken == []


@pytest.mark.processes
def test_every_picture_has_a_text_that_says_what_it_shows(pages):
    silent = []
    for name, page in pages.items():
        for image in page.images:
            alt = (image.get("alt") or "").strip()
            # Without a text of its own, a picture gets its file's path.
            if not alt or re.fullmatch(r"\S*\.(png|svg|jpe?g)", alt):
                silent.append(f"{name}: {image['src']}")
    assert silent == [], "pictures without alt text (in a notebook: cell metadata mystnb.image.alt)"


@pytest.mark.processes
def test_the_first_page_sends_each_audience_to_one_place(site):
    cards = re.findall(
        r'<div class="sd-card-body.*?sd-card-footer.*?</div>', (site / "book/index.html").read_text(), re.S
    )
    assert [re.findall(r'href="([^"#]+)', card) for card in cards] == [
        ["start/install.html"], ["instructors/index.html"], ["access/index.html"],
    ]  # fmt: skip


@pytest.mark.processes
def test_the_first_page_says_how_long_the_course_takes(site):
    minutes = [
        json.loads((TOP / f"notebooks/{lesson}.ipynb").read_text())["metadata"]["scaleup"]["minutes"]
        for lesson in LESSONS
    ]
    said = f"{len(LESSONS)} lessons, {sum(minutes) / 60:.0f} hours"
    assert said in text_of(site / "book/index.html")


@pytest.mark.processes
def test_cells_of_ranks_are_coloured_as_python(site):
    cells = {}
    for name in NOTEBOOKS:
        blocks = re.findall(
            r'<div class="highlight-ipython3.*?</pre>', (site / f"{name}.html").read_text(), re.S
        )
        cells |= {f"{name} {n}": block for n, block in enumerate(blocks) if "%%px" in block}
    assert len(cells) > 10, "few cells begin with %%px, so this test shows little"
    assert [name for name, block in cells.items() if '<span class="n">' not in block] == []


# ---- what README.md, CONTRIBUTING.md and the book's pages say ----


@pytest.mark.parametrize("page", ["README.md", "book/index.md", "book/start/install.md"])
def test_the_first_commands_work_for_somebody_who_has_nothing_yet(page):
    address = yaml.safe_load((TOP / "_config.yml").read_text())["repository"]["url"]
    block = re.search(r"^```[^\n]*bash\n(?::[^\n]*\n)*(.*?)^```", (TOP / page).read_text(), re.M | re.S)[1]
    clone, make = block.splitlines()
    assert clone == f"git clone {address} && cd {address.rpartition('/')[2]}" and make.split()[:2] == [
        "make",
        "lab",
    ]


def spans(text: str) -> list[str]:
    """Code spans and the lines of code blocks, without directives and their options."""
    blocks = re.findall(r"^```(?:bash|sh|console|text)?\n(.*?)^```", text, re.M | re.S)
    lines = [line.strip().removeprefix("$ ") for block in blocks for line in block.splitlines()]
    prose = re.sub(r"^(```|~~~|:::).*?^\1", "", text, flags=re.M | re.S)
    return [line for line in lines if line] + re.findall(r"(?<![`}])`([^`\n]+)`(?!`)", prose)


def texts() -> list:
    assert TEXTS[0].is_file()
    return [pytest.param(path, id=str(path.relative_to(TOP))) for path in TEXTS if path.is_file()]


@pytest.mark.parametrize("page", texts())
def test_every_make_target_named_exists(page):
    targets = set(re.findall(r"^([a-z-]+):", (TOP / "Makefile").read_text(), re.M))
    named = {found for span in spans(page.read_text()) for found in re.findall(r"^make ([a-z-]+)", span)}
    assert named - targets == set(), f"{page.name} names make targets that the Makefile does not have"


@pytest.mark.parametrize("page", texts())
def test_every_subcommand_named_exists(page):
    choices = set()
    for action in parser()._actions:
        choices |= set(action.choices or ())
    named = {
        found for span in spans(page.read_text()) for found in re.findall(r"(?:^|/)scaleup ([a-z]+)", span)
    }
    assert named - choices == set(), f"{page.name} names commands that 'scaleup --help' does not"


@pytest.mark.parametrize("page", texts())
def test_every_relative_link_of_a_text_resolves(page):
    prose = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)
    links = re.findall(r"\]\(([^)\s]+)\)", prose)
    broken = [
        link
        for link in links
        if not re.match(r"[a-z]+:|#", link) and not (page.parent / unquote(link.partition("#")[0])).exists()
    ]
    assert broken == [], f"{page.name} links to files that do not exist"


# Made on the reader's machine or part of the system: texts name it, and the checkout does not hold it.
MADE = re.compile(r"^(\.venv|\.scaleup|_build)(/|$)|^/|^~")


@pytest.mark.parametrize("page", texts())
def test_every_path_named_exists(page):
    missing = []
    for span in spans(page.read_text()):
        for word in span.split():
            word = word.strip("'\"(),;:").removeprefix("./")
            first = word.partition("/")[0]
            known_place = "/" in word and (TOP / first).is_dir()
            known_kind = re.fullmatch(r"[\w.-]+\.(md|toml|yml|yaml|txt|cff|py|ipynb|cfg|json)", word)
            if (known_place or known_kind) and not MADE.match(word) and not set(word) & set("<>*{}$="):
                pattern = re.sub(r"PART|SUBJECT", "*", word)  # "any part", "any lesson"
                if not any(TOP.glob(pattern)) and not any(page.parent.glob(pattern)):
                    missing.append(word)
    assert missing == [], f"{page.name} names paths that are not in the checkout"
