"""Token shards as a dataset: what a sampler can share out among ranks."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset


class Windows(Dataset):
    """Non-overlapping windows of a flat array of token ids.

    Item i is (inputs, targets), each (seq,) int64; targets are the inputs shifted by one token.
    """

    def __init__(self, tokens: np.ndarray, seq: int) -> None:
        self.tokens, self.seq = tokens, seq

    def __len__(self) -> int:
        return (len(self.tokens) - 1) // self.seq

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        start = index * self.seq
        window = torch.from_numpy(self.tokens[start : start + self.seq + 1].astype(np.int64))
        return window[:-1], window[1:]
