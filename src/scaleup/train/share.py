"""One rank's share of a training: its part of the model, and what it does with its part of a batch.

The model stays the course's GPT. Each technique is applied to it from outside, in this order: experts,
tensor, context, and around what is left, or around each stage of a pipeline, the copies or shards of data
parallelism.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import warnings
from collections.abc import Iterator

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ..config import Config, ParallelConfig
from ..model import GPT, next_token_loss
from ..parallel.refusals import ONE_STAGE, SPLIT_BACKWARD
from . import gradients
from .batches import accumulation

Batches = Iterator[tuple[Tensor, Tensor]]


class Share:
    """What one rank holds and does. `model` has this rank's parameters, under the names of the whole model.

    Ranks of `tp`, `cp` and `pp` work on the same windows: `data_rank` of `data_ranks` says on which.
    """

    def __init__(self, config: Config, ways: ParallelConfig, device: torch.device) -> None:
        self.config, self.ways, self.device = config, ways, device
        self.autocast = torch.autocast(device.type, torch.bfloat16, enabled=config.train.dtype == "bfloat16")
        torch.manual_seed(config.train.seed)
        self.model = GPT(config.model)
        if config.experts.count:
            from ..parallel.experts import sparse

            sparse(self.model, config.experts.count, config.experts.top_k, seed=config.train.seed)
        self.called: nn.Module = self.model.to(device)
        self.data_rank, self.data_ranks = 0, ways.dp * ways.shard
        self.micro_steps = accumulation(config.train, self.data_ranks)
        self.mesh = self.pipeline = None
        self.apart: list[nn.Parameter] = []  # experts that other ranks do not have
        if dist.is_initialized():
            self.split()

    # Each technique is imported where it is used: a run on one rank does not wait for what it does not need.

    def split(self) -> None:
        """Apply each technique that is asked for."""
        from ..parallel import mesh

        model, ways = self.model, self.ways
        self.mesh = mesh.make(ways, self.device.type)
        self.data_rank = mesh.place(self.mesh, "dp", "shard")
        if self.config.experts.count:
            from ..parallel import experts

            self.batch_group = mesh.of_batch(self.mesh).get_group()
            if ways.ep > 1:
                self.experts_mesh = mesh.for_experts(self.mesh, ways.ep)
                experts.spread(model, self.experts_mesh["ep"])
                self.apart = experts.expert_parameters(model)
        if ways.tp > 1:
            from ..parallel import tensor_split

            tensor_split.split(model, self.mesh["tp"])
        if ways.cp > 1:
            from ..parallel import long_context

            long_context.spread(model, self.mesh["cp"], ways.attention)
        if ways.pp > 1:
            from ..parallel.stages import stages

            line = self.mesh["pp"]
            self.pipeline = stages(model, line, self.micro_steps, ways.schedule, wrap=self.over_data)
            held = set(model.parameters())
            self.apart = [parameter for parameter in self.apart if parameter in held]
        else:
            self.called = self.over_data(model)
        called = self.pipeline.chunks.values() if self.pipeline else [self.called]
        if any(isinstance(module, DistributedDataParallel) for module in called):
            self.settle_buckets()

    def settle_buckets(self) -> None:
        """A step on tokens that mean nothing, whose gradients are forgotten.

        After its first step DDP cuts its buckets anew, and ranks then add up in another order. A run that
        goes on takes a first step again, which would be rounded otherwise than in the run that never ended.
        """
        train, seq = self.config.train, self.config.data.seq
        nothing = torch.zeros(train.micro_batch, seq, dtype=torch.int64)
        if self.pipeline:
            self.through_pipeline(itertools.repeat((nothing, nothing)))
        else:
            inputs, targets = self.own(nothing), self.own(nothing)
            with self.autocast:
                loss = next_token_loss(self.called(inputs), targets)
            loss.backward()
        self.model.zero_grad()

    def over_data(self, module: nn.Module) -> nn.Module:
        """Shards or copies of a module, over the ranks that see other windows."""
        ways = self.ways
        several = ways.pp > 1 and ways.schedule not in ONE_STAGE
        if ways.shard > 1 or (ways.dp > 1 and (ways.tp > 1 or several)):  # FSDP copies where DDP cannot
            from ..parallel.sharding import shard

            # Logits of a tensor-parallel head are a view, which is harmless unless they are changed in place.
            warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view", UserWarning)
            axes = self.mesh["dp", "shard"] if ways.dp > 1 else self.mesh["shard"]
            in_two_parts = ways.pp > 1 and ways.schedule in SPLIT_BACKWARD
            return shard(module, axes, ignored=self.apart, blocks=not in_two_parts)
        if ways.dp > 1:
            apart = set(self.apart)
            names = [name for name, parameter in module.named_parameters() if parameter in apart]
            DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(module, names)
            return DistributedDataParallel(module, process_group=self.mesh["dp"].get_group())
        return module

    # A step

    def step(self, stream: Batches) -> Tensor:
        """Forward and backward over a step's micro-batches; then gradients are means over all tokens.

        Returns the mean loss of this rank's tokens, 0 on a rank of a pipeline that has none.
        """
        loss = self.through_pipeline(stream) if self.pipeline else self.accumulate(stream)
        if self.mesh is None:
            return loss
        gradients.settle(self.model.parameters())
        if self.apart:
            gradients.mean(self.apart, self.experts_mesh["copies"].get_group())
        if self.ways.cp > 1:
            gradients.mean(list(self.model.parameters()), self.mesh["cp"].get_group())
        return loss

    def accumulate(self, stream: Batches) -> Tensor:
        """One micro-batch after the other; gradients are averaged over copies once, at the last."""
        total = torch.zeros((), device=self.device)
        for micro in range(self.micro_steps):
            inputs, targets = (self.own(tensor) for tensor in next(stream))
            with self.averaging(last=micro + 1 == self.micro_steps):
                with self.autocast:
                    loss = next_token_loss(self.called(inputs), targets) / self.micro_steps
                self.with_balance(loss).backward()
            total += loss.detach()
        return total

    def averaging(self, last: bool) -> contextlib.AbstractContextManager:
        if hasattr(self.called, "set_requires_all_reduce"):  # shards are added up each time, over copies once
            self.called.set_requires_all_reduce(last)
        if isinstance(self.called, DistributedDataParallel) and not last:
            return self.called.no_sync()
        return contextlib.nullcontext()

    def with_balance(self, loss: Tensor) -> Tensor:
        """The loss, and what routers pay for sending more tokens to one expert than to another."""
        weight = self.config.experts.balance
        if not (weight and self.config.experts.count):
            return loss
        from ..parallel.experts import balance_loss

        group = self.batch_group if self.mesh is not None else None
        return loss + weight / self.micro_steps * balance_loss(self.model, group)

    def through_pipeline(self, stream: Batches) -> Tensor:
        """All micro-batches in the order of the schedule."""
        batches = [next(stream) for _ in range(self.micro_steps)]
        inputs, targets = (self.own(torch.cat(each)) for each in zip(*batches, strict=True))
        with self.autocast:
            loss = self.pipeline.step(inputs, targets)
        return torch.zeros((), device=self.device) if loss is None else loss

    def own(self, tensor: Tensor) -> Tensor:
        """This rank's tokens of a batch (batch, seq), on its device."""
        tensor = tensor.to(self.device)
        if self.ways.cp == 1:
            return tensor
        from ..parallel.long_context import part

        return part(tensor, self.mesh["cp"])

    def clip(self, limit: float) -> Tensor:
        """Shorten the gradients so that the norm of the whole model's is at most `limit`; the norm before."""
        line = self.mesh["pp"].get_group() if self.pipeline else None
        places = (self.experts_mesh["ep"].get_group(),) if self.ways.ep > 1 else ()
        elsewhere = dict.fromkeys(self.apart, places)
        return gradients.clip(list(self.model.parameters()), limit, elsewhere, line)

    # Between steps

    @torch.no_grad()
    def judge(self, inputs: Tensor, targets: Tensor) -> Tensor | None:
        """The mean loss of windows (batch, seq), without learning; None where a pipeline has none."""
        inputs, targets = self.own(inputs), self.own(targets)
        if self.pipeline:
            loss = self.pipeline.evaluate(inputs, targets)
        else:
            loss = next_token_loss(self.model(inputs), targets)
        for module in self.model.modules():
            if hasattr(module, "reshard"):
                module.reshard()  # gathered parameters are kept for a backward pass, which does not come
        return loss

    @property
    def is_whole(self) -> bool:
        """Has this rank all of the model?"""
        return self.ways.shard * self.ways.tp * self.ways.pp * self.ways.ep == 1

    def whole_state(self) -> dict[str, Tensor]:
        """The state of the whole model, complete on rank 0. The ranks of a split model call it together."""
        state = self.model.state_dict()
        if self.is_whole:
            return state
        from ..parallel.mesh import place

        # PyTorch advises to flatten a mesh, which would save time in what happens once.
        logging.getLogger("torch.distributed.tensor._redistribute").setLevel(logging.ERROR)
        state = {name: gradients.full(tensor) for name, tensor in state.items()}
        first = place(self.mesh, "cp", "tp") == 0 and self.data_rank < self.ways.ep
        everybody = [None] * dist.get_world_size() if dist.get_rank() == 0 else None
        dist.gather_object(state if first else {}, everybody)
        return {name: tensor for found in everybody or [] for name, tensor in found.items()}
