"""The benchmark compares like with like, and its page says what its numbers say. No time is asserted."""

import json
import os
import subprocess
import sys

import pytest
import torch
from tokenizers import Tokenizer
from tools import bench, bench_data, bench_page, contenders
from torch import nn

from scaleup import measure
from scaleup.computer.resources import usable_cores
from scaleup.errors import CourseError
from scaleup.model import GPT, GPTConfig
from scaleup.paths import root
from scaleup.text import corpus
from scaleup.text.prepare import filters

SHAPE = GPTConfig(vocab_size=97, layers=2, heads=2, dim=16, hidden=40, context=24)
HOME = root() / "book" / "reference"


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """A tiny run of the whole benchmark: (benchmark.json, the page, the figure's bytes)."""
    folder = tmp_path_factory.mktemp("bench")
    command = [sys.executable, "-m", "tools.bench", "--quick", "--out", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=root())
    assert done.returncode == 0, done.stderr
    result = json.loads((folder / "benchmark.json").read_text("utf-8"))
    return result, (folder / "benchmark.md").read_text("utf-8"), (folder / "benchmark.png").read_bytes()


@pytest.fixture
def same():
    """The course's GPT, its copy as a Llama and a batch."""
    torch.manual_seed(0)
    course = GPT(SHAPE)
    return course, contenders.llama_like(course), contenders.random_batch(SHAPE, 3)


def test_llama_copy_has_the_same_parameters_loss_and_gradients(same):
    course, llama, (inputs, targets) = same
    assert measure.parameters(course) == measure.parameters(llama)
    losses = contenders.assert_same_work(course, llama, (inputs, targets))
    assert losses[contenders.COURSE] == pytest.approx(losses[contenders.LLAMA], abs=1e-4)
    for model in (course, llama):
        contenders.next_token_loss(contenders.logits(model, inputs), targets).backward()
    theirs = dict(llama.named_parameters())
    for name, parameter in course.named_parameters():
        torch.testing.assert_close(
            parameter.grad, theirs[contenders.llama_name(name)].grad, rtol=1e-3, atol=1e-6
        )


def test_gpt2_has_matrices_of_the_same_size():
    """That is why one count of FLOPs serves all three."""
    gpt2 = contenders.gpt2_near(SHAPE)
    names = {name: p.numel() for name, p in gpt2.named_parameters() if p.dim() > 1 and ".wpe." not in name}
    assert sum(names.values()) - names["transformer.wte.weight"] == measure.matmul_parameters(SHAPE)


def test_another_model_is_not_the_same_work(same):
    course, llama, batch = same
    with torch.no_grad():
        llama.lm_head.weight.add_(torch.randn_like(llama.lm_head.weight) * 0.1)
    with pytest.raises(CourseError, match="losses differ"):
        contenders.assert_same_work(course, llama, batch)
    llama.lm_head = nn.Linear(SHAPE.dim, SHAPE.vocab_size, bias=True)
    with pytest.raises(CourseError, match="parameters and the Llama"):
        contenders.assert_same_work(course, llama, batch)


def test_everyone_takes_as_many_turns_and_nobody_always_begins():
    calls = []
    steps = {name: lambda name=name: calls.append(name) for name in "abc"}
    times = bench.take_turns(steps, 5, lambda: None)
    assert "".join(calls) == "abcbcacababcbcacab"
    assert {name: len(found.seconds) for name, found in times.items()} == {"a": 5, "b": 5, "c": 5}


def test_speedup_compares_round_by_round():
    ours, theirs = measure.Timings((1.0, 2.0, 4.0)), measure.Timings((2.0, 4.0, 8.0))
    assert bench.speedup(ours, theirs) == {"median": 2.0, "low": 2.0, "high": 2.0}
    assert bench.speedup(theirs, ours)["median"] == 0.5


def structure(value):
    """Keys and types, without numbers and without how many entries a list has."""
    if isinstance(value, dict):
        return {key: structure(entry) for key, entry in value.items()}
    return [structure(value[0])] if isinstance(value, list) else type(value).__name__


