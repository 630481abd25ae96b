"""Every number of an annex, counted a second time from the planner, the study and the files of `data/`."""

import copy
import dataclasses
import json
import math
import re

import pytest
import yaml

from scaleup.access import doors
from scaleup.errors import CourseError
from scaleup.paths import root
from scaleup.plan import plan
from scaleup.proposal import annex, grants, own_words, proposal_case
from scaleup.proposal.proposal_case import case
from scaleup.proposal.proposal_case import planned as proposal_case_planned
from scaleup.study import RECORDED, Study

FOUR = ("lumi-g", "leonardo-booster", "mn5-acc", "jupiter-booster")
BEST_SEEN = {"lumi-g": 0.285, "leonardo-booster": 0.641, "mn5-acc": 0.567, "jupiter-booster": 0.485}
GPUS = {"lumi-g": 4, "leonardo-booster": 4, "mn5-acc": 4, "jupiter-booster": 4}  # of a node, as sites count
WORDS = own_words.load(root() / "data" / "proposals" / "fast-lane.toml")
RAW = json.loads((root() / RECORDED / "study.json").read_text(encoding="utf-8"))
STUDY = Study(RAW)


@pytest.fixture(autouse=True, scope="module")
def each_plan_once():
    """A search for a layout takes seconds, and most of these tests ask for the same."""
    known = {}

    def planned(words, machine):
        key = machine, repr(words.plan)
        if key not in known:
            known[key] = proposal_case_planned(words, machine)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(proposal_case, "planned", planned)
        yield


def read(name):
    return yaml.safe_load((root() / "data" / name).read_text(encoding="utf-8"))


def made(machine="mn5-acc", study=STUDY, mode=None, **changed):
    """A draft of the Fast Lane's company; `changed` are {table: {key: value or None}}."""
    tables = copy.deepcopy(WORDS.tables)
    for table, keys in changed.items():
        for key, value in keys.items():
            tables.setdefault(table, {}).pop(key, None)
            if value is not None:
                tables[table][key] = value
    words = dataclasses.replace(WORDS, tables=tables)
    return annex.write(case(words, study, grants.modes(), machine, mode))


def section(draft, title):
    return next(part.markdown() for part in draft.sections if part.title == title)


def table(text, caption):
    """{first cell: other cells} of the table below a caption."""
    block = re.search(rf"\*Table: {caption}[^\n]*\*\n\n((?:\|.*\n?)+)", text)[1]
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in block.strip().splitlines()]
    return {row[0]: row[1:] for row in rows[2:]}


def value(cell):
    """The first number of a cell."""
    return float(re.search(r"[\d,]+\.?\d*", cell)[0].replace(",", ""))


def rounded(amount, digits=0):
    return pytest.approx(amount, abs=0.5000001 * 10**-digits)


@pytest.fixture(scope="module", params=FOUR)
def one(request):
    """(machine, its draft, the planner's answer) for each of the four machines."""
    return request.param, made(request.param), plan(machine=request.param, **WORDS.plan).best


@pytest.fixture(scope="module")
def hours(one):
    """The node-hours of the main run and of all the work, counted here."""
    machine, _, planned = one
    main = planned.node_hours * max(1.0, planned.mfu / BEST_SEEN[machine])
    return main, main * (1 + 0.20 + 0.04) * 1.15


def test_the_annex_is_complete(one):
    _, draft, _ = one
    assert draft.gaps == []
    assert [part.title for part in draft.sections] == [
        "Request", "Workload", "Model and data, and the rights to them", "Machine and "
                                                                         "partition", "Hours", "Memory",
        "Layout", "Scaling, measured", "Checkpoints and wall time", "Storage and "
                                                                    "transfer", "Energy", "Milestones",
        "Risks", "People and the support needed", "Ethics and law", "Where the numbers come from",
    ]  # fmt: skip
    assert all(len(part.parts) > 0 for part in draft.sections)


