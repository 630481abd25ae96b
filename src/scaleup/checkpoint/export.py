"""A trained model in the form that others load: `transformers` takes the course's GPT for a Llama."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from ..errors import CourseError
from ..files import write_whole
from ..model import GPTConfig
from ..paths import state as course_state
from ..words import nearest

NAMES = {
    "attention.query": "self_attn.q_proj",
    "attention.key": "self_attn.k_proj",
    "attention.value": "self_attn.v_proj",
    "attention.out": "self_attn.o_proj",
    "attention_norm": "input_layernorm",
    "mlp_norm": "post_attention_layernorm",
    "mlp.gate": "mlp.gate_proj",
    "mlp.up": "mlp.up_proj",
    "mlp.down": "mlp.down_proj",
}
TOP = {"embedding": "model.embed_tokens", "norm": "model.norm", "head": "lm_head"}


def their_name(name: str) -> str:
    """'blocks.0.mlp.up.weight' -> 'model.layers.0.mlp.up_proj.weight'; KeyError for what Llama has not."""
    module, _, kind = name.rpartition(".")
    if module in TOP:
        return f"{TOP[module]}.{kind}"
    _, layer, inner = module.split(".", 2)
    return f"model.layers.{layer}.{NAMES[inner]}.{kind}"


def export(state: dict[str, Tensor], config: GPTConfig, folder: Path) -> Path:
    """Write `model.safetensors` and `config.json` for `transformers.AutoModelForCausalLM`; the folder.

    `state` is the whole model's, as `model.pt` has it. Experts have names that Llama lacks: KeyError.
    """
    weights = {their_name(name): tensor.contiguous() for name, tensor in state.items()}
    settings = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": config.vocab_size,
        "hidden_size": config.dim,
        "intermediate_size": config.hidden,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.heads,
        "max_position_embeddings": config.context,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": False,
        "torch_dtype": str(next(iter(weights.values())).dtype).removeprefix("torch."),
    }
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / ".model.safetensors.part"
    save_file(weights, part, metadata={"format": "pt"})
    part.replace(folder / "model.safetensors")
    write_whole(folder / "config.json", json.dumps(settings, indent=2) + "\n")
    return folder


def export_run(name: str, folder: Path) -> Path:
    """`export` for the run `.scaleup/runs/NAME`. CourseError where there is none that can be read."""
    runs = course_state() / "runs"
    run = runs / name
    if not (run / "model.pt").exists():
        known = (
            [path.name for path in runs.iterdir() if (path / "model.pt").exists()] if runs.exists() else []
        )
        near = nearest(name, known)
        hint = f"Did you mean '{near}'?" if near else "`scaleup train` makes one."
        raise CourseError(f"There is no trained model of a run '{name}' in .scaleup/runs. {hint}")
    try:
        shape = GPTConfig(**json.loads((run / "config.json").read_text(encoding="utf-8"))["model"])
        state = torch.load(run / "model.pt", weights_only=True)
    except (OSError, KeyError, TypeError, ValueError, RuntimeError, pickle.UnpicklingError) as error:
        raise CourseError(f"The run '{name}' cannot be read: {error}".splitlines()[0]) from None
    try:
        return export(state, shape, folder)
    except KeyError as error:
        raise CourseError(
            f"{error.args[0]} has no place in a Llama: a model with experts cannot be exported."
        ) from None
