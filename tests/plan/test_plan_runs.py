"""scaleup.plan against published runs: reading rows, the batch command, the page that shows the errors."""

import csv
import json
import random
import statistics
import string

import pytest

from scaleup import cli
from scaleup.errors import CourseError
from scaleup.paths import root
from scaleup.plan.evidence import fit, predict_table, validate
from scaleup.plan.evidence.predict_table import COLUMNS, predict
from scaleup.plan.evidence.read_runs import read, read_table

TABLE = root() / "data" / "published_runs.csv"
LLAMA = {
    "model": "Llama-3.1-8B",
    "accelerator": "H100-80GB SXM",
    "gpus": "64",
    "seq": "8192",
    "global_batch_seqs": "128",
    "micro_batch": "1",
    "tp": "2",
    "pp": "1",
    "activation_recompute": "full",
    "precision": "bf16",
    "zero_stage": "1",
    "dp": "32",
}


@pytest.fixture(scope="module")
def readings():
    return read_table(TABLE)


@pytest.fixture(scope="module")
def pairs(readings):
    return validate.time_errors([r for r in readings if validate.target(r)])


# The figures that the planner claims.


def sizes(pairs, source=None):
    return [abs(error) for error, r in pairs if source in (None, r.row["src_key"])]


def test_step_times_of_complete_trusted_rows(pairs):
    assert len(pairs) > 350
    assert statistics.median(sizes(pairs)) <= 0.10
    assert validate.quantile(sizes(pairs), 0.9) <= 0.25


def test_the_table_on_activation_recomputation(pairs):
    assert len(sizes(pairs, "megatron_seqsel_t5")) == 7
    assert statistics.mean(sizes(pairs, "megatron_seqsel_t5")) <= 0.04


def test_lumi_from_its_first_point(readings):
    rows = validate.from_first_point([r for r in readings if validate.target(r)])
    assert [row[0] for row in rows] == ["128", "256", "512", "1024", "2048"]
    assert all(abs(float(row[3].strip("%"))) <= 5 for row in rows)


def test_memory_and_running_out_of_it(readings):
    errors = [abs(error) for error, _ in validate.memory_errors(readings)]
    assert len(errors) > 200 and statistics.median(errors) <= 0.10
    found = validate.verdicts(readings)
    assert found[("oom", False)] >= 0.9 * (found[("oom", False)] + found[("oom", True)])
    assert found[("ok", True)] >= 0.9 * (found[("ok", True)] + found[("ok", False)])


def test_sources_are_predicted_by_fits_that_did_not_see_them(readings):
    stored = json.loads((root() / validate.LEFT_OUT).read_text())
    targets = [r for r in readings if validate.target(r)]
    assert set(stored["errors"]) == {r.row["id"] for r in targets}, (
        "run: python -m scaleup.plan.evidence.validate --fit"
    )
    assert stored["median"] == validate.median_error(targets, stored["fitted"]), (
        "the planner was fitted earlier"
    )
    for name, numbers in stored["fitted"].items():
        assert fit.shipped()[name].items() >= fit.rounded(numbers).items(), "write the fitted numbers down"
    assert statistics.median(map(abs, stored["errors"].values())) <= 0.15


def test_the_committed_page_is_in_step_with_data_and_planner(readings):
    stored = json.loads((root() / validate.LEFT_OUT).read_text())
    page = (root() / validate.PAGE).read_text(encoding="utf-8")
    assert page == validate.page(readings, stored), "run: python -m scaleup.plan.evidence.validate"
    assert page.startswith(validate.GENERATED)


# Fitting.


def test_a_fit_finds_the_numbers_that_made_the_times(readings):
    """Times computed with known numbers lead back to them; what no run depends on stays where it was."""
    runs = [r.run for r in readings if validate.target(r) and r.row["src_key"] == "llm_foundry"]
    runs = [run for run in runs if run.machine.accelerator.name == "H100"][:25]
    truth = fit.shipped()["H100"] | {"matmul": 0.5, "attention": 0.25}
    samples = [(run, fit.step_time(fit.with_numbers(run, truth)).total, 1.0) for run in runs]
    found = fit.fit(samples, "H100")
    assert found["matmul"] == pytest.approx(0.5, rel=0.1)
    assert found["stage_hop_s"] == 0  # no nanotron among them
    errors = [fit.step_time(fit.with_numbers(run, found)).total / t - 1 for run, t, _ in samples]
    assert statistics.median(map(abs, errors)) < 0.02


# Reading rows.