@pytest.mark.processes
def test_a_quick_run_measures_everything(quick):
    result, page, figure = quick
    threads = {1, min(2, usable_cores())}
    expected = {(dtype, n) for dtype in bench.DTYPES for n in threads}
    assert {(step["dtype"], step["threads"]) for step in result["steps"]} == expected
    names = {contenders.COURSE, contenders.LLAMA, contenders.GPT2}
    assert all(set(step["found"]) == names for step in result["steps"])
    (entry,) = result["shapes"]
    assert entry["parameters"][contenders.COURSE] == entry["parameters"][contenders.LLAMA]
    assert entry["loss"][contenders.COURSE] == pytest.approx(entry["loss"][contenders.LLAMA], abs=1e-4)
    assert all(rate["tokens_per_second"] > 0 for step in result["steps"] for rate in step["found"].values())
    assert len(result["ranks"]) == 1 and len(result["ranks"][0]["found"]) == 3
    kinds = {(one["work"], one["start"]) for one in result["data"]["speed"]}
    assert kinds == {(work, start) for work in bench_data.WORK for start in ("cold", "warm")}
    for one in result["data"]["speed"]:
        assert set(one["megabytes_per_second"]) == {bench_data.OURS, bench_data.THEIRS}
        assert all(rate > 0 for rate in one["megabytes_per_second"].values())
    assert all(one["peak_megabytes"] > 1 for one in result["data"]["memory"])
    assert page.count(bench_page.BEGIN) == page.count(bench_page.END) == 1
    assert page == bench_page.filled((HOME / "benchmark.md").read_text("utf-8"), result)
    assert figure.startswith(b"\x89PNG")


@pytest.mark.processes
def test_nothing_of_the_machine_but_its_cores_is_written(quick):
    written = json.dumps(quick[0]) + quick[1]
    assert os.uname().nodename not in written
    assert str(root()) not in written


@pytest.mark.processes
def test_nothing_is_left_among_the_runs(quick):
    assert list((root() / ".scaleup" / "runs").glob("benchmark-*")) == []


@pytest.mark.processes
def test_the_page_in_the_book_says_what_its_numbers_say(quick):
    result = json.loads((HOME / "benchmark.json").read_text("utf-8"))
    page = (HOME / "benchmark.md").read_text("utf-8")
    assert page == bench_page.filled(page, result), "run: make bench"
    assert structure(result) == structure(quick[0]), "benchmark.json is of another version: run make bench"
    assert (HOME / "benchmark.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("work", bench_data.WORK)
def test_both_make_the_same_tokens_of_the_same_texts(work, tmp_path):
    """Where nothing is a duplicate, the tokens of both are the same ones."""
    size = bench_data.write_texts(tmp_path / "texts", 0.03)
    lines = [line for file in (tmp_path / "texts").iterdir() for line in file.read_text().splitlines()]
    read = [json.loads(line)["text"] for line in lines]
    assert size == sum(len(text.encode()) for text in read) > 30_000
    tokenizer = corpus.prepare(quiet=True).folder / "tokenizer.json"
    found = bench_data.cleaned_tokens(read, Tokenizer.from_file(str(tokenizer)), work)
    recipe = bench_data.recipe(work, tokenizer)
    texts = [filters.tidy(text) for text in read]
    if recipe.scrub:
        texts = [filters.scrub(text)[0] for text in texts]
    stay = [text for text in texts if not filters.first_reason(text, recipe.rules)]
    assert found == [Tokenizer.from_file(str(tokenizer)).encode(text).ids for text in stay]


def test_quick_numbers_never_reach_the_book(capsys):
    with pytest.raises(SystemExit):
        bench.main(["--quick"])
    assert "--out" in capsys.readouterr().err


def test_a_page_without_markers_is_refused():
    with pytest.raises(CourseError, match="markers"):
        bench_page.filled("# Benchmark", {})
