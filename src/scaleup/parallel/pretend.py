"""One rank of a thousand in this process: tensors without numbers, groups that answer at once.

Inside `one_of(1024)` the program of a rank runs as it is. Its tensors are PyTorch's fake tensors, which have
a shape and a type and take no memory. Its process group is PyTorch's fake one, which sends nothing and
returns at once. `Watch` counts what the rank would hold and what it would send.
"""

from __future__ import annotations

import itertools
import sys
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from unittest.mock import patch

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.pipelining._utils import InferenceMode, extract_tensor_metas
from torch.distributed.pipelining.schedules import _PipelineSchedule
from torch.distributed.tensor import DTensor
from torch.testing._internal.distributed.fake_pg import FakeStore
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_iter

from ..errors import CourseError

_worlds = itertools.count(1)


@contextmanager
def one_of(world_size: int, rank: int = 0) -> Iterator[None]:
    """Make this process rank `rank` of `world_size` until the block ends. What is made inside has no numbers.

    Raises CourseError where the process belongs to a group already, or where there is no such rank.
    """
    if dist.is_initialized():
        raise CourseError("This process is a rank of a real group. Pretend in one that is not.")
    if not 0 <= rank < world_size:
        raise CourseError(f"There is no rank {rank} of {world_size}. Ranks count from 0 to {world_size - 1}.")
    hook = sys.excepthook  # joining a group replaces it
    dist.init_process_group("fake", store=FakeStore(), rank=rank, world_size=world_size)
    try:
        with (
            patch.object(DeviceMesh, "__init__", _mesh_with_numbers(DeviceMesh.__init__)),
            patch.object(DeviceMesh, "mesh", property(_outside(DeviceMesh.mesh.fget))),
            patch.object(_PipelineSchedule, "_warmup_p2p", _ask_nobody),
            warnings.catch_warnings(),
            FakeTensorMode(allow_non_fake_inputs=True),
        ):
            warnings.filterwarnings("ignore", message=".*returned a view tensor")
            yield
    finally:
        dist.destroy_process_group()
        sys.excepthook = hook


def _outside(method: Callable) -> Callable:
    """The method with real tensors: a mesh looks its ranks up in one."""

    @wraps(method)
    def real(*args, **options):
        with _disable_current_modes():
            return method(*args, **options)

    return real


def _mesh_with_numbers(init: Callable) -> Callable:
    world = next(_worlds)  # PyTorch caches by mesh, and an equal mesh of an earlier world has other groups

    @wraps(init)
    def real(mesh, *args, **options):
        with _disable_current_modes():
            if isinstance(
                options.get("_rank_map"), FakeTensor
            ):  # init_device_mesh has just numbered all ranks
                options["_rank_map"] = torch.arange(options["_rank_map"].numel(), dtype=torch.int)
            init(mesh, *args, **options)
        mesh._thread_id = world

    return real


def _ask_nobody(schedule, stages, has_backward, p2p_done) -> None:
    """Stages of a pipeline would ask their neighbours for shapes, and wait. `tell_shapes` has told them."""
    for stage in stages:
        stage._inference_mode = InferenceMode.STATIC


def tell_shapes(stages: Iterable, inputs: Tensor, hidden: Tensor, logits: Tensor) -> None:
    """What stages of a pipeline would ask their neighbours.

    `inputs`, `hidden` and `logits` are one micro-batch as it enters the first stage, as it passes from stage
    to stage, and as it leaves the last one.
    """
    for stage in stages:
        meta = stage._user_meta
        hidden.requires_grad_()  # its gradient comes back
        meta.inputs = extract_tensor_metas((inputs if stage.is_first else hidden,))
        meta.outputs = extract_tensor_metas((logits if stage.is_last else hidden,))


