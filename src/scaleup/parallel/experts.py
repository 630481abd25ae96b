"""A mixture of experts in place of each block's MLP, and its experts spread over ranks.

    sparse(model, experts=8, top_k=2)       # each token meets two of eight MLPs
    spread(model, mesh)                     # and each rank of the mesh keeps its share of the eight
    loss = next_token_loss(model(x), y) + 0.01 * balance_loss(model) + 0.001 * z_loss(model)

After `spread` tokens travel to their experts and back, as many to each rank as the router sends there. No
token is dropped, so N ranks compute what one computes. An expert's gradient is then the mean over the mesh
already. The caller averages what all ranks hold, and an expert only over its copies, if it has any.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
import torch.distributed._functional_collectives as fc
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh

from ..errors import CourseError
from ..model import GPT, MLP, GPTConfig


class Router(nn.Module):
    """Which experts a token goes to, and how much each of them counts: (tokens, dim) -> two (tokens, top_k).

    `bias` is added to the probabilities to choose, never to weigh; see `adjust_bias`.
    """

    def __init__(self, dim: int, experts: int, top_k: int) -> None:
        super().__init__()
        self.top_k = top_k
        self.score = nn.Linear(dim, experts, bias=False)
        self.register_buffer("bias", torch.zeros(experts))

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast(tokens.device.type, enabled=False):  # the choice is sensitive: all in 32 bit
            logits = nn.functional.linear(tokens.float(), self.score.weight.float())
        probabilities = logits.softmax(dim=-1)
        chosen = (probabilities + self.bias).topk(self.top_k, dim=-1).indices
        weights = probabilities.gather(-1, chosen)
        if self.top_k > 1:  # of a single expert the weight would always be 1, and the router not learn
            weights = weights / weights.sum(dim=-1, keepdim=True)
        self.probability = probabilities.mean(dim=0)  # (experts,), for the balance loss
        self.squared_z = logits.logsumexp(dim=-1).square().mean()  # for the z-loss
        self.counts = torch.bincount(chosen.flatten(), minlength=len(self.bias))  # (experts,)
        return weights, chosen


class Mixture(nn.Module):
    """Router, experts and shared experts: (batch, seq, dim) -> (batch, seq, dim).

    `experts` holds this rank's, by their number in the whole model: a name means the same on all ranks.
    """

    def __init__(self, config: GPTConfig, experts: int, top_k: int, shared: int = 0) -> None:
        super().__init__()
        self.router = Router(config.dim, experts, top_k)
        self.experts = nn.ModuleDict({str(n): MLP(config) for n in range(experts)})
        self.shared = nn.ModuleList(MLP(config) for _ in range(shared))
        self.group: dist.ProcessGroup | None = None

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(0, -2)  # (tokens, dim)
        weights, chosen = self.router(tokens)
        top_k = chosen.shape[1]
        order = chosen.flatten().argsort(stable=True)  # the copies of all tokens, by expert
        token = order // top_k
        compute = self.visit if self.group else self.compute
        results = compute(tokens[token], self.router.counts)
        results = results * weights.flatten()[order, None].to(results.dtype)
        mixed = torch.zeros_like(tokens, dtype=results.dtype).index_add(0, token, results)
        return (mixed + sum(expert(tokens) for expert in self.shared)).view_as(x)

    def compute(self, rows: Tensor, counts: Tensor) -> Tensor:
        """Each expert of this rank on its rows, which lie behind each other: `counts` of them, maybe none."""
        parts = zip(self.experts.values(), rows.split(counts.tolist()), strict=True)
        return torch.cat([expert(part) for expert, part in parts])

    def visit(self, rows: Tensor, counts: Tensor) -> Tensor:
        """Send rows, sorted by expert, to their experts' ranks; compute there; send the results back."""
        size = self.group.size()
        sent = counts.view(size, -1)  # (rank, its experts)
        came = torch.empty_like(sent)
        dist.all_to_all_single(came, sent, group=self.group)
        send, receive = sent.sum(dim=1).tolist(), came.sum(dim=1).tolist()
        arrived = fc.all_to_all_single(rows, receive, send, self.group)

        numbers = torch.arange(came.shape[1], device=came.device).repeat(size)
        expert = numbers.repeat_interleave(came.flatten())  # of each row that arrived
        by_expert = expert.argsort(stable=True)  # they came sorted by rank, then by expert
        results = self.compute(averaged(arrived[by_expert], 1 / size), came.sum(dim=0))
        results = averaged(results, size)[by_expert.argsort()]
        return fc.all_to_all_single(results, send, receive, self.group)


def averaged(x: Tensor, parts: float) -> Tensor:
    """`x` itself; its gradient is divided by `parts` on its way back.

    An expert sees the tokens of all ranks, and the losses of all ranks are averaged. So what its parameters
    get has to be divided by the number of ranks, and what goes back to the tokens must not.
    """
    if x.requires_grad:
        x = x.view_as(x)  # a hook of its own
        x.register_hook(lambda gradient: gradient / parts)
    return x


