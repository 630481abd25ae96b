"""Dense models and mixtures of experts with the same FLOPs per token, trained on the same bytes of text.

Each rank trains its share of the models on its own; they do not talk. The argument is the number of steps.

torchrun --standalone --nproc-per-node=4 dense_or_sparse.py 120
"""

import sys
from time import perf_counter

import torch
import torch.distributed as dist
from torch import Tensor

from scaleup import ranks
from scaleup.model import GPT, GPTConfig, next_token_loss
from scaleup.parallel import experts
from scaleup.text import corpus

SMALL = GPTConfig(vocab_size=256, layers=2, dim=64, heads=2, hidden=256, context=64)
KINDS, SEEDS = ("no remedy", "balance loss", "bias", "dense"), (1, 2, 3)


def build(kind: str, seed: int) -> GPT:
    torch.manual_seed(seed)
    model = GPT(SMALL)
    return model if kind == "dense" else experts.sparse(model, experts=8, top_k=2, seed=seed)


def read(split: str, count: int) -> Tensor:
    """Some text of the course as bytes, (bytes,)."""
    stored = corpus.prepare(quiet=True)
    words = stored.tokenizer.decode(stored.tokens(split)[:count].tolist())
    return torch.tensor(list(words.encode()))


def batch(text: Tensor, seed: int, size: int = 16) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    starts = torch.randint(len(text) - SMALL.context, (size, 1), generator=random)
    windows = text[starts + torch.arange(SMALL.context + 1)]  # (size, context + 1)
    return windows[:, :-1], windows[:, 1:]


def train(kind: str, seed: int, steps: int, text: Tensor) -> tuple[GPT, list[float]]:
    """The model, and in each step the fullest expert over the mean in the worse layer."""
    model, loads = build(kind, seed), []
    optimizer = torch.optim.AdamW(model.parameters())
    for step in range(steps):
        for settings in optimizer.param_groups:  # 15 steps up, then down to a tenth
            settings["lr"] = 4e-3 * min(1, (step + 1) / 15) * (1 - 0.9 * step / steps)
        x, y = batch(text, 100_000 * seed + step)
        loss = next_token_loss(model(x), y)
        if kind == "balance loss":
            loss = loss + 0.01 * experts.balance_loss(model)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if kind == "bias":
            experts.adjust_bias(model, rate=0.01)
        counts = [mixture.router.counts for mixture in experts.mixtures(model)]
        loads.append(max(map(experts.imbalance, counts), default=1.0))
    return model, loads


@torch.no_grad()
def validate(model: GPT, text: Tensor) -> float:
    """Nats per byte of 256 windows that no model was trained on."""
    x, y = batch(text, seed=0, size=256)
    return next_token_loss(model(x), y).item()


def speed(kinds: tuple[str, str], text: Tensor, repeats: int = 15) -> dict[str, list[float]]:
    """Seconds of each step, forward and backward, of two kinds in turns."""
    models, seconds = {kind: build(kind, 1) for kind in kinds}, {kind: [] for kind in kinds}
    x, y = batch(text, seed=0)
    for _ in range(repeats):
        for kind, model in models.items():
            start = perf_counter()
            next_token_loss(model(x), y).backward()
            seconds[kind].append(perf_counter() - start)
    return {kind: times[3:] for kind, times in seconds.items()}  # the first warm up


def main() -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    steps, text, unseen = int(sys.argv[1]), read("train", 200_000), read("valid", 20_000)
    jobs = [(kind, seed) for kind in KINDS for seed in (SEEDS if kind in sys.argv[2:] else (1,))]
    found = []
    for kind, seed in jobs[dist.get_rank() :: dist.get_world_size()]:
        model, loads = train(kind, seed, steps, text)
        found.append({"kind": kind, "seed": seed, "loss": validate(model, unseen), "loads": loads})
    dist.barrier()
    seconds = speed(("dense", "balance loss"), text) if dist.get_rank() == 0 else {}
    ranks.save_result({"runs": found, "seconds": seconds})
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
