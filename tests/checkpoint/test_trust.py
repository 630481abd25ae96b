"""What is not a whole checkpoint of this run is refused with a sentence, and nothing of it is run."""

import json
import pickle
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from scaleup.checkpoint import Saver, publication, resuming
from scaleup.errors import CourseError
from scaleup.model import GPT, GPTConfig, next_token_loss

SHAPE = GPTConfig(vocab_size=32, layers=1, heads=2, dim=16, hidden=24, context=8)
RUN = {"model": {"layers": 1}, "train": {"steps": 9}}


def a_run(seed: int = 1) -> tuple[GPT, torch.optim.AdamW]:
    torch.manual_seed(seed)
    model = GPT(SHAPE)
    return model, torch.optim.AdamW(model.parameters(), lr=1e-2, fused=True)


def steps(model: GPT, optimizer: torch.optim.AdamW, count: int) -> None:
    """Batches are drawn at random: the generator's state belongs to what a run needs."""
    for _ in range(count):
        tokens = torch.randint(32, (4, 9))
        next_token_loss(model(tokens[:, :-1]), tokens[:, 1:]).backward()
        optimizer.step()
        optimizer.zero_grad()


@pytest.fixture
def saved(tmp_path):
    """Checkpoints of steps 3 and 6."""
    model, optimizer = a_run()
    saver = Saver(tmp_path, model, optimizer, RUN, asynchronous=False)
    for step in (3, 6):
        steps(model, optimizer, 3)
        saver.save(step)
    return tmp_path


def resume(folder: Path, run: dict = RUN) -> tuple[int, list[str]]:
    return Saver(folder, *a_run(seed=2), run).resume()


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_run_goes_on_bit_for_bit(tmp_path, asynchronous):
    model, optimizer = a_run()
    steps(model, optimizer, 4)
    saver = Saver(tmp_path, model, optimizer, RUN, asynchronous=asynchronous)
    saver.save(4)
    steps(model, optimizer, 5)  # behind which an asynchronous save writes
    saver.finish()
    other, with_it = a_run(seed=2)
    torch.manual_seed(99)
    assert Saver(tmp_path, other, with_it, RUN).resume() == (4, [])
    steps(other, with_it, 5)
    for (name, tensor), again in zip(model.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.equal(tensor, again), name


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(bytes(content))


class Bomb:
    def __reduce__(self):
        return open, ("bomb-went-off", "w")


def bomb(path: Path) -> None:
    path.write_bytes(pickle.dumps(Bomb()))


def change(checkpoint: Path, **told: object) -> None:
    manifest = checkpoint / publication.MANIFEST
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | told))


def the_tensors(checkpoint: Path) -> Path:
    (found,) = checkpoint.glob("*.safetensors")
    return found


