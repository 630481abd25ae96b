"""Deadlines and budgets over every number of nodes, one device of a node, machines of one's own."""

import json

import pytest

from scaleup import cli
from scaleup.errors import CourseError
from scaleup.plan import plan, search
from scaleup.plan.given_machine import usual_most, written
from scaleup.plan.question import machine_facts

ASKED = {"machine": "leonardo-booster", "tokens": 1e11}
OWN = "device=H100,devices_per_node=8,network_gb_s_per_node=400"


def every(most: int, **more):
    """The best plan on each number of nodes."""
    found = (plan("llama-3-8b", **ASKED, nodes=nodes, **more).best for nodes in range(1, most + 1))
    return [best for best in found if best.fits]


@pytest.fixture(scope="module")
def plans():
    return every(40)


@pytest.mark.parametrize("deadline", [100.0, 141.0, 240.0, 400.0, 2000.0])
def test_a_deadline_gets_the_cheapest_of_all_numbers_of_nodes(deadline, plans):
    best = plan("llama-3-8b", **ASKED, nodes=40, deadline=deadline).best
    timely = [each for each in plans if each.hours <= deadline]
    assert best.hours <= deadline
    assert best.node_hours == pytest.approx(min(each.node_hours for each in timely), rel=0.01)


@pytest.mark.parametrize("budget", [1650.0, 1700.0, 1750.0, 5000.0])
def test_a_budget_gets_the_quickest_of_all_numbers_of_nodes(budget, plans):
    best = plan("llama-3-8b", **ASKED, nodes=40, budget=budget).best
    paid = [each for each in plans if each.node_hours <= budget]
    assert best.node_hours <= budget
    assert best.hours == pytest.approx(min(each.hours for each in paid), rel=0.02)


def test_without_a_number_of_nodes_a_usual_job_is_searched():
    assert usual_most(machine_facts("leonardo-booster")) == 64
    assert usual_most({"nodes": 9}) == 9 and usual_most({}) == 64
    assert plan("llama-3-8b", **ASKED, deadline=240.0).best.nodes > 1
    assert plan("llama-3-8b", **ASKED).best.nodes == 1


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"deadline": 10.0, "tokens": 0.0}, "needs tokens, such as 100e9"),
        ({"budget": 10.0, "tokens": 0.0}, "needs tokens"),
        ({"budget": 10.0}, "the cheapest, 1 node, needs 1,"),
        ({"deadline": 1.0}, "on 64 of at most 64 nodes"),
        ({"deadline": 1.0, "budget": 1.0}, "ask for one of them"),
        ({"devices": 5}, "has 4 devices. Ask for nodes"),
        ({"devices": 2, "nodes": 2}, "leave out nodes"),
        ({"devices": 0}, "at least one"),
        ({"devices": "two"}, "not a whole number"),
    ],
)
def test_what_has_no_answer_gets_a_sentence(more, says):
    with pytest.raises(CourseError, match=says):
        plan("llama-3-8b", **(ASKED | more))


def test_a_model_that_fits_nowhere_is_told_by_how_much():
    with pytest.raises(CourseError, match="The leanest"):
        plan("llama-3-405b", "leonardo-booster", nodes=2, tokens=1e9, budget=100.0)


def test_some_devices_of_a_node_are_planned():
    found = plan("llama-3.2-1b", **ASKED, devices=1, global_batch=64)
    assert found.best.run.layout.devices == 1 and found.best.nodes == 1
    assert any("nodes are shared" in remark for remark in found.remarks)
    assert plan("llama-3.2-1b", **ASKED, devices=2, global_batch=64).best.hours < found.best.hours


def test_an_own_machine_in_words_and_in_a_file(tmp_path, capsys):
    here = plan("llama-3-8b", OWN, nodes=2, tokens=1e10, price=2.5)
    assert here.best.run.machine.name == "own machine" and here.best.run.layout.devices == 16
    assert here.best.bill.unit == "device-hour" and here.best.cost == pytest.approx(
        here.best.hours * 16 * 2.5
    )
    facts = {"device": "H100", "devices_per_node": 8, "network_gb_s_per_node": 400}
    (tmp_path / "ours.json").write_text(json.dumps(facts))
    (tmp_path / "ours.toml").write_text(
        'device = "H100"\ndevices_per_node = 8\nnetwork_gb_s_per_node = 400\n'
    )
    for name in ("ours.json", "ours.toml"):
        words = ["llama-3-8b", "--machine", str(tmp_path / name), "--nodes", "2", "--tokens", "10B"]
        assert cli.main(["plan", *words, "--price", "2,50", "--json"]) == 0
        assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(here.as_dict()))


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("device=H100", "is unknown"),
        ("device=H100,devices_per_node=many", "is not a number"),
        ("device=abacus,devices_per_node=8", "no numbers for 'abacus'"),
        ("device=H100,devices_per_node=8,speed=9", "has no 'speed'"),
        ("device=H100,devices_per_node=2.5", "is not a whole number"),
        ("none.json", "cannot be read as a machine"),
        ("H100", "There is no machine"),
    ],
)
def test_a_machine_that_cannot_be_planned_for_gets_a_sentence(name, says):
    with pytest.raises(CourseError, match=says):
        plan("llama-3-8b", name, nodes=1)


def test_a_name_of_a_machine_is_no_own_one():
    assert written("lumi-g") is None and written(None) is None


@pytest.mark.parametrize("words", [["llama-3-8b"], ["--tokens", "1e9"]])
def test_the_largest_model_is_looked_for_without_one(words, capsys):
    assert cli.main(["plan", *words, "--machine", "lumi-g", "--largest", "100"]) == 2
    assert "--budget" in capsys.readouterr().err


def test_what_is_searched_for_a_deadline_stays_few(monkeypatch):
    real, asked = search.search, []
    monkeypatch.setattr(search, "search", lambda *a, **k: asked.append(a[1]) or real(*a, **k))
    plan("llama-3-8b", **ASKED, nodes=1000, deadline=50.0)
    assert len(asked) == len(set(asked)) < 60
