"""`scaleup plan`: the table and the JSON, on the machines of data/machines.yml."""

import json

import pytest

from scaleup import cli, machines
from scaleup.config import load
from scaleup.errors import CourseError
from scaleup.parallel.refusals import reasons
from scaleup.plan import given_machine, question

PLAN = ["plan", "--model", "llama-3-8b", "--machine", "lumi-g", "--nodes", "2", "--global-batch", "64"]


def printed(capsys, *words: str) -> str:
    assert cli.main([*PLAN, *words]) == 0
    return capsys.readouterr().out


def refused(capsys, *words: str) -> str:
    assert cli.main(["plan", *words]) == 2
    return capsys.readouterr().err


def test_a_search_prints_the_best_plan_with_its_arithmetic_and_why_others_lose(capsys):
    out = printed(capsys, "--tokens", "1e9")
    assert "LUMI-G: 2 nodes, 16 devices" in out
    for what in (
        "parameters",
        "8,030,261,248",
        "slot x slots",
        "other plans",
        "layouts weighed",
        "out of memory",
    ):
        assert what in out
    assert "GPU-hour (one module of two devices): node-hours x 4" in out


def test_a_layout_that_is_given_is_planned_as_it_is(capsys):
    out = printed(capsys, "--tp", "2", "--zero", "3", "--recompute", "full")
    assert "dp 8, tp 2, pp 1, ZeRO 3, micro-batch 1, recompute full" in out
    assert "other plans" not in out


def test_json_holds_the_same_numbers_as_the_plan(capsys):
    found = json.loads(printed(capsys, "--tp", "2", "--tokens", "1e9", "--json"))
    assert found["devices"] == 16 and found["layout"]["tp"] == 2
    tokens_per_s = found["tokens_per_s_per_device"] * 16
    assert found["step_s"] * tokens_per_s == pytest.approx(64 * 4096)
    assert found["hours"] == pytest.approx(1e9 / tokens_per_s / 3600)
    assert found["bill"] == pytest.approx(found["hours"] * 2 * 4)


def test_questions_of_a_budget(capsys):
    assert "80 %" in printed(capsys, "--scale")
    assert "wall time" in printed(capsys, "--deadline", "1e5", "--tokens", "1e9")
    assert cli.main(["plan", "--machine", "lumi-g", "--largest", "100", "--global-batch", "64"]) == 0
    assert "The largest public model is" in capsys.readouterr().out


CONFIG = """
[model]
vocab_size = 32000
layers = 16
heads = 16
dim = 2048
hidden = 5632
context = 2048
[data]
seq = 2048
[train]
global_batch = 256
micro_batch = 2
dtype = "bfloat16"
"""


def configured(folder, capsys, parallel: str = "", *words: str) -> str:
    (folder / "run.toml").write_text(CONFIG + parallel)
    where = ["--machine", "lumi-g", "--nodes", "2", *words]
    assert cli.main(["plan", "--config", str(folder / "run.toml"), *where]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("parallel", "layout", "section"),
    [
        ("", "dp 16, tp 1, pp 1, ZeRO 3", "dp = 1\nshard = 16\ntp = 1\npp = 1\ncp = 1\nep = 1"),
        ("[parallel]\ntp = 4", "dp 4, tp 4, pp 1, ZeRO 0, micro-batch 2", "dp = 4\nshard = 1\ntp = 4"),
        ("[parallel]\nshard = 16", "dp 16, tp 1, pp 1, ZeRO 3, micro-batch 2", "dp = 1\nshard = 16\ntp = 1"),
        (
            "[parallel]\npp = 4\nschedule = 'Interleaved1F1B'", "dp 4, tp 1, pp 4, vp 2, ZeRO 0",
            'schedule = "Interleaved1F1B"\nmicro_batches = 32',
        ),
    ],
)  # fmt: skip
def test_a_file_for_training_is_planned_and_its_section_is_accepted(
    parallel, layout, section, tmp_path, capsys
):
    out = configured(tmp_path, capsys, parallel)
    assert layout in out and section in out
    printed = out[out.rindex("[train]") :]
    again = CONFIG.replace("global_batch = 256\nmicro_batch = 2\n", "").replace(
        "[train]", printed.split("[parallel]")[0]
    )
    (tmp_path / "again.toml").write_text(again + "[parallel]" + printed.split("[parallel]")[1])
    config = load(tmp_path / "again.toml")
    assert not list(reasons(config, 16))


