"""scaleup.notebook.diagrams: pictures that read on both pages and in grey, and say what they show."""

import base64
import html
import re
import xml.etree.ElementTree as ET

import pytest

from scaleup.notebook import diagrams
from scaleup.notebook.diagrams import Arrow, Box, Piece, Span
from scaleup.notebook.diagrams.canvas import KINDS
from scaleup.plan import drawn
from scaleup.plan.inks import INK, PAGE, PATTERNS, SMALL, wrapped

LONG = "a name of a row that is much too long for its column"
HELD = {"gradient": [Piece("gradients", "1.0"), Piece("gradients", "5.0")]}
MEAN = {"gradient": [Piece("gradients", "3.0"), Piece("gradients", "3.0")]}
SHARDS = {LONG: [Piece("optimizer state", "24 GB", part, 4) for part in range(4)], "nothing": [None] * 4}
BOXES = {
    "srun": Box("srun", 0.5, 0),
    "a": Box("torchrun", 0, 1),
    "b": Box("torchrun", 1, 1, kind="parameters"),
}
ARROWS = [Arrow("srun", "a", "one"), Arrow("a", "b", both=True)]
MEMORY = {LONG: {"parameters": 16, "gradients": 0.1}, "b": {"parameters": 90}}
BUDGET = {"6 by 10, " + LONG: (6, 10), "30 by 2": (30, 2)}
TAKEN = {LONG: 30, "little": 1}
LANES = {"rank 0": [Span(0, 40), Span(30, 60, "idle", "waits")]}
LAYERS = {
    "with a module": [Piece("activations", "yours"), Piece("parameters", "the module's")],
    "in a container": [Piece("tokens", "the image's")],
}
STORED = {"parameters": [2, 2, 2, 2], "activations": [0, 7, 1, 0]}
GALLERY = {
    "exchange": lambda: diagrams.on_ranks("A mean", HELD, after=MEAN, step="all_reduce"),
    "shards": lambda: diagrams.on_ranks("Shards on two nodes", SHARDS, nodes=2),
    "columns": lambda: diagrams.cut("By columns", (512, 1408), 4, by="columns"),
    "rows": lambda: diagrams.cut("By rows", (1408, 512), 2, by="rows", says="Their sum is the product."),
    "bars": lambda: diagrams.bars("Memory " * 12, MEMORY, unit="GB", limit=64),
    "verdicts": lambda: diagrams.bars("Fits", MEMORY, unit="GB", limit=64, verdicts=("fits", "too much")),
    "notes": lambda: diagrams.bars("Hours", MEMORY, unit="h", notes={"b": "ask for this"}),
    "brackets": lambda: diagrams.lanes("Time", LANES, unit="ms", brackets=[Span(0, 40, words="m slots")]),
    "areas": lambda: diagrams.areas("One area", BUDGET, across="tokens", up="parameters", area="FLOPs"),
    "shrinking": lambda: diagrams.shrinking("Less", ("an hour", 60), TAKEN, "useful", unit="minutes"),
    "headings": lambda: diagrams.lanes("Two worlds", {"one": [], **LANES}, unit="days"),
    "lanes": lambda: diagrams.lanes("Time", LANES, unit="ms", marks={"end": 60}, measured=True),
    "ring": lambda: diagrams.ring("A ring", [[["1"], ["2"]], [["3"], ["3"]]], [[0, 0]], ["start", "after"]),
    "dealt": lambda: diagrams.dealt("Dealt", {LONG: [[0, 2, 4], [1, 3, 0]]}, per_step=2),
    "left out": lambda: diagrams.dealt("Dealt", {"a": [[0, 2], [1, 3]]}, left_out={"a": [4]}),
    "flow": lambda: diagrams.flow("Who starts whom", BOXES, ARROWS, frames={"node 0": ["a"]}),
    "lumi": lambda: diagrams.node("lumi-g"),
    "leonardo": lambda: diagrams.node("leonardo-booster"),
    "stacks": lambda: diagrams.stacks("Layers", LAYERS, below=[Piece("plain", "the driver")]),
    "over time": lambda: diagrams.over_time(
        "Held", [0, 5, 6, 7], STORED, unit="MB", across="ms", phases={"forward": 6, LONG: 10}, measured=True),
    "course": lambda: diagrams.course("planning"),
}  # fmt: skip


