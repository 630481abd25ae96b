"""The course's GPT: a decoder-only transformer that fits in a head.

RMSNorm before each block, rotary positions, causal attention through PyTorch's own kernel, SwiGLU. The model
knows nothing of ranks, devices or data types: parallelism is applied to it from outside, so the same file is
read in every lesson.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class GPTConfig:
    """Shape of a model. `hidden` is the width inside the MLP; SwiGLU uses three matrices of dim x hidden."""

    vocab_size: int = 4096
    layers: int = 4
    heads: int = 4
    dim: int = 128
    hidden: int = 384
    context: int = 256

    def __post_init__(self) -> None:
        if self.heads < 1 or self.dim % (2 * self.heads):
            raise ValueError(f"dim={self.dim} must split into heads={self.heads} of even width.")


def rotary_table(head_dim: int, context: int, base: float = 10_000.0) -> tuple[Tensor, Tensor]:
    """Cosine and signed sine of every position's angles, each (context, head_dim). Su et al. 2021.

    Both halves of a row hold the same angles; the sine of the first half is negated, ready for `rotate`.
    """
    frequency = base ** (-torch.arange(0, head_dim, 2).float() / head_dim)
    angle = torch.outer(torch.arange(context).float(), frequency)
    cos, sin = angle.cos(), angle.sin()
    return torch.cat((cos, cos), dim=-1), torch.cat((-sin, sin), dim=-1)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn each pair of the last axis by its position's angle; keeps the shape.

    A pair is a number of the first half and its partner in the second half, as in GPT-NeoX; Su et al. pair
    neighbours. Rolling by half the width puts every number's partner in its place.
    """
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, dims=-1), sin)


class Attention(nn.Module):
    """Causal multi-head self-attention: (batch, seq, dim) -> (batch, seq, dim)."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.head_dim = config.dim // config.heads
        self.query = nn.Linear(config.dim, config.dim, bias=False)
        self.key = nn.Linear(config.dim, config.dim, bias=False)
        self.value = nn.Linear(config.dim, config.dim, bias=False)
        self.out = nn.Linear(config.dim, config.dim, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        batch, seq, _ = x.shape
        split = (batch, seq, -1, self.head_dim)  # -1: a tensor-parallel rank holds fewer heads
        query, key, value = (
            layer(x).view(split).transpose(1, 2) for layer in (self.query, self.key, self.value)
        )  # (batch, heads, seq, head_dim)
        cos, sin = cos.to(query.dtype), sin.to(query.dtype)
        query, key = rotate(query, cos, sin), rotate(key, cos, sin)
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.out(mixed.transpose(1, 2).reshape(batch, seq, -1))


class MLP(nn.Module):
    """SwiGLU: down(silu(gate(x)) * up(x)), (batch, seq, dim) -> (batch, seq, dim). Shazeer 2020."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.gate = nn.Linear(config.dim, config.hidden, bias=False)
        self.up = nn.Linear(config.dim, config.hidden, bias=False)
        self.down = nn.Linear(config.hidden, config.dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.silu(self.gate(x)) * self.up(x))


class Block(nn.Module):
    """One layer: attention, then MLP, each on a normalised copy and added back."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(config.dim, eps=1e-6)
        self.attention = Attention(config)
        self.mlp_norm = nn.RMSNorm(config.dim, eps=1e-6)
        self.mlp = MLP(config)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        x = x + self.attention(self.attention_norm(x), cos, sin)
        return x + self.mlp(self.mlp_norm(x))


class GPT(nn.Module):
    """Token ids (batch, seq) -> logits (batch, seq, vocab_size)."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.dim)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = nn.RMSNorm(config.dim, eps=1e-6)
        self.head = nn.Linear(config.dim, config.vocab_size, bias=False)
        cos, sin = rotary_table(config.dim // config.heads, config.context)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Normal(0, 0.02); layers that write into the residual stream start smaller (GPT-2, section 2.3)."""
        for name, parameter in self.named_parameters():
            if parameter.dim() == 1:
                parameter.fill_(1.0)
                continue
            writes_back = name.endswith(("attention.out.weight", "mlp.down.weight"))
            parameter.normal_(0.0, 0.02 / (2 * self.config.layers) ** 0.5 if writes_back else 0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        seq = tokens.shape[1]
        if seq > self.config.context:
            raise ValueError(f"A window of {seq} tokens is longer than context={self.config.context}.")
        cos, sin = self.cos[:seq], self.sin[:seq]
        x = self.embedding(tokens)  # (batch, seq, dim)
        for block in self.blocks:
            x = block(x, cos, sin)
        return self.head(self.norm(x))


def next_token_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy in nats: logits (batch, seq, vocab), targets (batch, seq) -> scalar.

    Computed for 512 tokens at a time: the loss makes copies of its logits, which are the largest tensors of a
    small model, and small copies stay in the cache.
    """
    pieces = zip(logits.flatten(0, 1).split(512), targets.flatten().split(512), strict=True)
    total = sum(F.cross_entropy(piece.float(), target, reduction="sum") for piece, target in pieces)
    return total / targets.numel()
