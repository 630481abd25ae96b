"""The planner's answer drawn: picture, words and table tell the same numbers, and can be read everywhere."""

import base64
import dataclasses
import html
import io
import re
import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest

from scaleup import cli, machines
from scaleup.plan import KNOWN, drawn, plan, predict_run
from scaleup.plan.collectives import overlap
from scaleup.plan.drawn import drawings, memory_drawing, step_drawing
from scaleup.plan.memory import GIB
from scaleup.plan.planner import LANES, arithmetic, memory_parts, parts, step_parts
from scaleup.plan.unfold import page

CASES = {
    "tensor": ("llama-3-8b", "lumi-g", {"nodes": 4}),
    "pipeline": ("llama-3-70b", "leonardo-booster", {"nodes": 64}),
    "too large": ("llama-3-70b", "jupiter-booster", {"nodes": 32, "pp": 4}),
    "no reserve": ("llama-3-8b", "lumi-g", {"nodes": 1, "tp": 2, "micro_batch": 1, "zero": 0}),
    "sharded": ("llama-3-8b", "leonardo-booster", {"nodes": 16, "zero": 3, "software": "fsdp", "seq": 8192}),
    "small": ("llama-3.2-1b", "lumi-g", {"nodes": 1, "global_batch": 8, "seq": 512}),
    "experts": (
        "qwen3-235b-a22b",
        "jupiter-booster",
        {"nodes": 64, "tp": 2, "pp": 2, "cp": 4, "ep": 8, "zero": 3, "recompute": "full"},
    ),
    "many": ("llama-3-8b", "mn5-acc", {"nodes": 400}),
    "balanced": ("llama-3-8b", "mn5-acc", {"nodes": 4, "pp": 4, "software": "nanotron"}),
    "pauses": ("llama-3-8b", "leonardo-booster", {"nodes": 8, "tp": 4, "software": "megatron-deepspeed"}),
    "slow": ("llama-3-405b", "lumi-g", {"nodes": 128, "global_batch": 65536}),
}


@pytest.fixture(scope="module", params=CASES)
def best(request):
    model, machine, more = CASES[request.param]
    return plan(model, machine, **more).best


def words_of(svg: str) -> str:
    return " ".join(node.text for node in ET.fromstring(svg).iter() if node.tag.endswith("text"))


def test_the_parts_are_all_of_the_memory_and_all_of_the_step(best):
    assert sum(part.amount for part in memory_parts(best)) == pytest.approx(best.memory.total)
    assert sum(parts(best).values()) == pytest.approx(best.step.total)
    least = -1e-9 * best.step.total
    assert all(part.amount > least and part.lane in LANES for part in step_parts(best))


def test_hidden_and_shown_communication_are_together_what_was_sent(best):
    seconds = {part.name: part.amount for part in step_parts(best)}
    layer = best.step.layer
    if layer.gather:
        shown, hidden = seconds["weights gathered"], seconds["weights gathered, hidden"]
        work = layer.forward + layer.backward + layer.recompute + layer.tensor + layer.context
        work += layer.experts + best.run.software.pause_s
        assert shown / (shown + hidden) == pytest.approx((overlap(work, layer.gather) - work) / layer.gather)
    hides = {"hidden_tensor": 0, "hidden_data": False, "hidden_sends": False}
    software = dataclasses.replace(best.run.software, **hides)
    bare = predict_run(dataclasses.replace(best.run, software=software)).step
    assert not bare.layer.tensor_hidden and not bare.send_hidden and not bare.data_hidden
    assert layer.tensor + layer.tensor_hidden == pytest.approx(bare.layer.tensor)
    assert best.step.send + best.step.send_hidden == pytest.approx(bare.send)
    assert best.step.data + best.step.data_hidden == pytest.approx(bare.data)


@pytest.mark.parametrize(
    ("where", "name", "drawing", "row"),
    [
        ("memory", "activations", memory_drawing, "activations"),
        ("memory", "weights", memory_drawing, "weights"),
        ("step", "data", step_drawing, "gradients' sum"),
        ("step", "straggler", step_drawing, "stragglers"),
    ],
)
def test_a_value_that_changes_does_so_in_the_picture_its_words_and_the_table(where, name, drawing, row):
    before = plan("llama-3-8b", "lumi-g", nodes=4, tokens=1e9).best
    held = getattr(before, where)
    amount = 40 * GIB if where == "memory" else 25.0
    after = dataclasses.replace(before, **{where: dataclasses.replace(held, **{name: amount})})
    told = "40.0 GiB" if where == "memory" else "25.0 s"
    for p, there in ((before, False), (after, True)):
        d = drawing(p)
        assert (f"{row} {told}" in words_of(d.svg())) == (f"{row} {told}" in d.alt) == there
        shown = html.unescape(re.sub(r"<[^>]*>", " ", page(p, (), ())))
        cell = told if where == "memory" else "25.000"
        assert bool(re.search(rf"{row} .{{0,40}}{re.escape(cell)}", shown)) == there
        lines = [line for group in arithmetic(p).values() for line in group if line[0] == row]
        assert any(cell in line[1] for line in lines) == there
    texts = [drawing(p).text().splitlines()[1:-1] for p in (before, after)]
    assert sum(one != other for one, other in zip(*texts, strict=True)) >= 1
    place = step_drawing(after).rows if where == "step" else memory_drawing(after).rows
    assert [x.part.amount for r in place for x in r.pieces if x.part.name == row] == [amount]


def test_lengths_are_to_scale(best):
    for d in drawings(best):
        tree = ET.fromstring(d.svg())
        boxes = [
            n for n in tree.iter() if n.get("class") in drawn.COLOURS or n.get("class") == "optimizer-state"
        ]
        boxes = [float(n.get("width")) for n in boxes if float(n.get("height")) == drawn.BAR]
        ratios = {round(w / p.part.amount * d.most) for w, p in zip(boxes, d.pieces, strict=True)}
        assert max(ratios) - min(ratios) <= 2


