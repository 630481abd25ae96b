"""Preparing a folder: the same bytes in every way, nothing half-published, a sentence for what goes wrong."""

import gzip
import hashlib
import json
import os
import platform
import random
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from conftest import until

from scaleup import cli
from scaleup.errors import CourseError
from scaleup.text import corpus, shards
from scaleup.text.prepare import preparing
from scaleup.text.prepare.duplicates import near_duplicates, normal
from scaleup.text.prepare.filters import RULES
from scaleup.text.prepare.packing import end_of_text, is_held_out
from scaleup.text.prepare.preparing import prepare
from scaleup.text.prepare.recipe import Recipe

platform.processor()  # asks a program, and remembers the answer, which Dask wants of each worker

WORDS = [
    "rank",
    "mesh",
    "shard",
    "token",
    "batch",
    "step",
    "loss",
    "node",
    "core",
    "link",
    "ring",
    "tree",
    "pipe",
]


def text_of(words: int, seed: int) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=words))


@pytest.fixture(scope="session")
def raw(tmp_path_factory) -> Path:
    """A small corpus of every kind of trouble: duplicates in other files, personal data, short lines."""
    folder = tmp_path_factory.mktemp("raw")
    for part in range(6):
        records = [
            {"text": text_of(60, part * 100 + i), "url": f"https://example.org/{part}/{i}"} for i in range(40)
        ]
        records[5]["text"] = "too short"
        records[6]["text"] = text_of(60, 7).upper()  # the next one of part 0, in capitals
        records[8]["text"] = text_of(60, 9) + f" and another end {part}"  # nearly the next one of part 0
        records[10]["text"] += " mail me at a.b@example.org"
        lines = "".join(json.dumps(record) + "\n" for record in records)
        if part == 3:
            (folder / f"part-{part}.jsonl.gz").write_bytes(gzip.compress(lines.encode(), mtime=0))
        else:
            (folder / f"part-{part}.jsonl").write_text(lines)
    (folder / "notes.txt").write_text(text_of(300, 9999))
    (folder / "licences.yml").write_text("notes.txt: CC-BY-4.0\n'*': MIT\n")
    (folder / "picture.png").write_bytes(b"no text")
    return folder


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    corpus.train_tokenizer([text_of(500, 1)], 280).save(str(file))
    return file


@pytest.fixture(scope="session")
def recipe(tokenizer) -> Recipe:
    return Recipe(tokenizer, partition=6000, shard=1500, validation=10)


