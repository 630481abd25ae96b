"""Parameters, model FLOPs and MFU of a model: the useful part of what the device could do."""

from __future__ import annotations

from torch import nn

from ..model import GPT, GPTConfig


def parameters(model: nn.Module) -> int:
    """Number of trainable parameters."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def matmul_parameters(config: GPTConfig) -> int:
    """Parameters that multiply every token: all matrices except the embedding, which is only looked up."""
    per_layer = 4 * config.dim**2 + 3 * config.dim * config.hidden
    return config.layers * per_layer + config.vocab_size * config.dim


def flops_per_token(config: GPTConfig, seq: int, causal: bool = False) -> int:
    """FLOPs of forward and backward for one token: 6 N + 12 layers dim seq.

    N = `matmul_parameters`: 2 FLOPs per parameter forward, 4 backward. The second term is attention's scores
    and their use, 2 products of 2 dim seq forward and twice that backward (PaLM, Chowdhery et al. 2022,
    appendix B); a causal kernel may skip half of it. Norms, softmax and the optimizer are not counted.
    """
    attention = 12 * config.layers * config.dim * seq
    return 6 * matmul_parameters(config) + (attention // 2 if causal else attention)


def mfu(model: GPT, tokens_per_second: float, seq: int, peak: float) -> float:
    """Model FLOPs utilisation: useful FLOPs per second over `peak` FLOP/s, between 0 and 1."""
    return tokens_per_second * flops_per_token(model.config, seq) / peak
