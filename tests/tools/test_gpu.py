"""`make gpu`: its logic on a CPU with tiny sizes, and what it says where something fails."""

import json
import math
import operator
import os
import re
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from tools.gpu import page as gpu_page
from tools.gpu import parts as gpu_parts
from tools.gpu import run as gpu
from tools.gpu import steps as gpu_steps
from tools.gpu import work as gpu_work
from tools.gpu.device import Device

from scaleup import measure
from scaleup.errors import CourseError
from scaleup.measure import recorded
from scaleup.model import GPT, GPTConfig, next_token_loss
from scaleup.paths import root, state

PAGE = root() / "book" / "reference" / "measured-on-a-gpu.md"
FAILED = {"failed": "The device has too little free memory for it.", "seconds": 3.1}


@pytest.fixture(scope="module", autouse=True)
def on_a_cpu():
    """Also on a machine that has a GPU; and one thread, which is enough for what is tiny."""
    threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: False)
        torch.set_num_threads(1)
        yield
    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision(precision)


@pytest.fixture(scope="module")
def cpu() -> Device:
    return Device("cpu")


@pytest.fixture(scope="module")
def parts(cpu) -> dict[str, dict]:
    """What every part finds with tiny sizes, as the record holds it."""
    found = {}
    for name, part in gpu_parts.PARTS.items():
        found[name] = json.loads(json.dumps(gpu.tidy(part.call(cpu, gpu_work.QUICK)))) | {"seconds": 1.5}
    return found


@pytest.fixture(scope="module")
def record(parts) -> dict:
    facts = {name: value for name, value in parts["device"].items() if name != "seconds"}
    others = {name: found for name, found in parts.items() if name != "device"}
    return {"date": "2026-11-27", **facts, "versions": {"torch": "2.13.0"}, "seconds": 9.9, "parts": others}


# Each part


def test_products_have_a_rate_or_a_reason_in_every_format(parts):
    formats = parts["matmul"]["formats"]
    assert set(formats) == {"fp32", "tf32", "bf16", "fp16", "fp8"}
    assert all(each.get("flops", 0) > 0 or "failed" in each for each in formats.values())
    assert all(formats[name]["flops"] > 0 for name in ("fp32", "bf16"))
    assert parts["matmul"]["bf16_by_the_lessons"]["flops"] > 0


def test_a_format_that_the_device_does_not_have_is_a_sentence(cpu, monkeypatch):
    def refused(*arguments, **words):
        raise RuntimeError("torch._scaled_mm is only supported on newer devices")

    monkeypatch.setattr(torch, "_scaled_mm", refused)
    formats = gpu_parts.matmul(cpu, gpu_work.QUICK)["formats"]
    assert formats["fp8"] == {"failed": "RuntimeError: torch._scaled_mm is only supported on newer devices"}
    assert formats["bf16"]["flops"] > 0


def test_bandwidth_counts_what_is_read_and_written(cpu, monkeypatch):
    monkeypatch.setattr(cpu, "seconds", lambda call, repeats=10, warmup=3: [2.0, 1.0])
    found = gpu_parts.bandwidth(cpu, gpu_work.QUICK)
    assert found["copy"] == found["scale"] == 2 * 4 * 2**20
    assert found["link"] == {"host_to_device": 4 * 2**20, "device_to_host": 4 * 2**20}


def test_training_runs_the_course_s_loop_and_leaves_no_run(parts):
    for size in ("small", "middle", "large"):
        found = parts[f"training, {size}"]
        assert found["first_loss"] == pytest.approx(math.log(4096), abs=0.1)
        assert found["last_loss"] < found["first_loss"] and found["validation_loss"] > 0
        assert found["steps"] % gpu_steps.READ_EVERY == 0 and found["steps_timed"] >= 2
        mfu = found["tokens_per_second"] * found["flops_per_token"] / found["peak_flops"]
        assert found["mfu"] == pytest.approx(mfu, rel=1e-3)
    assert list((state() / "runs").glob("gpu-*")) == []


