"""`scaleup study` over finished runs: found again, changed, broken; and once on two nodes of a Slurm."""

import dataclasses
import json
import os
import re
import time
from pathlib import Path

import pytest
from small_course import VOCAB, as_toml, make_course

from scaleup import practice
from scaleup.cli import main
from scaleup.computer import slurm
from scaleup.config import Config, DataConfig, TrainConfig
from scaleup.errors import CourseError
from scaleup.model import GPTConfig
from scaleup.study import load, study, study_file
from scaleup.study.points import Plan
from scaleup.study.studying import open_ledger, summary
from scaleup.text import corpus

SHAPE = GPTConfig(vocab_size=VOCAB, layers=1, heads=2, dim=16, hidden=16, context=32)
CONFIG = Config(SHAPE, DataConfig(seq=32), TrainConfig(global_batch=8, micro_batch=2), out="small")
SECONDS = {(1, 8): 1.0, (2, 8): 0.625, (2, 16): 1.25}  # by nodes and batch


def plan(**changes) -> Plan:
    usual = {"config": CONFIG, "machine": "practice", "devices": 2, "nodes": (1, 2), "repeats": 3, "steps": 4,
             "modes": ("strong", "weak"), "left_out": 2}  # fmt: skip
    return Plan(**(usual | changes))


@pytest.fixture
def course(tmp_path, monkeypatch):
    monkeypatch.setenv("SCALEUP_HOME", str(make_course(tmp_path)))
    return tmp_path


