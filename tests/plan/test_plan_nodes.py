"""Every number of nodes that a machine has gets a plan, and more of them are refused with its limit."""

import html
import json
import random
import re

import pytest

from scaleup import cli, machines
from scaleup.errors import CourseError
from scaleup.plan import browser, plan
from scaleup.plan.given_machine import machine_from, queue_remarks
from scaleup.plan.panel import panel
from scaleup.plan.question import Question, answer, machine_facts

LARGE = ("lumi-g", "leonardo-booster", "mn5-acc", "jupiter-booster")
PRIMES = [n for n in range(2, 101) if all(n % d for d in range(2, n))]


def planned(machine: str, nodes: int, **more) -> None:
    """The plan uses every device that is asked for, splits its batch, and says which batch it is."""
    found = plan("llama-3-8b", machine, nodes=nodes, **more)
    run, layout, said = found.best.run, found.best.run.layout, " ".join(found.remarks)
    assert layout.devices == nodes * machines.machine(machine)["devices_per_node"].value
    assert run.problem() is None and found.best.fits
    assert run.global_batch % (layout.dp * layout.micro_batch) == 0
    other = run.global_batch != 1024
    assert ("A batch of 1,024 sequences does not split" in said) == other, nodes
    assert (f"Planned with {run.global_batch:,}" in said) == other, nodes
    if abs(run.global_batch - 1024) > 128:
        assert "is another training" in said, nodes


def test_every_number_of_nodes_of_a_small_machine_is_planned():
    for nodes in range(1, machines.machine("karolina-gpu")["nodes"].value + 1):
        planned("karolina-gpu", nodes)


@pytest.mark.parametrize("machine", LARGE)
def test_primes_and_a_sample_of_a_large_machine_are_planned(machine):
    most = machines.machine(machine)["nodes"].value
    sample = random.Random(machine).sample(range(101, most), 20)
    for nodes in [1, *PRIMES, *sample, most - 1, most]:
        planned(machine, nodes)


def test_far_from_the_asked_batch_fewer_nodes_are_named_that_take_it():
    found = plan("llama-3-8b", "jupiter-booster", nodes=4999)
    assert found.best.run.global_batch == 4999
    fewer, batch = re.search(r"([\d,]+) nodes take a batch of ([\d,]+)", " ".join(found.remarks)).groups()
    there = plan("llama-3-8b", "jupiter-booster", nodes=int(fewer.replace(",", "")))
    assert there.best.run.global_batch == int(batch.replace(",", "")) and abs(int(batch[-3:]) - 24) <= 128


def test_a_batch_that_splits_in_poor_ways_only_is_kept_and_a_better_one_is_named():
    found = plan("llama-3-8b", "leonardo-booster", nodes=17)
    assert found.best.run.global_batch == 1024
    better = plan("llama-3-8b", "leonardo-booster", nodes=17, global_batch=1020).best
    gain = better.tokens_per_s_per_device / found.best.tokens_per_s_per_device - 1
    assert gain > 0.1 and f"With 1,020 a step does {gain:.0%} more" in " ".join(found.remarks)
    assert "poor ways" not in " ".join(plan("llama-3-8b", "leonardo-booster", nodes=16).remarks)


@pytest.mark.parametrize("more", [{"tp": 2}, {"tp": 4, "zero": 3, "micro_batch": 2}, {"dp": None}])
def test_a_layout_that_is_given_takes_the_nearest_batch_too(more):
    given = {name: value for name, value in more.items() if value}
    for nodes in (3, 7, 48):
        planned("leonardo-booster", nodes, **given)


def test_questions_of_a_budget_take_the_same_road():
    asked = {"machine": "leonardo-booster", "nodes": 3}
    soon = plan("llama-3-8b", **asked, deadline=700.0, tokens=1e11)
    assert soon.best.nodes == 3 and "Planned with 1,020" in " ".join(soon.remarks)
    scaled = plan("llama-3-8b", **asked, scale=True)
    assert [p.nodes for p in scaled.others] == [1, 2, 3]
    largest = plan(None, **asked | {"nodes": 7}, largest=1e5)
    assert largest.best.run.global_batch != 1024 and "Planned with" in " ".join(largest.remarks)