@pytest.mark.parametrize("shape", [GPTConfig(), GPTConfig(layers=3, heads=2, dim=64, hidden=96, context=64)])
def test_the_formula_of_a_bf16_step_is_what_autograd_keeps(shape, cpu):
    model, tokens = GPT(shape), 4 * 64
    assert gpu_work.all_parameters(shape) == measure.parameters(model)
    text = torch.randint(0, shape.vocab_size, (4, 65))
    with measure.kept_for_backward(model) as kept, torch.autocast("cpu", torch.bfloat16):
        next_token_loss(model(text[:, :-1]), text[:, 1:])
    states, logits = 12 * measure.parameters(model), 2 * tokens * shape.vocab_size
    formula = gpu_work.autocast_bytes(shape, tokens, cpu.kept_by_norm)
    assert formula - states - logits == pytest.approx(sum(kept.values()), rel=0.01)


def test_the_batch_is_halved_until_the_formula_fits(cpu, monkeypatch):
    shape = gpu_work.FULL.models["large"][0]
    need = [gpu_work.autocast_bytes(shape, windows * shape.context, 2) for windows in (1, 4)]
    monkeypatch.setattr(cpu, "free", lambda: need[1] / gpu_work.ROOM + 1)
    assert gpu_work.windows_that_fit(cpu, shape, 16) == 4
    monkeypatch.setattr(cpu, "free", lambda: need[0])
    with pytest.raises(CourseError, match=r"about \d+\.\d GB of free memory for a single window"):
        gpu_work.windows_that_fit(cpu, shape, 16)


def test_memory_by_formula_is_memory_as_counted(parts):
    found = parts["memory"]
    assert set(found["bytes"]) == {
        "parameters", "gradients", "optimizer state", "activations", "for the loss", "peak",
    }  # fmt: skip
    assert all(abs(each["off"]) < 0.02 for each in found["bytes"].values())
    assert found["activations_by_hooks"] == pytest.approx(found["bytes"]["activations"]["measured"], rel=0.01)


def test_precisions_start_alike_and_agree(parts):
    modes = parts["precision"]["modes"]
    assert set(modes) == set(gpu_steps.MODES)
    for found in modes.values():
        assert found["agrees"] and found["losses_compared"] == gpu_work.QUICK.steps
        assert found["error_of_first_gradient"] < 0.05
    assert modes["fp32"]["error_of_first_gradient"] == 0 < modes["bf16 autocast"]["error_of_first_gradient"]
    assert modes["fp16 autocast, scaler"]["scale"] > 1
    assert all("gradients" not in found for found in modes.values())


def run_of(*losses: float) -> dict:
    return {"losses": list(losses), "tokens_per_second": 10.0, "gradients": torch.ones(3)}


def test_a_loss_that_goes_astray_does_not_agree():
    assert gpu_steps.against(run_of(8.0, 7.0), run_of(8.0, 7.05))["agrees"]
    assert not gpu_steps.against(run_of(8.0, 7.0), run_of(8.0, 7.5))["agrees"]
    assert not gpu_steps.against(run_of(8.0, math.nan), run_of(8.0, 7.5))["agrees"]
    assert gpu_steps.against(run_of(8.0), FAILED) == {"losses": [8.0], "tokens_per_second": 10.0}


def event(kind: str, start: float, duration: float, name: str = "") -> dict:
    return {"cat": kind, "ts": start, "dur": duration, "name": name}


def test_time_at_work_worked_by_hand():
    """A window of 100 µs: work from 10 to 40 (two pieces overlap), from 60 to 90, and beyond the end."""
    trace = [
        event("user_annotation", 1000, 100, "all steps"),
        event("kernel", 1010, 20),
        event("kernel", 1020, 20),
        event("gpu_memcpy", 1060, 30),
        event("kernel", 1095, 20),
        event("kernel", 900, 50),
        event("cpu_op", 1000, 100),
        {"cat": "kernel", "ts": 1000, "name": "without an end"},
    ]
    found = gpu_steps.at_work(trace, {"kernel", "gpu_memcpy"}, "all steps", steps=2)
    assert found["share_at_work"] == pytest.approx(0.65)
    assert found["pieces_per_step"] == 2 and found["gaps_per_step"] == 1.5
    assert found["largest_gap_s"] == pytest.approx(20e-6) and found["median_gap_s"] == pytest.approx(10e-6)
    assert found["seconds_per_step"] == pytest.approx(50e-6)
    with pytest.raises(CourseError, match="no work"):
        gpu_steps.at_work(trace, {"nothing"}, "all steps", steps=2)


