"""data/machines.yml: every fact has a source and a date, follows the schema, and agrees with the others."""

import copy
import datetime
import re

import pytest

from scaleup import machines
from scaleup.errors import CourseError
from scaleup.files import read_data
from scaleup.machines import facts, table

CONTENT = table.content()
RUNNING = list(machines.operational())
PLACES = [*RUNNING, "practice"]
GROUPS = ["identity", "hardware", "queues", "files", "cost", "access", "job"]
# What the four machines that lessons print were said to have when their lessons were written.
PRINTED = {
    "lumi-g": (8, 64, 191.5, 100),
    "leonardo-booster": (4, 64, 312, 50),
    "mn5-acc": (4, 64, 989, 100),
    "jupiter-booster": (4, 96, 989, 100),
}


def keys(source) -> list[str]:
    return [source] if isinstance(source, str) else source or []


def values(name: str) -> dict:
    return {field: fact.value for field, fact in machines.machine(name).items()}


# ---- the file ----


def test_the_parts_of_the_file_stand_in_their_order():
    assert list(CONTENT) == ["sources", "taught", "machines", "announced", "practice", "pitfalls"]
    assert list(CONTENT["machines"])[:10] == [
        "lumi-g", "leonardo-booster", "mn5-acc", "jupiter-booster", "meluxina-gpu", "karolina-gpu",
        "vega-gpu", "deucalion-gpu", "discoverer-plus", "arrhenius-gpu",
    ]  # fmt: skip
    assert list(CONTENT["machines"]) == RUNNING
    assert list(CONTENT["announced"]) == list(machines.announced())
    assert CONTENT["taught"] == list(machines.taught()) == list(PRINTED)


def test_the_file_follows_the_schema():
    assert table.problems(CONTENT) == []


@pytest.mark.parametrize(
    ("name", "field", "fact", "said"),
    [
        ("lumi-g", "nodes", {"value": "many", "source": "lumi_docs"}, "has the wrong type"),
        ("lumi-g", "nodes", {"value": True, "source": "lumi_docs"}, "has the wrong type"),
        ("lumi-g", "nodes", {"value": 3, "source": "a friend"}, "the source a friend is not in the list"),
        ("lumi-g", "nodes", {"value": 3, "source": None}, "a value needs a source"),
        ("lumi-g", "nodes", {"value": 3}, "a fact is value, source"),
        ("vega-gpu", "partitions", {"value": None, "source": None}, "needs this value"),
        (
            "vega-gpu",
            "partitions",
            {"value": [{"partition": "gpu", "qos": None, "hours": 2, "nodes": "8"}], "source": "vega_docs"},
            "'8' is no value for nodes of a queue",
        ),
        (
            "vega-gpu",
            "partitions",
            {
                "value": [{"partition": "gpu", "qos": None, "hours": 2, "nodes": 8, "job": 2}],
                "source": "vega_docs",
            },
            "a queue has no field job",
        ),
        (
            "vega-gpu",
            "partitions",
            {"value": [{"partition": "gpu", "qos": None, "hours": 2}], "source": "vega_docs"},
            "a queue needs nodes",
        ),
        ("practice", "gpu_request", {"value": None, "source": None}, "needs this value"),
        ("vega-gpu", "color", {"value": "red", "source": "course"}, "not those of the schema"),
    ],
)
def test_a_break_of_the_schema_is_named(name, field, fact, said):
    broken = copy.deepcopy(CONTENT)
    fields = broken["practice"] if name == "practice" else broken["machines"][name]
    fields[field] = fact
    found = table.problems(broken)
    assert len(found) == 1 and said in found[0] and found[0].startswith(name)


def test_an_announced_machine_may_lack_what_a_running_one_needs():
    changed = copy.deepcopy(CONTENT)
    changed["machines"]["vega-gpu"]["status"]["value"] = "announced"
    changed["machines"]["vega-gpu"]["partitions"] = {"value": None, "source": None}
    assert table.problems(changed) == []


def test_the_fields_are_unique_and_stand_group_by_group():
    names = [field.name for field in machines.FIELDS]
    assert len(set(names)) == len(names)
    assert list(dict.fromkeys(field.group for field in machines.FIELDS)) == GROUPS
    groups = [GROUPS.index(field.group) for field in machines.FIELDS]
    assert groups == sorted(groups)


