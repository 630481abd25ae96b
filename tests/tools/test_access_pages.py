"""book/access/: pages, questionnaire and answers say what data/access.yml says, and follow its changes."""

import json
import re
import shutil

import pytest
from tools import access_pages

from scaleup.access import Company, doors, find_route
from scaleup.access.exported import for_the_page
from scaleup.paths import root

MADE = access_pages.pages()
TEXTS = {name: text for name, text in MADE.items() if name.endswith(".md")}


def stale(top) -> list[str]:
    """Generated files that differ from what the data gives."""
    made = access_pages.pages()
    there = {f"{access_pages.PAGES}/{path.name}" for path in (top / access_pages.PAGES).glob("*.md")}
    texts = {name: (top / name).read_text(encoding="utf-8") for name in made if (top / name).is_file()}
    return sorted(name for name in there | made.keys() if texts.get(name) != made.get(name))


@pytest.fixture
def course(tmp_path, monkeypatch):
    """A course with a copy of the data, which a test may change."""
    (tmp_path / "notebooks").mkdir()
    shutil.copytree(root() / "data", tmp_path / "data")
    monkeypatch.setenv("SCALEUP_HOME", str(tmp_path))
    return tmp_path


def change(course, old, new):
    """Replace a text that stands exactly once in the facts."""
    file = course / "data" / "access.yml"
    text = file.read_text(encoding="utf-8")
    assert text.count(old) == 1, old
    file.write_text(text.replace(old, new), encoding="utf-8")


def test_the_committed_pages_are_in_step_with_the_data():
    assert stale(root()) == [], "run: python -m tools.access_pages"


def test_the_command_writes_the_pages(course, capsys):
    access_pages.main()
    assert capsys.readouterr().out.startswith(f"{len(TEXTS)} pages in book/access/")
    assert stale(course) == []


CHANGES = [
    # what changes in the facts, the pages that must change, an answer before and after
    (
        "most: {value: 5000, source: [catalogue, playground_user]",
        "most: {value: 6000, source: [catalogue, playground_user]",
        {"index", "routes", "facts-by-age"},
        ({"hours": 5500}, "A gap", None),
    ),
    (
        "decision_days: {value: 4, source",
        "decision_days: {value: 7, source",
        {"index", "routes", "which-route", "facts-by-age"},
        ({"hours": 20000, "readiness": "user"}, "2026-12-03", "2026-12-08"),
    ),
    (
        "least: {value: 50000, source",
        "least: {value: 40000, source",
        {"routes", "facts-by-age"},
        ({"hours": 60000, "readiness": "measured"}, "more than 50,000", "more than 40,000"),
    ),
    (
        "flop_line: {value: 1.0e+25",
        "flop_line: {value: 1.0e+24",
        {"ai-act", "facts-by-age"},
        None,
    ),
    (
        "report: {value: 3, source",
        "report: {value: 6, source",
        {"after-an-award", "facts-by-age"},
        None,
    ),
    (
        "Switzerland, Tunisia, Türkiye",
        "Tunisia, Türkiye",
        {"which-route", "facts-by-age"},
        ({"hours": 100, "country": "Switzerland"}, "associated to Horizon Europe", "not known to be one"),
    ),
    (
        "contact: {value: support@minerva4ai.eu",
        "contact: {value: help@example.org",
        {"index", "facts-by-age"},
        ({"hours": 100}, "support@minerva4ai.eu", "help@example.org"),
    ),
]


@pytest.mark.parametrize(("old", "new", "pages", "answer"), CHANGES, ids=[c[0][:24] for c in CHANGES])
def test_a_fact_that_changes_changes_every_page_and_answer_that_uses_it(course, old, new, pages, answer):
    access_pages.main()

    def told() -> str:
        given = {"country": "Germany", "ready": doors.content()["read"]} | answer[0]
        return json.dumps(find_route(Company(**given)).as_dict(), ensure_ascii=False)

    before = told() if answer else ""
    change(course, old, new)
    expected = {f"book/access/{name}.md" for name in pages}
    if answer or "flop" in old:
        expected.add(access_pages.SCRIPT)
    assert set(stale(course)) == expected
    if answer:
        after = told()
        assert answer[1] in before and answer[1] not in after
        assert answer[2] is None or answer[2] in after and answer[2] not in before