def test_a_profile_says_where_the_time_goes(parts):
    for size in ("small", "middle"):
        found = parts["profile"][size]
        assert 0 < found["share_at_work"] <= 1 and 0 < found["products"] < 1 and 0 < found["attention"] < 1
        assert sum(found["operators"].values()) <= 1 + 1e-4
        assert not any("all steps" in name for name in found["operators"])


def test_compiled_is_the_same_model(parts):
    found = parts["compile"]
    assert found["difference_of_loss"] < 1e-3
    assert found["compile_s"] >= 0 and found["plain"]["tokens_per_second"] > 0
    assert (found["steps_until_it_pays"] is None) == (found["faster"] <= 1)


def test_a_checkpoint_comes_back_bit_for_bit(parts):
    found = parts["checkpoint"]
    assert found["same_bits"]
    assert found["bytes"] == pytest.approx(12 * found["parameters"], rel=0.001)
    assert list(state().glob("*/checkpoint.pt")) == []


def test_a_full_disk_is_a_sentence(cpu, monkeypatch):
    monkeypatch.setattr(gpu_parts.shutil, "disk_usage", lambda place: SimpleNamespace(free=10**6))
    found = gpu_work.attempt(gpu_parts.checkpoint, cpu, gpu_work.QUICK)
    assert re.fullmatch(r"The disk has 0\.0 GB left, and .* are needed\.", found["failed"])


def test_one_rank_adds_up_alone_and_the_environment_is_as_before(parts):
    found = parts["all-reduce"]
    assert found["ranks"] == 1 and found["backend"] == "gloo"
    assert all(call["same"] for call in found["calls"])
    assert found["error_of_ddp_gradient"] < 1e-6
    assert not {"RANK", "WORLD_SIZE", "MASTER_PORT"} & os.environ.keys()


# A GPU, as far as it can be tried without one


def test_every_name_of_a_gpu_that_is_used_exists():
    text = (root() / "tools/gpu/device.py").read_text("utf-8")
    names = {name.rstrip(".") for name in re.findall(r"torch\.(cuda\.[\w.]+)", text)}
    assert len(names) > 8
    assert [name for name in sorted(names) if not operator.attrgetter(name)(torch)] == []
    others = set((root() / "tools/gpu").glob("*.py")) - {
        root() / "tools/gpu/device.py",
        root() / "tools/gpu/__init__.py",
    }
    assert len(others) == 6 and not [file for file in others if "torch.cuda" in file.read_text("utf-8")]


@pytest.fixture
def pretended(monkeypatch) -> Device:
    """A device that believes to be a GPU: its tensors are the CPU's, its clock and its counters are ours."""
    counter = {"now": 0, "most": 0, "ms": 0.0}

    def take(size: int) -> None:
        counter["now"] += size
        counter["most"] = max(counter["most"], counter["now"])

    class Event:
        def __init__(self, enable_timing):
            assert enable_timing

        def record(self):
            self.at = counter["ms"]

        def elapsed_time(self, end):
            return end.at - self.at

    ours = {
        "Event": Event,
        "synchronize": lambda: None,
        "empty_cache": lambda: None,
        "reset_peak_memory_stats": lambda: counter.update(most=counter["now"]),
        "memory_allocated": lambda: counter["now"],
        "max_memory_allocated": lambda: counter["most"],
        "max_memory_reserved": lambda: 2 * counter["most"],
        "mem_get_info": lambda: (70, 80),
    }
    for name, function in ours.items():
        monkeypatch.setattr(torch.cuda, name, function)
    device = Device("cpu")
    device.gpu, device.take, device.counter = True, take, counter
    return device


