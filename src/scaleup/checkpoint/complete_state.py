"""What a run needs to go on as if nothing had happened: what was learned, and every source of randomness.

The step is the third part: learning rate and position in the data follow from it.
"""

from __future__ import annotations

import base64
import random
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


def tensors(model: nn.Module, optimizer: torch.optim.AdamW) -> dict[str, Tensor]:
    """Parameters as `model.NAME` and AdamW's means as `optimizer.NAME.exp_avg` and `.exp_avg_sq`.

    Names are those of the whole model, and a tensor that is split over ranks knows which slice it is
    (DTensor): so other numbers of ranks and other ways to split find their part. Before the first step the
    means are zeros. What is returned shares memory with the run.
    """
    begin(optimizer)
    names = {parameter: name for name, parameter in model.named_parameters()}
    found = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            for key in ("exp_avg", "exp_avg_sq"):
                found[f"optimizer.{names[parameter]}.{key}"] = optimizer.state[parameter][key]
    return found


def begin(optimizer: torch.optim.AdamW) -> None:
    """Make the state that AdamW makes in its first step, where it is not there yet."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if not optimizer.state[parameter]:
                optimizer.state[parameter] = {
                    "step": torch.zeros((), device=parameter.device),
                    "exp_avg": torch.zeros_like(parameter),
                    "exp_avg_sq": torch.zeros_like(parameter),
                }


def set_steps(optimizer: torch.optim.AdamW, step: int) -> None:
    """AdamW's own count of its steps, from which its correction of the means follows."""
    for state in optimizer.state.values():
        state["step"].fill_(float(step))


def random_states() -> dict[str, Any]:
    """The state of every generator of this rank, as JSON can hold it."""
    _, numbers, position, has_gauss, gauss = np.random.get_state()
    version, words, second = random.getstate()
    found = {
        "python": [version, list(words), second],
        "numpy": [numbers.tolist(), position, has_gauss, gauss],
        "torch": packed(torch.get_rng_state()),
    }
    if torch.cuda.is_available():
        found["cuda"] = packed(torch.cuda.get_rng_state())
    return found


def set_random_states(states: dict[str, Any]) -> None:
    """Put back what `random_states` gave."""
    version, words, second = states["python"]
    random.setstate((version, tuple(words), second))
    numbers, position, has_gauss, gauss = states["numpy"]
    np.random.set_state(("MT19937", np.array(numbers, dtype=np.uint32), position, has_gauss, gauss))
    torch.set_rng_state(unpacked(states["torch"]))
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(unpacked(states["cuda"]))


def seed(number: int) -> None:
    """Begin every generator of this rank anew from one number."""
    random.seed(number)
    np.random.seed(number % 2**32)
    torch.manual_seed(number)


def packed(state: Tensor) -> str:
    return base64.b64encode(state.numpy().tobytes()).decode("ascii")


def unpacked(text: str) -> Tensor:
    return torch.frombuffer(bytearray(base64.b64decode(text)), dtype=torch.uint8)
