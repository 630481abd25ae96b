"""A small GPT that trains by itself, batch after batch, and can be put back to an earlier state."""

import copy
import math
import time

import torch
from torch import Tensor, nn

from scaleup.config import TrainConfig
from scaleup.model import GPT, GPTConfig, next_token_loss
from scaleup.text import corpus
from scaleup.text.windows import Windows
from scaleup.train import make_optimizer

SEQ, BATCH, RATE = 64, 8, 3e-3
MODEL = GPTConfig(vocab_size=4096, layers=2, heads=2, dim=64, hidden=192, context=SEQ)


class SmallRun:
    """`train(number)` does a step on batch `number`; every rank of several takes its own windows of it."""

    def __init__(self, rank: int = 0, ranks: int = 1) -> None:
        torch.manual_seed(1)
        self.model = GPT(MODEL)
        self.called: nn.Module = self.model  # DDP takes its place where there are several ranks
        self.optimizer = make_optimizer(self.model, TrainConfig(learning_rate=RATE))
        self.rank, self.ranks = rank, ranks
        self.windows = Windows(corpus.prepare(quiet=True).tokens("train"), SEQ)
        self.held_out = Windows(corpus.prepare(quiet=True).tokens("valid"), SEQ)
        self.order = torch.randperm(len(self.windows), generator=torch.Generator().manual_seed(1))

    def batch(self, number: int, broken: bool = False) -> tuple[Tensor, Tensor]:
        """Inputs and targets (BATCH, SEQ); a broken document is noise instead of text."""
        first = (number * self.ranks + self.rank) * BATCH
        chosen = self.order[first : first + BATCH].tolist()
        inputs, targets = (
            torch.stack(part) for part in zip(*map(self.windows.__getitem__, chosen), strict=True)
        )
        if broken:
            noise = torch.Generator().manual_seed(number)
            inputs = torch.randint(0, 64, inputs.shape, generator=noise)
            targets = torch.randint(0, MODEL.vocab_size, targets.shape, generator=noise)
        return inputs, targets

    def train(self, inputs: Tensor, targets: Tensor, rate: float = RATE, clip=math.inf, extra=0):
        """A step. Returns loss, gradient norm before clipping, and this rank's own seconds before it meets
        the others: CPU seconds, since other programs take the cores, too. On a GPU CUDA events tell them.
        """
        begun = time.thread_time()
        with torch.no_grad():
            for _ in range(extra):  # a slow rank, where a fault is planted
                self.model(inputs)
        loss = next_token_loss(self.called(inputs), targets)
        own = time.thread_time() - begun
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), clip)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.detach(), norm, own

    @torch.no_grad()
    def judge(self, number: int) -> float:
        """The loss of 64 windows that it never learns from."""
        windows = (self.held_out[64 * number + i] for i in range(64))
        inputs, targets = (torch.stack(part) for part in zip(*windows, strict=True))
        return next_token_loss(self.model(inputs), targets).item()

    def saved(self) -> dict:
        """Model and optimizer as they are now, in memory."""
        return copy.deepcopy({"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()})

    def put_back(self, state: dict) -> None:
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(copy.deepcopy(state["optimizer"]))
