"""AdamW with its two groups of parameters, and the learning rate over the steps."""

from __future__ import annotations

import math

import torch
from torch import nn

from ..config import TrainConfig


def learning_rate(step: int, config: TrainConfig) -> float:
    """Linear warm-up, then a cosine down to a tenth."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    progress = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    return config.learning_rate * (0.55 + 0.45 * math.cos(math.pi * min(1.0, progress)))


def make_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW; matrices decay, norms do not. A group holds only tensors that are split over the same ranks."""
    alike: dict[tuple, list[nn.Parameter]] = {}
    for parameter in model.parameters():
        alike.setdefault((parameter.dim() > 1, getattr(parameter, "device_mesh", None)), []).append(parameter)
    groups = [
        {"params": parameters, "weight_decay": config.weight_decay if is_matrix else 0.0}
        for (is_matrix, _), parameters in alike.items()
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.95), fused=True)
