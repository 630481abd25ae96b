"""What competes in the benchmark: the course's GPT, transformers' models of the same size, a bare step."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from scaleup import measure
from scaleup.config import TrainConfig
from scaleup.errors import CourseError
from scaleup.model import GPT, GPTConfig, next_token_loss
from scaleup.train import make_optimizer

COURSE, LLAMA, GPT2 = "the course's GPT", "transformers Llama", "transformers GPT-2"
TOLERANCE = 1e-4  # in nats, between two losses that have to be the same


def llama_like(course: GPT) -> nn.Module:
    """transformers' LlamaForCausalLM of the same shape that holds copies of the same weights."""
    from transformers import LlamaConfig, LlamaForCausalLM

    shape = course.config
    settings = LlamaConfig(
        vocab_size=shape.vocab_size,
        hidden_size=shape.dim,
        intermediate_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        max_position_embeddings=shape.context,
        rms_norm_eps=1e-6,
        tie_word_embeddings=False,
        use_cache=False,
        attn_implementation="sdpa",
    )
    llama = LlamaForCausalLM(settings)
    llama.load_state_dict({llama_name(name): value for name, value in course.state_dict().items()})
    return llama


def llama_name(name: str) -> str:
    """The course's name of a parameter -> transformers' name of the same one."""
    for ours, theirs in {
        "embedding": "model.embed_tokens",
        "blocks": "model.layers",
        "attention_norm": "input_layernorm",
        "mlp_norm": "post_attention_layernorm",
        "attention.query": "self_attn.q_proj",
        "attention.key": "self_attn.k_proj",
        "attention.value": "self_attn.v_proj",
        "attention.out": "self_attn.o_proj",
        "mlp.gate": "mlp.gate_proj",
        "mlp.up": "mlp.up_proj",
        "mlp.down": "mlp.down_proj",
        "head": "lm_head",
    }.items():
        name = name.replace(ours, theirs)
    return f"model.{name}" if name.startswith("norm") else name


def gpt2_near(shape: GPTConfig) -> nn.Module:
    """transformers' GPT-2 with matrices that add up to the same size: two of 1.5 `hidden` for SwiGLU's three.

    It has biases and learned positions on top, and LayerNorm and GELU instead of RMSNorm and SwiGLU.
    """
    from transformers import GPT2Config, GPT2LMHeadModel

    settings = GPT2Config(
        vocab_size=shape.vocab_size,
        n_positions=shape.context,
        n_embd=shape.dim,
        n_layer=shape.layers,
        n_head=shape.heads,
        n_inner=shape.hidden * 3 // 2,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        tie_word_embeddings=False,
        use_cache=False,
        attn_implementation="sdpa",
        bos_token_id=0,
        eos_token_id=0,
    )
    return GPT2LMHeadModel(settings)


def logits(model: nn.Module, inputs: Tensor) -> Tensor:
    """(batch, seq) -> (batch, seq, vocab); transformers wraps its logits in an object."""
    output = model(inputs)
    return output if isinstance(output, Tensor) else output.logits


def assert_same_work(course: GPT, llama: nn.Module, batch: tuple[Tensor, Tensor]) -> dict[str, float]:
    """{contender: loss} of one batch. Raises CourseError unless parameter counts and losses are the same."""
    counts = [measure.parameters(model) for model in (course, llama)]
    if counts[0] != counts[1]:
        raise CourseError(f"The course's GPT has {counts[0]:,} parameters and the Llama {counts[1]:,}. "
                          "Give both the same shape in contenders.llama_like.")  # fmt: skip
    with torch.no_grad():
        losses = [next_token_loss(logits(model, batch[0]), batch[1]).item() for model in (course, llama)]
    if not abs(losses[0] - losses[1]) <= TOLERANCE:
        raise CourseError(
            f"The losses differ: {losses[0]:.6f} from the course's GPT, {losses[1]:.6f} from the Llama. "
            "Compare scaleup/model.py with contenders.llama_like: they have to compute the same."
        )
    return {COURSE: losses[0], LLAMA: losses[1]}


def random_batch(shape: GPTConfig, sequences: int) -> tuple[Tensor, Tensor]:
    """Inputs and targets, each (sequences, context): the ids do not change how long a step takes."""
    ids = torch.randint(shape.vocab_size, (sequences, shape.context + 1))
    return ids[:, :-1].contiguous(), ids[:, 1:].contiguous()


def stepper(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Callable[..., None]:
    """A bare training step: forward, loss, backward, AdamW, zero_grad, and nothing else."""
    optimizer = make_optimizer(model, TrainConfig())

    def step(dtype: torch.dtype = torch.float32) -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            loss = next_token_loss(logits(model, batch[0]), batch[1])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step
