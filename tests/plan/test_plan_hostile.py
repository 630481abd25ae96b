"""scaleup.plan under input that is impossible or meant to break it, and what must hold for any input.

Whatever is asked gets an answer of finite numbers or a CourseError with one sentence, and soon. The cases are
drawn with fixed seeds: a failure prints its case and comes again.
"""

import csv
import dataclasses
import json
import math
import random
import time

import pytest
from test_plan_runs import LLAMA

from scaleup.errors import CourseError
from scaleup.paths import root
from scaleup.plan import (
    Bill,
    Layout,
    Machine,
    Question,
    Run,
    Shape,
    accelerators,
    flops,
    pipeline,
    search,
    shapes,
)
from scaleup.plan.evidence import predict_table
from scaleup.plan.given_machine import KEYS, machine_from, queue_remarks
from scaleup.plan.layout import RECOMPUTE, SOFTWARE
from scaleup.plan.memory import Memory, fits_well, memory
from scaleup.plan.planner import arithmetic, as_dict, predict_run
from scaleup.plan.question import answer
from scaleup.plan.search import Task
from scaleup.plan.shapes import KNOWN

pytestmark = pytest.mark.timeout(120)  # what hangs is ended

TABLE = root() / "data" / "published_runs.csv"
FACTS = {
    "name": "test",
    "device": "H100",
    "devices_per_node": 4,
    "memory_gb": 80,
    "peak_bf16_tflops": 989,
    "memory_bandwidth_gb_s": 3350,
    "link_gb_s_per_device": 450,
    "network_gb_s_per_node": 100,
    "billing_unit": "node-hour",
    "node_hour_cost": 1,
    "nodes": 10**5,
    "nodes_source": "a page, 2026-01-01",
    "queues": [{"name": "usual", "nodes": 1, "note": "for all"}, {"name": "large", "nodes": None}],
}
NODE = machine_from(FACTS)[0]
# In place of a number: of every size and sign, of every type, and words of every kind.
NUMBERS = [0, -1, 1, 2, 3, 7, 64, 65536, 10**5, 10**7, 10**9, 10**30, -(10**30), 0.5, 2.0, 1e-300, 1e308]
NUMBERS += [math.nan, math.inf, -math.inf, True, False]
WORDS = ["", " ", "8", "eight", "nan", "1e999", "ünï🙂\x00", "١٢", "a\nb\r\nc", "{}%s"]
LONG = ["9" * 5000, "x" * 10**5]
OBJECTS = [None, [], {}, (), b"8", 1 + 2j, object()]
ODD = [*NUMBERS, *WORDS, *LONG, *OBJECTS]


def assert_sentence(error: CourseError) -> None:
    text = str(error)
    assert text.endswith(".") and "\n" not in text and 10 < len(text) < 900, text[:200]


