"""Text to tokens: on a small corpus in a course folder of its own, then what data/corpus.yml says."""

import hashlib
import importlib.metadata
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from small_course import HOME, VOCAB, make_course, small_facts

from scaleup.errors import CourseError
from scaleup.text import corpus
from scaleup.text.windows import Windows


@pytest.fixture
def course(tmp_path, monkeypatch):
    monkeypatch.setenv("SCALEUP_HOME", str(tmp_path))
    return make_course(tmp_path)


def stored(course: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in (course / ".scaleup" / "corpus" / "python-source").iterdir()}


# What is made


def test_preparing_leaves_two_shards_a_tokenizer_and_the_index(course):
    text = corpus.prepare()
    assert set(stored(course)) - {"lock"} == {"index.json", "tokenizer.json", "train.bin", "valid.bin"}
    shards = stored(course)["train.bin"] + stored(course)["valid.bin"]
    assert hashlib.sha256(shards).hexdigest() == small_facts()["tokens_sha256"]
    assert text.vocab_size == VOCAB
    assert len(text.tokens("train")) > len(text.tokens("valid")) > 100
    assert text.tokens("train").max() < VOCAB


@pytest.mark.processes
def test_every_process_makes_the_same_bytes(course, tmp_path):
    """The number of threads and the order of Python's sets must not matter."""
    corpus.prepare()
    other = make_course(tmp_path / "other")
    environment = {**os.environ, "SCALEUP_HOME": str(other), "RAYON_NUM_THREADS": "1", "PYTHONHASHSEED": "7"}
    code = "from scaleup.text import corpus; corpus.prepare()"
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=60)
    assert stored(other) == stored(course)


def test_the_shards_are_the_files_each_with_an_end(course):
    text = corpus.prepare()
    files = corpus.source_files(small_facts())
    for split in ("train", "valid"):
        expected = [t for p, t in files if corpus.is_validation(p) == (split == "valid")]
        decoded = text.tokenizer.decode(text.tokens(split).tolist(), skip_special_tokens=False)
        assert decoded == "".join(t + corpus.END_OF_TEXT for t in expected)


def test_no_file_is_in_both_splits_and_the_choice_depends_on_the_path_alone():
    names = [f"package/module_{i}.py" for i in range(4000)]
    held_out = [name for name in names if corpus.is_validation(name)]
    assert len(held_out) / len(names) == pytest.approx(1 / 16, rel=0.2)
    assert held_out == [n for n in reversed(names) if corpus.is_validation(n)][::-1]


@pytest.mark.parametrize(
    "text", ["", "def f():\n\treturn 1\n", "grüße, 世界 🙂", "\r\n  \x00\x7f", "  a   b "]
)
def test_decoding_gives_back_what_was_encoded(text, course):
    tokenizer = corpus.prepare().tokenizer
    assert tokenizer.decode(tokenizer.encode(text).ids) == text


def test_tokens_are_a_read_only_memory_map(course):
    tokens = corpus.prepare().tokens("train")
    assert isinstance(tokens, np.memmap) and tokens.dtype == np.uint16 and tokens.ndim == 1
    with pytest.raises(ValueError, match="read-only"):
        tokens[0] = 1


def test_a_second_call_reads_no_text(course, monkeypatch):
    first = corpus.prepare()
    monkeypatch.setattr(corpus, "source_files", lambda facts: pytest.fail("the text was read again"))
    assert corpus.prepare() == first


def test_new_facts_mean_new_shards(course):
    corpus.prepare()
    before = stored(course)
    files = corpus.source_files(small_facts())
    tokenizer = corpus.train_tokenizer([t for p, t in files if not corpus.is_validation(p)], 280)
    digest = hashlib.sha256()
    for held_out in (False, True):
        digest.update(
            corpus.encode(tokenizer, [t for p, t in files if corpus.is_validation(p) == held_out]).tobytes()
        )
    make_course(course, vocab_size=280, tokens_sha256=digest.hexdigest())
    assert corpus.prepare().vocab_size == 280
    assert stored(course)["train.bin"] != before["train.bin"]


# What goes wrong is one sentence that says what to do


def sentence(course: Path, **changes: object) -> str:
    make_course(course, **changes)
    with pytest.raises(CourseError) as caught:
        corpus.prepare()
    assert "\n" not in str(caught.value)
    assert not (course / ".scaleup" / "corpus" / "python-source" / "index.json").exists()
    return str(caught.value)


def test_a_missing_package(course):
    message = sentence(course, package="no-such-package-here")
    assert "'no-such-package-here', which is not installed" in message and "make setup" in message


def test_another_version(course):
    installed = importlib.metadata.version("tqdm")
    message = sentence(course, version="0.0.1")
    assert f"made from tqdm 0.0.1, but {installed} is installed" in message
    assert "pip install tqdm==0.0.1" in message


def test_a_changed_source(course):
    assert "differs from the checksum" in sentence(course, sha256="0" * 64)