@pytest.mark.parametrize("key", CONTENT["sources"])
def test_a_source_has_a_title_a_kind_and_a_day_that_is_past_and_is_used(key):
    source = CONTENT["sources"][key]
    assert set(source) in ({"title", "url", "date", "kind"}, {"title", "url", "why", "date", "kind"})
    assert source["title"].strip() and facts.address_problems(source) == []
    assert source["kind"] in table.KINDS
    assert type(source["date"]) is datetime.date
    assert datetime.date(2020, 1, 1) < source["date"] <= datetime.date.today()
    all_of = [*CONTENT["machines"].values(), *CONTENT["announced"].values(), CONTENT["practice"]]
    said = [fact for fields in all_of for fact in fields.values()] + CONTENT["pitfalls"]
    assert any(key in keys(fact["source"]) for fact in said), "a source that nothing uses"


def test_most_sources_open_and_the_others_are_users_or_ours():
    closed = {key: source for key, source in CONTENT["sources"].items() if source["url"] is None}
    assert {source["kind"] for source in closed.values()} <= {"user", "derived", "course", "official"}
    assert [key for key, source in closed.items() if source["kind"] == "official"] == ["cineca_wiki"]
    assert len(closed) < len(CONTENT["sources"]) / 5


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ({}, "needs url"),
        ({"url": None}, "needs why"),
        ({"url": None, "why": " "}, "needs why"),
        ({"url": "http://example.org"}, "no address of a page"),
        ({"url": "https://a b"}, "no address of a page"),
        ({"url": 3}, "no address of a page"),
        ({"url": "https://example.org", "why": "lost"}, "without an address"),
    ],
)
def test_an_address_that_does_not_open_is_named(address, said):
    source = {"title": "A page", "date": datetime.date(2026, 1, 1), "kind": "user"} | address
    broken = copy.deepcopy(CONTENT)
    broken["sources"]["vega_docs"] = source
    found = table.problems(broken)
    assert len(found) == 1 and said in found[0] and found[0].startswith("vega_docs")


@pytest.mark.parametrize("address", [{"url": "https://example.org/a"}, {"url": None, "why": "it was lost"}])
def test_an_address_or_a_reason_is_enough(address):
    assert facts.address_problems(address) == []


@pytest.mark.parametrize("name", [*CONTENT["machines"], "practice"])
def test_numbers_are_above_zero_and_texts_are_not_empty(name):
    fields = CONTENT["practice"] if name == "practice" else CONTENT["machines"][name]
    for field, fact in fields.items():
        if isinstance(fact["value"], int | float) and not isinstance(fact["value"], bool):
            assert fact["value"] > 0, field
        if isinstance(fact["value"], str):
            assert fact["value"].strip() == fact["value"] != "", field
        assert fact.get("note", "a note").strip() == fact.get("note", "a note") != "", field


# ---- one fact and another ----


@pytest.mark.parametrize("name", PLACES)
def test_partitions_have_limits_and_the_first_fits_the_machine(name):
    known = values(name)
    for entry in known["partitions"]:
        assert table.queue_problems(entry) == []
        assert entry["hours"] is None or 0 < entry["hours"] <= 24 * 7, "hours, not minutes"
        assert entry["nodes"] is None or 0 < entry["nodes"] <= known["nodes"]
    longest = max((entry["hours"] or 0) for entry in known["partitions"])
    assert known["partitions"][0]["hours"] is None or known["partitions"][0]["hours"] >= longest / 4, (
        "the first partition is for normal runs"
    )


@pytest.mark.parametrize("name", PLACES)
def test_the_example_of_an_account_has_the_form_that_is_checked(name):
    known = values(name)
    assert known["account_pattern"].startswith("^") and known["account_pattern"].endswith("$")
    assert re.search(known["account_pattern"], known["account_example"])
    assert not re.search(known["account_pattern"], "two words")


@pytest.mark.parametrize("name", PLACES)
def test_the_devices_of_a_node_share_out_its_cores_evenly(name):
    known = values(name)
    assert known["cores_per_device"] * known["devices_per_node"] == known["cores_per_node"]


@pytest.mark.parametrize("name", [name for name in PLACES if values(name)["node_hour_cost"]])
def test_a_node_hour_costs_what_its_parts_cost(name):
    known = values(name)
    unit, cost = known["billing_unit"], known["node_hour_cost"]
    expected = {
        "device-hour": known["devices_per_node"],
        "GPU-hour": known["devices_per_node"],
        "GPU-hour (one module of two devices)": known["devices_per_node"] / 2,
        "core-hour": known["cores_per_node"],
        "node-hour": 1,
    }
    assert cost == expected[unit]


@pytest.mark.parametrize("name", PLACES)
def test_what_a_job_asks_for_is_there(name):
    known = values(name)
    assert known["gpu_request"].format(devices=4).startswith("--")
    assert known["gpu_request"].format(devices=4) != known["gpu_request"], "the number of devices is missing"
    if known["memory_request"]:
        asked = re.fullmatch(r"--mem=(\d+)G", known["memory_request"])
        assert asked and int(asked[1]) <= known["node_memory_gb"]
    assert known["architecture"] in ("x86_64", "aarch64")
    assert known["accelerator_stack"] == ("rocm" if "AMD" in known["device"] else "cuda")
    taken = ("partition", "qos", "account", "nodes", "time", "ntasks", "cpus", "gpus", "gres", "mem")
    for option in known["job_options"] or []:
        assert option.startswith("--") and not option.removeprefix("--").startswith(taken)