@pytest.fixture(scope="module")
def client():
    """A scheduler and two workers that are threads of this process: quick, and whole Dask all the same."""
    from dask.distributed import Client

    with Client(processes=False, n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0") as made:
        yield made


@pytest.fixture(scope="module")
def done(raw, recipe, client, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("done") / "shards"
    prepare(raw, out, recipe, client, quiet=True)
    return out


def published(out: Path) -> dict[str, bytes]:
    """Everything that a preparing publishes."""
    return {file.name: file.read_bytes() for file in out.iterdir() if file.is_file()}


def kept_lines(out: Path) -> list[dict]:
    found = shards.read_manifest(out)["shards"]
    return [
        json.loads(line)
        for shard in found
        for line in (out / f"{shard['name']}.jsonl").read_text().splitlines()
    ]


# What comes out


def test_the_shards_are_the_texts_that_stay_each_with_an_end(done, raw):
    manifest = shards.read_manifest(done)
    shards.verify(done)
    reader = corpus.Corpus(done, 280).tokenizer
    end = end_of_text(reader, None)
    for about in manifest["shards"]:
        shard = shards.open_shard(done / about["name"])
        lines = [json.loads(line) for line in (done / f"{about['name']}.jsonl").read_text().splitlines()]
        assert len(shard) == len(lines) == about["documents"]
        for i, line in enumerate(lines):
            ids = shard.document(i)
            assert ids[-1] == end and (ids[:-1] != end).all() and len(ids) == line["tokens"]
            text = reader.decode(ids[:-1].tolist())
            assert is_held_out(text, 10) == (about["split"] == "valid")
            opened = gzip.open if line["source"].endswith(".gz") else open
            with opened(raw / line["source"], "rb") as stream:
                stream.seek(line["position"])
                there = stream.readline().decode()
            if line["source"].endswith(".txt"):
                assert there == text
            else:
                assert json.loads(there)["text"].replace("a.b@example.org", "<email>") == text


def test_the_manifest_counts_everything_once(done, raw):
    manifest = shards.read_manifest(done)
    assert manifest["documents"]["read"] == 241
    assert manifest["documents"]["removed"] == {"duplicate": 6, "near duplicate": 6, "too_short": 6}
    assert manifest["documents"]["kept"] == 241 - 18 == sum(s["documents"] for s in manifest["shards"])
    assert manifest["scrubbed"] == {"email": 6}
    assert manifest["not_read"] == ["picture.png"] and manifest["unreadable"] == {}
    total = sum(manifest["tokens"].values())
    assert total == sum(s["tokens"] for s in manifest["shards"]) == sum(manifest["licences"].values())
    assert set(manifest["licences"]) == {"MIT", "CC-BY-4.0"}
    assert manifest["samples"]["too_short"][0]["begin"] == "too short"
    sources = [json.loads(line) for line in (done / "sources.jsonl").read_text().splitlines()]
    assert [s["source"] for s in sources] == [
        "notes.txt",
        *(f"part-{i}.jsonl{'.gz' * (i == 3)}" for i in range(6)),
    ]
    assert sum(s["documents"] for s in sources) == 241
    assert all(s["bytes"] == (raw / s["source"]).stat().st_size for s in sources)


def test_of_duplicates_the_first_by_path_and_position_stays(done, raw):
    kept = {(line["source"], line["position"]) for line in kept_lines(done)}

    def stays(part: int, number: int) -> bool:
        lines = (raw / f"part-{part}.jsonl").read_bytes().splitlines(keepends=True)
        return (f"part-{part}.jsonl", sum(map(len, lines[:number]))) in kept

    assert stays(0, 6) and not stays(0, 7), "the capitals come first"
    assert stays(0, 8) and not stays(0, 9)
    assert not any(stays(part, number) for part in (1, 2, 4, 5) for number in (6, 8))
    assert all(stays(part, 11) for part in (0, 1, 2, 4, 5))


def test_shards_are_cut_when_they_are_full(done):
    found = [s for s in shards.read_manifest(done)["shards"] if s["split"] == "train"]
    assert max(s["tokens"] for s in found) < 1500 + 300 * 3
    assert any(s["name"].endswith("-001") for s in found)


def test_nothing_between_is_left(done):
    assert {file.name for file in (done / ".preparing").iterdir()} <= {"lock", "recipe.json"}


def test_across_partitions_as_in_one_list(client, tokenizer, tmp_path):
    """The graph finds what the plain function finds in memory, whatever the size of a partition."""
    rng = random.Random(3)
    texts = [text_of(80, i) for i in range(30)]
    for i in range(30, 90):
        words = texts[i % 30].split()
        for _ in range(rng.choice([0, 0, 1, 3, 20])):
            words[rng.randrange(len(words))] = "changed"
        texts.append(" ".join(words))
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "a.jsonl").write_text("".join(json.dumps({"text": t}) + "\n" for t in texts))
    gone = set(near_duplicates(texts))
    expected = [texts[i] for i in range(len(texts)) if i not in gone]
    assert 30 < len(expected) < 90
    for size in (2000, 10**6):
        out = tmp_path / str(size)
        prepare(tmp_path / "raw", out, Recipe(tokenizer, partition=size, validation=0), client, quiet=True)
        reader = corpus.Corpus(out, 280).tokenizer
        found = []
        for about in shards.read_manifest(out)["shards"]:
            shard = shards.open_shard(out / about["name"])
            found += [reader.decode(shard.document(at)[:-1].tolist()) for at in range(len(shard))]
        assert [normal(t) for t in found] == [normal(t) for t in expected]


def test_opt_outs_are_left_out_counted_and_never_shown(raw, recipe, client, tmp_path):
    first = json.loads((raw / "part-0.jsonl").read_text().splitlines()[0])["text"]
    digest = hashlib.sha256(first.encode()).hexdigest()
    (tmp_path / "list").write_text(f"part-1.jsonl\nhttps://example.org/2/*\nsha256:{digest}\nnobody/*\n")
    manifest = prepare(raw, tmp_path / "out", replace(recipe, opt_out=tmp_path / "list"), client, quiet=True)
    assert [(one["files"], one["documents"]) for one in manifest["opt_outs"]] == [
        (1, 0),
        (0, 40),
        (0, 1),
        (0, 0),
    ]
    assert manifest["documents"]["removed"]["opted out"] == 41
    assert all("begin" not in sample for sample in manifest["samples"]["opted out"])
    lines = kept_lines(tmp_path / "out")
    assert not [line for line in lines if line["source"] == "part-1.jsonl" or "/2/" in line["url"]]
    assert digest not in {line["sha256"] for line in lines}
    assert "part-1.jsonl" not in (tmp_path / "out" / "sources.jsonl").read_text()


def test_a_rule_of_ones_own_and_a_choice_of_languages(client, tokenizer, tmp_path):
    (tmp_path / "raw").mkdir()
    german = "Der Rechner war am Montag langsam, und niemand wusste, woran das eigentlich liegen konnte."
    english = "The machine was slow on Monday, and nobody knew what the reason for that could really be."
    (tmp_path / "raw" / "a.jsonl").write_text(
        "".join(
            json.dumps({"text": t}) + "\n" for t in (german, english, german.replace("Montag", "Dienstag"))
        )
    )

    def on_tuesday(text: str) -> bool:
        return "Dienstag" in text

    mine = Recipe(tokenizer, languages=("de",), rules={**RULES, "on_tuesday": on_tuesday}, threshold=None)
    manifest = prepare(tmp_path / "raw", tmp_path / "out", mine, client, quiet=True)
    assert manifest["documents"] == {"read": 3, "kept": 1, "removed": {"on_tuesday": 1, "other language": 1}}
    assert list(manifest["languages"]) == ["de"]
    assert len(manifest["recipe"]["rules"]["on_tuesday"]) == 64


def test_a_finished_preparing_is_not_done_again(done, raw, recipe, monkeypatch):
    before = published(done)
    monkeypatch.setattr(preparing, "run", lambda *_: pytest.fail("it was done again"))
    assert prepare(raw, done, recipe, quiet=True) == shards.read_manifest(done)
    assert published(done) == before


# The same bytes in every way


def spawned_by(pid: int) -> list[psutil.Process]:
    """The workers that a process has started. One that has ended and waits to be collected has no words."""
    found = []
    for process in psutil.Process(pid).children(recursive=True):
        with suppress(psutil.Error):
            if "spawn_main" in " ".join(process.cmdline()):
                found.append(process)
    return found


def all_ended(processes: list[psutil.Process]) -> bool:
    def lives(process: psutil.Process) -> bool:
        with suppress(psutil.Error):
            return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
        return False

    return until(lambda: not any(map(lives, processes)))


@pytest.mark.processes
@pytest.mark.parametrize("workers", [1, 2])
def test_any_number_of_workers_gives_the_same_bytes(raw, recipe, done, tmp_path, workers):
    prepare(raw, tmp_path / "out", recipe, workers=workers, quiet=True)
    assert published(tmp_path / "out") == published(done)
    assert all_ended(spawned_by(os.getpid()))


COMMAND = [sys.executable, "-m", "scaleup.cli", "prepare"]
HELD = """
import sys, time
from pathlib import Path
from scaleup import cli
from scaleup.text.prepare import preparing

class Bar(preparing.tqdm):
    seen = 0
    def update(self, n=1):
        Bar.seen += n
        if Bar.seen == int(sys.argv[2]):
            held = Path(sys.argv[1])
            held.touch()
            while held.exists():
                time.sleep(0.01)

if __name__ == "__main__":
    preparing.tqdm = Bar
    sys.exit(cli.main(sys.argv[3:]))
"""


@contextmanager
def held_after(finished: int, raw: Path, out: Path, recipe: Recipe):
    """(the command, a file): it holds after so many tasks until the file is gone, while its workers go on.

    So a signal reaches it in time, however quick or busy the computer is.
    """
    program, held = out.parent / "held.py", out.parent / "held"
    program.write_text(HELD)
    held.unlink(missing_ok=True)
    with begun(raw, out, recipe, [sys.executable, program, held, finished, "prepare"]) as command:
        assert until(lambda: held.exists() or command.poll() is not None)
        assert command.poll() is None, command.communicate()
        yield command, held


@contextmanager
def begun(raw: Path, out: Path, recipe: Recipe, start=COMMAND):
    """The command in a process group of its own, as a terminal starts it."""
    words = [raw, "--out", out, "--tokenizer", recipe.tokenizer, "--validation", 10, "--workers", 1]
    words += ["--partition", recipe.partition / 2**20]
    command = subprocess.Popen(
        [*map(str, [*start, *words])],
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield command
    finally:
        with suppress(ProcessLookupError):
            os.killpg(command.pid, signal.SIGKILL)
        command.communicate()


def results(out: Path) -> int:
    """How many tasks have finished."""
    return len(list(out.glob(".preparing/*/*.json")))


@pytest.mark.processes
def test_killed_at_five_random_moments_and_taken_up_the_bytes_are_the_same(raw, recipe, done, tmp_path):
    out, seed = tmp_path / "out", random.randrange(10**6)
    print("seed", seed)

    with preparing.alone(raw, tmp_path / "count"):
        made, parts, _ = preparing.plan(raw.resolve(), (tmp_path / "count").resolve(), without_cut(recipe))
        total = len(preparing.tasks(made, parts))
    for moment in sorted(random.Random(seed).sample(range(1, total + 1), 5)):
        with held_after(moment, raw, out, recipe) as (command, _):
            assert results(out) >= moment
            workers = psutil.Process(command.pid).children(recursive=True)
            os.kill(command.pid, signal.SIGKILL)
            command.wait()
            assert all_ended(workers), "a worker has outlived its master"
        assert not (out / "manifest.json").exists()
    assert results(out) > 0
    with begun(raw, out, recipe) as command:
        said, errors = command.communicate(timeout=120)
    assert command.returncode == 0 and not errors, errors
    prepare(raw, tmp_path / "whole", without_cut(recipe), workers=1, quiet=True)
    assert published(out) == published(tmp_path / "whole")
    assert f"{shards.read_manifest(out)['documents']['kept']} kept" in said


def without_cut(recipe: Recipe) -> Recipe:
    """The command's recipe: it has no option for the size of a shard."""
    return Recipe(recipe.tokenizer, partition=recipe.partition, validation=10)


@pytest.mark.processes
@pytest.mark.parametrize("whole_group", [True, False])
def test_an_interrupt_ends_everything_with_a_sentence(raw, recipe, tmp_path, whole_group):
    out = tmp_path / "out"
    with held_after(2, raw, out, recipe) as (command, _):
        workers = psutil.Process(command.pid).children(recursive=True)
        (os.killpg if whole_group else os.kill)(command.pid, signal.SIGINT)
        said, errors = command.communicate(timeout=60)
        assert (command.returncode, said) == (130, "")
        assert errors.strip() == "scaleup: stopped; what was finished is kept."
        assert all_ended(workers)
    assert results(out) >= 2 and not (out / "manifest.json").exists()


@pytest.mark.processes
def test_a_worker_that_is_killed_is_replaced_and_its_task_done_again(raw, recipe, tmp_path):
    out = tmp_path / "out"
    with held_after(2, raw, out, recipe) as (command, held):
        spawned_by(command.pid)[0].kill()
        held.unlink()
        said, errors = command.communicate(timeout=120)
    assert (command.returncode, errors) == (0, "") and "241 documents read" in said
    prepare(raw, tmp_path / "whole", without_cut(recipe), workers=1, quiet=True)
    assert published(out) == published(tmp_path / "whole")


@pytest.mark.parametrize("at", ["sources.jsonl", "train-00002-000.idx", "manifest.json"])
def test_a_publishing_that_was_broken_off_is_finished(raw, recipe, done, client, tmp_path, monkeypatch, at):
    """Killed between the moves of two files, or before the last one."""
    out, real = tmp_path / "out", os.replace

    def stop(source, target):
        if Path(target) == out.resolve() / at:
            raise KeyboardInterrupt
        real(source, target)

    monkeypatch.setattr(os, "replace", stop)
    with pytest.raises(KeyboardInterrupt):
        prepare(raw, out, recipe, client, quiet=True)
    assert not (out / "manifest.json").exists()
    monkeypatch.undo()
    prepare(raw, out, recipe, client, quiet=True)
    assert published(out) == published(done)


def test_workers_that_are_killed_again_and_again_are_told(monkeypatch):
    """What a scheduler says of a task that its workers do not survive becomes a sentence."""
    from dask.distributed import KilledWorker

    class Future:
        key = "clean-0"

        def result(self):
            raise KilledWorker("clean-0", None, 3)

        def release(self): ...

    class Client:
        def compute(self, steps, optimize_graph):
            return [Future()]

    monkeypatch.setattr("dask.distributed.as_completed", lambda futures: futures)
    with pytest.raises(CourseError, match="killed at the same task several times"):
        preparing.run(Client(), [1], quiet=True)


# What goes wrong is one sentence, and nothing is published


def sentence(raw, out, recipe, client=None) -> str:
    with pytest.raises(CourseError) as caught:
        prepare(raw, out, recipe, client, quiet=True)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("z.txt", "naïve".encode("latin-1"), "z.txt is not UTF-8 at byte 2"),
        ("z.txt", b"", "z.txt is empty"),
        ("z.jsonl", b'{"text": "x"\n', "z.jsonl is not JSON lines"),
        (
            "z.jsonl.gz",
            gzip.compress(b'{"text": "x"}\n' * 99, mtime=0)[:-9],
            "z.jsonl.gz is cut off or damaged",
        ),
        ("z.parquet", b"PAR1", "z.parquet cannot be read as Parquet"),
        ("z.txt", b"x" * 300_000, "z.txt has a document of more than 0.1"),
    ],
)
def test_one_bad_file_is_named_and_can_be_skipped(raw, recipe, client, done, tmp_path, name, content, said):
    folder = shutil.copytree(raw, tmp_path / "raw")
    (folder / name).write_bytes(content)
    out, recipe = tmp_path / "out", replace(recipe, largest=150_000)
    assert said in sentence(folder, out, recipe, client)
    assert not (out / "manifest.json").exists() and not list(out.glob("*.bin"))
    manifest = prepare(
        folder, tmp_path / "lenient", replace(recipe, skip_unreadable=True), client, quiet=True
    )
    assert list(manifest["unreadable"]) == [name] and said in manifest["unreadable"][name]
    assert manifest["documents"]["kept"] == shards.read_manifest(done)["documents"]["kept"]