DAMAGES = {
    "one bit differs": (lambda c: flip(the_tensors(c)), "are not those that were saved"),
    "cut short": (lambda c: the_tensors(c).write_bytes(the_tensors(c).read_bytes()[:-100]), "bytes of"),
    "a file is gone": (lambda c: the_tensors(c).unlink(), "is missing"),
    "a generator's state changed": (lambda c: flip(c / "rank-00000.json"), "are not those that were saved"),
    "a pickle beside it": (lambda c: bomb(c / ".metadata"), "can run a program"),
    "a pickle that is listed": (
        lambda c: (bomb(c / "x.pt"), change(c, files={"x.pt": publication.settle(c / "x.pt")})),
        "can run a program",
    ),
    "a path out of the folder": (
        lambda c: change(c, files={"../step-00000003/rank-00000.json": {"bytes": 1, "sha256": ""}}),
        "can run a program",
    ),
    "a file that nobody listed": (lambda c: (c / "more.json").write_text("{}"), "does not list"),
    "a pickle under a harmless name": (lambda c: bomb(the_tensors(c)), "is not whole"),
    "too new": (lambda c: change(c, format=publication.FORMAT + 1), "newer version of the course"),
    "no manifest": (lambda c: (c / publication.MANIFEST).unlink(), "is not a checkpoint of `scaleup train`"),
    "half a manifest": (lambda c: (c / publication.MANIFEST).write_text('{"format": 1,'), "is damaged"),
    "of another model": (lambda c: change(c, run=RUN | {"model": {"layers": 2}}), "model.layers is 2 there"),
    "of another program": (lambda c: change(c, run={}), "of another run"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_bad_checkpoint_is_told_and_the_one_before_it_serves(saved, name, monkeypatch):
    monkeypatch.chdir(saved.parent)
    damage, sentence = DAMAGES[name]
    damage(saved / "step-00000006")
    step, wrong = resume(saved)
    assert step == 3
    assert len(wrong) == 1 and sentence in wrong[0] and wrong[0].endswith(".") and "\n" not in wrong[0]
    assert "step-00000006" in wrong[0]
    assert not Path("bomb-went-off").exists()


def test_a_file_that_cannot_be_read_is_told(saved, monkeypatch):
    def refuse(checkpoint, told, names):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(resuming.trust, "check_files", refuse)
    step, wrong = resume(saved)
    assert step == 0 and wrong[0] == "step-00000006 cannot be read: Permission denied."


def test_the_newest_are_kept_and_no_half_has_a_name(tmp_path):
    model, optimizer = a_run()
    saver = Saver(tmp_path, model, optimizer, RUN, keep=2, asynchronous=False)
    for step in (1, 2, 3, 4):
        saver.save(step)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000003", "step-00000004"]


def test_what_a_killed_job_left_is_not_taken_for_a_checkpoint(saved):
    for name in (".step-00000009.part", ".step-00000001.old"):
        (saved / name).mkdir()
        (saved / name / "rank-00000.json").write_text("{")
    assert resume(saved) == (6, [])
    publication.sweep(saved)
    assert sorted(path.name for path in saved.iterdir()) == ["step-00000003", "step-00000006"]


@pytest.mark.parametrize("keep", [1, 2])
def test_a_bad_checkpoint_is_not_kept_for_a_sound_one(saved, keep):
    flip(the_tensors(saved / "step-00000006"))
    saver = Saver(saved, *a_run(seed=2), RUN, keep=keep, asynchronous=False)
    assert saver.resume()[0] == 3
    saver.sweep(3)
    saver.save(4)
    assert resume(saved) == (4, [])
    kept = [path.name for path in publication.published(saved)]
    assert kept == ["step-00000004", "step-00000003"][:keep]
    assert (saved / "unsound-step-00000006").is_dir(), "it may still tell what happened"


def test_random_states_of_another_form_are_told(saved):
    for checkpoint in (saved / "step-00000003", saved / "step-00000006"):
        (checkpoint / "rank-00000.json").write_text('{"python": [3, [1, 2], null]}')
        files = json.loads((checkpoint / publication.MANIFEST).read_text())["files"]
        change(
            checkpoint, files=files | {"rank-00000.json": publication.settle(checkpoint / "rank-00000.json")}
        )
    with pytest.raises(CourseError, match="step-00000006 has random states of another form"):
        resume(saved)


def test_a_rank_that_is_new_begins_with_states_of_its_own(saved):
    checkpoint = saved / "step-00000006"
    files = json.loads((checkpoint / publication.MANIFEST).read_text())["files"]
    (checkpoint / "rank-00000.json").unlink()
    change(checkpoint, files={name: files[name] for name in files if name != "rank-00000.json"})
    assert resume(saved) == (6, [])
    drawn = [random.random(), np.random.rand(), torch.rand(1).item()]
    assert resume(saved) == (6, [])
    assert drawn == [random.random(), np.random.rand(), torch.rand(1).item()]


def test_a_checkpoint_of_the_same_step_gives_way(saved):
    model, optimizer = a_run(seed=5)
    Saver(saved, model, optimizer, RUN, asynchronous=False).save(6)
    other, with_it = a_run(seed=2)
    assert Saver(saved, other, with_it, RUN).resume() == (6, [])
    assert torch.equal(other.head.weight, model.head.weight)


def test_a_save_that_fails_is_told_and_the_run_goes_on(tmp_path, capsys, monkeypatch):
    model, optimizer = a_run()
    saver = Saver(tmp_path, model, optimizer, RUN)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(publication, "settle", full)
    saver.save(3)
    saver.wait()
    monkeypatch.undo()
    saver.save(6)
    saver.finish()
    said = capsys.readouterr().out
    assert "step 3 could not be written" in said and "No space left" in said and "goes on" in said
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000006"], "what failed fills no disk"


def test_a_folder_that_is_not_there_has_no_checkpoints(tmp_path):
    assert resume(tmp_path / "none") == (0, [])