@pytest.mark.parametrize("name", [name for name in PLACES if values(name)["environment"]])
def test_environment_variables_are_names_and_texts_and_explained(name):
    fact = machines.machine(name)["environment"]
    assert all(re.fullmatch(r"[A-Z][A-Z0-9_]+", variable) for variable in fact.value)
    assert all(isinstance(setting, str) and '"' not in setting for setting in fact.value.values())
    assert fact.note, "nothing says what the variables are for"


@pytest.mark.parametrize("name", [name for name in PLACES if values(name)["binding_masks"]])
def test_masks_name_each_device_s_cores_and_no_core_twice(name):
    known = values(name)
    masks = [int(mask, 16) for mask in known["binding_masks"]]
    assert len(masks) == known["devices_per_node"]
    assert [mask.bit_count() for mask in masks] == [known["cores_per_device"]] * len(masks)
    assert sum(masks) == sum(1 << core for core in range(64) if any(mask >> core & 1 for mask in masks))
    assert max(mask.bit_length() for mask in masks) <= 64, "a core beyond the 64 of the processor"


def test_lumi_s_masks_leave_out_the_first_core_of_each_eight_and_begin_where_the_guide_says():
    masks = [int(mask, 16) for mask in values("lumi-g")["binding_masks"]]
    assert [(mask & -mask).bit_length() - 1 for mask in masks] == [49, 57, 17, 25, 1, 9, 33, 41]
    assert not sum(masks) & sum(1 << core for core in range(0, 64, 8))


@pytest.mark.parametrize("name", PRINTED)
def test_the_numbers_that_lessons_print_stay(name):
    known = machines.taught()[name]
    fields = ("devices_per_node", "memory_gb", "peak_bf16_tflops", "network_gb_s_per_node")
    assert tuple(known[field].value for field in fields) == PRINTED[name]
    assert known["peak_bf16_tflops"].date == "2026-08-22"


def test_what_jupiter_reached_is_below_its_peak():
    jupiter = values("jupiter-booster")
    assert 0 < jupiter["measured_bf16_tflops"] < jupiter["peak_bf16_tflops"]


# ---- the module ----


def test_a_loaded_fact_carries_the_title_the_date_and_the_kind_of_its_source():
    assert list(machines.load()) == [*CONTENT["machines"], *CONTENT["announced"]]
    fact = machines.machine("lumi-g")["peak_bf16_tflops"]
    raw = CONTENT["machines"]["lumi-g"]["peak_bf16_tflops"]
    source = CONTENT["sources"][raw["source"]]
    assert (fact.value, fact.note) == (raw["value"], raw["note"])
    assert (fact.source, fact.date, fact.kind) == (source["title"], str(source["date"]), source["kind"])
    assert str(fact) == str(raw["value"])


def test_a_fact_of_several_sources_shows_all_titles_and_days():
    fact = machines.machine("lumi-g")["environment"]
    known = [CONTENT["sources"][key] for key in CONTENT["machines"]["lumi-g"]["environment"]["source"]]
    assert len(known) == 6
    assert fact.source == "; ".join(source["title"] for source in known)
    assert fact.date == ", ".join(dict.fromkeys(str(source["date"]) for source in known))
    assert fact.kind == "official, course, user"
    assert fact.links.count("](https://") == len(known)
    assert fact.links.endswith(f"[{known[-1]['title']}]({known[-1]['url']}), {known[-1]['date']}")


def test_an_unknown_value_says_so_and_is_never_a_number():
    assert str(machines.Fact(None)) == "unknown"
    assert str(machines.machine("vega-gpu")["memory_gb"]) == "unknown"


def test_a_source_without_an_address_is_named_without_a_link():
    fact = machines.machine("meluxina-ai")["contracted"]
    assert fact.links == "Survey of AI infrastructure in the EU-27, citing EuroHPC JU pages, 2026-10-10"


# ---- machines to come ----


@pytest.mark.parametrize("name", CONTENT["announced"])
def test_an_announced_machine_has_every_field_and_takes_no_jobs(name):
    known = machines.machine(name)
    assert set(known) == {field.name for field in machines.FIELDS} | set(CONTENT["announced"][name])
    assert name not in machines.operational() and str(known["status"]).startswith("announced: ")
    assert known["partitions"].value is None and known["node_hour_cost"].value is None
    assert all(fact.sources for fact in known.values() if fact.value is not None)