def test_of_a_file_with_a_bad_line_it_is_said_what_stays(raw, recipe, client, done, tmp_path):
    """One block of it is damaged: what is read before the place is kept, and so are the other blocks."""
    folder = shutil.copytree(raw, tmp_path / "raw")
    lines = [json.dumps({"text": text_of(60, 700 + i)}) + "\n" for i in range(40)]
    lines[1] = "{\n"
    (folder / "z.jsonl").write_text("".join(lines))
    out = tmp_path / "out"
    manifest = prepare(folder, out, replace(recipe, skip_unreadable=True), client, quiet=True)
    before = shards.read_manifest(done)["documents"]["kept"]
    said = manifest["unreadable"]["z.jsonl"]
    assert f"line at byte {len(lines[0])} cannot be read. What follows up to byte 6,000 is left out" in said
    assert said.endswith("and 1 document before it is read.")
    kept = [line for line in kept_lines(out) if line["source"] == "z.jsonl"]
    assert 1 < len(kept) == manifest["documents"]["kept"] - before
    assert kept[0]["position"] == 0 and kept[1]["position"] >= 6000


def test_a_mended_file_is_taken_with_another_folder(raw, recipe, client, tmp_path):
    folder = shutil.copytree(raw, tmp_path / "raw")
    (folder / "z.txt").write_bytes(b"\xff")
    assert "not UTF-8" in sentence(folder, tmp_path / "out", recipe, client)
    (folder / "z.txt").write_text(text_of(30, 1))
    assert "begun, with other texts" in sentence(folder, tmp_path / "out", recipe, client)
    prepare(folder, tmp_path / "other", recipe, client, quiet=True)