def test_no_number_of_a_size_is_written_into_the_script():
    """Sizes and days are facts: neither the tool nor the rules nor the page's script has one of its own."""
    numbers = {f"{mode[name].value:,}" for mode in doors.modes().values() for name in ("least", "most")}
    numbers |= {number.replace(",", "") for number in numbers} - {"0"}
    files = [
        "tools/access_pages.py",
        "book/_static/access.js",
        *map(str, root().glob("src/scaleup/access/*.py")),
    ]
    for file in files:
        code = re.sub(r"TYPICAL = .*?\n\)", "", (root() / file).read_text(encoding="utf-8"), flags=re.S)
        found = {
            number
            for number in numbers - {"0", "200", "800"}
            if re.search(rf"(?<![\d,.]){number}(?![\d,])", code)
        }
        assert found <= {"20000", "2,500"}, (file, found)


@pytest.mark.parametrize("name", TEXTS)
def test_footnotes_are_defined_once_and_used(name):
    text = TEXTS[name]
    defined = re.findall(r"^\[\^(\w+)\]:", text, re.M)
    assert len(defined) == len(set(defined)) and set(defined) == set(re.findall(r"\[\^(\w+)\](?!:)", text))


@pytest.mark.parametrize("name", TEXTS)
def test_each_table_has_a_header_and_rows_of_its_width(name):
    tables = re.findall(r"(?:^\|.*\|\n)+", TEXTS[name] + "\n", re.M)
    for lines in (found.splitlines() for found in tables):
        assert re.fullmatch(r"\|( --- \|)+", lines[1])
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1, lines[0]


def test_every_fact_and_every_gap_is_on_the_page_by_age():
    text = TEXTS["book/access/facts-by-age.md"]
    for aged in doors.by_age():
        assert f" {access_pages.plain(access_pages.place(aged.place))} |" in text
    assert "5,000" in text and "10^25" not in text


def test_every_mode_and_competition_is_on_the_page_of_routes():
    text = TEXTS["book/access/routes.md"]
    for mode in doors.modes().values():
        assert text.count(f"| **{mode['name']}** |") == 3
    for entry in doors.entries("competitions").values():
        assert f"| **{access_pages.plain(entry['name'])}** |" in text
    for aged in doors.by_age():
        if aged.fact.note.startswith(doors.CONFLICT):
            assert f"- **{access_pages.place(aged.place)}**: " in text


def test_the_first_page_says_what_to_do_tomorrow_in_one_sentence():
    box = re.search(r":::\{important\}\n(.*?)\n:::", TEXTS["book/access/index.md"], re.S)[1]
    assert box.startswith("Open [access.eurohpc-ju.europa.eu]") and len(re.findall(r"\.(?:\s|$)", box)) == 1


def test_the_minutes_of_the_founders_path_are_an_hour():
    table = re.search(r"\| minutes .*?\n\n", TEXTS["book/access/index.md"], re.S)[0]
    assert sum(map(int, re.findall(r"^\| (\d+) \|", table, re.M))) == 60


def test_the_script_has_the_rules_of_the_command():
    text = MADE[access_pages.SCRIPT]
    told = json.loads(text.partition("window.accessRules = ")[2].rstrip(";\n"))
    assert told == json.loads(json.dumps(for_the_page()))


def test_the_line_of_the_ai_act_is_computed():
    text = TEXTS["book/access/ai-act.md"]
    # 6 x 7e9 x 2e12 = 8.4e22, 0.84 % of 1e25; TildeOpen 6 x 30e9 x 450000 x 4718592 = 3.8e23
    assert "| 7 billion parameters, 2 trillion tokens | 8.4 × 10{sup}`22` | 0.84 % | below |" in text
    assert "3.8 × 10{sup}`23` | 3.8 % | below |" in text
    # LUMI-G: 1e25 / (191.5e12 x 8 x 0.4) / 3600 = 4.5 million node-hours
    assert re.search(r"\| \[LUMI-G\]\(../machines/lumi-g.md\) \| 4,500,000 \|", text)
