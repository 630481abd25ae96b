"""Units of machines, sizes of modes, parts of the hours: each counted here a second time."""

import copy
import json

import pytest
import yaml

from scaleup import machines
from scaleup.errors import CourseError
from scaleup.paths import root
from scaleup.plan import answer
from scaleup.plan.question import Question, machine_facts
from scaleup.proposal import asked_hours, grants, own_words
from scaleup.study import RECORDED, Study

DATA = yaml.safe_load((root() / "data" / "machines.yml").read_text(encoding="utf-8"))["machines"]
STUDY = json.loads((root() / RECORDED / "study.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("words", "unit"),
    [
        ("GPU hours", "GPU-hour"),
        ("gpu-hour", "GPU-hour"),
        ("node_hours", "node-hour"),
        ("Core-Hours", "core-hour"),
    ],
)
def test_a_unit_is_known_however_it_is_written(words, unit):
    assert asked_hours.unit(words) == unit


def test_another_unit_is_refused():
    with pytest.raises(CourseError, match="Did you mean 'node-hour'"):
        asked_hours.unit("note hours")


@pytest.mark.parametrize(
    ("machine", "found"),
    [
        ("lumi-g", {"device-hour": 8, "GPU-hour": 4, "core-hour": 0}),
        ("leonardo-booster", {"device-hour": 4, "GPU-hour": 4, "core-hour": 32}),
        ("mn5-acc", {"device-hour": 4, "GPU-hour": 4, "core-hour": 80}),
        ("jupiter-booster", {"device-hour": 4, "GPU-hour": 4, "core-hour": 288}),
        ("karolina-gpu", {"device-hour": 8, "GPU-hour": 8, "core-hour": 0}),
    ],
)
def test_what_a_node_hour_is(machine, found):
    known = asked_hours.per_node_hour(machines.machine(machine))
    assert known == {"node-hour": 1} | found
    assert DATA[machine]["node_hour_cost"]["value"] in known.values()


def test_convert_goes_there_and_back():
    machine = machines.machine("lumi-g")
    assert asked_hours.convert(100, "GPU-hour", "node-hour", machine) == 25
    assert asked_hours.convert(25, "node-hour", "device-hour", machine) == 200
    with pytest.raises(CourseError, match="LUMI-G has no core-hours: it bills by GPU-hour"):
        asked_hours.convert(1, "core-hour", "node-hour", machine)


def test_a_machine_whose_bill_is_unknown():
    machine = machines.machine("arrhenius-gpu")
    assert asked_hours.bill(machine) == ("", 0.0)
    assert asked_hours.per_node_hour(machine)["GPU-hour"] == 4


# The basis of the main run


def planned(machine="leonardo-booster", **more):
    asked = {"nodes": 8, "seq": 2048, "global_batch": 256, "tokens": 1e9} | more
    return answer(Question("qwen2.5-0.5b", machine, **asked), machine_facts(machine)).best


def words(**hours):
    return own_words.parse({"hours": hours})


def test_a_plan_that_hopes_for_more_than_was_ever_seen_counts_with_what_was_seen():
    plan = planned("lumi-g")
    assert plan.mfu > 0.285
    found = asked_hours.basis(plan, words(), None, "lumi-g")
    assert found.mfu == 0.285
    assert found.node_hours == pytest.approx(plan.node_hours * plan.mfu / 0.285)
    assert not found.measured


def test_the_companys_own_mfu_is_taken_and_named():
    plan = planned()
    found = asked_hours.basis(plan, words(mfu=0.2, mfu_source="a run of\n ours"), None, "leonardo-booster")
    assert found.node_hours == pytest.approx(plan.node_hours * plan.mfu / 0.2)
    assert found.why == "the company's own: a run of ours"
    with pytest.raises(CourseError, match="Write 38 % as 0.38"):
        asked_hours.basis(plan, words(mfu=38), None, "leonardo-booster")


def test_a_study_of_this_model_on_this_machine_goes_first():
    """The measured study, told as if it were of a machine: only here, to see that its rate is what counts."""
    content = copy.deepcopy(STUDY)
    content["machine"] = "leonardo-booster"
    study = Study(content)
    config = content["config"]["model"]
    from scaleup.plan import Shape

    shape = Shape(config["layers"], config["dim"], config["heads"], config["hidden"], config["vocab_size"])
    asked = {"nodes": 4, "seq": content["config"]["data"]["seq"], "global_batch": 64, "tokens": 1e9}
    plan = answer(Question(shape, "leonardo-booster", **asked), machine_facts("leonardo-booster")).best
    found = asked_hours.basis(plan, words(), study, "leonardo-booster")
    point = study.points("strong")[-1]
    assert found.measured and f"on {point['nodes']} nodes" in found.why
    assert found.node_hours == pytest.approx(1e9 / point["tokens_per_s"]["value"] / 3600 * point["nodes"])
    flop_per_s = found.mfu * point["nodes"] * 4 * 312e12
    per_token = 312e12 * plan.mfu / plan.tokens_per_s_per_device
    assert flop_per_s == pytest.approx(point["tokens_per_s"]["value"] * per_token)
    assert not asked_hours.basis(plan, words(), study, "lumi-g").measured


def test_the_parts_follow_from_the_shares():
    found = asked_hours.basis(planned(), words(), None, "leonardo-booster")
    made = asked_hours.parts(found, words(tuning=0.1, evaluation=0.05, failures=0.2))
    main = found.node_hours
    assert [part.node_hours for part in made] == pytest.approx([main, 0.1 * main, 0.05 * main, 0.23 * main])
    assert asked_hours.total(made) == pytest.approx(1.38 * main)


def test_a_share_that_is_not_given_is_not_made_up():
    found = asked_hours.basis(planned(), words(), None, "leonardo-booster")
    made = asked_hours.parts(found, words(tuning=0.1))
    assert [part.node_hours is None for part in made] == [False, False, True, True]


# Modes


def test_the_modes_are_those_of_the_data():
    known, data = grants.modes(), yaml.safe_load((root() / "data" / "access.yml").read_text(encoding="utf-8"))
    assert list(known) == list(data["modes"])
    for key, mode in known.items():
        facts = data["modes"][key]
        assert (mode.unit, mode.least, mode.most) == tuple(
            facts[f]["value"] for f in ("unit", "least", "most")
        )
        assert mode.months == tuple(facts["months"]["value"])


@pytest.mark.parametrize(
    ("key", "hours", "says"),
    [
        ("playground", 4000, None),
        ("playground", 20000, "20,000 GPU-hours do not fit Playground, which takes up to 5,000 GPU-hours. "
                              "Fast Lane takes them."),
        ("fast-lane", 7000, "7,000 GPU-hours do not fit Fast Lane, which takes 10,000 to 50,000 GPU-hours."),
        ("fast-lane", 90000, "90,000 GPU-hours do not fit Fast Lane, which takes 10,000 to 50,000 GPU-hours. "
                             "Large Scale takes them."),
        ("large-scale", 90000, None),
    ],
)  # fmt: skip
def test_hours_beyond_a_mode_get_a_sentence(key, hours, says):
    known = grants.modes()
    assert asked_hours.size_problem(hours, known[key], tuple(known.values())) == says