def test_folders_that_cannot_be_meant(raw, recipe, tmp_path):
    folder = shutil.copytree(raw, tmp_path / "raw")
    for out in (folder, folder / "shards", tmp_path):
        assert "neither may hold the other" in sentence(folder, out, recipe)
    assert {file.name for file in folder.iterdir()} == {file.name for file in raw.iterdir()}
    (tmp_path / "link").symlink_to(folder)
    assert "neither may hold the other" in sentence(folder, tmp_path / "link", recipe)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.pdf").write_text("x")
    assert "holds other things" in sentence(folder, tmp_path / "full", recipe)
    (tmp_path / "file").write_text("x")
    assert "is a file" in sentence(folder, tmp_path / "file", recipe)
    assert "is not a folder" in sentence(tmp_path / "none", tmp_path / "out", recipe)
    assert not (tmp_path / "out").exists()


def test_another_recipe_needs_another_folder(raw, recipe, done):
    before = published(done)
    assert "with other threshold and validation" in sentence(
        raw, done, replace(recipe, threshold=0.5, validation=7)
    )
    assert published(done) == before


def test_two_at_once_are_told(raw, recipe, tmp_path):
    with preparing.alone(raw.resolve(), tmp_path / "out"):
        assert "Another call is preparing" in sentence(raw, tmp_path / "out", recipe)


