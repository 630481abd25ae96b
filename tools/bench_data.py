"""How fast is preparing data? `scaleup.text.prepare` beside `datasets.map`, and how much memory it takes.

Both get the same JSON lines, the same tokenizer, the same call of it and two processes. "Tokens only" leaves
out every other step on both sides. "Cleaned" gives `datasets.map` the same functions for tidying, scrubbing,
rules and languages; it has no deduplication across processes, so ours does that on top. A run goes from files
to files. Cold includes the start of Python and of the workers; warm is the next run of the same process, with
Dask's workers still there (`datasets` starts new ones for each call, which is how it works).
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import psutil
from tokenizers import Tokenizer

from scaleup.computer.resources import usable_cores
from scaleup.errors import CourseError
from scaleup.text import corpus
from scaleup.text.prepare import filters, languages
from scaleup.text.prepare.preparing import own_workers, prepare
from scaleup.text.prepare.recipe import Recipe

OURS, THEIRS = "scaleup prepare", "datasets.map"
WORK = ("tokens only", "cleaned")
LINES = 60  # of source code in a document
PARTITION = 2**20


def write_texts(folder: Path, megabytes: float) -> int:
    """The course's text as JSON lines in four files; returns the bytes of text."""
    files = corpus.source_files(corpus.manifest())
    folder.mkdir(parents=True)
    streams = [(folder / f"part-{i}.jsonl").open("w", encoding="utf-8") for i in range(4)]
    written = number = 0
    for _, text in files:
        lines = text.splitlines(keepends=True)
        for at in range(0, len(lines), LINES):
            document = "".join(lines[at : at + LINES])
            streams[number % 4].write(json.dumps({"text": document}) + "\n")
            written += len(document.encode())
            number += 1
        if written >= megabytes * 1e6:
            break
    for stream in streams:
        stream.close()
    return written


def recipe(work: str, tokenizer: Path) -> Recipe:
    if work == "cleaned":
        return Recipe(tokenizer, partition=PARTITION, validation=0)
    return Recipe(
        tokenizer, partition=PARTITION, validation=0, threshold=None, rules={}, scrub=False, identify=False
    )


def cleaned_tokens(texts: list[str], tokenizer: Tokenizer, work: str) -> list[list[int]]:
    """What a function for `datasets.map` does: the steps of `cleaning` that look at one document alone."""
    texts = [filters.tidy(text) for text in texts]
    if work == "cleaned":
        texts = [filters.scrub(text)[0] for text in texts]
        texts = [text for text in texts if not filters.first_reason(text)]
        for text in texts:
            languages.identify(text)
    return [one.ids for one in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]


def with_datasets(folder: Path, out: Path, tokenizer_file: Path, work: str) -> None:
    """The same work as a user of `datasets` writes it: load, map, and the tokens are on disk."""
    import datasets

    datasets.disable_progress_bars()
    tokenizer = Tokenizer.from_file(str(tokenizer_file))

    def prepared(batch: dict) -> dict:
        return {"input_ids": cleaned_tokens(batch["text"], tokenizer, work)}

    files = sorted(map(str, folder.glob("*.jsonl")))
    texts = datasets.load_dataset("json", data_files=files, split="train", cache_dir=str(out))
    texts.map(prepared, batched=True, batch_size=256, num_proc=2, remove_columns=["text"])


def child(contender: str, work: str, folder: Path, place: Path, tokenizer: Path, runs: int) -> list[float]:
    """Ends of `runs` runs of one contender in this process, in seconds of the clock."""
    ends = [time.time()]
    if contender == THEIRS:
        for run in range(runs):
            with_datasets(folder, place / f"out-{run}", tokenizer, work)
            ends.append(time.time())
    else:
        with own_workers(2) as client:
            for run in range(runs):
                prepare(folder, place / f"out-{run}", recipe(work, tokenizer), client, quiet=True)
                ends.append(time.time())
    return ends[1:]


