"""What is exported is the same model: `transformers` computes the same logits."""

import json

import pytest
import torch

from scaleup.checkpoint import export, export_run
from scaleup.errors import CourseError
from scaleup.model import GPT, GPTConfig

SHAPE = GPTConfig(vocab_size=64, layers=2, heads=4, dim=32, hidden=48, context=16)


@pytest.fixture
def model():
    torch.manual_seed(1)
    return GPT(SHAPE)


def test_transformers_computes_the_same_logits(model, tmp_path):
    from transformers import AutoModelForCausalLM

    theirs = AutoModelForCausalLM.from_pretrained(export(model.state_dict(), SHAPE, tmp_path / "a b"))
    tokens = torch.randint(64, (2, 16))
    with torch.no_grad():
        torch.testing.assert_close(theirs(tokens).logits, model(tokens), rtol=0, atol=1e-6)


@pytest.fixture
def run(model, tmp_path, monkeypatch):
    monkeypatch.setenv("SCALEUP_HOME", str(tmp_path))
    folder = tmp_path / ".scaleup" / "runs" / "first-run"
    for needed in (folder, tmp_path / "notebooks", tmp_path / "data"):
        needed.mkdir(parents=True)
    torch.save(model.state_dict(), folder / "model.pt")
    (folder / "config.json").write_text(json.dumps({"model": vars(SHAPE)}))
    return folder


def test_a_run_is_exported_by_its_name(run, tmp_path):
    assert export_run("first-run", tmp_path / "out") == tmp_path / "out"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["config.json", "model.safetensors"]


def test_an_unknown_run_is_told_the_nearest(run, tmp_path):
    with pytest.raises(CourseError, match="Did you mean 'first-run'"):
        export_run("fist-run", tmp_path / "out")


def test_a_run_that_cannot_be_read_is_told(run, tmp_path):
    (run / "model.pt").write_bytes(b"nothing")
    with pytest.raises(CourseError, match="The run 'first-run' cannot be read"):
        export_run("first-run", tmp_path / "out")


def test_experts_have_no_place_in_a_llama(run, model, tmp_path):
    torch.save(model.state_dict() | {"blocks.0.mlp.router.weight": torch.zeros(2)}, run / "model.pt")
    with pytest.raises(CourseError, match="a model with experts cannot be exported"):
        export_run("first-run", tmp_path / "out")