def test_a_published_shard_that_was_cut_off_or_changed(raw, recipe, client, done, tmp_path):
    out = shutil.copytree(done, tmp_path / "out")
    name = shards.read_manifest(out)["shards"][0]["name"]
    whole = (out / f"{name}.bin").read_bytes()
    (out / f"{name}.bin").write_bytes(whole[:-2])
    assert f"{name}.bin has {len(whole) - 2:,} bytes, and its index says" in sentence(raw, out, recipe)
    (out / f"{name}.bin").write_bytes(whole[:-2] + b"\0\1")
    with pytest.raises(CourseError, match=f"{name}.bin is not what manifest.json says: its checksum differs"):
        shards.verify(out)
    (out / f"{name}.bin").write_bytes(whole)
    shards.verify(out)


@pytest.mark.parametrize(
    ("content", "said"),
    [("{", "cannot be read as a tokenizer.json"), (None, "No such file")],
)
def test_a_tokenizer_that_is_none(raw, recipe, tmp_path, content, said):
    if content:
        (tmp_path / "t.json").write_text(content)
    assert said in sentence(raw, tmp_path / "out", replace(recipe, tokenizer=tmp_path / "t.json"))


def test_a_tokenizer_without_an_end(raw, recipe, tmp_path):
    assert "no end-of-text token [END]. Name its own" in sentence(
        raw, tmp_path / "out", replace(recipe, end="[END]")
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"threshold": 1.5}, "and 1.5 is not"),
        ({"languages": ("de", "klingon")}, "No language has the code 'klingon'"),
        ({"languages": ("de",), "identify": False}, "has to identify them"),
        ({"partition": 0}, "'partition' has to be at least 1"),
        ({"validation": -1}, "'validation'"),
    ],
)
def test_a_recipe_that_cannot_be_meant(changes, said):
    with pytest.raises(CourseError, match=said):
        Recipe(**changes)


