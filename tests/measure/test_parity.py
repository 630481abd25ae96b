"""The proof that N ranks equal one: yes to a right program, and the name of what a wrong one gets wrong."""

from pathlib import Path

import pytest
import torch
from torch import nn

from scaleup.errors import CourseError
from scaleup.measure import parity

PROGRAMS = Path(__file__).parents[1] / "programs"
DDP, SILENT = PROGRAMS / "parity_ddp.py", PROGRAMS / "parity_silent.py"

# The comparison


def pair(**changes: torch.Tensor) -> tuple[parity.Snapshot, parity.Snapshot]:
    reference = {
        "loss": torch.tensor(2.0),
        "gradient weight": torch.tensor([1e-4, -2e-4]),
        "parameter weight": torch.tensor([[1.0, 2.0], [3.0, 4.0]]),
    }
    return reference, {name: tensor.clone() for name, tensor in reference.items()} | changes


def test_equal_snapshots_are_equal():
    difference = parity.compare(*pair())
    assert difference.equal and difference.compared == 3 and difference.largest == 0
    assert str(difference) == "equal: 3 tensors within 1e-05"


def test_a_difference_is_relative_to_the_size_of_the_tensor():
    """1e-6 is half a percent of the largest gradient: an absolute tolerance of 1e-5 would let it pass."""
    difference = parity.compare(*pair(**{"gradient weight": torch.tensor([1e-4, -2.01e-4])}))
    assert not difference.equal
    assert difference.first == "gradient weight by 5.0e-03"
    assert difference.largest == pytest.approx(5e-3, rel=1e-3)
    assert str(difference) == "differ: gradient weight by 5.0e-03 (tolerance 1e-05)"


def test_what_is_within_the_tolerance_is_equal_and_what_is_beyond_is_not():
    near = pair(loss=torch.tensor(2.0, dtype=torch.float64) * (1 + 9e-6))
    far = pair(loss=torch.tensor(2.0, dtype=torch.float64) * (1 + 2e-5))
    assert parity.compare(*near).equal and not parity.compare(*far).equal
    assert parity.compare(*far, tolerance=1e-4).equal


def test_the_first_name_in_the_order_of_the_model_is_told():
    wrong = {"parameter weight": torch.zeros(2, 2), "gradient weight": torch.zeros(2)}
    assert parity.compare(*pair(**wrong)).first.startswith("gradient weight by 1.0")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("where", [0, 1, "both"])
def test_nan_and_inf_are_never_equal(value, where):
    sides = pair()
    for side in sides if where == "both" else [sides[where]]:
        side["gradient weight"][1] = value
    difference = parity.compare(*sides)
    assert not difference.equal and difference.first.startswith("gradient weight")
    assert not difference.largest <= 1e-5, "the largest difference must not look small"


def test_a_missing_tensor_is_named():
    reference, other = pair()
    del other["gradient weight"]
    assert parity.compare(reference, other).first == "gradient weight is missing"


def test_additional_tensors_are_named_and_the_first_one_is_always_the_same():
    reference, other = pair()
    other |= {f"parameter extra{i}": torch.ones(1) for i in range(20)}
    assert parity.compare(reference, other).first == "parameter extra0 is not in the reference"


def test_another_shape_is_named():
    difference = parity.compare(*pair(**{"parameter weight": torch.ones(4)}))
    assert difference.first == "parameter weight has shape (4,), not (2, 2)"


def test_a_tensor_of_zeros_is_compared_absolutely():
    zeros = {"gradient": torch.zeros(3)}
    assert parity.compare(zeros, {"gradient": torch.full((3,), 1e-6)}).equal
    assert not parity.compare(zeros, {"gradient": torch.full((3,), 1e-4)}).equal


def test_a_tensor_may_be_on_one_rank_only_but_every_copy_has_to_be_right():
    reference, whole = pair()
    stages = [{name: whole[name]} for name in whole]
    assert parity.compare(reference, *stages).equal
    assert parity.compare(reference, *stages[:2]).first == "parameter weight is missing"
    stale = whole | {"parameter weight": whole["parameter weight"] + 0.1}
    assert parity.compare(reference, whole, stale).first == "parameter weight by 2.5e-02 on rank 1"
    assert (
        parity.compare(reference, {**whole}, {"extra": torch.ones(1)}).first
        == "extra is not in the reference"
    )


# What is recorded


class Wrapper(nn.Module):
    """Holds a module under the name that DDP ("module") or torch.compile ("_orig_mod") gives it."""

    def __init__(self, name: str, module: nn.Module) -> None:
        super().__init__()
        self.add_module(name, module)


def test_a_snapshot_holds_loss_gradients_and_parameters_as_copies():
    model = nn.Linear(2, 1)
    model.bias.requires_grad_(False)
    loss = model(torch.ones(1, 2)).sum()
    loss.backward()
    found = parity.snapshot(model, loss)
    assert list(found) == ["loss", "gradient weight", "parameter weight", "parameter bias"]
    assert found["loss"].dtype == torch.float64 and found["loss"].shape == ()
    with torch.no_grad():
        model.weight.fill_(7)
        model.weight.grad.fill_(7)
    assert not (found["parameter weight"] == 7).any() and (found["gradient weight"] == 1).all()


def test_wrappers_do_not_change_names():
    bare = nn.Sequential(nn.Linear(2, 1))
    names = set(parity.snapshot(bare, 0.5))
    assert set(parity.snapshot(bare, None)) == names - {"loss"}, "a rank without a loss"
    assert names == {"loss", "parameter 0.weight", "parameter 0.bias"}
    assert set(parity.snapshot(Wrapper("module", bare), 0.5)) == names
    assert set(parity.snapshot(Wrapper("module", Wrapper("_orig_mod", bare)), 0.5)) == names


def test_a_program_records_nothing_unless_it_is_being_proved(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SCALEUP_PARITY", raising=False)
    parity.record(nn.Linear(1, 1), 0.5)
    assert list(tmp_path.iterdir()) == []


# Whole programs on real ranks


@pytest.mark.processes
def test_data_parallel_training_equals_one_rank_on_two_and_on_four():
    found = parity.prove(DDP, "average", world_sizes=(2, 4))
    assert list(found) == [2, 4]
    for difference in found.values():
        assert difference.equal, difference
        assert difference.compared == 1 + 2 * 12, "a loss, twelve gradients and twelve parameters"
        assert difference.largest <= 1e-5


@pytest.mark.processes
def test_a_sum_instead_of_an_average_is_found_and_named():
    """The sum of two ranks is twice the average. The loss agrees, so the first gradient is the finding."""
    (difference,) = parity.prove(DDP, "sum").values()
    assert not difference.equal
    assert difference.first == "gradient embedding.weight by 1.0e+00"


@pytest.mark.processes
def test_a_program_that_never_records_is_told_so(capfd):
    with pytest.raises(CourseError, match=r"parity_silent.py never recorded a step. Call parity.record"):
        parity.prove(SILENT)
    assert capfd.readouterr() == ("", ""), "a proof is quiet"