def start(contender: str, work: str, folder: Path, tokenizer: Path, runs: int) -> tuple[list[float], float]:
    """(seconds of each run in a fresh process, the first with its start; peak memory of it all in MB)."""
    with tempfile.TemporaryDirectory(prefix="scaleup-bench-") as place:
        words = [contender, work, folder, place, tokenizer, runs]
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "RAYON_NUM_THREADS": "1", "HF_HOME": place}
        environment["TOKENIZERS_PARALLELISM"] = "false"
        begin = time.time()
        process = subprocess.Popen(
            [sys.executable, "-m", "tools.bench_data", *map(str, words)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        peak = Peak(process.pid)
        said, errors = process.communicate()
        if process.returncode:
            raise CourseError(f"The benchmark of {contender} ended early: {errors.strip().splitlines()[-1:]}")
        ends = json.loads(said.splitlines()[-1])
    return [b - a for a, b in zip([begin, *ends], ends, strict=False)], peak.stop() / 1e6


class Peak:
    """The most memory that a process and its children have at once, looked at every 50 ms.

    Proportional shares where the system tells them, so that a page which two processes share counts once.
    """

    def __init__(self, pid: int) -> None:
        self._most, self._done = 0, threading.Event()
        self._thread = threading.Thread(target=self._look, args=(psutil.Process(pid),), daemon=True)
        self._thread.start()

    def _look(self, process: psutil.Process) -> None:
        while not self._done.wait(0.05):
            try:
                family = [process, *process.children(recursive=True)]
                self._most = max(self._most, sum(map(memory, family)))
            except psutil.NoSuchProcess:
                continue

    def stop(self) -> int:
        self._done.set()
        self._thread.join()
        return self._most


def memory(process: psutil.Process) -> int:
    try:
        found = process.memory_full_info()
    except psutil.Error:
        return 0
    return getattr(found, "pss", found.uss)


def measure_data(
    megabytes: float, rounds: int, part: Callable[[str], None], tick: Callable[[], None]
) -> dict:
    """MB of text per second, cold and warm, of both contenders, and our peak memory on half and all of it."""
    with tempfile.TemporaryDirectory(prefix="scaleup-bench-") as place:
        folder, half = Path(place) / "texts", Path(place) / "half"
        size, half_size = write_texts(folder, megabytes), write_texts(half, megabytes / 2)
        tokenizer = corpus.prepare(quiet=True).folder / "tokenizer.json"
        found = []
        for work in WORK:
            part(f"preparing data, {work}")
            seconds: dict[str, list[list[float]]] = {OURS: [], THEIRS: []}
            for turn in range(rounds):
                for contender in (OURS, THEIRS) if turn % 2 == 0 else (THEIRS, OURS):
                    seconds[contender].append(start(contender, work, folder, tokenizer, 2)[0])
                tick()
            for run, name in enumerate(("cold", "warm")):
                each = {who: [times[run] for times in seconds[who]] for who in seconds}
                rates = {who: [size / 1e6 / one for one in times] for who, times in each.items()}
                ratios = [theirs / ours for ours, theirs in zip(each[OURS], each[THEIRS], strict=True)]
                found.append(
                    {
                        "work": work,
                        "start": name,
                        "megabytes_per_second": {
                            who: round(statistics.median(rate), 3) for who, rate in rates.items()
                        },
                        "ours_over_theirs": round(statistics.median(ratios), 3),
                        "least": round(min(ratios), 3),
                        "most": round(max(ratios), 3),
                    }
                )
        part("preparing data, memory")
        peaks = [round(start(OURS, "cleaned", texts, tokenizer, 1)[1], 1) for texts in (half, folder)]
        tick()
    versions = ("dask", "datasets", "tokenizers")
    return {
        "date": date.today().isoformat(),
        "cores": usable_cores(),
        "versions": {name: importlib.metadata.version(name) for name in versions},
        "megabytes": round(size / 1e6, 2),
        "rounds": rounds,
        "speed": found,
        "memory": [
            {"megabytes": round(one / 1e6, 2), "peak_megabytes": peak}
            for one, peak in zip((half_size, size), peaks, strict=True)
        ],
    }


if __name__ == "__main__":
    contender, work, folder, place, tokenizer, runs = sys.argv[1:]
    print(json.dumps(child(contender, work, Path(folder), Path(place), Path(tokenizer), int(runs))))