def test_a_gpu_counts_its_memory_phase_by_phase(pretended):
    pretended.take(100)
    with pretended.phases() as phase:
        with phase("forward"):
            pretended.take(50)
        with phase("backward"):
            pretended.take(30)
            pretended.take(-60)
    forward, backward = phase.marks["forward"], phase.marks["backward"]
    assert (forward.before, forward.after, forward.peak) == (100, 150, 150)
    assert (backward.before, backward.after, backward.peak) == (150, 120, 180)
    with pretended.peak() as most:
        pretended.take(5)
    assert most == {"used": 125, "reserved": 250}
    assert pretended.free() == 70


def test_a_gpu_s_clock_counts_milliseconds_and_not_the_warm_up(pretended):
    calls = []

    def call() -> None:
        calls.append(1)
        pretended.counter["ms"] += 2.5

    assert pretended.seconds(call, repeats=4, warmup=2) == [0.0025] * 4
    assert len(calls) == 6


def test_a_gpu_is_at_work_in_its_kernels(pretended):
    assert "kernel" in pretended.work and "cpu_op" not in pretended.work
    assert torch.profiler.ProfilerActivity.CUDA in pretended.activities


@pytest.mark.parametrize(("hip", "kind", "below"), [(None, "CUDA", "cuda"), ("7.0", "ROCm", "rocm")])
def test_the_facts_of_a_gpu(pretended, monkeypatch, hip, kind, below):
    card = {"name": "X", "total_memory": 80, "major": 9, "minor": 0, "gcnArchName": "gfx942:sramecc+"}
    card = SimpleNamespace(**card, multi_processor_count=132)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: card)
    monkeypatch.setattr(torch.version, "hip", hip)
    facts = pretended.facts()
    assert facts["kind"] == kind and below in facts["versions"]
    assert facts["generation"] == ("gfx942:sramecc+" if hip else "9.0")
    assert pretended.fp8 is (torch.float8_e4m3fnuz if hip else torch.float8_e4m3fn)


# What fails


def test_a_failure_is_one_sentence_without_paths():
    def broken() -> dict:
        raise RuntimeError(f"no kernel in {root()}/src/x.so on {os.uname().nodename}\n\nwith much more")

    assert gpu_work.attempt(broken)["failed"] == "RuntimeError: no kernel in .../x.so on this-machine"

    def full() -> dict:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")

    assert gpu_work.attempt(full) == {"failed": "The device has too little free memory for it."}


def test_without_a_gpu_it_says_what_it_needs():
    with pytest.raises(CourseError, match=r"needs one NVIDIA or AMD GPU, and a PyTorch 2\.11 or newer"):
        Device("cuda")


def test_numbers_fit_into_json():
    assert gpu.tidy({"a": [math.nan, math.inf, 0.123456789], 8: (1, True, None)}) == {
        "a": [None, None, 0.12346],
        "8": [1, True, None],
    }


def test_everything_takes_less_than_eight_minutes():
    """Even if each part takes all of its time, the last one, compiling, has most of a minute left."""
    *others, last = gpu_parts.PARTS.values()
    assert last.call is gpu_steps.compiled
    assert sum(part.seconds for part in others) + 50 <= gpu.LIMIT < 480


class Quiet:
    """A progress bar that only notes what it was told."""

    def __init__(self):
        self.told = []

    def part(self, name):
        self.told.append(name)

    def tick(self):
        pass


@pytest.fixture
def answers(monkeypatch):
    """Parts that answer at once, without a process; a test may change the answers."""
    facts = {"card": "NVIDIA X100 80GB", "kind": "CUDA", "memory_bytes": 1, "versions": {"cuda": "13"}}
    given = {name: {"value": name, "seconds": 1.0} for name in gpu.PARTS} | {"device": facts | {"seconds": 2}}
    monkeypatch.setattr(gpu, "ask", lambda name, kind, quick, seconds: dict(given[name]))
    return given