def assert_finite(value, zero: bool = True) -> None:
    """All numbers inside are finite and not negative."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            assert_finite(each)
    elif isinstance(value, int | float):
        assert math.isfinite(value) and value >= 0


def spoilt(draw: random.Random, given: dict, odd: list, most: int = 3) -> dict:
    """A copy in which one value or some are replaced."""
    names = draw.sample(list(given), draw.randint(1, most))
    return given | {name: draw.choice(odd) for name in names}


# The core: shapes, layouts, machines.

SHAPE = {"layers": 4, "hidden": 256, "heads": 8, "ffn": 512, "vocab": 1000, "kv_heads": 4, "head_dim": 0}
SHAPE |= {"positions": 0, "experts": 0, "experts_per_token": 0}
WAYS = {"dp": 2, "tp": 2, "pp": 1, "cp": 1, "ep": 1, "vp": 1, "micro_batch": 1, "zero": 1}
WAYS |= {"recompute": "none"}
REST = {"seq": 1024, "global_batch": 64, "per_node": 4, "network": 1e11, "tokens": 1e9, "price": 1.0}


def test_any_shape_layout_and_machine_gets_a_plan_or_a_sentence():
    draw = random.Random(2)
    planned = refused = 0
    for _ in range(4000):
        case = spoilt(draw, SHAPE | WAYS | REST, ODD)
        try:
            shape = Shape(**{name: case[name] for name in SHAPE})
            layout = Layout(**{name: case[name] for name in WAYS})
            machine = Machine(NODE.accelerator, case["per_node"], case["network"], "test")
            run = Run(shape, case["seq"], case["global_batch"], layout, machine)
            plan = predict_run(run, case["tokens"], Bill("unit", 1), case["price"])
        except CourseError as error:
            assert_sentence(error)
            refused += 1
            continue
        numbers = as_dict(plan)
        assert_finite(numbers)
        assert numbers["step_s"] > 0 and numbers["memory_gib"]["total"] > 0 and 0 < numbers["mfu"] < 1
        assert all(line[1] for line in arithmetic(plan))
        planned += 1
    assert planned > 200 and refused > 200


def test_shapes_of_any_size_within_the_limits_are_planned():
    """Up to ten million layers or a million ways: products of both are counted, not overflown."""
    draw = random.Random(3)

    def size(top: int) -> int:
        return min(top, int(10 ** draw.uniform(0, math.log10(top) + 0.3)))

    planned = 0
    for _ in range(1500):
        kv_heads = size(300)
        heads = kv_heads * size(30)
        sizes = {"layers": size(10**7), "hidden": heads * size(1000)}
        sizes |= {"ffn": size(10**7), "vocab": size(10**7)}
        ways = ("dp", "tp", "pp", "cp", "micro_batch")
        ways = {way: size(10**6) if draw.random() < 0.3 else 1 for way in ways}
        try:
            shape = Shape(**sizes, heads=heads, kv_heads=kv_heads, gated=draw.random() < 0.5)
            layout = Layout(**ways, zero=draw.randint(0, 3), recompute=draw.choice(RECOMPUTE))
            run = Run(shape, size(10**9), size(10**9), layout, NODE, draw.choice(list(SOFTWARE.values())))
            plan = predict_run(run, 1e17)
        except CourseError as error:
            assert_sentence(error)
            continue
        assert_finite(as_dict(plan))
        assert 0 < plan.mfu < 1, run
        planned += 1
    assert planned > 200


def test_ten_to_the_nine_layers_are_refused():
    with pytest.raises(CourseError, match="layers=1000000000 is impossible"):
        Shape(**SHAPE | {"layers": 10**9})


# Facts of a machine.


def test_any_facts_give_a_machine_or_a_sentence():
    draw = random.Random(4)
    run = Run(KNOWN["llama-3.2-1b"], 2048, 64, Layout(dp=8), NODE)
    for _ in range(3000):
        facts = spoilt(draw, FACTS, ODD, most=4)
        if draw.random() < 0.3:
            facts.pop(draw.choice(KEYS))
        try:
            machine, bill, remarks = machine_from(facts)
        except CourseError as error:
            assert_sentence(error)
            continue
        assert machine.devices_per_node >= 1 and machine.network_bytes_s > 0
        assert len(machine.name) + len(bill.unit) <= 400 and "\n" not in machine.name + bill.unit
        assert all(len(remark) < 400 for remark in remarks)
        assert_finite(as_dict(predict_run(dataclasses.replace(run, machine=machine), 1e12, bill, 1.0)))


@pytest.mark.parametrize("number", [True, 2.5, 0, -4, math.nan, math.inf, 10**30, "4", [4]])
def test_a_node_has_a_whole_number_of_devices(number):
    with pytest.raises(CourseError, match="devices_per_node|is unknown"):
        machine_from(FACTS | {"devices_per_node": number})


def test_queues_of_any_form_give_remarks_or_none():
    draw = random.Random(5)
    said = 0
    for _ in range(2000):
        queue = {"name": draw.choice(ODD), "nodes": draw.choice(ODD), "note": draw.choice(ODD)}
        queues = draw.choice([[queue], [queue, draw.choice(ODD)], (queue, queue), draw.choice(ODD)])
        remarks = queue_remarks({"queues": queues}, 10**9)
        assert all(len(remark) < 900 and "\n" not in remark for remark in remarks)
        said += len(remarks)
    assert said > 200


def test_facts_in_another_order_are_the_same_machine():
    assert machine_from(dict(reversed(FACTS.items()))) == machine_from(FACTS)


# Questions.

QUESTION = {"model": "llama-3.2-1b", "nodes": 2, "seq": 2048, "global_batch": 64, "tokens": 1e9}
QUESTION |= {"software": "megatron", "precision": "bf16", "price": 1.0, "deadline": None, "scale": False}
QUESTION |= {way: None for way in ("tp", "pp", "cp", "ep", "vp", "zero", "micro_batch", "recompute")}


def test_any_question_gets_an_answer_or_a_sentence():
    draw = random.Random(6)
    answered = 0
    for _ in range(800):
        asked = spoilt(draw, QUESTION | {"tp": draw.choice([1, 2]), "zero": draw.choice([1, 3])}, ODD)
        facts = spoilt(draw, FACTS, ODD, most=1) if draw.random() < 0.3 else FACTS
        try:
            found = answer(Question(machine="test", **asked), facts)
        except CourseError as error:
            assert_sentence(error)
            continue
        text = json.dumps(found.as_dict(), allow_nan=False)
        assert_finite(json.loads(text))
        assert repr(found)
        answered += 1
    assert answered > 30


@pytest.mark.parametrize("nodes", [10**5, 99_991, 65_536, 1])
@pytest.mark.parametrize("model", ["gpt2", "qwen3-235b-a22b"])
def test_a_search_ends_on_any_number_of_nodes(nodes, model):
    task = Task(KNOWN[model], 8192, 10**8, NODE)
    found = search.search(task, min(10**6, nodes * 4), keep=2)
    assert found.weighed < 1.1 * search.WEIGHED_AT_MOST
    assert found.weighed == len(found.plans) + sum(found.lost.values()) - found.lost.get(CUT, 0)


CUT = "never weighed: the search ended at its limit"


# Names.


@pytest.mark.parametrize("name", ["llama" + "1" * 10**6, "qwen3-" * 10**5, "llama-3" + " 8" * 10**5, "8b"])
def test_a_name_that_never_ends_is_no_model(name):
    with pytest.raises(CourseError, match="There is no model") as refused:
        shapes.model(name)
    assert len(str(refused.value)) < 900


# Tables.

CELLS = ["", " ", "0", "-5", "8", "eight", "nan", "-inf", "1e999", "1e-999", "1e9", "0x10", "1_000", "2,5"]
CELLS += ["2.5", '"', "'", "\n", "\r", "a\r\nb", "a,b;c\td", '=cmd|"/C calc"!A0', "ünï🙂", "\x00", "\ufeff"]
CELLS += ["١٢", "9" * 400, "A100", "H100", "MI250X", "Llama-3-8B", "Qwen3-30B-A3B", "full", "fp8"]
CELLS += ["100000000", "999999"]


def predicted(tmp_path, table: list[list[str]] | bytes, **style) -> list[list[str]]:
    """The rows, header first, that `predict_file` makes of some rows or bytes."""
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    if isinstance(table, bytes):
        source.write_bytes(table)
    else:
        with open(source, "w", newline="", encoding="utf-8") as file:
            csv.writer(file, **style).writerows(table)
    predict_table.predict_file(source, target)
    with open(target, newline="", encoding="utf-8", errors="surrogateescape") as file:
        return list(csv.reader(file, delimiter=style.get("delimiter", ",")))


def assert_rows(made: list[list[str]], given: list[list[str]]) -> None:
    """The same rows and cells in the same order, and a prediction or a reason for each."""
    width = len(given[0])
    assert made[0] == given[0] + list(predict_table.COLUMNS)
    assert [row[:width] for row in made] == given
    for row in made[1:]:
        seconds, rate, size, fits, reason = row[width:]
        if seconds:
            assert all(0 < float(number) < math.inf for number in (seconds, rate, size))
            assert fits in ("yes", "no")
        else:
            assert (rate, size, fits) == ("", "", "") and reason.endswith((".", ")"))


def test_a_table_of_hostile_cells_keeps_its_rows_and_columns(tmp_path):
    draw = random.Random(7)
    table = [[*LLAMA, "params_b", "layers", "hidden", "heads", "ffn", "vocab", "notes", 'note, "x"\n']]
    for _ in range(600):
        row = [*LLAMA.values(), "8", "32", "4096", "32", "14336", "128256", "", ""]
        for place in draw.sample(range(len(row)), draw.randint(1, 4)):
            row[place] = draw.choice(CELLS)
        table.append(row)
    assert_rows(predicted(tmp_path, table), table)


def test_a_table_with_its_columns_and_rows_in_another_order_gets_the_same_predictions(tmp_path):
    draw = random.Random(8)
    given = list(csv.reader(TABLE.read_text(encoding="utf-8").splitlines()))
    given = [given[0], *draw.sample(given[1:], 80)]
    columns = draw.sample(range(len(given[0])), len(given[0]))
    order = [0, *draw.sample(range(1, len(given)), len(given) - 1)]
    moved = [[given[row][column] for column in columns] for row in order]
    plain, other = predicted(tmp_path, given), predicted(tmp_path, moved)
    assert [plain[row][-5:] for row in order] == [row[-5:] for row in other]
    assert_rows(other, moved)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_columns_are_separated_as_usual_in_any_country(tmp_path, delimiter):
    table = [list(LLAMA), list(LLAMA.values())]
    made = predicted(tmp_path, table, delimiter=delimiter)
    assert_rows(made, table)
    assert float(made[1][-5]) > 0


ROW = ",".join(LLAMA).encode() + b"\n" + ",".join(LLAMA.values()).encode() + b"\n"


@pytest.mark.parametrize(
    "content",
    [b"", b"\n", b"\n\n\n", b",,,\n1,2,3\n", b"  ,\n", b'""\n1\n', b"\xef\xbb\xbf", b";;\n"],
    ids=repr,
)
def test_a_table_without_a_header_is_refused(tmp_path, content):
    with pytest.raises(CourseError, match="has no header") as refused:
        predicted(tmp_path, content)
    assert_sentence(refused.value)


@pytest.mark.parametrize(
    ("content", "rows", "answers"),
    [
        (b"\xef\xbb\xbf" + ROW, 1, 1),  # as Excel writes it
        (ROW.replace(b"\n", b"\r\n"), 1, 1),
        (ROW.replace(b"\n", b"\r"), 1, 1),
        (ROW.rstrip(), 1, 1),
        (ROW.replace(b"Llama-3.1-8B", b"Llama-3.1-8B\xff\xfe"), 1, 1),
        (ROW + b"Llama-3.1-8B\n" + b",,,\n" + b"\n" + b'""\n', 4, 1),  # short, empty, no row, one empty cell
        (ROW + ROW, 3, 2),  # the header once more, as a row
        (ROW + b'"never closed, 8\n1,2', 2, 1),
        (ROW.replace(b"gpus", b"gpus,gpus").replace(b"64", b"64,128"), 1, 1),
        (ROW.replace(b"model", b" model ").replace(b"gpus", b"gpus\t"), 1, 1),
        (ROW.split(b"\n", 1)[0] + b"\n", 0, 0),
        (b"nothing,known\n1,2\n", 1, 0),
        (b"8,8,8\n8,8,8\n", 1, 0),
        (ROW.decode().encode("utf-16"), 1, 1),
        (ROW.decode().encode("utf-16-be"), 1, 1),
        (ROW.decode().encode("utf-16-le"), 1, 1),
        (ROW.decode().encode("utf-16") + b"x", None, 1),
        (b"a,b" + bytes(range(10, 256)) * 4, None, 0),
    ],
)
def test_odd_files_keep_what_is_in_them(tmp_path, content, rows, answers):
    made = predicted(tmp_path, content)
    assert sum(bool(row[-5]) for row in made[1:]) == answers
    assert rows is None or len(made) == rows + 1
    assert all(len(row) == len(made[0]) for row in made)
    assert all(row[-1] or row[-5] for row in made[1:])


def test_bytes_that_are_no_text_come_out_as_they_went_in(tmp_path):
    predicted(tmp_path, ROW.replace(b"Llama-3.1-8B", b"Llama-3.1-8B caf\xe9 \xff"))
    assert b"Llama-3.1-8B caf\xe9 \xff," in (tmp_path / "out.csv").read_bytes()


@pytest.mark.parametrize("column", list(LLAMA))
def test_a_cell_of_a_million_characters_is_kept(tmp_path, column):
    table = [[*LLAMA, "notes"]]
    for cell in ("9" * 10**6, "1 " * 500_000, "llama 1GB" * 10**5):
        table.append([*(LLAMA | {column: cell}).values(), cell])
    made = predicted(tmp_path, table)
    assert_rows(made, table)
    assert all(len(row[-1]) < 2000 for row in made)


def test_headers_in_any_case_are_the_same_columns(tmp_path):
    plain = predicted(tmp_path, ROW)
    for change in (bytes.upper, bytes.title):
        header, row = ROW.split(b"\n", 1)
        made = predicted(tmp_path, change(header) + b"\n" + row)
        assert made[1] == plain[1] and made[0][0] == change(header).decode().split(",")[0]


def test_a_column_that_stands_twice_and_differs_is_named(tmp_path):
    made = predicted(tmp_path, ROW.replace(b"gpus", b"gpus,GPUs").replace(b"64", b"64,128"))
    place = made[0].index("gpus") + 1
    assert f"gpus stands in columns {place}, {place + 1} and differs: the last one is used." in made[1][-1]
    same = predicted(tmp_path, ROW.replace(b"gpus", b"gpus,gpus").replace(b"64", b"64,64"))
    assert "stands in columns" not in same[1][-1]


def test_a_file_in_utf_16_is_told(tmp_path, capsys):
    (tmp_path / "in.csv").write_bytes(ROW.decode().encode("utf-16"))
    predict_table.main(str(tmp_path / "in.csv"), str(tmp_path / "out.csv"))
    assert "in.csv is in UTF-16" in capsys.readouterr().out


@pytest.mark.processes
def test_a_table_shared_out_over_processes_is_the_same(tmp_path, monkeypatch):
    given = list(csv.reader(TABLE.read_text(encoding="utf-8").splitlines()))[:40]
    alone = predicted(tmp_path, given)
    monkeypatch.setattr(predict_table, "MANY", 10)
    monkeypatch.setattr(predict_table, "PART", 7)
    monkeypatch.setattr(predict_table, "usable_cores", lambda: 2)
    assert predicted(tmp_path, given) == alone


def test_ten_thousand_rows_take_their_part_of_twenty_seconds_for_a_hundred_thousand(tmp_path):
    given = list(csv.reader(TABLE.read_text(encoding="utf-8").splitlines()))
    rows = (given[1:] * 14)[:10_000]
    start = time.process_time()
    made = predicted(tmp_path, [given[0], *rows])
    assert (
        len(made) == 10_001 and time.process_time() - start < 4
    )  # two cores share it, and ten such take 20 s


def test_cells_without_a_column_are_said_to_be_left_out(tmp_path):
    made = predicted(tmp_path, ROW.rstrip() + b",more,and more\n")
    assert "2 cells have no column" in made[1][-1] and float(made[1][-5]) > 0


@pytest.mark.parametrize("column", list(LLAMA))
def test_a_missing_column_is_filled_or_named(tmp_path, column):
    row = {name: value for name, value in LLAMA.items() if name != column}
    table = [list(row), list(row.values())]
    assert_rows(predicted(tmp_path, table), table)


# What must hold whatever is asked.


def any_run(draw: random.Random) -> Run:
    """A run that can be planned: public models, all programs and devices, layouts that divide evenly."""
    while True:
        name = draw.choice(list(KNOWN))
        ways = {"dp": 2 ** draw.randint(0, 6), "tp": 2 ** draw.randint(0, 3), "pp": 2 ** draw.randint(0, 3)}
        ways |= {"cp": draw.choice([1, 1, 2]), "micro_batch": draw.choice([1, 2, 4])}
        layout = Layout(**ways, zero=draw.randint(0, 3), recompute=draw.choice(RECOMPUTE))
        device = draw.choice(list(accelerators.ACCELERATORS.values()))
        machine = Machine(device, draw.choice([4, 8]), 1e11, "test")
        sequences = layout.dp * layout.micro_batch * draw.choice([1, 4, 16])
        seq = draw.choice([512, 4096, 131072])
        run = Run(KNOWN[name], seq, sequences, layout, machine, draw.choice(list(SOFTWARE.values())))
        if run.problem() is None:
            return run


RUNS = [any_run(random.Random(seed)) for seed in range(400)]


def same_end(one: Memory, other: Memory) -> bool:
    """Is the fullest device in both the one with the logits, or in none? A part can grow where it changes."""
    return (one.logits > 0) == (other.logits > 0)


def test_more_replicas_never_need_more_memory_on_a_device():
    for run in RUNS:
        more = dataclasses.replace(run.layout, dp=2 * run.layout.dp)
        for batch_size in (2 * run.global_batch, run.global_batch):
            larger = dataclasses.replace(run, layout=more, global_batch=batch_size)
            assert memory(larger).total <= memory(run).total * (1 + 1e-12), (run, batch_size)
            if run.layout.zero and same_end(memory(larger), memory(run)):
                assert memory(larger).states < memory(run).states


def test_a_step_of_a_larger_batch_takes_longer():
    for run in RUNS:
        larger = dataclasses.replace(run, global_batch=2 * run.global_batch)
        assert predict_run(larger).step.total > predict_run(run).step.total, run


def test_no_device_is_faster_than_its_peak():
    """A causal kernel does the least that training can do; the rule of MFU counts all of the attention."""
    for run in RUNS:
        plan, peak = predict_run(run), run.machine.accelerator.peak_flops
        assert plan.tokens_per_s_per_device <= peak / flops.per_token(run.shape, run.seq, "causal"), run
        assert 0 < plan.mfu < 1, run


def laid_out(run: Run, **changes) -> Run:
    return dataclasses.replace(run, layout=dataclasses.replace(run.layout, **changes))


def test_recompute_and_sharding_never_need_more_memory():
    for run in RUNS:
        none, selective, full = (memory(laid_out(run, recompute=mode)) for mode in RECOMPUTE)
        head = run.shape.head_parameters / run.shape.matmul_parameters_per_layer
        dealt = head if run.software.balanced_stages else 0.0  # a stage with the logits gets fewer layers
        few = min(pipeline.layers_of_stages(run.shape.layers, run.layout.pp, dealt)) < 4
        assert selective.total <= none.total and (full.total <= selective.total or few), run
        if same_end(none, selective) and same_end(selective, full):
            assert selective.activations <= none.activations
            assert full.activations <= selective.activations or few, run
        held = [memory(laid_out(run, zero=stage)) for stage in range(3)]
        totals, states = ([getattr(used, what) for used in held] for what in ("total", "states"))
        assert totals == sorted(totals, reverse=True), run
        assert states == sorted(states, reverse=True) or not same_end(held[0], held[2]), run


def every_layout(task: Task, devices: int) -> list[Layout]:
    """All layouts that a search is to weigh, each on its own, without its short cuts."""
    found = []
    for dp, tp, pp, cp, ep in search.splits(task, devices):
        for zero in range(4 if pp == 1 else 2) if dp * cp > 1 else (0,):
            for vp in search.chunks_of(task.shape.layers, pp):
                for micro in search.MICRO_BATCHES:
                    for mode in RECOMPUTE:
                        layout = Layout(dp, tp, pp, cp, ep, vp, zero, micro, mode)
                        run = task.run(layout)
                        whole = task.global_batch % (dp * micro) == 0
                        whole = whole and (vp == 1 or run.micro_batches % pp == 0)
                        if whole and run.problem() is None and fits_well(run):
                            found.append(layout)
    return found


@pytest.mark.parametrize(
    ("model", "devices", "seq", "sequences", "software"),
    [
        ("llama-3-8b", 16, 4096, 64, "megatron"),
        ("llama-3.2-3b", 8, 16384, 16, "fsdp"),
        ("gpt-neox-20b", 16, 2048, 48, "megatron-deepspeed"),
        ("qwen3-30b-a3b", 16, 4096, 32, "nanotron"),
        ("gpt2-xl", 6, 1024, 36, "scaleup"),
    ],
)
def test_no_layout_that_fits_is_faster_than_the_one_that_is_found(model, devices, seq, sequences, software):
    task = Task(KNOWN[model], seq, sequences, NODE, SOFTWARE[software])
    layouts = every_layout(task, devices)
    fastest = min(predict_run(task.run(layout)).step.total for layout in layouts)
    found = search.search(task, devices)
    assert len(layouts) > 20
    assert found.best.step.total == pytest.approx(fastest, rel=1e-9)
    assert all(fits_well(plan.run) and plan.run.problem() is None for plan in found.plans)


def test_shapes_in_another_order_give_the_same_answer():
    some = [KNOWN[name] for name in ("gpt2", "llama-3.2-1b", "gpt2-xl")]
    rest = {"seq": 1024, "global_batch": 64, "machine": NODE}
    largest = [search.largest_model(order, 1e4, 20, 1, **rest) for order in (some, some[::-1])]
    assert largest[0] == largest[1]