def test_the_machines_of_the_ai_factories_that_are_contracted_are_announced():
    contracted = {"mn5-ai", "it4lia", "mimer", "meluxina-ai", "hammerhai", "lumi-ai"}
    assert contracted | {"alice-recoque", "daedalus", "leonardo-lisa"} <= set(machines.announced())
    assert all(machines.machine(name)["contracted"].value for name in contracted)


@pytest.mark.parametrize(
    ("field", "fact", "said"),
    [
        ("color", {"value": "red", "source": "survey"}, "not those of an announced machine"),
        ("nodes", {"value": "many", "source": "survey"}, "has the wrong type"),
        ("nodes", {"value": 3, "source": "a friend"}, "the source a friend is not in the list"),
        ("nodes", {"value": 3, "source": None}, "a value needs a source"),
        ("nodes", {"value": 3}, "a fact is value, source"),
        ("status", {"value": "operational", "source": "survey"}, "begins with announced"),
    ],
)
def test_a_break_of_an_announced_machine_is_named(field, fact, said):
    broken = copy.deepcopy(CONTENT)
    entry = broken["announced"]["leonardo-lisa"]
    entry[field] = fact
    found = table.problems(broken)
    assert len(found) == 1 and said in found[0] and found[0].startswith("leonardo-lisa")


def test_an_announced_machine_needs_its_place_and_is_not_one_that_runs():
    broken = copy.deepcopy(CONTENT)
    del broken["announced"]["mimer"]["country"]
    broken["announced"]["vega-gpu"] = broken["announced"]["nlaif"]
    assert table.problems(broken) == [
        "mimer: it needs country.",
        "vega-gpu: a machine runs or is announced, not both.",
    ]


def test_practice_is_a_machine_but_not_one_of_the_list():
    assert machines.machine("practice")["devices_per_node"].value == 2
    assert "practice" not in machines.load()


@pytest.mark.parametrize(
    ("typed", "nearest"),
    [
        ("lumi", "lumi-g"),
        ("leonardo", "leonardo-booster"),
        ("jupiter-boster", "jupiter-booster"),
        ("mn5", "mn5-acc"),
        ("practise", "practice"),
    ],
)
def test_an_unknown_machine_names_the_nearest(typed, nearest):
    with pytest.raises(CourseError) as caught:
        machines.machine(typed)
    assert f"no machine '{typed}'" in str(caught.value)
    assert str(caught.value).endswith(f"Did you mean '{nearest}'?")


@pytest.mark.parametrize("typed", ["zzzzzz", ""])
def test_a_word_near_no_machine_gets_the_whole_list(typed):
    with pytest.raises(CourseError) as caught:
        machines.machine(typed)
    assert all(name in str(caught.value) for name in CONTENT["machines"])


# ---- what goes wrong ----


@pytest.mark.parametrize("entry", CONTENT["pitfalls"], ids=lambda entry: entry["title"])
def test_a_pitfall_names_machines_and_sources_that_exist(entry):
    assert set(entry) == {"title", "text", "machines", "source"}
    assert entry["text"].endswith(".") and not entry["title"].endswith(".")
    assert entry["machines"] == "all" or set(entry["machines"]) <= set(RUNNING) and entry["machines"]
    assert keys(entry["source"]) and set(keys(entry["source"])) <= set(CONTENT["sources"])


def test_pitfalls_of_a_machine_are_its_own_and_then_those_of_all():
    found = machines.pitfalls("arrhenius-gpu")
    assert [pitfall.machines is None for pitfall in found] == sorted(p.machines is None for p in found)
    assert all(p.machines is None or "arrhenius-gpu" in p.machines for p in found)
    assert "The account has an ending" in [p.title for p in found]
    assert "Advice ages" not in [p.title for p in found]
    everywhere = [entry for entry in CONTENT["pitfalls"] if entry["machines"] == "all"]
    assert len([p for p in found if p.machines is None]) == len(everywhere) > 0
    with pytest.raises(CourseError):
        machines.pitfalls("zzzzzz")


@pytest.mark.parametrize(
    "name", ["machines", "prices", "grand_challenge", "storage", "energy", "published_runs"]
)
def test_every_source_of_every_file_has_an_address_or_says_why(name):
    problems = []
    for key, source in read_data(f"{name}.yml")["sources"].items():
        many = source["url"] if isinstance(source.get("url"), list) else None
        entries = [{"url": url} for url in many] if many else [source]
        problems += [f"{key}: {said}" for entry in entries for said in facts.address_problems(entry)]
    assert problems == []


def test_sharding_runs_lead_to_their_pages():
    for url in read_data("sharding_runs.yml")["sources"].values():
        assert facts.address_problems({"url": url}) == []