def luminance(colour: str) -> float:
    """The relative luminance of WCAG 2."""
    shares = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("kind", KINDS)
def test_edges_and_words_stand_out_from_the_page_and_from_their_fill(kind, theme):
    fill, edge = (KINDS[kind].light, KINDS[kind].dark)[theme]
    assert contrast(edge, PAGE[theme]) >= 3 and contrast(INK[theme], fill) >= 4.5
    assert contrast(INK[theme], PAGE[theme]) >= 7


def test_what_meets_in_one_picture_differs_in_its_pattern_too():
    together = ("parameters", "gradients", "optimizer state", "activations", "tokens", "idle")
    assert len({KINDS[kind].pattern for kind in together}) == len(together)
    used = {look.pattern for look in KINDS.values()} | {pattern for _, pattern in drawn.LOOKS.values()}
    assert used - {""} == set(PATTERNS)


@pytest.mark.parametrize("name", GALLERY)
def test_a_picture_is_xml_with_readable_text_inside_its_edges(name):
    picture = GALLERY[name]()
    tree = ET.fromstring(picture.svg().split("?>", 1)[1])
    left, top, width, height = map(float, tree.get("viewBox").split())
    texts = [node for node in tree.iter() if node.tag.endswith("text")]
    assert texts and all(float(text.get("font-size")) >= SMALL for text in texts)
    for node in tree.iter():
        if node.tag.endswith("rect") and node.get("x") and node.get("class"):
            assert float(node.get("x")) + float(node.get("width")) <= left + width
            assert float(node.get("y")) + float(node.get("height")) <= top + height
    assert all(float(text.get("y")) <= top + height for text in texts)


@pytest.mark.parametrize("name", GALLERY)
def test_a_picture_is_the_same_in_every_run_and_tells_what_it_shows(name):
    bundle, again = (GALLERY[name]()._repr_mimebundle_() for _ in range(2))
    assert bundle == again
    alt = html.unescape(re.search(r'alt="([^"]*)"', bundle["text/html"])[1])
    assert alt == GALLERY[name]().alt and len(alt) > 40 and bundle["text/plain"] == f"Figure: {alt}"


def words_of(svg):
    """Each text of a picture and where it begins."""
    texts = (node for node in ET.fromstring(svg.split("?>", 1)[1]).iter() if node.tag.endswith("text"))
    return {node.text: float(node.get("x")) for node in texts}


def test_a_verdict_stands_beneath_the_name_and_never_beyond_a_limit_that_its_bar_does_not_reach():
    rows = {"a": {"plain": 60}, "b": {"plain": 100}}
    words = words_of(diagrams.bars("x", rows, unit="GB", limit=64, verdicts=("fits", "too much")).svg())
    assert words["60 GB fits"] == words["100 GB too much"] == 0
    assert not {"60 GB", "100 GB"} & set(words)


def test_a_note_follows_the_sum_of_its_bar_and_is_told():
    picture = diagrams.bars(
        "x", {"a": {"plain": 60}, "b": {"plain": 9}}, unit="h", notes={"b": "ask for this"}
    )
    words = words_of(picture.svg())
    assert {"60 h", "9 h ← ask for this"} <= set(words) and "9 h (plain 9). Ask for this." in picture.alt


def test_brackets_measure_out_a_time_beneath_the_lanes():
    work = Span(10, 30, words="work")
    picture = diagrams.lanes("x", {"rank 0": [Span(0, 40)]}, unit="ms", brackets=[work])
    middle = words_of(picture.svg())["work"]
    box = next(
        n for n in ET.fromstring(picture.svg().split("?>", 1)[1]).iter() if n.get("class") == "compute"
    )
    assert middle == pytest.approx(float(box.get("x")) + float(box.get("width")) / 2)
    assert "work: from 10 to 30 ms." in picture.alt