@pytest.mark.parametrize(
    ("parallel", "words", "says"),
    [
        ("[parallel]\ntp = 3", [], "tp=3 takes 3 ranks"),
        ("[parallel]\nshard = 4", [], "over all copies or over none, not dp=4 x shard=4"),
        ("", ["--model", "llama-3-8b"], "Leave out --model"),
    ],
)
def test_what_cannot_be_trained_is_not_planned(parallel, words, says, tmp_path, capsys):
    (tmp_path / "run.toml").write_text(CONFIG + parallel)
    file = str(tmp_path / "run.toml")
    assert says in refused(capsys, "--config", file, "--machine", "lumi-g", "--nodes", "2", *words)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "Say what to plan"),
        (["--model", "llama-3-8b"], "Say what to plan"),
        (["--model", "no-model", "--machine", "lumi-g"], "There is no model"),
        (["--model", "llama-3-8b", "--machine", "lumi"], ""),
        (["--model", "llama-3-8b", "--machine", "alice-recoque"], "unknown"),
        (["--model", "llama-3-8b", "--machine", "lumi-g", "--nodes", "0"], "0 nodes are impossible"),
        (["--model", "llama-3-8b", "--machine", "lumi-g", "--tp", "3"], "do not split"),
        (["--model", "llama-3-8b", "--machine", "lumi-g", "--tp", "0"], "do not split"),
        (["--model", "llama-3-8b", "--machine", "lumi-g", "--zero", "7"], "stages of ZeRO"),
        (["--model", "llama-3-8b", "--machine", "lumi-g", "--recompute", "most"], "Choose one of"),
        (["--model", "llama-3-8b", "--machine", "lumi-g", "--software", "abacus"], "no program"),
        (["--model", "llama-3-8b", "--machine", "lumi-g", "--seq", "0"], "at least one token"),
        (
            ["--model", "llama-3-8b", "--machine", "lumi-g", "--tp", "2", "--tokens", "-1"],
            "tokens=-1.0 is impossible",
        ),
        (["--model", "llama-3-405b", "--machine", "lumi-g"], "Take more devices"),
        (
            ["--model", "llama-3-8b", "--machine", "lumi-g", "--deadline", "0.1", "--tokens", "1e12"],
            "None is done",
        ),
    ],
)
def test_what_cannot_be_planned_gets_a_sentence(words, says, capsys):
    message = refused(capsys, *words)
    assert says in message and message.startswith("scaleup: ") and "Traceback" not in message


@pytest.mark.parametrize("name", machines.operational())
def test_every_machine_that_runs_can_be_planned_for(name):
    machine, bill, _ = given_machine.machine_from(question.machine_facts(name))
    known = machines.machine(name)
    assert machine.devices_per_node == known["devices_per_node"].value
    assert machine.accelerator.peak_flops == known["peak_bf16_tflops"].value * 1e12
    if known["memory_gb"].value:
        assert machine.accelerator.memory_bytes == known["memory_gb"].value * 2**30
    assert bill.units == (known["node_hour_cost"].value or 0)


def test_facts_as_a_browser_hands_them_over():
    given = json.loads('{"device": "NVIDIA H100", "devices_per_node": 4, "network_gb_s_per_node": 100}')
    machine, bill, remarks = given_machine.machine_from(given)
    assert machine.network_bytes_s == 100e9 and bill.units == 0 and remarks == []
    _, _, remarks = given_machine.machine_from({"device": "GH200", "devices_per_node": 4})
    assert any("nearest" in r for r in remarks) and any("assumed" in r for r in remarks)
    with pytest.raises(CourseError, match="is unknown"):
        given_machine.machine_from({"device": "H100"})
    with pytest.raises(CourseError, match="devices_per_node='four'"):
        given_machine.machine_from({"device": "H100", "devices_per_node": "four"})
