"""Plans from measured steps: what is taken as measured, what follows, and how far off that was."""

import html
import json
import statistics

import pytest

from scaleup import cli
from scaleup.errors import CourseError
from scaleup.plan import browser, measured, plan, steptime
from scaleup.plan.amounts import amount, whole
from scaleup.plan.evidence import calibrate
from scaleup.plan.measured import Step
from scaleup.plan.panel import panel
from scaleup.plan.question import machine_facts

SERIES = calibrate.series()
ASKED = {"machine": "leonardo-booster", "nodes": 32, "tokens": 1e11}


def asked(**more):
    return plan("llama-3-8b", **(ASKED | more))


def test_a_series_is_predicted_at_its_largest_within_a_tenth_in_the_median():
    assert len(SERIES) >= 8 and all(each.growth >= calibrate.GROWTH for each in SERIES)
    assert statistics.median(abs(each.error) for each in SERIES) <= 0.1
    assert sum(abs(each.error) <= 0.1 for each in SERIES) >= 8
    lumi = next(each for each in SERIES if each.source == "lumi_175b")
    assert abs(lumi.error) < 0.03 and lumi.growth == 16


def test_the_interval_that_a_plan_states_is_that_of_the_series():
    """Where it differs: scaleup.plan.evidence.calibrate prints what measured.INTERVAL has to be."""
    assert pytest.approx(calibrate.interval(SERIES), abs=0.011) == measured.INTERVAL
    assert measured.GROWTH == calibrate.GROWTH
    assert calibrate.covered(SERIES) > 0.7


def test_the_command_prints_each_series_and_the_interval(capsys):
    calibrate.main()
    out = capsys.readouterr().out
    assert out.count("\n| ") >= len(SERIES) and "lumi_175b" in out and "of all other series holds" in out


def test_a_series_calibrated_on_itself_is_met():
    one = calibrate.Series("", "", (SERIES[0].points[0],) * 2)
    assert one.error == pytest.approx(0) and one.growth == 1


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("3,910tok/s@8", [Step(8, rate=3910)]),
        ("3910 tokens/s @ 8", [Step(8, rate=3910)]),
        ("7.2s@16", [Step(16, seconds=7.2)]),
        ("7,2s@1,024", [Step(1024, seconds=7.2)]),
        ("450ms@8:batch=64,tp=2,recompute=full", [Step(8, 0.45, None, 64, {"tp": 2, "recompute": "full"})]),
        ("3,910tok/s@8; 3.8e3tok/s@64;", [Step(8, rate=3910), Step(64, rate=3800)]),
    ],
)
def test_measured_steps_as_they_are_written(text, steps):
    assert measured.parse(text) == steps == measured.parse(measured.as_words(steps))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "Between 1 and 32"),
        ("fast", "no measured step. Write it as 3,910tok/s@8"),
        ("3910@8", "no measured step"),
        ("3910tok/s", "no measured step"),
        ("0s@8", "impossible"),
        ("7s@0", "impossible"),
        ("7s@8:speed=3", "has no 'speed'"),
        ("7s@8:batch=0", "batch=0 is impossible"),
        ("7s@8:tp=3", "do not split into tp x pp x cp = 3"),
        ("7s@8:tp=2,zero=9", "stages of ZeRO"),
        ("7s@7:batch=5", "5 sequences do not split over 7"),
        ("7s@8;" * 40, "Between 1 and 32"),
        ("7s@8" * 1000, "no measured step"),
        (7, "no measured step"),
    ],
)
def test_what_is_no_measured_step_gets_a_sentence(text, says):
    with pytest.raises(CourseError, match=says):
        asked(measured=text)


def test_a_run_that_was_measured_as_planned_changes_nothing():
    plain = asked(tp=2)
    run = plain.best.run
    found = asked(tp=2, measured=f"{plain.best.step.total!r}s@{run.layout.devices}:batch={run.global_batch}")
    assert found.best == plain.best and found.calibration.factor == pytest.approx(1)
    assert found.calibration.numbers(found.best)["hours"][1] == pytest.approx(plain.best.hours)


