"""The command line: for each thing that can be wrong one sentence, exit status 2, and never a traceback."""

import os
import re
import socket
import subprocess
import sys

import pytest
import torch
from small_course import VOCAB, make_course

from scaleup.cli import main
from scaleup.computer.resources import usable_cores
from scaleup.text import corpus

GOOD = f"""
[model]
vocab_size = {VOCAB}
layers = 1
heads = 2
dim = 16
hidden = 16
[data]
seq = 32
[train]
steps = 2
global_batch = 4
micro_batch = 4
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return make_course(tmp_path_factory.mktemp("course"))


@pytest.fixture(autouse=True)
def course(home, tmp_path, monkeypatch):
    """A course folder of its own, prepared; the working directory holds run.toml."""
    for name in [n for n in os.environ if n.startswith(("SLURM_", "MASTER_"))]:
        monkeypatch.delenv(name)
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SCALEUP_HOME", str(home))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.toml").write_text(GOOD)
    corpus.prepare()
    return home


@pytest.fixture
def says(capfd):
    """Runs `scaleup WORDS` here and returns the one sentence that it leaves on standard error."""

    def run(*words: str) -> str:
        assert main(list(words)) == 2
        return only_sentence(*capfd.readouterr())

    return run


def only_sentence(out: str, err: str) -> str:
    """Standard error holds one line by us, whole sentences, and nothing else is printed."""
    assert out == ""
    assert re.fullmatch(r"scaleup: [^\n]+[.?\w]\n", err), err
    assert "Traceback" not in err and "Error:" not in err
    return err


def train_with(says, tmp_path, text: str) -> str:
    (tmp_path / "run.toml").write_text(text)
    return says("train", "--config", "run.toml")


# Words


def test_help_lists_every_command(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    out = capsys.readouterr().out
    for command in ("doctor", "prepare", "train", "check", "progress", "reset"):
        assert re.search(rf"^    {command} +\w+", out, re.MULTILINE), f"{command} and what it does"


@pytest.mark.parametrize("words", [[], ["trian"], ["train"], ["prepare", "--corpus"]])
def test_wrong_words_exit_with_2_and_name_what_is_expected(words, capsys):
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert re.search(r"required|invalid choice|expected one argument", capsys.readouterr().err)


# Work that succeeds


def test_prepare_tells_the_sizes(capfd):
    assert main(["prepare"]) == 0
    text = corpus.prepare()
    train, valid = (len(text.tokens(split)) for split in ("train", "valid"))
    assert capfd.readouterr() == (f"{train:,} training and {valid:,} validation tokens.\n", "")


def test_train_tells_the_result_and_where_it_is(course, capfd):
    assert main(["train", "--config", "run.toml"]) == 0
    out, err = capfd.readouterr()
    assert re.search(r"^step 2: loss \d\.\d{3}, validation loss \d\.\d{3}$", out, re.MULTILINE)
    folder = re.search(r"metrics and model are in (\S+)\n$", out)[1]
    assert (course / folder / "model.pt").exists() and (course / folder / "metrics.jsonl").exists()
    assert err == ""


# The configuration


def test_an_unknown_key(says, tmp_path):
    assert "Did you mean 'train.steps'?" in train_with(says, tmp_path, "[train]\nstep = 1")


def test_a_missing_configuration_file(says):
    assert "There is no configuration file absent.toml" in says("train", "--config", "absent.toml")


def test_a_folder_as_configuration_file(says, tmp_path):
    assert str(tmp_path) in says("train", "--config", str(tmp_path))


def test_bad_toml(says, tmp_path):
    assert "not valid TOML" in train_with(says, tmp_path, "[train")


def test_a_window_beyond_the_context(says, tmp_path):
    said = train_with(says, tmp_path, "[data]\nseq = 512")
    assert "data.seq=512 is longer than model.context=256" in said


def test_a_batch_that_does_not_divide(says, tmp_path):
    said = train_with(says, tmp_path, GOOD.replace("micro_batch = 4", "micro_batch = 3"))
    assert "train.global_batch=4 is not a multiple of train.micro_batch=3 x 1 ranks = 3" in said


@pytest.mark.parametrize("line", ["validate_every = 0", "learning_rate = -1.0"])
def test_a_number_that_cannot_work(line, says, tmp_path):
    assert line.split()[0] in train_with(says, tmp_path, GOOD + line)


def test_a_vocabulary_below_the_corpus(says, tmp_path):
    said = train_with(says, tmp_path, GOOD.replace(f"vocab_size = {VOCAB}", "vocab_size = 257"))
    assert f"Raise it to at least {VOCAB}" in said


@pytest.mark.parametrize("command", ["prepare", "train"])
def test_an_unknown_corpus(command, says, tmp_path):
    if command == "prepare":
        said = says("prepare", "--corpus", "wikipedia")
    else:
        said = train_with(says, tmp_path, GOOD.replace("seq = 32", "seq = 32\ncorpus = 'wikipedia'"))
    assert "There is no corpus 'wikipedia'" in said and "python-source" in said


# The machine


def test_an_old_pytorch(says, monkeypatch):
    monkeypatch.setattr(torch, "__version__", "2.1.0+cpu")
    said = says("train", "--config", "run.toml")
    assert "PyTorch 2.1.0+cpu is too old: the course needs at least 2.6" in said and "make setup" in said


@pytest.mark.processes
def test_no_pytorch():
    code = "import sys; sys.modules['torch'] = None\nfrom scaleup.cli import main; sys.exit(main())"
    ended = subprocess.run(
        [sys.executable, "-c", code, "train", "--config", "run.toml"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 2
    said = only_sentence(ended.stdout, ended.stderr)
    assert "the package 'torch' is missing" in said and "make setup" in said


def test_more_ranks_than_the_cores_can_run(says, monkeypatch):
    cores = usable_cores()
    asked = max(64, 4 * cores + 1)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(asked))
    said = says("train", "--config", "run.toml")
    assert f"{asked} ranks on {cores} cores" in said and f"Start at most {4 * cores} ranks" in said


def test_a_port_that_is_taken(says, monkeypatch):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "RANK": "0", "WORLD_SIZE": "2"}
        for name, value in where.items():
            monkeypatch.setenv(name, value)
        said = says("train", "--config", "run.toml")
    assert f"Port {port} is taken by another program" in said


@pytest.mark.parametrize(
    "where",
    [
        {"RANK": "0"},
        {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "abc"},
        {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "99999"},
    ],
)
def test_ranks_that_are_told_half_of_what_they_need(where, says, monkeypatch):
    for name, value in where.items():
        monkeypatch.setenv(name, value)
    said = says("train", "--config", "run.toml")
    assert "Check MASTER_ADDR, MASTER_PORT, RANK and WORLD_SIZE" in said


@pytest.mark.parametrize(
    "words",
    [["prepare"], ["train", "--config", "run.toml"], ["progress"], ["check"], ["reset", "data-parallel"]],
)
def test_outside_the_course(words, says, monkeypatch, tmp_path):
    monkeypatch.setenv("SCALEUP_HOME", str(tmp_path / "nowhere"))
    assert "The course's folder was not found" in says(*words)


@pytest.mark.parametrize("command", ["check", "reset"])
def test_an_unknown_lesson(command, says):
    assert "no-such-lesson" in says(command, "no-such-lesson")


# What is a defect of ours is not dressed up as the learner's


def test_a_defect_keeps_its_traceback(monkeypatch):
    monkeypatch.setattr(corpus, "prepare", lambda name: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(["prepare"])


def test_a_module_of_ours_that_is_missing_is_a_defect(monkeypatch):
    def broken(name: str) -> None:
        raise ModuleNotFoundError("No module named 'scaleup.gone'", name="scaleup.gone")

    monkeypatch.setattr(corpus, "prepare", broken)
    with pytest.raises(ModuleNotFoundError):
        main(["prepare"])


def test_an_interrupt_exits_with_130_and_one_line(monkeypatch, capfd):
    def interrupted(name: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(corpus, "prepare", interrupted)
    assert main(["prepare"]) == 130
    assert capfd.readouterr() == ("", "\nscaleup: stopped; what was finished is kept.\n")