def test_the_training(one):
    _, draft, planned = one
    rows = table(section(draft, "Workload"), "the training")
    assert value(rows["parameters"][0]) == planned.run.shape.parameters == 8_030_261_248
    assert value(rows["tokens of the training"][0]) == 250e9
    assert value(rows["steps"][0]) == rounded(250e9 / (4096 * planned.run.global_batch))


def test_the_machine(one):
    machine, draft, _ = one
    facts = read("machines.yml")["machines"][machine]
    rows = table(section(draft, "Machine and partition"), "")
    for label, key in (("devices per node", "devices_per_node"), ("memory per "
                                                                  "device", "memory_gb"), ("nodes", "nodes"),
                       ("dense bf16 peak per device", "peak_bf16_tflops"),
                       ("network per node, each direction", "network_gb_s_per_node")):  # fmt: skip
        assert value(rows[label][0]) == facts[key]["value"], label
    first = facts["partitions"]["value"][0]
    assert f"at most {first['hours']:g} hours a job" in section(draft, "Machine and partition")


def test_the_hours_in_every_unit(one, hours):
    machine, draft, planned = one
    main, whole = hours
    facts = read("machines.yml")["machines"][machine]
    text = section(draft, "Hours")
    head = re.search(r"\| part \| how \| (.*) \|", text)[1].split(" | ")
    factors = {"node-hours": 1, "GPU-hours": GPUS[machine]}
    if facts["billing_unit"]["value"].startswith("core-hour"):
        factors["core-hours"] = facts["node_hour_cost"]["value"]
    assert head == list(factors)
    parts = {"main run": main, "tuning": 0.2 * main, "evaluation": 0.04 * main, "failures": 0.186 * main,
             "total": whole}  # fmt: skip
    rows = table(text, "hours by part of the work")
    assert list(rows) == list(parts)
    for name, node_hours in parts.items():
        for cell, factor in zip(rows[name][1:], factors.values(), strict=True):
            assert value(cell) == rounded(node_hours * factor), (name, factor)
    device_hours = main * facts["devices_per_node"]["value"]
    assert f"{device_hours:,.0f} device-hours, {main:,.0f} node-hours" in text
    # the same hours from the other end: FLOP, peak, MFU
    counted = min(planned.mfu, BEST_SEEN[machine])
    per_token = planned.mfu * facts["peak_bf16_tflops"]["value"] * 1e12 / planned.tokens_per_s_per_device
    again = 250e9 * per_token / (facts["peak_bf16_tflops"]["value"] * 1e12 * counted) / 3600
    assert again == pytest.approx(device_hours, rel=1e-9)
    assert f"{counted:.1%} are counted on" in text
    written = re.search(r"gives (\S+) FLOP", text)[1]
    assert float(written) == pytest.approx(6 * 8_030_261_248 * 250e9, rel=5e-3)


def test_the_request_is_the_total(one, hours):
    machine, draft, _ = one
    need = table(section(draft, "Request"), "what is asked for")["computed need"][0]
    assert need.endswith("GPU-hours") and value(need) == rounded(hours[1] * GPUS[machine])


def test_memory_and_layout(one):
    _, draft, planned = one
    rows = table(section(draft, "Memory"), "memory")
    parts = {name: value(cells[0]) for name, cells in rows.items()}
    assert parts.pop("the device has") == rounded(planned.run.machine.accelerator.memory_bytes / 2**30, 1)
    together = parts.pop("together")
    assert together == rounded(planned.memory.total / 2**30, 1)
    assert sum(parts.values()) == pytest.approx(together, abs=0.05 * (len(parts) + 1))
    rows = table(section(draft, "Layout"), "how the ranks")
    layout = planned.run.layout
    ways = [value(rows[name][0]) for name in rows if name.endswith("parallel")]
    assert math.prod(ways) == layout.devices == value(rows["devices"][0])
    sequences = value(rows["data parallel"][0]) * layout.micro_batch * value(rows["micro-batches a step"][0])
    assert sequences == planned.run.global_batch