def test_the_record_is_named_by_date_and_card(answers, tmp_path):
    progress = Quiet()
    file, record = gpu.measure_all("cuda", False, tmp_path, progress)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d-nvidia-x100-80gb\.json", file.name)
    assert json.loads(file.read_text()) == record
    assert progress.told == list(gpu.PARTS) and list(record["parts"]) == list(gpu.PARTS)[1:]
    assert record["versions"]["cuda"] == "13" and "torch" in record["versions"]


def test_an_interrupted_run_keeps_what_it_has(answers, tmp_path, monkeypatch):
    def part(name, kind, quick, seconds):
        if name == "training, small":
            raise KeyboardInterrupt
        return dict(answers[name])

    monkeypatch.setattr(gpu, "ask", part)
    with pytest.raises(KeyboardInterrupt):
        gpu.measure_all("cuda", False, tmp_path, Quiet())
    [file] = tmp_path.iterdir()
    kept = json.loads(file.read_text())["parts"]
    assert kept["bandwidth"]["value"] == "bandwidth"
    assert kept["training, small"] == kept["compile"] == {"failed": "The run ended before this part."}


def test_what_has_no_time_left_says_so(answers, tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "LIMIT", 0)
    _, record = gpu.measure_all("cuda", False, tmp_path, Quiet())
    assert set(map(str, record["parts"].values())) == {"{'failed': 'No time was left for it.'}"}


def test_without_a_device_nothing_is_written(answers, tmp_path, capsys):
    answers["device"] = {"failed": "'make gpu' needs a GPU.", "seconds": 3}
    assert gpu.main(["--out", str(tmp_path)]) == 1
    assert capsys.readouterr().err == "'make gpu' needs a GPU.\n"
    assert list(tmp_path.iterdir()) == []


def test_quick_numbers_never_reach_the_book(capsys):
    with pytest.raises(SystemExit):
        gpu.main(["--quick"])
    assert "--out" in capsys.readouterr().err