def test_a_shard_is_a_slice_with_the_rest_as_an_outline():
    svg = diagrams.on_ranks("Shards", {"state": [Piece("optimizer state", "", 1, 4)]}).svg()
    slice_ = re.search(r'<rect x="([\d.]+)" y="[\d.]+" width="([\d.]+)"[^>]*class="optimizer-state"', svg)
    ghost = re.search(r'<rect x="([\d.]+)" y="[\d.]+" width="([\d.]+)"[^>]*class="ghost"', svg)
    assert float(ghost[2]) == pytest.approx(4 * float(slice_[2]), rel=1e-3)
    assert float(slice_[1]) - float(ghost[1]) == pytest.approx(float(slice_[2]), rel=1e-3)


def test_words_beside_a_slice_are_clear_of_its_edges():
    for part, anchor in ((0, "start"), (3, "end")):
        svg = diagrams.on_ranks("Shards", {"state": [Piece("tokens", "x" * 20, part, 4)]}).svg()
        words = next(n for n in ET.fromstring(svg).iter() if n.text == "x" * 20)
        box = next(n for n in ET.fromstring(svg).iter() if n.get("class") == "tokens")
        left, x = float(box.get("x")), float(words.get("x"))
        assert words.get("text-anchor") == anchor
        assert x < left if part else x > left + float(box.get("width"))


def test_an_exchange_has_an_arrow_for_every_rank():
    pictures = [diagrams.on_ranks("A mean", HELD, after=MEAN, exchange=way) for way in (False, True)]
    arrows = [picture.svg().count('class="head"') for picture in pictures]
    assert arrows == [1, len(next(iter(HELD.values())))]
    assert pictures[0].alt == pictures[1].alt


def test_frames_of_ranks_may_be_something_else_than_nodes():
    held = {"state": [Piece("tokens", "a"), Piece("tokens", "b")]}
    picture = diagrams.on_ranks("Replicas", held, groups=["replica 0", "replica 1"])
    assert "replica 1" in picture.svg() and "node" not in picture.alt
    assert "replica 0 is rank 0; replica 1 is rank 1." in picture.alt


def test_a_sum_does_not_lie_on_the_line_of_the_limit():
    svg = diagrams.bars("Bars", {"a": {"plain": 60}, "b": {"plain": 100}}, unit="GB", limit=64).svg()
    line = next(n for n in ET.fromstring(svg).iter() if n.get("stroke-dasharray"))
    edge = float(line.get("d").split(",")[0][1:]) if line.get("d") else float(line.get("x1"))
    words = next(n for n in ET.fromstring(svg).iter() if n.text == "60 GB")
    assert float(words.get("x")) == pytest.approx(edge + 6)


def test_bars_are_to_scale_and_name_what_is_over_the_limit():
    rows = {"a": {"parameters": 16.0, "gradients": 32.0}, "b": {"parameters": 80.0}}
    picture = diagrams.bars("Memory", rows, unit="GB", limit=64)
    widths = [float(w) for w in re.findall(r'width="([\d.]+)" height="24"[^>]*class="', picture.svg())]
    assert [w / widths[0] for w in widths] == pytest.approx([1, 2, 5], rel=1e-3)
    assert (
        "b: 80 GB (parameters 80). That is over the limit." in picture.alt and picture.alt.count("over") == 1
    )


def test_lanes_are_to_scale_and_what_overlaps_lies_beneath():
    spans = [Span(0, 50, "communication", "a"), Span(25, 75, "communication", "b"), Span(80, 100, "idle")]
    svg = diagrams.lanes("Time", {"rank 0": spans}, unit="ms").svg()
    boxes = re.findall(
        r'<rect x="([\d.]+)" y="([\d.]+)" width="([\d.]+)"[^>]*class="(communication|idle)"', svg
    )
    (x1, y1, w1, _), (_, y2, w2, _), (x3, y3, w3, _) = (
        tuple(map(float, box[:3])) + (box[3],) for box in boxes[:3]
    )
    assert (
        w1 == w2 and w3 == pytest.approx(0.4 * w1, rel=1e-3) and x3 - x1 == pytest.approx(1.6 * w1, rel=1e-3)
    )
    assert y2 > y1 == y3