def sparse(
    model: GPT, experts: int, top_k: int, hidden: int | None = None, shared: int = 0, seed: int = 1
) -> GPT:
    """Replace the MLP of each block by a mixture; changes and returns `model`.

    `hidden` is the width inside one expert. By default all experts that a token meets are together as wide as
    the MLP was, so a token costs the same. Weights come from `seed`, the same on every rank.
    """
    config = model.config
    if experts < 1 or not 1 <= top_k <= experts or shared < 0:
        raise CourseError(f"top_k={top_k} of experts={experts} with shared={shared} is impossible. "
                          "Choose 1 <= top_k <= experts, and shared >= 0.")  # fmt: skip
    if hidden is None and config.hidden % (top_k + shared):
        raise CourseError(f"A width of {config.hidden} does not split over the {top_k + shared} experts that "
                          "a token meets. Give `hidden`, the width of one.")  # fmt: skip
    width = hidden or config.hidden // (top_k + shared)
    each = GPTConfig(**(vars(config) | {"hidden": width}))
    generator = torch.Generator().manual_seed(seed)
    back = 0.02 / (2 * config.layers) ** 0.5  # as GPT.reset_parameters has it
    for block in model.blocks:
        kept = next(block.mlp.parameters())
        block.mlp = Mixture(each, experts, top_k, shared).to(kept.device, kept.dtype)
        with torch.no_grad():
            for name, parameter in block.mlp.named_parameters():
                start = torch.empty(parameter.shape)  # on the CPU, so that a GPU starts from the same numbers
                start.normal_(0.0, back if name.endswith("down.weight") else 0.02, generator=generator)
                parameter.copy_(start)
    return model


def spread(model: GPT, mesh: DeviceMesh) -> GPT:
    """Rank r of the mesh (one dimension) keeps the r-th share of each mixture's experts, and no others.

    Call it where all ranks hold the same `model`, and before an optimizer is made.
    """
    size, rank = mesh.size(), mesh.get_local_rank()
    for mixture in mixtures(model):
        experts = len(mixture.experts)
        if experts % size:
            raise CourseError(f"{experts} experts do not split over {size} ranks. Choose a number that does.")
        first, share = rank * experts // size, experts // size
        mine = {str(n): mixture.experts[str(n)] for n in range(first, first + share)}
        mixture.experts = nn.ModuleDict(mine)
        mixture.group = mesh.get_group() if size > 1 else None
    return model


def mixtures(model: nn.Module) -> list[Mixture]:
    """The model's mixtures, first block first."""
    return [module for module in model.modules() if isinstance(module, Mixture)]


def expert_parameters(model: nn.Module) -> list[nn.Parameter]:
    """What differs between the ranks of the mesh of `spread`, and must not be averaged over them."""
    return [parameter for mixture in mixtures(model) for parameter in mixture.experts.parameters()]


def balance_loss(model: nn.Module, group: dist.ProcessGroup | None = None) -> Tensor:
    """Mean over mixtures of E * sum(f * P): 1 where all experts get equally much (Fedus et al. 2021, eq. 4).

    f is each expert's share of the choices, P its mean probability. `group`: the ranks that share the batch.
    They add up f, so that the mean over ranks is the loss of the whole batch; without it, each rank balances
    its own tokens. Belongs to the last forward pass.
    """
    losses = []
    for mixture in mixtures(model):
        shares = mixture.router.counts.to(torch.float32)
        if group is not None:
            shares = shares.clone()
            dist.all_reduce(shares, group=group)
        shares = shares / shares.sum()
        losses.append(len(shares) * (shares * mixture.router.probability).sum())
    return torch.stack(losses).mean()


def z_loss(model: nn.Module) -> Tensor:
    """Mean over mixtures of the squared log-sum-exp of the router's logits (Zoph et al. 2022, eq. 5)."""
    return torch.stack([mixture.router.squared_z for mixture in mixtures(model)]).mean()


@torch.no_grad()
def adjust_bias(model: nn.Module, rate: float = 1e-3, group: dist.ProcessGroup | None = None) -> None:
    """After an optimizer step: an expert with more than its share becomes a little less likely to be chosen.

    DeepSeek-V3, section 2.1.2. `group` is that of `balance_loss`; the load is that of the last forward pass.
    """
    for mixture in mixtures(model):
        counts = mixture.router.counts.to(torch.float32)
        if group is not None:
            counts = counts.clone()
            dist.all_reduce(counts, group=group)
        mixture.router.bias += rate * (counts.mean() - counts).sign()


def imbalance(counts: Tensor) -> float:
    """The fullest of the parts over the mean: 1 is balanced, and all wait for the fullest."""
    return (counts.max() / counts.float().mean()).item()