def test_half_the_planned_rate_is_twice_the_hours():
    plain = asked(tp=2)
    first = plan("llama-3-8b", "leonardo-booster", nodes=2, tp=2, global_batch=64).best
    found = asked(tp=2, measured=f"{first.tokens_per_s_per_device / 2!r}tok/s@8")
    numbers = found.as_dict()["calibrated"]
    assert numbers["factor"] == pytest.approx(2)
    least, likely, most = numbers["hours"]
    assert likely == pytest.approx(2 * plain.best.hours)
    assert least == pytest.approx(likely * measured.INTERVAL[0]) and most == pytest.approx(
        likely * measured.INTERVAL[2]
    )
    assert numbers["bill"][1] == pytest.approx(2 * plain.best.units)
    rates = numbers["tokens_per_s_per_device"]
    assert rates == sorted(rates) and rates[1] == pytest.approx(plain.best.tokens_per_s_per_device / 2)


def test_what_was_taken_as_measured_is_said_and_the_hope_is_not():
    said = asked(measured="2,900tok/s@8").remarks
    assert "11.3 s for 64 sequences on 8 devices" in said[0] and "add it: 3,910tok/s@8:tp=2" in said[0]
    assert "eight in ten published series" in said[1] and not any("did better than" in each for each in said)
    odd = asked(measured="2,900tok/s@8; 1,000tok/s@16").remarks
    assert any("do not agree on one factor" in each for each in odd)
    near = asked(measured="2,900tok/s@64").remarks
    assert any("this plan grows less" in each for each in near)


def test_a_deadline_is_met_with_the_measured_time():
    hours = asked().best.hours
    quick = asked(deadline=4 * hours).best.nodes
    slow = asked(deadline=4 * hours, measured="1,700tok/s@8")
    assert slow.best.nodes > quick and slow.calibration.numbers(slow.best)["hours"][1] <= 4 * hours
    with pytest.raises(CourseError, match="one model"):
        plan(None, "leonardo-booster", nodes=4, largest=1e5, measured="1,700tok/s@8")


def test_shell_panel_and_page_plan_from_the_same_measurement(capsys):
    text = "2,900tok/s@8"
    here = json.loads(json.dumps(asked(measured=text).as_dict()))
    words = ["llama-3-8b", "--machine", ASKED["machine"], "--nodes", "32", "--tokens", "100B"]
    assert cli.main(["plan", *words, "--measured", text, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == here
    assert cli.main(["plan", *words, "--measured", text]) == 0
    assert "planned from what was measured" in capsys.readouterr().out
    board = panel("llama-3-8b", **ASKED, measured=text)
    assert json.loads(json.dumps(board.answer.as_dict())) == here
    assert "Planned from what was measured" in html.unescape(board.shown.value)
    facts = {ASKED["machine"]: machine_facts(ASKED["machine"])}
    question = ASKED | {"model": "llama-3-8b", "tokens": "100,000,000,000", "measured": text}
    assert json.loads(browser.reply(json.dumps(question), json.dumps(facts)))["plan"] == here


STUDY = {
    "format": "scaleup study 1",
    "machine": "lumi-g",
    "config": {
        "model": {
            "vocab_size": 32000, "layers": 16, "heads": 16, "dim": 2048, "hidden": 5632, "context": 2048,
        },
        "data": {"seq": 2048},
        "train": {"global_batch": 256, "micro_batch": 2, "dtype": "bfloat16"},
        "parallel": {"dp": 0, "shard": 1, "tp": 1, "pp": 1, "cp": 1, "ep": 1},
    },
    "points": [
        {"nodes": 1, "ranks": 8, "global_batch": 256, "step_seconds": {"value": 20.0}},
        {"nodes": 2, "ranks": 16, "global_batch": 256, "step_seconds": {"value": 10.5}},
        {"nodes": 4, "ranks": 32, "global_batch": 256},
    ],
}  # fmt: skip


def studied(folder, content, *words):
    (folder / "study.json").write_text(json.dumps(content))
    where = ["--machine", "lumi-g", "--nodes", "16", "--global-batch", "256", "--tokens", "1e10", "--json"]
    return cli.main(["plan", "--measured", str(folder), *where, *words])


def test_a_study_says_what_is_trained_and_how_long_its_steps_were(tmp_path, capsys):
    assert studied(tmp_path, STUDY) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["software"] == "scaleup" and found["parameters"] == 953_223_168
    steps = measured.from_study(STUDY)
    assert [step.devices for step in steps] == [8, 16] and steps[0].ways["zero"] == 0
    assert found["calibrated"]["factor"] > 0 and "20 s for 256 sequences on 8 devices" in found["remarks"][0]
    assert studied(tmp_path, STUDY, "--model", "llama-3.2-1b") == 0
    assert json.loads(capsys.readouterr().out)["parameters"] == 1_235_814_400


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"machine": "practice"}, "was measured on practice, and the plan is for lumi-g"),
        ({"format": "scaleup study 9"}, "This is no study"),
        ({"points": []}, "no measured point yet"),
        ({"points": [{"step_seconds": {"value": 1}}]}, "lacks what a plan needs"),
        ({"config": {}}, "lacks what a plan needs"),
    ],
)
def test_a_study_that_cannot_be_planned_from_gets_a_sentence(changes, says, tmp_path, capsys):
    assert studied(tmp_path, STUDY | changes) == 2
    assert says in capsys.readouterr().err