def test_a_lane_without_spans_is_a_heading():
    picture = GALLERY["headings"]()
    assert re.search(r'class="halo bold"[^>]*>one<', picture.svg()) and "one: rank 0: " in picture.alt


def test_areas_are_to_one_scale_and_equal_ones_are_called_so():
    picture = GALLERY["areas"]()
    sizes = re.findall(r'width="([\d.]+)" height="([\d.]+)"[^>]*class="compute"', picture.svg())
    (w1, h1), (w2, h2) = (tuple(map(float, size)) for size in sizes)
    assert w2 == pytest.approx(5 * w1, rel=1e-3) and h1 == pytest.approx(5 * h2, rel=1e-3)
    other = diagrams.areas("Two", {"a": (1, 1), "b": (1, 2)}, across="x", up="y", area="xy")
    assert "All areas are equal." in picture.alt and "equal" not in other.alt


def test_what_is_taken_lies_where_the_rest_ends():
    picture = GALLERY["shrinking"]()
    boxes = re.findall(
        r'<rect x="([\d.]+)"[^>]*width="([\d.]+)"[^>]*class="(plain|idle|compute)"', picture.svg()
    )
    (x, whole, _), (_, rest, _), (after, taken, _), *_, (_, last, kind) = boxes
    assert float(rest) + float(taken) == pytest.approx(float(whole), abs=0.1) and kind == "compute"
    assert float(after) == pytest.approx(float(x) + float(rest), abs=0.1)
    assert float(last) == pytest.approx(float(whole) * 29 / 60, rel=1e-2)
    assert "Less 1 for little: 29. useful: 29 minutes." in picture.alt


def test_over_time_keeps_the_peak_and_says_when_it_was():
    picture = GALLERY["over time"]()
    assert "Most is held during forward: ≈ 9 MB." in picture.alt
    assert "At the end of forward: parameters ≈ 2, activations ≈ 1." in picture.alt
    # 5,000 moments fall into 140 columns; the single high one is still drawn at its full height.
    many = {"parameters": [1] * 5000, "activations": [0] * 2501 + [3] + [0] * 2498}
    drawn = diagrams.over_time("One", range(5000), many, unit="GB", across="s", phases={"all": 5000})
    paths = re.findall(r'<path d="(M[^"]*Z)"[^>]*class="(parameters|activations)"', drawn.svg())
    tops = {kind: min(float(y) for y in re.findall(r"[ML][\d.]+,([\d.]+)", path)) for path, kind in paths}
    floor = max(float(y) for path, _ in paths for y in re.findall(r"[ML][\d.]+,([\d.]+)", path))
    assert floor - tops["activations"] == pytest.approx(4 * (floor - tops["parameters"]), rel=0.01)


def test_an_area_is_a_closed_shape_within_the_picture():
    picture = diagrams.Drawing("A curve")
    picture.area([(0, 80), (0, 40), (50.04, 60), (50.04, 80)], "compute")
    assert 'd="M0,80 L0,40 L50.0,60 L50.0,80 Z"' in picture.svg() and picture.height >= 80


def test_lanes_of_many_spans_are_summed_up_where_asked_and_the_others_told():
    rows = {"a": [Span(0, 40, "compute"), Span(40, 60, "backward")], "b": [Span(n, 9 + n) for n in range(5)]}
    alt = diagrams.lanes("Time", rows, unit="ms", tell=False).alt
    assert "a: compute from 0 to 40, backward from 40 to 60 ms." in alt and "b: 5 spans until 13 ms." in alt


def test_many_spans_that_overlap_become_thin_and_stay_apart():
    spans = [Span(n, 60 + n, "communication", "a message") for n in range(39)]
    boxes = re.findall(
        r'y="([\d.]+)" width="[\d.]+" height="([\d.]+)"[^>]*class="communication"',
        diagrams.lanes("Time", {"rank 0": spans}, unit="ms").svg(),
    )
    tops, heights = ([float(box[n]) for box in boxes[:39]] for n in (0, 1))
    assert set(heights) == {3.0} and sorted(tops) == tops and len(set(tops)) == 39