def test_a_source_file_that_was_deleted(course, monkeypatch):
    real = importlib.metadata.files("tqdm")
    gone = importlib.metadata.PackagePath("tqdm/gone.py")
    gone.dist = real[0].dist
    monkeypatch.setattr(importlib.metadata, "files", lambda package: [*real, gone])
    assert "Reinstall it: pip install" in sentence(course)


def test_tokens_that_differ(course):
    message = sentence(course, tokens_sha256="0" * 64)
    assert "tokens differ from the checksum" in message and "make setup" in message


def test_an_unknown_corpus_names_the_known_ones(course):
    with pytest.raises(CourseError, match="no corpus 'wikipedia'. data/corpus.yml knows: python-source"):
        corpus.prepare("wikipedia")


def test_a_change_of_any_path_or_text_changes_the_checksum():
    base = [("a.py", "x"), ("b.py", "y")]
    others = [
        [("a.py", "x"), ("b.py", "z")],
        [("a.py", "x"), ("c.py", "y")],
        [("a.py", "xb.py"), ("", "y")],
        base[:1],
    ]
    assert len({corpus.checksum(files) for files in (base, *others)}) == 5


# Interrupted builds

KILLED = """
import os, pathlib, signal
from scaleup.text import corpus

class Path(type(pathlib.Path())):
    def write_bytes(self, content):
        if self.name.startswith(".{name}") and {half}:
            super().write_bytes(content[: len(content) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        super().write_bytes(content)

def write_then_die(path, content):
    write(Path(path), content)
    if path.name.startswith("{name}"):
        os.kill(os.getpid(), signal.SIGKILL)

write, corpus.write_whole = corpus.write_whole, write_then_die
corpus.prepare()
"""


def kill_while_writing(name: str, half: bool) -> None:
    code = KILLED.format(name=name, half=half)
    ended = subprocess.run([sys.executable, "-c", code], timeout=60, capture_output=True, text=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr


@pytest.mark.processes
@pytest.mark.parametrize(("name", "half"), [("train", False), ("valid", True)])
def test_a_killed_build_is_built_anew(name, half, course, tmp_path):
    kill_while_writing(name, half)
    left = stored(course)
    assert "train.bin" in left, "the process must have died after the first shard was begun"
    assert "index.json" not in left and ("valid.bin" in left) <= (not half)
    (course / ".scaleup" / "corpus" / "python-source" / "train.bin").write_bytes(b"half a shard")
    corpus.prepare()
    now = stored(course)
    assert hashlib.sha256(now["train.bin"] + now["valid.bin"]).hexdigest() == small_facts()["tokens_sha256"]


@pytest.mark.processes
def test_a_killed_rebuild_does_not_leave_the_old_index_beside_new_shards(course):
    """New facts arrive, the rebuild is killed, the old facts come back: so must the old shards."""
    corpus.prepare()
    before = stored(course)
    make_course(course, vocab_size=280)
    kill_while_writing("train", half=False)
    assert stored(course)["train.bin"] != before["train.bin"]
    make_course(course)
    corpus.prepare()
    assert stored(course)["train.bin"] == before["train.bin"]


# Windows


def test_windows_cover_the_array_once_and_targets_are_one_token_later():
    tokens = np.arange(50, dtype=np.uint16)
    windows = Windows(tokens, seq=8)
    assert len(windows) == 6, "49 targets make six windows of eight"
    inputs, targets = (torch.cat(part).tolist() for part in zip(*[windows[i] for i in range(6)], strict=True))
    assert inputs == list(range(48))
    assert targets == list(range(1, 49))
    assert windows[0][0].dtype == torch.int64


@pytest.mark.parametrize(("tokens", "count"), [(8, 0), (9, 1), (16, 1), (17, 2)])
def test_a_window_needs_one_token_more_for_its_last_target(tokens, count):
    windows = Windows(np.zeros(tokens, dtype=np.uint16), seq=8)
    assert len(windows) == count
    assert all(len(part) == 8 for i in range(count) for part in windows[i])


# The real one


def test_the_real_corpus_is_what_its_entry_says():
    facts = yaml.safe_load((HOME / "data" / "corpus.yml").read_text())["python-source"]
    text = corpus.prepare()
    files = corpus.source_files(facts)
    assert len(files) == facts["files"]
    assert sum(len(content.encode()) for _, content in files) == facts["bytes"]
    assert corpus.checksum(files) == facts["sha256"]
    shards = [text.tokens(split) for split in ("train", "valid")]
    assert sum(map(len, shards)) == facts["tokens"]
    assert hashlib.sha256(shards[0].tobytes() + shards[1].tobytes()).hexdigest() == facts["tokens_sha256"]
    assert text.tokenizer.get_vocab_size() == facts["vocab_size"]
    assert facts["licence"] and facts["url"].startswith("https://") and facts["date"]


def test_the_stored_index_is_that_of_the_entry():
    facts = yaml.safe_load((HOME / "data" / "corpus.yml").read_text())["python-source"]
    index = json.loads((corpus.prepare().folder / "index.json").read_text())
    assert index.items() <= facts.items() and "tokens_sha256" in index
