"""Where the bytes of a step go: every block of the CPU's allocator with its time, and what backward keeps.

PyTorch's profiler reports each block that the allocator hands out and takes back, also those that an operator
takes for itself. A GPU's allocator has its own counters, such as `torch.cuda.max_memory_allocated`.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.profiler import ProfilerActivity, profile

from ..errors import CourseError
from .rates import quiet_stderr


@dataclass(frozen=True)
class Block:
    """Bytes handed out at `born`, taken back at `freed`; both in ms."""

    bytes: int
    born: float
    freed: float = math.inf


@dataclass(frozen=True)
class Phase:
    """What a `torch.profiler.record_function(name)` encloses, from `start` to `end` in ms."""

    name: str
    start: float
    end: float


@dataclass
class MemoryUse:
    """Blocks and phases, in order, of what ran under `watch`. A name twice means its last phase."""

    blocks: list[Block] = field(default_factory=list)
    phases: list[Phase] = field(default_factory=list)

    def phase(self, name: str) -> Phase:
        for phase in reversed(self.phases):
            if phase.name == name:
                return phase
        known = ", ".join(dict.fromkeys(phase.name for phase in self.phases)) or "none"
        raise CourseError(f"No phase is called {name!r:.40}. Known: {known}.")

    def at(self, moment: float) -> int:
        """Bytes in use at a moment."""
        return sum(block.bytes for block in self.blocks if block.born <= moment < block.freed)

    def before(self, name: str) -> int:
        return self.at(self.phase(name).start)

    def after(self, name: str) -> int:
        return self.at(self.phase(name).end)

    def peak(self, *names: str) -> int:
        """Most bytes in use at once, in the last phases of these names or else at any time."""
        phases = [self.phase(name) for name in names] or [Phase("", 0.0, math.inf)]
        most = max(self.at(phase.start) for phase in phases)
        held = 0
        for moment, change in _changes(self.blocks):
            held += change
            if any(phase.start <= moment <= phase.end for phase in phases):
                most = max(most, held)
        return most

    def left_by(self, name: str) -> int:
        """Bytes that the first phase of this name took and still held at its end."""
        phase = next((phase for phase in self.phases if phase.name == name), None) or self.phase(name)
        return sum(block.bytes for block in self.blocks if _outlives(block, phase))

    def series(self, kinds: Mapping[str, str], names: tuple[str, ...]) -> tuple[list[float], dict]:
        """Bytes of each kind over the last phases `names`: moments in ms from their start, {kind: bytes}.

        `kinds` is {phase: what it leaves behind}. A block is of the kind of the phase in which it was born,
        if it outlives that phase, and else "temporary".
        """
        phases = [self.phase(name) for name in names]
        start, end = phases[0].start, phases[-1].end
        held = dict.fromkeys([*dict.fromkeys(kinds.values()), "temporary"], 0)
        changes: list[tuple[float, int, str]] = []
        for block in self.blocks:
            home = next((p for p in self.phases if p.start <= block.born <= p.end), None)
            kind = kinds.get(home.name, "temporary") if home and _outlives(block, home) else "temporary"
            changes += [(moment, change, kind) for moment, change in _changes([block])]
        moments, series = [], {kind: [] for kind in held}
        for moment, change, kind in sorted(changes, key=lambda each: each[0]):
            held[kind] += change
            if start <= moment <= end:
                moments.append(moment - start)
                for name, bytes_held in held.items():
                    series[name].append(bytes_held)
        return moments, series


def _outlives(block: Block, phase: Phase) -> bool:
    return phase.start <= block.born <= phase.end < block.freed


def _changes(blocks: list[Block]) -> list[tuple[float, int]]:
    """(moment, bytes more or less) in order."""
    born = [(block.born, block.bytes) for block in blocks]
    return sorted(born + [(block.freed, -block.bytes) for block in blocks if block.freed < math.inf])


@contextmanager
def watch() -> Iterator[MemoryUse]:
    """Watches the CPU's allocator; what it yields is filled in at the end.

    What was there before is not counted, so build the model inside.
    """
    use = MemoryUse()
    with quiet_stderr(), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as trace:
        yield use
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "trace.json"
        with quiet_stderr():
            trace.export_chrome_trace(str(file))
        events = json.loads(file.read_text(encoding="utf-8"))["traceEvents"]
    _read(events, use)


def _read(events: list[dict], use: MemoryUse) -> None:
    """Events of a Chrome trace, times in microseconds, as blocks and phases that begin at 0 ms."""
    memory = [e for e in events if e.get("name") == "[memory]" and e["args"]["Device Type"] == 0]
    phases = [e for e in events if e.get("cat") == "user_annotation" and "#" not in e["name"]]
    if not memory:
        return
    zero = min(event["ts"] for event in memory + phases)
    live: dict[int, tuple[int, float]] = {}
    blocks = []
    for event in sorted(memory, key=lambda event: event["ts"]):
        address, size, moment = event["args"]["Addr"], event["args"]["Bytes"], (event["ts"] - zero) / 1e3
        if size > 0:
            live[address] = size, moment
        elif address in live:  # else it was there before we looked
            blocks.append(Block(*live.pop(address), moment))
    blocks += [Block(size, moment) for size, moment in live.values()]
    use.blocks[:] = sorted(blocks, key=lambda block: block.born)
    for event in sorted(phases, key=lambda event: event["ts"]):
        start = (event["ts"] - zero) / 1e3
        use.phases.append(Phase(event["name"], start, start + event["dur"] / 1e3))


@contextmanager
def kept_for_backward(model: nn.Module) -> Iterator[dict[int, int]]:
    """{address: bytes} of what autograd keeps meanwhile, each storage once, the model's own left out."""
    own = {t.untyped_storage().data_ptr() for t in [*model.parameters(), *model.buffers()]}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        yield kept