FULL = """
import sys, resource, signal
from pathlib import Path
from scaleup import cli
if sys.argv[1] == "limit":
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))
if __name__ == "__main__":
    sys.exit(cli.main(sys.argv[2:]))
"""


@pytest.mark.processes
@pytest.mark.parametrize("way", ["limit", "tmpfs"])
def test_a_full_disk_is_told_and_the_call_after_making_room_finishes(raw, recipe, tmp_path, way):
    program = tmp_path / "program.py"
    program.write_text(FULL)
    out = tmp_path / "disk" / "out"
    out.parent.mkdir()
    words = [
        "prepare",
        raw,
        "--out",
        out,
        "--tokenizer",
        recipe.tokenizer,
        "--partition",
        recipe.partition / 2**20,
    ]
    command = [sys.executable, program, way, *words, "--workers", 1]
    if way == "tmpfs":
        space = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
        mount = f"mount -t tmpfs -o size=200k none {out.parent}"
        if not shutil.which("unshare") or subprocess.run([*space, mount], capture_output=True).returncode:
            pytest.skip("this system lets no user mount a small disk")
        command = [*space, f'{mount} && "$@"; code=$?; ls -A {out}; exit $code', "sh", *command]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 2, done.stderr
    assert (
        done.stderr.startswith(f"scaleup: There is no room left for {out}") and done.stderr.count("\n") == 1
    )
    assert "manifest.json" not in done.stdout and ".bin" not in done.stdout
    if way == "limit":
        assert [file.name for file in out.iterdir()] == [".preparing"]
        again = [sys.executable, program, "none", *words, "--workers", 1]
        assert subprocess.run([*map(str, again)], capture_output=True, timeout=120).returncode == 0
        shards.verify(out)