def test_a_file_that_is_no_study_gets_a_sentence(tmp_path, capsys):
    where = ["--machine", "lumi-g", "--measured"]
    for text in ("[1]", "{", "\xff"):
        (tmp_path / "study.json").write_bytes(text.encode("latin-1"))
        assert cli.main(["plan", *where, str(tmp_path / "study.json")]) == 2
        assert "study" in capsys.readouterr().err
    assert cli.main(["plan", *where, str(tmp_path / "none.json")]) == 2
    assert "cannot be read as a study" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("100B", 1e11), ("1.5T", 1.5e12), ("300 million", 3e8), ("4k", 4000), ("100,000,000,000", 1e11),
        ("100.000.000.000", 1e11), ("100 000 000", 1e8), ("1_000", 1000), ("2,50", 2.5), ("0,35", 0.35),
        ("0,500", 0.5), ("2.500", 2.5), ("2,500", 2500), ("1,000.5", 1000.5), ("1.000,5", 1000.5),
        ("1e9", 1e9), ("-1", -1), ("0", 0),
    ],
)  # fmt: skip
def test_numbers_as_people_write_them(text, number):
    assert amount(text) == pytest.approx(number)


@pytest.mark.parametrize(
    "text", ["", "many", "nan", "inf", "1,2,3", "1,00,000", "12,34,567.8", "1e", "--5", "5 B B"]
)
def test_what_is_no_number_gets_a_sentence(text):
    with pytest.raises(CourseError, match="is not a number|two ways"):
        amount(text)
    with pytest.raises(CourseError, match="not a whole number"):
        whole("2,50")


@pytest.mark.parametrize("words", [["--tokens", "many"], ["--price", "1,2,3"], ["--nodes", "2.5"]])
def test_the_shell_refuses_other_text_with_the_same_sentence(words, capsys):
    with pytest.raises(SystemExit, match="2"):
        cli.main(["plan", "llama-3-8b", "--machine", "lumi-g", *words])
    said = capsys.readouterr().err
    assert any(why in said for why in ("is not a number", "two ways", "not a whole number"))


def test_the_planned_step_of_a_measured_run_is_that_of_the_planner():
    run, seconds = SERIES[0].points[0]
    assert measured.factor([(run, seconds)]) == pytest.approx(seconds / steptime.step_time(run).total)