def test_the_picture_is_readable_text_inside_its_edges_with_alternative_words(best):
    for d in drawings(best):
        tree = ET.fromstring(d.svg())
        left, top, width, height = map(float, tree.get("viewBox").split())
        assert width <= 444 and tree.get("role") == "img" and tree.get("aria-label") == d.alt
        for node in tree.iter():
            if node.tag.endswith("text"):
                assert float(node.get("font-size")) >= 12 and 0 < float(node.get("y")) < height
            if node.tag.endswith("rect") and node.get("class"):
                assert float(node.get("x")) >= left
                assert float(node.get("x")) + float(node.get("width")) <= left + width
        assert "prefers-color-scheme:dark" in d.svg()
        img = d.img()
        data = re.search(r"base64,([^\"]+)", img).group(1)
        assert base64.b64decode(data).decode() == d.svg()
        assert html.unescape(re.search(r'alt="([^"]*)"', img).group(1)) == d.alt
        assert d.title in d.alt and all(x.part.name in d.alt for x in d.pieces)


def test_parts_that_meet_differ_in_grey():
    for d in (memory_drawing, step_drawing):
        p = plan(*CASES["experts"][:2], **CASES["experts"][2]).best
        looks = {}
        for piece in d(p).pieces:
            assert looks.setdefault((piece.look, piece.hidden), piece.part.name) == piece.part.name
    for lane in LANES:
        names = [x.name.removesuffix(", hidden") for x in step_parts(p) if x.lane == lane]
        assert len({drawn.LOOKS[name] for name in names}) == len(names)


def test_one_bar_is_the_step_and_what_is_hidden_ends_beneath_the_backward_pass(best):
    d = step_drawing(best)
    step, *beneath = d.rows
    ends = [0.0, *(piece.end for piece in step.pieces)]
    assert [piece.start for piece in step.pieces] == pytest.approx(ends[:-1])
    assert ends[-1] == pytest.approx(best.step.total, rel=2 * drawn.LEAST)
    assert not any(piece.hidden for piece in step.pieces)
    for row in beneath:
        assert all(piece.hidden for piece in row.pieces)
        back = next(piece for piece in step.pieces if piece.part.name == "backward")
        assert row.pieces[0].start == 0 or row.pieces[-1].end == pytest.approx(back.end)
    dashed = [node for node in ET.fromstring(d.svg()).iter() if "dasharray" in node.get("style", "")]
    hidden = [piece for piece in d.pieces if piece.hidden]
    assert len(dashed) == 2 * len(hidden)  # in the bar and in the legend
    sums = dict(zip((row.name for row in d.lines), (row.sum[0] for row in d.lines), strict=True))
    assert all(words in d.alt and words in d.text() for words in sums.values())


def test_every_line_of_text_fits_and_a_plain_terminal_gets_plain_characters(best):
    for d in drawings(best):
        for fine in (True, False):
            lines = d.text(fine).splitlines()
            assert max(map(len, lines)) <= 80
        assert d.text(False).isascii() and len(d.text(False)) == len(d.text())
        bars = [line for line in d.text(False).splitlines() if re.search(r"[#:=.]+ *\|?|\|", line[30:])]
        assert len(bars) >= len(d.rows)


def test_more_than_the_device_has_reaches_over_its_limit():
    model, machine, more = CASES["too large"]
    d = memory_drawing(plan(model, machine, **more).best)
    assert "does not fit" in d.title and d.most > d.limit
    gradients = next(line for line in d.text(False).splitlines() if "gradients" in line)
    assert re.search(r"#\|#", gradients)


WORDS = ["plan", "--model", "llama-3-8b", "--machine", "leonardo-booster", "--nodes", "3", "--tokens", "1e9"]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_what_the_shell_prints_is_whole_in_every_encoding(monkeypatch, encoding):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding))
    monkeypatch.setattr("locale.setlocale", lambda *which: "de_DE.UTF-8")
    assert cli.main(WORDS) == 0
    sys.stdout.flush()
    said = written.getvalue().decode(encoding)
    assert "?" not in said and max(map(len, said.splitlines())) <= 80
    assert ("█" in said) == (encoding == "utf-8") and ("##" in said) == (encoding != "utf-8")


@pytest.mark.processes
@pytest.mark.parametrize(("name", "blocks"), [("C", False), ("C.UTF-8", True)])
def test_a_locale_that_knows_ascii_only_gets_plain_characters(name, blocks):
    ask = [sys.executable, "-c", "from scaleup.plan import shell; print(shell.has_blocks())"]
    done = subprocess.run(ask, env={"LC_ALL": name}, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == str(blocks)


@pytest.mark.parametrize("machine", machines.operational())
def test_every_machine_s_answer_is_plain_and_narrow(machine, capsys, monkeypatch):
    monkeypatch.setattr("locale.setlocale", lambda *which: "C")
    assert (
        cli.main(["plan", "--model", "llama-3-8b", "--machine", machine, "--nodes", "2", "--tokens", "1e9"])
        == 0
    )
    said = capsys.readouterr().out
    assert said.isascii() and max(map(len, said.splitlines())) <= 80


def test_every_public_model_is_drawn_whether_it_fits_or_not():
    fits = set()
    for name in KNOWN:
        best = plan(name, "jupiter-booster", nodes=64, zero=2).best
        fits.add(best.fits)
        for d in drawings(best):
            assert ET.fromstring(d.svg()) is not None and max(map(len, d.text().splitlines())) <= 80
    assert fits == {True, False}