def test_scaling_is_the_studys(one):
    _, draft, _ = one
    text = section(draft, "Scaling, measured")
    for mode in ("strong", "weak"):
        rows = table(text, f"{mode} scaling")
        points = sorted((p for p in RAW["points"] if mode in p["modes"]), key=lambda p: p["nodes"])
        efficiency = {row["nodes"]: row["efficiency"] for row in RAW["scaling"][mode]}
        assert [value(name) for name in rows] == [p["nodes"] for p in points]
        for point in points:
            ranks, batch, seconds, rate, good = rows[str(point["nodes"])]
            assert (value(ranks), value(batch)) == (point["ranks"], point["global_batch"])
            runs = [run["step_seconds"] for run in point["runs"]]
            medians = [sorted(steps)[len(steps) // 2 - 1 : len(steps) // 2 + 1] for steps in runs]
            assert all(len(steps) % 2 == 0 for steps in runs)
            mean = math.exp(sum(math.log(sum(pair) / 2) for pair in medians) / len(medians))
            assert value(seconds) == pytest.approx(mean, rel=6e-3)
            assert value(rate) == rounded(point["global_batch"] * RAW["config"]["data"]["seq"] / mean, -1)
            found = efficiency[point["nodes"]]
            if point["nodes"] > 1:
                ends = f"({100 * found['low']:.0f} to {100 * found['high']:.0f})"
                assert good == f"{100 * found['value']:.0f} % {ends}"
    assert draft.figures["scaling.svg"].startswith("<?xml") or "<svg" in draft.figures["scaling.svg"]


def test_checkpoints_and_the_chain_of_jobs(one, hours):
    machine, draft, planned = one
    rows = table(section(draft, "Checkpoints and wall time"), "saving")
    assert value(rows["one checkpoint"][0]) == rounded(14 * 8_030_261_248 / 1e9, 1)
    nodes, wall = 16, hours[0] / 16
    failing = 900 * 86400 / nodes
    every = math.sqrt(2 * 25 * failing)
    assert value(rows["time between failures of the job"][0]) == rounded(failing / 3600, 1)
    assert value(rows["a save every"][0]) == rounded(every / 60, 1)
    assert value(rows["time lost to saves and failures"][0]) == rounded(
        100 * (25 / every + every / 2 / failing), 1
    )
    assert value(rows["failures to expect in the main run"][0]) == rounded(wall * 3600 / failing, 1)
    limit = read("machines.yml")["machines"][machine]["partitions"]["value"][0]["hours"]
    useful = limit - 8 / 60 - 25 / 3600
    assert value(rows["useful in a job"][0]) == rounded(useful, 2)
    assert value(rows["jobs of the chain"][0]) == math.ceil(wall / useful)
    assert f"the main run lasts {wall:,.0f} hours" in section(draft, "Hours")


def test_storage(one):
    _, draft, _ = one
    rows = table(section(draft, "Storage and transfer"), "what is stored")
    kept = 3 * 14 * 8_030_261_248 / 1e9
    assert value(rows["prepared data"][0]) == 1060
    assert value(rows["checkpoints"][0]) == rounded(kept, 1)
    assert value(rows["together"][0]) == rounded(1060 + kept)
    assert value(rows["data on their way"][0]) == rounded(1060e9 * 8 / 400e6 / 3600, 1)


def test_energy(one, hours):
    machine, draft, _ = one
    data, prices = read("energy.yml"), read("prices.yml")
    facts = data["machines"][machine]
    node = facts["node"]["value"]
    if node is None:  # its devices' limit, scaled as measured on a server of eight H100
        node = 0.76 * facts["board"]["value"] * 10.2 / (8 * 0.7)
    pue = facts["pue"]["value"] or next(entry for name, entry in walk(prices) if name == "pue")["value"]
    grid = {
        "lumi-g": "Finland",
        "leonardo-booster": "Italy",
        "mn5-acc": "Spain",
        "jupiter-booster": "Germany",
    }
    grams = data["grids"][grid[machine]]["value"]
    rows = table(section(draft, "Energy"), "energy")
    kwh = hours[1] * node / 1000 * pue
    assert value(rows["a node in training"][0]) == rounded(node)
    assert value(rows["PUE of the building"][0]) == pue
    assert value(rows["energy of all the work"][0]) == rounded(kwh)
    assert value(rows["CO2-equivalent"][0]) == rounded(kwh * grams / 1e6, 2)
    assert value(rows["main run, per billion tokens"][0]) == rounded(hours[0] * node / 1000 * pue / 250, 1)


def walk(node):
    """Every (name, mapping) in a parsed file."""
    if isinstance(node, dict):
        for name, below in node.items():
            if isinstance(below, dict):
                yield name, below
                yield from walk(below)


def test_law(one):
    _, draft, _ = one
    text = section(draft, "Ethics and law")
    flop, line = (float(found) for found in re.search(r"does (\S+) FLOP .*line of (\S+) FLOP", text).groups())
    assert flop == pytest.approx(6 * 8_030_261_248 * 250e9, rel=5e-3)
    assert line == read("access.yml")["law"]["flop_line"]["value"] and "below the line" in text


# What is missing or wrong is said in place


def said(draft, *words):
    return any(all(word in mark for word in words) for mark in draft.marks)


def test_a_measurement_that_is_missing_is_said(one):
    machine, draft, _ = one
    assert said(draft, "rest on no measurement")
    assert said(draft, "practice supercomputer", "repeat it there")
    assert said(draft, f"The study ends at {max(RAW['measured']['nodes'])} nodes, and 16 are asked for")
    assert said(draft, "The study's model has 631,104 parameters, and that of the proposal 8,030,261,248")


def test_without_a_study():
    draft = made(study=None)
    assert said(draft, "A scaling study is missing", "scaleup study")
    assert draft.figures == {}
    assert "strong scaling" not in draft.markdown()


def test_a_study_that_is_not_finished_or_of_one_run():
    content = copy.deepcopy(RAW)
    content["missing"], content["measured"]["repeats"] = ["n4-b64-r5"], 1
    draft = made(study=Study(content))
    assert said(draft, "not finished: 1 run missing (n4-b64-r5)")
    assert said(draft, "Each point was run once")


def test_a_study_of_another_machine():
    draft = made(study=Study(RAW | {"machine": "lumi-g"}))
    assert said(draft, "The study was made on lumi-g, and MareNostrum 5 ACC is asked for")


def test_the_wrong_unit():
    draft = made(request={"hours": 3000, "unit": "node hours"})
    assert said(
        draft, "Fast Lane counts in GPU-hours, and 3,000 node-hours are asked for: these are 12,000 GPU-hours"
    )
    assert not said(draft, "do not fit")
    draft = made("lumi-g", request={"hours": 3000, "unit": "core-hour"})
    assert said(draft, "3,000 core-hours are asked for: LUMI-G has no core-hours")


def test_hours_beyond_the_mode():
    assert said(made(mode="playground"), "GPU-hours do not fit Playground", "Fast Lane takes them")
    assert said(made(request={"hours": 80000, "unit": "GPU-hour"}), "80,000 GPU-hours do not fit Fast Lane",
                "Large Scale takes them")  # fmt: skip
    assert not said(made(), "do not fit")


def test_a_fact_on_access_that_changes_changes_the_annex(monkeypatch):
    content = copy.deepcopy(read("access.yml"))
    content["modes"]["fast-lane"]["most"]["value"] = 11_000
    content["law"]["flop_line"]["value"] = 1e21
    monkeypatch.setattr(doors, "content", lambda: content)
    draft = made()
    assert said(draft, "do not fit Fast Lane, which takes 10,000 to 11,000 GPU-hours")
    assert said(draft, "Above the line")


def test_other_hours_than_computed():
    assert said(
        made(request={"hours": 10500, "unit": "GPU-hour"}),
        "10,500 GPU-hours are asked for, and the work needs",
    )
    assert said(made(request={"hours": 40000, "unit": "GPU-hour"}), "3.1 times what the work needs")
    assert not said(made(request={"hours": 14000, "unit": "GPU-hour"}), "are asked for, ")


def test_months_that_the_mode_does_not_have():
    assert said(made(request={"months": 12}), "Fast Lane lasts 1 or 2 or 3 months, and 12 are asked for")


def test_a_machine_that_the_form_did_not_offer():
    draft = made("lumi-g", mode="large-scale", request={"months": 6})
    assert said(draft, "Large Scale is not known to offer LUMI-G", "2026-09-29")


def test_a_country_that_is_in_no_group():
    assert said(made(company={"country": "Atlantis"}), "Companies of Atlantis are in none of the groups")


def test_a_machine_without_known_power_or_bill():
    draft = made("arrhenius-gpu")
    assert said(draft, "What a node of Arrhenius GPU draws is not known here")
    assert said(draft, "How Arrhenius GPU bills is not known here")


def test_a_model_that_does_not_fit():
    words = dataclasses.replace(WORDS, plan=WORDS.plan | {"nodes": 1, "tp": 1, "zero": 0, "micro_batch": 1})
    draft = annex.write(case(words, STUDY, grants.modes(), "mn5-acc"))
    assert said(draft, "does not fit in this layout")


def test_a_plan_that_cannot_be_made_is_told_once_and_the_rest_stays():
    words = dataclasses.replace(WORDS, plan={"model": "llama-9", "tokens": 1e9})
    draft = annex.write(case(words, STUDY, grants.modes(), "mn5-acc"))
    assert said(draft, "There is no plan.", "llama-9")
    assert said(draft, "Without a plan there are no hours")
    assert "Deichwerk" in draft.markdown() and draft.figures


def test_milestones_beyond_the_end_and_shares_that_do_not_grow():
    rows = ({"month": 5, "goal": "a", "evidence": "b", "share": 0.5}, {"month": 2, "goal": "c", "share": 0.4})
    draft = annex.write(case(dataclasses.replace(WORDS, milestones=rows), STUDY, grants.modes()))
    assert said(draft, "beyond the 3 months") and said(draft, "must grow and end at 100 %")
    assert any("row 2" in gap for gap in draft.gaps)


def test_above_the_line_of_the_ai_act():
    words = dataclasses.replace(WORDS, plan=WORDS.plan | {"tokens": 1e15})
    draft = annex.write(case(words, STUDY, grants.modes(), "mn5-acc"))
    assert said(draft, "Above the line, you have duties") and "above the line" in draft.markdown()


# Gaps


def questions():
    return [(table, key) for table, keys in own_words.TABLES.items() for key, entry in keys.items()
            if not entry.optional and (table, key) != ("request", "machine")]  # fmt: skip


@pytest.mark.parametrize(("table", "key"), questions())
def test_each_word_that_is_missing_leaves_a_gap_in_place(table, key):
    if (table, key) == ("request", "title"):
        assert made(request={"title": None}).title == "Technical annex: untitled"
        return
    draft = made(**{table: {key: None}})
    assert [gap for gap in draft.gaps if f"`{table}.{key}`" in gap] == draft.gaps != []


def test_nothing_is_invented_for_an_empty_file():
    draft = annex.write(case(own_words.parse({}), None, grants.modes(), "lumi-g"))
    keys = {f"{table}.{key}" for table, key in questions()} - {"request.title"}
    named = {re.search(r"\(`(.*?)`\)", gap)[1] for gap in draft.gaps}
    assert keys | {"milestones", "risks"} <= named
    assert said(draft, "There is no plan")


def test_without_a_machine_nothing_can_be_looked_up():
    with pytest.raises(CourseError, match="Name the machine"):
        case(own_words.parse({}), None, grants.modes())
    with pytest.raises(CourseError, match="no mode 'fastlane'. Did you mean 'fast-lane'"):
        case(WORDS, None, grants.modes(), mode="fastlane")


def test_a_persons_words_change_no_structure():
    words = "# Heading\n\n| a | b |\n\n> **Not ready:** x\n\n<b>costs</b> $5 and $6"
    draft = made(data={"rights": words})
    assert not said(draft, "x") and "\n# Heading" not in draft.markdown()
    assert "\\<b>costs" in draft.markdown() and "\\$5" in draft.markdown()