def test_windows_are_dealt_in_turn_and_a_second_time_is_seen():
    boxes = re.findall(
        r'<rect x="([\d.]+)" y="([\d.]+)"[^>]*class="(plain|tokens|here)"',
        diagrams.dealt("Dealt", {"epoch 0": [[5, 2, 7], [4, 6, 5]]}).svg(),
    )
    dealt = [(float(x), float(y), kind) for x, y, kind in boxes if kind != "plain"][:6]
    assert [kind for *_, kind in dealt] == ["tokens"] * 5 + ["here"]
    assert [x for x, *_ in dealt] == sorted(x for x, *_ in dealt) and len({y for _, y, _ in dealt}) == 2
    assert len({y for _, y, _ in dealt[::2]}) == 1 < len({y for _, y, _ in dealt})


def test_ranks_may_take_a_batch_at_a_time():
    picture = diagrams.dealt("Dealt", {"": [[0, 1, 4, 5], [2, 3, 6, 7]]}, batch=2).svg()
    boxes = re.findall(r'<rect x="([\d.]+)" y="([\d.]+)"[^>]*class="tokens"', picture)[:8]
    xs, ys = zip(*((float(x), float(y)) for x, y in boxes), strict=True)
    assert list(xs) == sorted(xs) and ys == (ys[0], ys[0], ys[2], ys[2]) * 2 and ys[0] < ys[2]


def test_layers_of_a_stack_lie_in_their_order_on_what_all_share():
    picture = diagrams.stacks("Layers", LAYERS, below=[Piece("plain", "the driver")])
    assert "with a module, from the top: yours; the module's; the driver." in picture.alt
    boxes = re.findall(r'<rect x="[\d.]+" y="([\d.]+)" width="([\d.]+)"[^>]*class="(\w+)"', picture.svg())
    place = {kind: (float(y), float(w)) for y, w, kind in boxes}
    assert place["activations"][0] == place["tokens"][0] < place["parameters"][0] < place["plain"][0]
    assert place["plain"][1] > 2 * place["tokens"][1]


def test_a_measured_picture_says_so_and_no_other_does():
    assert '<img class="measured"' in GALLERY["lanes"]()._repr_mimebundle_()["text/html"]
    assert all(
        'class="measured"' not in GALLERY[name]()._repr_mimebundle_()["text/html"]
        for name in set(GALLERY) - {"lanes", "over time"}
    )


def test_numbers_of_a_measured_picture_stand_behind_the_sign_that_is_not_compared():
    rows = {"a": {"parameters": 16.0, "gradients": 32.0}}
    for measured, sign in ((True, "≈ "), (False, "")):
        bars = diagrams.bars("Memory", rows, unit="GB", limit=40, measured=measured).alt
        lanes = diagrams.lanes("Time", LANES, unit="ms", marks={"end": 60}, measured=measured).alt
        assert f"{sign}48 GB (parameters {sign}16, gradients {sign}32)" in bars
        assert ("over" in bars) != measured
        assert f"waits from {sign}30 to {sign}60 ms. end at {sign}60 ms." in lanes


def test_a_legend_can_say_what_the_kinds_are_here():
    words = {"compute": "runs", "idle": "is planned"}
    for picture in (
        diagrams.lanes("Time", {"node 1": [Span(0, 1), Span(1, 2, "idle")]}, unit="min", legend=words),
        diagrams.bars("Files", {"a": {"compute": 1, "idle": 2}}, unit="files", legend=words),
    ):
        assert all(said in picture.alt and f">{said}<" in picture.svg() for said in words.values())
        assert ">idle<" not in picture.svg()
    held = {"x": [Piece("plain", "1"), Piece("gradients", "2")]}
    picture = diagrams.on_ranks("Who", held, legend={"plain": "its own", "gradients": "summed"})
    assert ">summed<" in picture.svg() and ">gradients<" not in picture.svg()
    assert not any(
        word in diagrams.on_ranks("Who", held, legend={}).svg() for word in (">plain<", ">gradients<")
    )


