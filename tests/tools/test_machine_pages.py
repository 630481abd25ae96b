"""book/machines/: the pages say what data/machines.yml says, all of it, and nothing else."""

import re
import shutil

import pytest
from tools import machine_pages

from scaleup import machines
from scaleup.machines import job, table
from scaleup.paths import root

FOLDER = root() / "book" / "machines"
RUNNING = list(machines.operational())
MADE = machine_pages.pages()


def stale(folder) -> list[str]:
    """Names of generated pages that differ from what the data gives, and of files that no data gives."""
    files = {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.md")}
    files = {name: text for name, text in files.items() if text.startswith(machine_pages.GENERATED)}
    made = machine_pages.pages()
    return sorted(name for name in files.keys() | made.keys() if files.get(name) != made.get(name))


@pytest.fixture
def course(tmp_path, monkeypatch):
    """A course with a copy of the data, which a test may change."""
    (tmp_path / "notebooks").mkdir()
    shutil.copytree(root() / "data", tmp_path / "data")
    monkeypatch.setenv("SCALEUP_HOME", str(tmp_path))
    return tmp_path


def test_the_committed_pages_are_in_step_with_the_data():
    assert stale(FOLDER) == [], "run: python -m tools.machine_pages"


def test_the_command_writes_the_pages(course, capsys):
    machine_pages.main()
    assert capsys.readouterr().out == f"{len(RUNNING) + 3} pages in book/machines/\n"
    assert stale(course / "book" / "machines") == []


def test_a_fact_that_changes_makes_its_pages_stale(course):
    machine_pages.main()
    data = course / "data" / "machines.yml"
    text = data.read_text()
    assert text.count("value: 2978, source: lumi_docs") == 1
    data.write_text(text.replace("value: 2978, source: lumi_docs", "value: 2979, source: lumi_docs"))
    assert stale(course / "book" / "machines") == ["index.md", "lumi-g.md"]


def test_the_date_of_a_source_that_changes_makes_pages_stale(course):
    machine_pages.main()
    data = course / "data" / "machines.yml"
    text, count = re.subn(r"(vega_price: .*date: )\d{4}-\d\d-\d\d", r"\g<1>2026-11-20", data.read_text())
    assert count == 1
    data.write_text(text)
    assert stale(course / "book" / "machines") == ["vega-gpu.md"]


def test_a_page_whose_machine_is_gone_is_found(course):
    machine_pages.main()
    (course / "book/machines/cray-1.md").write_text(f"{machine_pages.GENERATED}\n\n# Cray-1\n")
    assert stale(course / "book" / "machines") == ["cray-1.md"]


def test_there_is_a_page_of_each_running_machine_and_none_of_the_others():
    assert list(MADE) == ["index.md", "to-come.md", "goes-wrong.md", *(f"{name}.md" for name in RUNNING)]
    assert len(RUNNING) == 10


@pytest.mark.parametrize("page", MADE)
def test_a_page_says_that_it_is_generated_and_of_what(page):
    first = MADE[page].splitlines()[0]
    assert (
        first.startswith("% ") and "data/machines.yml" in first and "python -m tools.machine_pages" in first
    )
    assert len(re.findall(r"^# ", before_script(MADE[page]), re.M)) == 1


def before_script(text: str) -> str:
    return text.partition("\n## A job script\n")[0]


def row(text: str, first_cell: str) -> list[str]:
    """The cells of the only row that begins with a text."""
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {first_cell} |")]
    return [cell.strip() for cell in line.strip("|").split(" | ")]


@pytest.mark.parametrize("name", RUNNING)
def test_every_fact_stands_on_its_page_with_value_dates_sources_and_note(name):
    text, machine = before_script(MADE[f"{name}.md"]), machines.machine(name)
    for field in machines.FIELDS:
        fact = machine[field.name]
        if field.name in ("partitions", "binding_masks"):
            continue
        cells = row(text, machine_pages.meaning(field))
        assert cells[1] == machine_pages.shown(fact.value, field.name in machine_pages.CODE)
        assert cells[2] == fact.date
        assert re.findall(r"\[\^(\w+)\]", cells[3]) == [source.key for source in fact.sources]
        assert ("user only" in cells[3]) == (fact.kind == "user")
        assert cells[4].strip() == machine_pages.plain(fact.note)
        assert fact.value is not None or cells[1] == "unknown"
        if isinstance(fact.value, int | float) and not isinstance(fact.value, bool):
            assert float(cells[1]) == fact.value


@pytest.mark.parametrize("name", RUNNING)
def test_every_partition_has_its_row(name):
    section = before_script(MADE[f"{name}.md"]).partition("\n## Queues\n")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| `")]
    entries = machines.machine(name)["partitions"].value
    assert len(rows) == len(entries)
    for line, entry in zip(rows, entries, strict=True):
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        assert cells[0] == f"`{entry['partition']}`"
        assert cells[1] == (f"`{entry['qos']}`" if entry["qos"] else "none to give")
        for cell, limit in zip(cells[2:4], (entry["hours"], entry["nodes"]), strict=True):
            assert cell == "unknown" if limit is None else float(cell) == limit


def test_lumi_s_cores_are_drawn_from_its_masks():
    text = MADE["lumi-g.md"]
    assert row(text, "0")[1:] == ["49 to 55", "`0x00fe000000000000`"]
    assert row(text, "4")[1:] == ["1 to 7", "`0x00000000000000fe`"]
    assert machine_pages.cores("0xfe00") == [9, 10, 11, 12, 13, 14, 15]
    assert not any("Which cores belong" in MADE[page] for page in MADE if page != "lumi-g.md")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("lumi-g", "4 / 8 = 0.5."),
        ("lumi-g", "4 × 24 × 4 = 384."),
        ("leonardo-booster", "32 / 4 = 8."),
        ("karolina-gpu", "1 / 8 = 0.125."),
        ("jupiter-booster", "4 × 24 × 288 = 27648."),
        ("arrhenius-gpu", "What an hour costs is unknown"),
    ],
)
def test_what_an_hour_costs_is_worked_out(name, said):
    assert said in MADE[f"{name}.md"]


@pytest.mark.parametrize("name", RUNNING)
def test_every_pitfall_that_applies_is_told(name):
    text = before_script(MADE[f"{name}.md"])
    here, all_over = [
        [p for p in machines.pitfalls(name) if bool(p.machines) == own] for own in (True, False)
    ]
    for found, page in ((here, text), (all_over, MADE["goes-wrong.md"])):
        for pitfall in found:
            assert (
                f"- **{machine_pages.plain(pitfall.title)}.** {machine_pages.plain(pitfall.text)} [^" in page
            )
        assert page.count("\n- **") == len(found)
    assert "(goes-wrong.md)" in text


@pytest.mark.parametrize("name", [*RUNNING, "to-come", "goes-wrong"])
def test_footnotes_are_defined_once_and_used_and_open(name):
    text = MADE[f"{name}.md"]
    defined = re.findall(r"^\[\^(\w+)\]:", text, re.M)
    used = set(re.findall(r"\[\^(\w+)\](?!:)", text))
    assert len(defined) == len(set(defined)) and set(defined) == used
    for key in defined:
        source = table.content()["sources"][key]
        (line,) = [line for line in text.splitlines() if line.startswith(f"[^{key}]: ")]
        title = machine_pages.plain(source["title"])
        if source["url"]:
            assert line == f"[^{key}]: [{title}]({source['url']}). {source['date']}, {source['kind']}."
        else:
            why = machine_pages.plain(source["why"])
            assert line == f"[^{key}]: {title}. {source['date']}, {source['kind']}. No address: {why}."


@pytest.mark.parametrize("name", RUNNING)
def test_the_page_ends_with_the_machine_s_job_script(name):
    text = MADE[f"{name}.md"]
    assert f"\n## A job script\n\n```bash\n{job.example(name).rstrip()}\n```\n" in text
    assert re.findall(r"^## (.*)", text, re.M)[-1] == "A job script"


def test_the_comparison_has_a_row_for_each_machine_in_each_table():
    text, known = MADE["index.md"], machines.operational()
    for name, machine in known.items():
        link = f"[{machine_pages.plain(machine['name'])}]({name}.md)"
        lines = [line for line in text.splitlines() if line.startswith(f"| {link} |")]
        assert len(lines) == 5
        devices, nodes, queues, software, age = [
            [cell.strip() for cell in line.strip("|").split(" | ")][1:] for line in lines
        ]
        assert devices == [machine_pages.shown(machine[field].value) for field in machine_pages.DEVICES]
        assert nodes == [machine_pages.shown(machine[field].value) for field in machine_pages.NODES]
        assert software == [machine_pages.shown(machine[field].value) for field in machine_pages.SOFTWARE]
        first, cost = machine["partitions"].value[0], machine["node_hour_cost"].value
        assert queues[1:4] == [machine_pages.shown(limit) for limit in (first["hours"], first["nodes"], cost)]
        assert (
            queues[4] == "unknown"
            if cost is None
            else float(queues[4]) == cost / machine["devices_per_node"].value
        )
        assert int(age[2]) + int(age[3]) == len(machines.FIELDS)
        assert int(age[3]) == sum(fact.value is None for fact in machine.values())
    assert "(to-come.md)" in text and "(goes-wrong.md)" in text


def test_every_machine_to_come_is_told_with_all_that_is_known():
    text = MADE["to-come.md"]
    for machine in machines.announced().values():
        name = machine_pages.plain(machine["name"])
        lines = [line for line in text.splitlines() if line.startswith(f"| {name} | ")]
        assert len(lines) == 2
        for field, fact in machine.items():
            if fact.value is None or field in ("name", "accelerator_stack"):
                continue
            shown = machine_pages.shown(fact.value) if field != "status" else fact.value.partition(": ")[2]
            assert f"| {machine_pages.plain(shown)} {machine_pages.mark(fact.sources)} |" in "".join(lines)
            assert machine_pages.plain(fact.note) in text


@pytest.mark.parametrize("page", MADE)
def test_each_table_has_a_header_and_rows_of_its_width(page):
    tables = re.findall(r"(?:^\|.*\|\n)+", before_script(MADE[page]), re.M)
    assert len(tables) >= {"to-come.md": 2, "goes-wrong.md": 0}.get(page, 5)
    for lines in (found.splitlines() for found in tables):
        assert re.fullmatch(r"\|( --- \|)+", lines[1])
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1
        assert all(cell.strip() for cell in lines[0].strip("|").split("|")), "a column without a name"


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        (None, "unknown"),
        (True, "yes"),
        (False, "no"),
        ([], "none"),
        ({}, "none"),
        (0.5, "0.5"),
        (2978, "2978"),
        ("$HOME/<user>_1 | *", r"\$HOME/\<user\>\_1 \| \*"),
    ],
)
def test_a_value_is_shown_as_it_is(value, cell):
    assert machine_pages.shown(value) == cell


def test_code_is_shown_as_code():
    assert machine_pages.shown({"A": "1", "B": "$C"}, in_code=True) == "`A=1`, `B=$C`"
    assert machine_pages.shown(["--exclusive"], in_code=True) == "`--exclusive`"