@pytest.mark.parametrize("more", [{}, {"deadline": 10.0, "tokens": 1e9}, {"scale": True}])
def test_a_model_that_is_too_large_is_told_by_how_much(more):
    with pytest.raises(CourseError, match=r"The leanest \(.*\) needs .* GiB more than it has"):
        plan("llama-3-405b", "lumi-g", nodes=3, **more)


@pytest.mark.parametrize("machine", [n for n, m in machines.operational().items() if m["nodes"].value])
@pytest.mark.parametrize("more", [{}, {"tp": 2}, {"scale": True}, {"largest": 1e6}])
def test_more_nodes_than_the_machine_has_are_refused_with_the_limit_and_its_source(machine, more):
    fact = machines.machine(machine)["nodes"]
    with pytest.raises(CourseError, match=f"has {fact.value:,} nodes .*Ask for at most {fact.value:,}") as no:
        plan("llama-3-8b", machine, nodes=fact.value + 1, **more)
    assert fact.source in str(no.value) and fact.date in str(no.value)


def test_shell_panel_and_page_refuse_with_the_same_sentence(capsys):
    with pytest.raises(CourseError) as refused:
        plan("llama-3-8b", "karolina-gpu", nodes=128)
    said = str(refused.value)
    assert cli.main(["plan", "--model", "llama-3-8b", "--machine", "karolina-gpu", "--nodes", "128"]) == 2
    assert said in capsys.readouterr().err
    assert said in html.unescape(panel(machine="karolina-gpu", nodes=128).shown.value)
    question = json.dumps({"model": "llama-3-8b", "machine": "karolina-gpu", "nodes": 128})
    facts = json.dumps(
        {"karolina-gpu": machine_facts("karolina-gpu")}
    )  # as the page's machines.json has them
    assert json.loads(browser.reply(question, facts)) == {"problem": said}


@pytest.mark.parametrize(
    ("machine", "nodes", "says"),
    [
        ("leonardo-booster", 64, []),
        ("leonardo-booster", 65, ["boost_usr_prod takes at most 64", "boost_qos_bprod, which takes 256"]),
        ("leonardo-booster", 257, ["no queue takes so many, not even boost_qos_bprod, which takes 256"]),
        (
            "lumi-g",
            1025,
            ["standard-g takes at most 1,024", "bench, which takes 2,978 (all nodes, on request)"],
        ),
        ("mn5-acc", 101, ["acc_ehpc takes at most 100", "no queue takes so many."]),
        ("karolina-gpu", 17, ["qgpu takes at most 16", "What qgpu_exp, qgpu_big"]),
        ("jupiter-booster", 6000, []),
        ("meluxina-gpu", 200, []),
    ],
)
def test_a_queue_that_takes_fewer_nodes_is_named(machine, nodes, says):
    remarks = queue_remarks(machine_facts(machine), nodes)
    assert len(remarks) == bool(says)
    assert all(part in remarks[0] for part in says)
    if says:
        assert remarks[0] in plan("llama-3-8b", machine, nodes=nodes).remarks


def test_a_machine_of_unknown_size_is_planned():
    facts = {"device": "H100", "devices_per_node": 8}
    assert answer(Question("llama-3-8b", "rented", nodes=500), facts).best.nodes == 500


def test_a_link_of_the_machine_is_used_and_a_stock_part_is_assumed_otherwise():
    for name in machines.taught():
        facts = machine_facts(name)
        given, stock = dict(facts), dict(facts) | {"link_gb_s_per_device": None}
        said = machines.machine(name)["link_gb_s_per_device"].value
        assert given["link_gb_s_per_device"] == said
        link = machine_from(stock)[0].accelerator.link_bytes_s
        assert said is None or link == pytest.approx(said * 1e9), f"{name}: two homes of one fact differ"
        other, _, _ = machine_from(given | {"link_gb_s_per_device": 77})
        assert other.accelerator.link_bytes_s == pytest.approx(77e9)