@pytest.mark.processes
def test_the_command_without_a_gpu(tmp_path):
    before = sorted(recorded.folder().iterdir())
    command = [sys.executable, "-m", "tools.gpu"]
    hidden = os.environ | {"CUDA_VISIBLE_DEVICES": "", "HIP_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, capture_output=True, text=True, cwd=root(), env=hidden, timeout=120)
    assert done.returncode == 1 and done.stdout == "device\n"
    [line] = done.stderr.splitlines()
    assert line.startswith("'make gpu' needs one NVIDIA or AMD GPU") and line.endswith(
        "nothing was measured."
    )
    assert sorted(recorded.folder().iterdir()) == before


@pytest.mark.processes
def test_a_part_runs_in_a_process_of_its_own():
    found = gpu.ask("checkpoint", "cpu", True, 120)
    assert found["same_bits"] and found["seconds"] > 0


@pytest.mark.processes
def test_a_part_that_hangs_or_crashes_is_a_sentence(monkeypatch):
    assert gpu.ask("checkpoint", "cpu", True, 0.01)["failed"] == "It gave no result within 0 seconds."
    monkeypatch.setattr(gpu, "ANSWER", "never said: ")  # as if the process had ended before
    monkeypatch.setattr(gpu, "run_together", lambda *_: [SimpleNamespace(out="", err="", status=-11)])
    assert gpu.ask("memory", "cpu", True, 9)["failed"] == "Its process failed: ended by SIGSEGV."


# The page


def test_the_committed_page_is_in_step_with_the_records():
    made = gpu_page.pages()
    assert set(made) == {PAGE, recorded.folder() / "README.md"}
    stale = [file.name for file, text in made.items() if file.read_text("utf-8") != text]
    assert stale == [], "run: python -m tools.gpu.page"


def test_every_record_that_was_sent_is_whole_and_says_nothing_of_its_machine():
    for record in recorded.records():
        assert set(record["parts"]) == set(gpu_parts.PARTS) - {"device"}
        assert record["kind"] in ("CUDA", "ROCm") and re.fullmatch(r"\d{4}-\d\d-\d\d", record["date"])
        assert not re.search(r"/(home|users|scratch|project)/", json.dumps(record), re.IGNORECASE)


def test_without_a_record_the_page_says_so_plainly():
    assert "has not been run" in gpu_page.render([])


def test_the_page_says_what_a_record_says(record):
    text = gpu_page.render([record])
    for title, _ in gpu_page.TITLES.values():
        assert f"### {title} (a CPU)" in text
    assert "Not measured" not in text and "has not been run" not in text
    tables = [block for block in text.split("\n\n") if block.startswith("|")]
    assert len(tables) == len(gpu_page.TITLES)
    for table in tables:
        assert len({line.count(" | ") for line in table.splitlines()[::2]}) <= 2


@pytest.mark.parametrize("name", [name for name in gpu_parts.PARTS if name != "device"])
def test_a_part_that_failed_is_on_the_page_with_its_reason(record, name):
    text = gpu_page.render([record | {"parts": record["parts"] | {name: FAILED}}])
    assert text.lower().count(f"not measured: {FAILED['failed']}".lower()) == 1


def test_failures_within_a_part_are_on_the_page(record):
    parts = json.loads(json.dumps(record["parts"]))
    parts["matmul"]["formats"]["fp8"] = parts["matmul"]["bf16_by_the_lessons"] = FAILED
    parts["bandwidth"]["link"] = parts["profile"]["small"] = parts["precision"]["modes"]["fp32"] = FAILED
    for name in ("tf32", "bf16 autocast"):
        run = parts["precision"]["modes"][name]
        parts["precision"]["modes"][name] = {
            key: run[key] for key in ("tokens_per_second", "spread", "losses")
        }
    text = gpu_page.render([record | {"parts": parts}])
    assert text.count(f"not measured: {FAILED['failed']}") == 5


def test_a_known_card_is_compared_with_its_data_sheet(record):
    parts = json.loads(json.dumps(record["parts"]))
    parts["matmul"]["formats"]["bf16"]["flops"] = 0.5 * 312e12
    text = gpu_page.render([record | {"card": "NVIDIA A100-SXM4-40GB", "parts": parts}])
    assert "156 TFLOP/s | 50.0% |" in text and "312 TFLOP/s, the dense bf16 peak" in text
    assert "no data sheet" in gpu_page.render([record])


def test_the_newest_record_of_each_card_is_shown(record):
    days = [record | {"date": f"2026-12-0{day}", "card": card} for day, card in enumerate("ABA", 1)]
    text = gpu_page.render(days)
    assert re.findall(r"^## (.*)$", text, re.M) == ["A, 2026-12-03", "B, 2026-12-02"]


def test_a_page_without_markers_is_refused():
    with pytest.raises(CourseError, match="markers"):
        gpu_page.filled("# Measured on a GPU", "")


def test_the_readme_of_the_records_names_every_part():
    text = (recorded.folder() / "README.md").read_text("utf-8")
    named = re.findall(
        r"`([^`]+)`", "".join(line.split("|")[1] for line in text.splitlines() if "| `" in line)
    )
    assert named == [name for name in gpu_parts.PARTS if name != "device"]
    assert gpu_page.how_many(recorded.records()) in text


def test_a_first_record_changes_both_pages(record, tmp_path, monkeypatch, capsys):
    for folder in ("notebooks", "data/measured", "book/reference"):
        (tmp_path / folder).mkdir(parents=True)
    files = [PAGE.relative_to(root()), (recorded.folder() / "README.md").relative_to(root())]
    for file in files:
        (tmp_path / file).write_text((root() / file).read_text("utf-8"), "utf-8")
    monkeypatch.setenv("SCALEUP_HOME", str(tmp_path))
    (recorded.folder() / "2026-11-27-a-cpu.json").write_text(json.dumps(record))
    gpu_page.main()
    page, readme = ((tmp_path / file).read_text("utf-8") for file in files)
    assert "has not been run" not in page and "## a CPU, 2026-11-27" in page and "## Send it" in page
    assert "1 record, the newest of 2026-11-27." in readme


def test_sizes_split_into_heads_of_a_usual_width():
    for shape, windows in gpu_work.FULL.models.values():
        assert shape.dim // shape.heads in (32, 64, 128) and windows >= 8
    assert replace(gpu_work.TINY, layers=1).context == gpu_work.TINY.context
