"""One question, one answer: the notebook's front, what it shows, and where it agrees with the shell."""

import html
import html.parser
import json
import re
import statistics

import pytest

from scaleup import cli
from scaleup.errors import CourseError
from scaleup.paths import root
from scaleup.plan import KNOWN, accelerators, flops, plan, question, steptime, unfold
from scaleup.plan.evidence import read_runs
from scaleup.plan.planner import arithmetic, parts


def small(**more):
    return plan("llama-3-8b", "lumi-g", **({"nodes": 2, "global_batch": 64, "tokens": 1e9} | more))


def test_a_notebook_and_the_shell_give_the_same_answer(capsys):
    words = ["--model", "llama-3-8b", "--machine", "lumi-g", "--nodes", "2"]
    assert cli.main(["plan", *words, "--global-batch", "64", "--tokens", "1e9", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(small().as_dict()))


def test_a_model_can_be_given_by_its_sizes():
    assert small() == plan(KNOWN["llama-3-8b"], "lumi-g", nodes=2, global_batch=64, tokens=1e9)


def test_the_caution_states_the_error_that_was_measured():
    measured = json.loads((root() / "book/reference/planner.json").read_text("utf8"))
    median = statistics.median(abs(error) for error in measured["errors"].values())
    assert median == pytest.approx(question.UNSEEN, abs=0.005)
    assert question.CAUTION in small().remarks


def test_a_plan_that_hopes_for_more_than_any_run_reached_says_so():
    best: dict[str, float] = {}
    for reading in read_runs.read_table(root() / "data/published_runs.csv"):
        trusted = reading.row["trust"] in ("A", "B")
        whole = reading.run and not reading.run.adapters and reading.run.seq < 16384  # see BEST_SEEN
        usual = "custom" not in reading.row["accelerator"]
        if trusted and whole and usual and reading.measured_s and reading.run.bits == 16:
            run, name = reading.run, reading.run.machine.accelerator.name
            rate = steptime.tokens_per_s_per_device(run, reading.measured_s)
            mfu = flops.mfu(run.shape, run.seq, rate, run.machine.accelerator.peak_flops)
            best[name] = max(best.get(name, 0), mfu)
    assert best == pytest.approx(accelerators.BEST_SEEN, abs=5e-4)
    hopeful = small()
    assert hopeful.best.mfu > best["MI250X"] and "did better than 28%" in hopeful.remarks[0]
    modest = plan("llama-3-8b", "mn5-acc", nodes=2, global_batch=64)
    assert modest.best.mfu < best["H100"] and not any("did better" in remark for remark in modest.remarks)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"nodes": 0}, "0 nodes are impossible"),
        ({"nodes": 2.5}, "nodes=2.5 is not a whole number"),
        ({"nodes": True}, "nodes=True is not a whole number"),
        ({"seq": "long"}, "seq='long' is not a whole number"),
        ({"tokens": float("nan")}, "tokens=nan is impossible"),
        ({"tokens": "many"}, "tokens='many' is impossible"),
        ({"price": -1}, "price=-1 is impossible"),
        ({"precision": "fp4"}, "Choose bf16 or fp8"),
        ({"software": "abacus"}, "no program 'abacus'"),
        ({"heads": 3}, r"plan\(\) knows no heads"),
        ({"tp": 3}, "do not split"),
        ({"deadline": 0.0}, "None is done"),
    ],
)
def test_what_cannot_be_answered_gets_a_sentence(more, says):
    with pytest.raises(CourseError, match=says):
        small(**more)


class Structure(html.parser.HTMLParser):
    """Counts tags and notes what is left open."""

    def __init__(self):
        super().__init__()
        self.open, self.seen = [], {}

    def handle_starttag(self, tag, attrs):
        self.seen[tag] = self.seen.get(tag, 0) + 1
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_answer_unfolds_into_all_of_its_arithmetic():
    answer = small()
    shown = answer._repr_html_()
    structure = Structure()
    structure.feed(shown)
    assert structure.open == [] and structure.seen["details"] == 4 and structure.seen["summary"] == 4
    text = html.unescape(re.sub(r"<[^>]*>", " ", shown))
    for rows in arithmetic(answer.best).values():
        for line in rows:
            assert all(part in text for part in line)
    assert all(remark in text for remark in answer.remarks)


def test_the_parts_of_the_bar_add_up_to_the_step():
    for more in ({}, {"tp": 2, "pp": 4}, {"recompute": "full"}, {"software": "nanotron", "pp": 2}):
        best = small(**more).best
        seconds = parts(best)
        assert sum(seconds.values()) == pytest.approx(best.step.total)
        assert min(seconds.values()) > -1e-9 * best.step.total


def test_words_of_others_are_shown_as_text():
    assert "<script>" not in unfold.table(("a",), [("<script>",)], "<b>")