# The command


def test_the_command_needs_both_folders(raw, capsys):
    assert cli.main(["prepare", str(raw)]) == 2
    assert "Name both folders" in capsys.readouterr().err
    assert cli.main(["prepare", "--out", "x"]) == 2


def test_the_report_names_what_was_kept_removed_and_never_found(done, raw):
    from scaleup.text.prepare.prepare_shell import report

    manifest = shards.read_manifest(done) | {
        "opt_outs": [{"line": "blgo/*", "files": 0, "documents": 0}],
        "unreadable": {"a.txt": "a.txt is empty."},
        "not_read": ["far/", "picture.png"],
    }
    said = report(manifest)
    assert "241 documents read, 223 kept" in said and "6 too short" in said and "6 email" in said
    assert "'blgo/*' fits nothing" in said and "left out, or a part of it: a.txt" in said
    assert "far is a link to a folder and is not read: name the folder itself" in said
    assert "1 files, such as picture.png" in said


@pytest.mark.parametrize("name", ["largest", "partition"])
@pytest.mark.parametrize("value", ["nan", "inf"])
def test_sizes_that_are_no_numbers(raw, tmp_path, capsys, name, value):
    assert cli.main(["prepare", str(raw), "--out", str(tmp_path / "out"), f"--{name}", value]) == 2
    assert f"--{name} is a number of MiB" in capsys.readouterr().err


def test_languages_may_be_written_with_spaces():
    from scaleup.text.prepare.prepare_shell import recipe

    words = ["prepare", "a", "--out", "b", "--languages", "en, de"]
    assert recipe(cli.parser().parse_args(words)).languages == ("en", "de")


def test_a_preparing_that_keeps_nothing_says_so(monkeypatch, capsys, done):
    from scaleup.text.prepare import prepare_shell

    empty = shards.read_manifest(done) | {"shards": []}
    monkeypatch.setattr(prepare_shell, "prepare", lambda *_, **__: empty)
    assert cli.main(["prepare", "a", "--out", "b"]) == 0
    assert "No text is left, so there are no shards" in capsys.readouterr().out