def test_a_ring_shows_what_is_finished_while_the_rest_is_still_sent():
    moments = [[["1", "2"], ["3", "4"]], [["1", "6"], ["4", "4"]]]
    early = [[0, 1], [0, 0]]  # of what is sent after each moment
    picture = diagrams.ring("A ring", moments, early, ["a", "b"], whole=[(), [(0, 1)]])
    kinds = re.findall(r'<rect x="[^>]*height="(?:24|6)"[^>]*class="([^"]+)"', picture.svg())
    assert [kinds.count(kind) for kind in ("communication", "optimizer-state", "plain")] == [4, 1, 7]
    assert picture.svg().count(">from rank 1<") == 2


def test_lanes_say_long_and_short_times_without_an_exponent():
    spans = [Span(0, 0.00002, words="short"), Span(0.00002, 1234.5, words="long")]
    told = diagrams.lanes("Time", {"rank 0": spans}, unit="ms", measured=True).alt
    assert "short from ≈ 0 to ≈ 0.00002, long from ≈ 0.00002 to ≈ 1230 ms" in told


def test_a_long_number_below_the_lanes_stays_away_from_the_unit():
    svg = diagrams.lanes("Time", {"one step": [Span(0, 162)]}, unit="ms").svg()
    assert ">100<" in svg and ">150<" not in svg


def test_motion_waits_behind_play_and_respects_who_wants_none():
    bundle = GALLERY["ring"]()._repr_mimebundle_()["text/html"]
    still, moving = (base64.b64decode(code).decode() for code in re.findall(r"base64,([^\"]+)", bundle))
    assert "animation" not in still and "<details" in bundle
    assert "@media screen and (prefers-reduced-motion:no-preference){.m2{animation" in moving


def test_lumi_s_devices_lie_beside_the_cores_of_the_published_masks():
    assert "device 0: cores 49 to 55" in diagrams.node("lumi-g").alt
    assert "even share" not in diagrams.node("lumi-g").alt


def test_cores_without_published_masks_are_called_an_even_share():
    picture = diagrams.node("leonardo-booster")
    assert "even share of the cores" in picture.alt and ">an even<" in picture.svg()


def test_the_map_marks_where_one_is():
    assert "planning (here)" in diagrams.course("planning").alt and "(here)" not in diagrams.course().alt


def test_words_are_wrapped_and_none_is_lost():
    lines = wrapped(LONG, 100)
    assert len(lines) > 2 and " ".join(lines) == LONG


def test_a_second_panel_tells_another_amount_and_is_hollow_where_a_row_does_not_fit():
    rows = {"a": {"plain": 60}, "b": {"plain": 100}}
    amounts = {"a": 18.2, "b": 17.6}
    asked = {"limit": 63, "verdicts": ("fits", "over"), "notes": {"a": "ours"}}
    picture = diagrams.bars("x", rows, unit="GiB", **asked, beside=amounts, beside_name="s a step")
    svg, words = picture.svg(), words_of(picture.svg())
    assert svg.count('class="ghost"') == 1 and svg.count('class="plain"') == 3
    assert words["← ours"] < min(words["18.2"], words["17.6"])
    assert "Beside it, s a step: a 18.2; b 17.6, hollow." in picture.alt


def test_a_thin_slice_can_be_seen_and_stays_inside():
    held = {"state": [Piece("optimizer state", "1/64", part, 64) for part in (0, 63)]}
    boxes = re.findall(
        r'<rect x="([\d.]+)"[^>]*width="([\d.]+)"[^>]*class="([^"]+)"', diagrams.on_ranks("x", held).svg()
    )
    ghosts = [(float(x), float(w)) for x, w, kind in boxes if kind == "ghost"]
    thin = [(float(x), float(w)) for x, w, kind in boxes if kind == "optimizer-state"][:2]
    for (x, w), (left, width) in zip(thin, ghosts, strict=True):
        assert w == 8 and left <= x and x + w <= left + width + 1e-6
