"""How many FLOPs a training step does: one count, and the other counts that are in print.

A published "TFLOP/s per GPU" means little without its rule. The rules differ by up to 2x on the same run.
"""

from __future__ import annotations

from ..errors import CourseError
from .shapes import Shape


def linear_per_token(shape: Shape) -> int:
    """Forward FLOPs of one token in the layers' matrices: 2 for each number that it meets."""
    met = shape.experts_per_token * shape.mlp_matrix + shape.shared_matrix + shape.hidden * shape.experts
    fewer = shape.dense_layers * (met - shape.mlp_matrices * shape.hidden * shape.dense_ffn)
    joined = shape.mtp * (shape.matmul_parameters_per_layer + 2 * shape.hidden**2)
    return 2 * (shape.layers * shape.matmul_parameters_per_layer - fewer + joined)


def attention_per_token(shape: Shape, seq: int) -> int:
    """Forward FLOPs of one token in scores and their use, every position with every other: 4 s per width."""
    seen = (shape.layers + shape.mtp - shape.windowed) * seq + shape.windowed * min(seq, 2 * shape.window)
    return round(4 * shape.score_width * seen)


def head_per_token(shape: Shape) -> int:
    """Forward FLOPs of one token in the logits."""
    return 2 * shape.head_parameters * (1 + shape.mtp)


def forward_per_token(shape: Shape, seq: int, causal: bool = False) -> float:
    """Forward FLOPs of one token: matrices, attention and logits. `causal` skips half of the attention."""
    attention = attention_per_token(shape, seq) * (0.5 if causal else 1)
    return linear_per_token(shape) + attention + head_per_token(shape)


def _model(shape: Shape, seq: int) -> float:
    return 3 * forward_per_token(shape, seq)


def _causal(shape: Shape, seq: int) -> float:
    return 3 * forward_per_token(shape, seq, causal=True)


def _recompute(shape: Shape, seq: int) -> float:
    layers = linear_per_token(shape) + attention_per_token(shape, seq)
    return 4 * layers + 3 * head_per_token(shape)


def _megatron_2021(shape: Shape, seq: int) -> float:
    """96 s l h^2 (1 + s / 6h + V / 16 l h), per token; it assumes ffn = 4 h and no shared heads."""
    h, layers = shape.hidden, shape.layers
    return 96 * layers * h**2 * (1 + seq / (6 * h) + shape.vocab / (16 * layers * h))


def _six_n(shape: Shape, seq: int) -> float:
    return 6.0 * shape.active_parameters


def _eight_n(shape: Shape, seq: int) -> float:
    return 8.0 * shape.active_parameters


def _six_n_attention(shape: Shape, seq: int) -> float:
    return 6.0 * shape.active_parameters + 3 * attention_per_token(shape, seq)


def _six_n_no_embedding(shape: Shape, seq: int) -> float:
    inner = shape.active_parameters - (0 if shape.tied else shape.embedding_parameters)
    return 6.0 * inner + 3 * attention_per_token(shape, seq)


RULES = {
    "model": (_model, "forward and backward, full attention, logits; no recompute (the rule of this course)"),
    "causal": (_causal, "as model, and half of the attention, which a causal kernel skips"),
    "recompute": (_recompute, "as model, and the layers' forward once more for full activation recompute"),
    "megatron-2021": (_megatron_2021, "Megatron's equation 3: full recompute, logits' forward counted too"),
    "6N": (_six_n, "6 times all parameters; no attention"),
    "8N": (_eight_n, "8 times all parameters: 6N and a recomputed forward; no attention"),
    "6N+attention": (_six_n_attention, "6 times all parameters, input embedding too, and full attention"),
    "6N+attention, no embedding": (_six_n_no_embedding, "6N+attention without the input embedding"),
}


def per_token(shape: Shape, seq: int, rule: str = "model") -> float:
    """FLOPs of one token in one training step under a rule of RULES."""
    if rule not in RULES:
        raise CourseError(f"There is no counting rule '{rule}'. Choose one of: {'; '.join(RULES)}.")
    return float(RULES[rule][0](shape, seq))


def convert(tflops: float, shape: Shape, seq: int, source: str, target: str = "model") -> float:
    """A printed TFLOP/s under the rule `source`, as it would read under the rule `target`."""
    return tflops * per_token(shape, seq, target) / per_token(shape, seq, source)


def mfu(shape: Shape, seq: int, tokens_per_s: float, peak_flops: float, rule: str = "model") -> float:
    """Share of the peak (FLOP/s, dense) that one device's tokens/s make use of, under a named rule."""
    return tokens_per_s * per_token(shape, seq, rule) / peak_flops