def finish(course: Path, made: Plan, folder: Path, leave_out: tuple[str, ...] = ()) -> None:
    """Write what finished runs leave, as `train` does: warm-up is slow, the other steps differ a little."""
    folder.mkdir(parents=True, exist_ok=True)
    ledger = open_ledger(folder.resolve(), made)
    for number, run in enumerate(made.runs(), start=1):
        ledger.jobs[run.key] = str(number)
        if run.key in leave_out:
            continue
        base = SECONDS[run.point.nodes, run.point.batch] * (1 + 0.01 * run.repeat)
        times = [9.0, 8.0, base, base * 1.01, base * 0.99, base]
        tokens = run.point.batch * CONFIG.data.seq
        place = course / ".scaleup" / "runs" / run.name(ledger.name)
        place.mkdir(parents=True)
        lines = [{"step": n, "loss": 5.0, "tokens_per_second": tokens / t, "at": 1.8e9 + n}
                 for n, t in enumerate(times)]  # fmt: skip
        (place / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        about = {"device": "CPU", "torch": "2.13.0", "device_share": 0.125}
        (place / "about.json").write_text(json.dumps(about))
        seconds = [[t / 2 for t in times]] * run.point.ranks
        (place / "computed.json").write_text(json.dumps({"seconds": seconds}))
        (place / "model.pt").write_bytes(b"weights")
    ledger.write()


def test_a_finished_study_needs_no_slurm_and_says_what_it_found(course):
    made, folder = plan(), course / "study"
    finish(course, made, folder)
    said = []
    told = study(made, "small.toml", folder, say=said.append)
    assert told.complete and len(said) == 9 and said[0].startswith("n1-b8-r1: ≈ 1.010 s")
    strong, weak = told.efficiency("strong"), told.efficiency("weak")
    assert strong[1].value == weak[1].value == 1
    assert strong[2].value == pytest.approx(0.8) and weak[2].value == pytest.approx(0.8)
    assert strong[2].low < 0.8 < strong[2].high
    assert told.speed_up("strong")[2].value == pytest.approx(1.6)
    assert told.runs("strong", 1)[0] == pytest.approx([1.01, 1.0201, 0.9999, 1.01]), "warm-up is left out"
    assert told.computed("strong", 2)[0][0] == pytest.approx(
        [t / 2 for t in told.runs("strong", 2)[0]], abs=1e-6
    )
    for name in ("study.json", "study.md", "efficiency.svg", "efficiency.png", "speed-up.svg"):
        assert (folder / name).stat().st_size > 500, name
    page = (folder / "study.md").read_text()
    assert "| strong | 2 | 4 | 8 | 3 |" in page and "80 % (" in page and "practice supercomputer" in page
    assert "<title>Efficiency over nodes" in (folder / "efficiency.svg").read_text()


def test_the_file_has_what_its_page_says_and_no_more(course):
    """book/reference/scaling-study.md is the format: every key is in its table, and it has no other."""
    made, folder = plan(), course / "study"
    finish(course, made, folder)
    content = study(made, "small.toml", folder, say=lambda words: None).content
    page = (Path(__file__).resolve().parents[2] / "book/reference/scaling-study.md").read_text("utf-8")
    named = set(re.findall(r"^\| `([\w.\[\]]+)` \|", page, re.M))
    point, run = content["points"][0], content["points"][0]["runs"][0]
    has = set(content) | {f"points[].{key}" for key in point} | {f"points[].runs[].{key}" for key in run}
    has |= {f"measured.{key}" for key in content["measured"]} | {f"versions.{k}" for k in content["versions"]}
    has |= {f"baseline.{key}" for key in content["baseline"]}
    has |= {f"scaling.strong[].{key}" for key in content["scaling"]["strong"][0]}
    assert named == has


def test_it_is_read_as_it_was_written(course):
    made, folder = plan(), course / "study"
    finish(course, made, folder)
    told = study(made, "small.toml", folder, say=lambda words: None)
    assert load(folder).content == load(folder / "study.json").content == told.content
    assert load(folder).model == SHAPE
    with pytest.raises(CourseError, match="no strong point of 7 nodes"):
        told.runs("strong", 7)


def test_a_second_call_finds_all_and_more_repeats_may_be_added(course):
    folder = course / "study"
    finish(course, plan(repeats=2), folder)
    study(plan(repeats=2), "small.toml", folder, say=lambda words: None)
    said = []
    again = study(plan(repeats=2), "small.toml", folder, say=said.append)
    assert again.complete and not said
    assert "2 repeats per point: the error is badly known" in " ".join(again.content["remarks"])
    assert open_ledger(folder.resolve(), plan(repeats=5)).measured, "nothing that was measured is lost"


def test_another_run_does_not_go_into_the_same_curve(course):
    folder = course / "study"
    finish(course, plan(), folder)
    other = dataclasses.replace(CONFIG, train=dataclasses.replace(CONFIG.train, learning_rate=0.1))
    with pytest.raises(CourseError, match="holds a study with another config"):
        study(plan(config=other), "small.toml", folder)
    with pytest.raises(CourseError, match="another steps and warmup"):
        study(plan(steps=5, left_out=1), "small.toml", folder)


def test_runs_that_are_missing_are_named_and_the_rest_is_told(course):
    made, folder = plan(), course / "study"
    finish(course, made, folder, leave_out=("n2-b8-r3",))
    ledger = open_ledger(folder.resolve(), made)
    ledger.failed["n2-b8-r3"] = "job 8: its log shows: out of memory"
    ledger.write()
    told = study(made, "small.toml", folder, say=lambda words: None)
    assert not told.complete and told.content["missing"] == ["n2-b8-r3"]
    assert len(told.runs("strong", 2)) == 2
    assert "Failed: n2-b8-r3. Mend the cause" in summary(told, folder)


def test_without_its_baseline_a_study_has_times_and_no_efficiency(course):
    made, folder = plan(modes=("strong",)), course / "study"
    lost = ("n1-b8-r1", "n1-b8-r2", "n1-b8-r3")
    finish(course, made, folder, leave_out=lost)
    ledger = open_ledger(folder.resolve(), made)
    ledger.failed.update(dict.fromkeys(lost, "job 1: it left no log"))
    ledger.write()
    told = study(made, "small.toml", folder, say=lambda words: None)
    assert told.content["scaling"] == {} and told.points("strong")[0]["step_seconds"]["value"] > 0


def test_remarks_are_what_a_reviewer_would_ask(course):
    folder = course / "study"
    finish(course, plan(), folder)
    remarks = " ".join(study(plan(), "small.toml", folder, say=lambda words: None).content["remarks"])
    assert "no statement about a real machine" in remarks and "at 0.125 of a core" in remarks
    made = plan(nodes=(2, 4), modes=("weak",))
    points = [{"nodes": 2, "global_batch": 8, "spread": 0.2}]
    said = " ".join(study_file.remarks(made, points, {1.0, 0.125}))
    assert "The baseline is 2 nodes" in said and "differ by 20 %" in said and "different devices" in said


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format": "scaleup study 0"}'])
def test_what_is_no_study_is_refused(tmp_path, text):
    (tmp_path / "study.json").write_text(text)
    with pytest.raises(CourseError, match="as a study|no study"):
        load(tmp_path)


def test_where_there_is_none_the_command_that_makes_one_is_named(tmp_path):
    with pytest.raises(CourseError, match="scaleup study CONFIG"):
        load(tmp_path / "nothing")


def test_without_sbatch_a_real_machine_is_refused_in_a_sentence(course, capfd, monkeypatch):
    monkeypatch.setenv("PATH", str(course))
    (course / "run.toml").write_text(
        as_toml(dataclasses.replace(CONFIG, train=TrainConfig(global_batch=128)))
    )
    words = ["study", str(course / "run.toml"), "--nodes", "1,2", "--machine", "lumi-g"]
    assert main([*words, "--out", str(course / "s")]) == 2
    assert "There is no sbatch here. Start the study on a login node of lumi-g" in capfd.readouterr().err
    assert main([*words[:3], "1,9999", *words[4:], "--out", str(course / "s")]) == 2
    assert "9999" in capfd.readouterr().err


# On a real Slurm

needs_slurm = pytest.mark.skipif(not slurm.available(), reason=slurm.missing_sentence())


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = make_course(tmp_path_factory.mktemp("course"))
    (folder / ".scaleup").mkdir()
    if (unpacked := Path(__file__).resolve().parents[2] / ".scaleup" / "slurm").is_dir():
        (folder / ".scaleup" / "slurm").symlink_to(unpacked)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCALEUP_HOME", str(folder))
        patch.chdir(folder)
        corpus.prepare(quiet=True)
        practice.up(nodes=2)
        yield folder
        practice.down()


@pytest.mark.processes
@needs_slurm
@pytest.mark.timeout(540)
def test_two_nodes_of_the_practice_supercomputer_interrupted_and_failed(home, tmp_path, monkeypatch, capfd):
    """Submitted once, not again by the next call; a run that cannot train is named with its cause."""
    for variable in [n for n in os.environ if n.startswith(("SLURM_", "MASTER_"))]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    file = tmp_path / "small.toml"
    file.write_text(as_toml(CONFIG))
    words = ["study", str(file), "--nodes", "1,2", "--repeats", "2", "--steps", "3", "--warmup", "1"]
    words += ["--launch", "srun", "--out", str(tmp_path / "study")]
    assert main([*words, "--no-wait"]) == 1, "the first call does not wait"
    said = capfd.readouterr().out
    assert "Submitted 4 jobs" in said and "not finished: call again later" in said
    broken = tmp_path / "study" / "configs" / "n2-b8-r2.toml"
    broken.write_text(broken.read_text().replace("vocab_size", "vocabulary"))
    assert main(words) == 1
    said = capfd.readouterr().out
    assert "Submitted" not in said, "what is in the queue is not submitted twice"
    assert "n2-b8-r2: failed, job" in said and "Failed: n2-b8-r2" in said
    assert main([*words, "--retry"]) == 0
    assert "Submitted 1 job" in capfd.readouterr().out
    told = load(tmp_path / "study")
    assert told.complete and told.content["versions"]["slurm"].startswith("slurm")
    assert [len(told.runs("strong", nodes)) for nodes in (1, 2)] == [2, 2]
    point = told.points("strong")[1]
    assert len(point["runs"][0]["computed_seconds"]) == 4, "each rank tells how long it computed"
    for run in point["runs"]:
        slowest = [max(ranks) for ranks in zip(*run["computed_seconds"], strict=True)]
        assert all(busy < step for busy, step in zip(slowest, run["step_seconds"], strict=True))
        assert abs(time.time() - time.mktime(time.strptime(run["began"][:19], "%Y-%m-%dT%H:%M:%S"))) < 9e4