def warm(optimizer: torch.optim.Optimizer) -> None:
    """Take a step with gradients of zero, so that the optimizer has its state before anything is counted."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    optimizer.zero_grad()


@dataclass
class Traffic:
    """Calls of one kind on one axis. `bytes` are of whole tensors, `sent` what one rank of a ring sends."""

    count: int = 0
    bytes: int = 0
    sent: float = 0.0


# Name of PyTorch's operator: what it is called here, and where its tensor is among the arguments.
CALLS = {
    "_allgather_base_": ("all-gather", 0),
    "all_gather_into_tensor": ("all-gather", None),
    "all_gather_into_tensor_out": ("all-gather", None),
    "_reduce_scatter_base_": ("reduce-scatter", 1),
    "reduce_scatter_tensor": ("reduce-scatter", 0),
    "allreduce_": ("all-reduce", 0),
    "all_reduce": ("all-reduce", 0),
    "all_reduce_": ("all-reduce", 0),
    "broadcast_": ("broadcast", 0),
    "alltoall_base_": ("all-to-all", 0),
    "all_to_all_single": ("all-to-all", 0),
    "send": ("send", 0),
    "recv_": ("receive", 0),
}


def share_sent(kind: str, ranks: int) -> float:
    """What a rank sends of a whole tensor: (n - 1) / n in a ring, twice that for an all-reduce, else all."""
    if kind in ("send", "broadcast"):
        return 1.0
    return 0.0 if kind == "receive" else (ranks - 1) / ranks * (2 if kind == "all-reduce" else 1)


class Watch(TorchDispatchMode):
    """Counts what one rank holds and sends while its block runs.

    `traffic` is {(axis of the mesh, kind of call): Traffic}, `held` the bytes now, `peak` the most at once.
    `marks` are {name: bytes held} when `mark` was called. `holds` are the modules, optimizers and tensors
    that were made before.
    """

    def __init__(self, mesh: DeviceMesh, *holds: nn.Module | torch.optim.Optimizer | Tensor) -> None:
        super().__init__()
        axes = mesh.mesh_dim_names or ()
        self.axes = {mesh.get_group(axis).group_name: axis for axis in axes}
        self.traffic: dict[tuple[str, str], Traffic] = {}
        self.held = self.peak = 0
        self.marks: dict[str, int] = {}
        self._sizes: dict[int, int] = {}
        for tensor in [t for thing in holds for t in tensors(thing)]:
            self._add(tensor)

    def mark(self, name: str) -> None:
        self.marks[name] = self.held

    def __enter__(self):
        self._resize = patch.object(torch.UntypedStorage, "resize_", self._resized())
        self._resize.start()
        return super().__enter__()

    def __exit__(self, *what):
        self._resize.stop()
        return super().__exit__(*what)

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        if any(issubclass(kind, DTensor) for kind in types):
            return NotImplemented  # it comes back with the local tensors
        result = operator(*args, **(kwargs or {}))
        if operator.namespace in ("c10d", "_c10d_functional"):
            self._count(operator.overloadpacket.__name__, args, result)
        for tensor in tree_iter(result):
            if isinstance(tensor, Tensor):
                self._add(tensor)
        return result

    def _count(self, name: str, args: tuple, result: object) -> None:
        if name not in CALLS:
            return
        kind, place = CALLS[name]
        whole = result if place is None else args[place]
        size = sum(t.nbytes for t in tree_iter(whole) if isinstance(t, Tensor))
        group = self._group(args)
        seen = self.traffic.setdefault((self.axes.get(group.group_name, "all"), kind), Traffic())
        seen.count += 1
        seen.bytes += size
        seen.sent += size * share_sent(kind, group.size())

    @staticmethod
    def _group(args: tuple) -> dist.ProcessGroup:
        for arg in args:
            if isinstance(arg, torch.ScriptObject) and "ProcessGroup" in str(arg._type()):
                return dist.ProcessGroup.unbox(arg)
        name = next(arg for arg in reversed(args) if isinstance(arg, str))
        return dist.distributed_c10d._resolve_process_group(name)

    def _add(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._sizes:
            return
        self._grow(key, storage.nbytes())
        weakref.finalize(storage, self._forget, key)

    def _grow(self, key: int, size: int) -> None:
        self.held += size - self._sizes.get(key, 0)
        self._sizes[key] = size
        self.peak = max(self.peak, self.held)

    def _forget(self, key: int) -> None:
        self.held -= self._sizes.pop(key, 0)

    def _resized(self):
        watch, plain = self, torch.UntypedStorage.resize_

        def resize_(storage: torch.UntypedStorage, size: int) -> torch.UntypedStorage:
            """FSDP frees what it gathered in this way."""
            result = plain(storage, size)
            if storage._cdata in watch._sizes:
                watch._grow(storage._cdata, size)
            return result

        return resize_


def tensors(thing: nn.Module | torch.optim.Optimizer | Tensor) -> list[Tensor]:
    """The local tensors of a module, with gradients and buffers, or of an optimizer's state, or itself."""
    if isinstance(thing, nn.Module):
        held = [*thing.parameters(), *thing.buffers()]
        held += [p.grad for p in held if p.grad is not None]
    elif isinstance(thing, torch.optim.Optimizer):
        held = [t for state in thing.state.values() for t in state.values() if isinstance(t, Tensor)]
    else:
        held = [thing]
    return [t.to_local() if isinstance(t, DTensor) else t for t in held]


def size(thing: nn.Module | torch.optim.Optimizer | Tensor) -> int:
    """Bytes of what `tensors` finds."""
    return sum(t.nbytes for t in tensors(thing))