def test_a_complete_row_is_read_without_a_remark():
    reading = read(LLAMA | {"layers": "32", "hidden": "4096", "heads": "32", "kv_heads": "8", "ffn": "14336"})
    assert reading.remarks == []
    assert str(reading.run.layout) == "dp 32, tp 2, pp 1, ZeRO 1, micro-batch 1, recompute full"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"dp": ""}, "dp=32: devices / (tp x pp x cp)"),
        ({"dp": "7"}, "dp=7 does not fit 64 devices"),
        ({"micro_batch": ""}, "micro_batch="),
        ({"global_batch_seqs": ""}, "global_batch=128: not given"),
        ({"precision": ""}, "precision=16: not given; 16 bit"),
        ({"tp": "two"}, "tp='two' is not a whole number"),
        ({"seq": ""}, "seq=2048: not given"),
        ({"model": "GPT 7B", "params_b": "7"}, "layers="),
        ({"zero_stage": ""}, "zero=1: not given"),
    ],
)
def test_a_gap_is_filled_and_said_to_be(changes, says):
    found = predict(read(LLAMA | changes))
    assert says in found["predicted_reason"]
    assert float(found["predicted_step_time_s"]) > 0 and float(found["predicted_memory_gb"]) > 0


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"accelerator": "TPU v5p"}, "no numbers for 'TPU v5p'"),
        ({"accelerator": ""}, "no numbers for ''"),
        ({"gpus": "0"}, "gpus=0 is impossible"),
        ({"gpus": "", "dp": ""}, "number of devices is not given"),
        ({"model": "x", "layers": "1000000000", "hidden": "64"}, "layers=1000000000 is impossible"),
        ({"seq": "-1"}, "seq=-1 is impossible"),
        ({"model": "mystery"}, "Neither the model's sizes"),
        ({"model": "Nemotron-H-56B"}, "mixes Mamba layers"),
        ({"tp": "128"}, "needs more than the 64 devices"),
        ({"precision": "fp32"}, "not in fp32"),
        ({"model": "Mystery MoE"}, "mixture of experts"),
    ],
)
def test_a_row_that_cannot_be_predicted_says_why(changes, says):
    found = predict(read(LLAMA | changes))
    assert says in found["predicted_reason"] and found["predicted_step_time_s"] == ""


def test_any_row_gets_a_prediction_or_a_sentence():
    """Rows of random cells: numbers of all sizes, signs, words, and real rows with some cells spoilt."""
    draw = random.Random(0)
    real = list(csv.DictReader(TABLE.read_text(encoding="utf-8").splitlines()))
    names = list(real[0])

    def cell() -> str:
        return draw.choice(
            [
                "",
                "0",
                "-3",
                "1e9",
                "nan",
                "inf",
                "-inf",
                "1e308",
                "0.5",
                "ünï\x00",
                "None",
                str(draw.randint(1, 300)),
                str(draw.randint(1, 10**12)),
                "".join(draw.choices(string.printable, k=draw.randint(1, 30))),
                draw.choice(["A100", "H100-80GB", "MI250X", "Llama-3-8B", "full", "fp8", "Qwen3-30B-A3B"]),
            ]
        )

    for _ in range(1500):
        row = {name: cell() for name in names} if draw.random() < 0.3 else dict(draw.choice(real))
        for name in draw.sample(names, draw.randint(0, 6)):
            row[name] = cell()
        if draw.random() < 0.2:
            row.pop(draw.choice(names))
        found = predict(read(row))
        assert set(found) == set(COLUMNS)
        assert found["predicted_step_time_s"] or found["predicted_reason"].endswith((".", ")"))
        if found["predicted_step_time_s"]:
            assert 0 < float(found["predicted_step_time_s"]) < float("inf")
            assert found["predicted_fits"] in ("yes", "no")


# The batch command.


def test_the_batch_command_keeps_every_row_in_its_place(tmp_path, capsys):
    target = tmp_path / "out.csv"
    assert cli.main(["plan", "--batch", str(TABLE), "--out", str(target)]) == 0
    given = list(csv.reader(TABLE.read_text(encoding="utf-8").splitlines()))
    made = list(csv.reader(target.read_text(encoding="utf-8").splitlines()))
    assert made[0] == given[0] + list(COLUMNS)
    assert [row[: len(given[0])] for row in made] == given
    predicted = sum(bool(row[-5]) for row in made[1:])
    assert f"{predicted} of {len(given) - 1} rows" in capsys.readouterr().out
    assert predicted > 0.95 * (len(given) - 1)
    assert all(row[-1] for row in made[1:] if not row[-5])


def test_a_predicted_table_can_be_predicted_again(tmp_path):
    once, twice = tmp_path / "once.csv", tmp_path / "twice.csv"
    predict_table.predict_file(TABLE, once)
    predict_table.predict_file(once, twice)
    assert once.read_bytes() == twice.read_bytes()


def test_odd_tables_are_predicted_as_far_as_they_go(tmp_path):
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_bytes(
        b"\xef\xbb\xbfmodel,accelerator,gpus,seq,extra\r\nLlama-3-8B,H100,8,4096,caf\xe9\r\nLlama-3-8B\r\n\r\nx,y,z,a,b,c,d\r\n"
    )
    assert predict_table.predict_file(source, target) == (3, 1)
    lines = target.read_bytes().splitlines()
    assert len(lines) == 4 and b"caf\xe9" in lines[1]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--batch", "nothing.csv", "--out", "out.csv"], "cannot be read"),
        (["--batch", "nothing.csv"], "needs both names"),
        (["--out", "out.csv"], "needs both names"),
    ],
)
def test_a_table_that_is_not_there_is_refused_in_a_sentence(words, says, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["plan", *words]) == 2
    assert says in capsys.readouterr().err


def test_an_empty_table_is_refused_in_a_sentence(tmp_path):
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(CourseError, match="no header"):
        predict_table.predict_file(tmp_path / "empty.csv", tmp_path / "out.csv")
    with pytest.raises(CourseError, match="cannot be written"):
        predict_table.predict_file(TABLE, tmp_path / "no" / "out.csv")


def test_the_page_is_in_step_with_the_rows_and_the_numbers():
    """If not, run `python -m scaleup.plan.evidence.validate`, after a change of the formulas with --fit."""
    left_out = json.loads((root() / validate.LEFT_OUT).read_text())
    made = validate.page(read_table(root() / validate.RUNS), left_out)
    assert made == (root() / validate.PAGE).read_text(encoding="utf-8")
