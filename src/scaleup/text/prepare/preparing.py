"""From a folder of texts to published token shards, as a graph of tasks that Dask runs.

    clean 0   clean 1   clean 2 …       read, leave out, filter, scrub; note keys for finding duplicates
          \\      |      /
      compare 0   compare 1 …           which text repeats an earlier one; each task sees a share of the keys
          /      |      \\
    pack 0    pack 1    pack 2 …        tokenise what stays, write shards
          \\      |      /
             publish                    give the shards their places, write manifest.json last

Tasks hand nothing on but the word that they are done: texts, keys and shards are files below OUT/.preparing,
each written whole or not at all. So memory does not grow with the corpus, and a second call goes on after the
last file that was finished.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import logging
import signal
import sys
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from tqdm.auto import tqdm

from ...computer.resources import usable_cores
from ...errors import CourseError
from ...files import write_whole
from ..shards import MANIFEST, open_shard, read_manifest
from .cleaning import clean
from .comparing import compare
from .documents import Block, find, partitions
from .optouts import OptOuts, read_list
from .packing import end_of_text, load_tokenizer, pack
from .publishing import publish
from .recipe import Recipe
from .steps import Preparation, sentence

# One thread for each worker, and none of the samples that Dask takes of running code: they cost a tenth.
WORKER = {
    "RAYON_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False",
}


def prepare(
    folder: Path,
    out: Path,
    recipe: Recipe | None = None,
    client: Any = None,
    workers: int | None = None,
    quiet: bool = False,
) -> dict:
    """Prepare every text below `folder` into `out` and return the manifest (`shards.read_manifest(out)`).

    `client` is a `dask.distributed.Client`: of a LocalCluster, or of a SLURMCluster whose nodes see both
    folders. Without one, a LocalCluster of `workers` processes (one for each usable core) is started and
    ended here. The bytes are the same for any number of workers. A call that was interrupted, or killed, is
    taken up by the next one with the same texts and recipe; a finished one returns its manifest at once.

    Raises CourseError: a file that cannot be read, a folder that cannot be used, a full disk, a worker that
    was killed. Nothing is published then.
    """
    folder, out = Path(folder).resolve(), Path(out).resolve()
    try:
        with alone(folder, out):
            prep, parts, about = plan(folder, out, recipe or Recipe())
            if (out / MANIFEST).exists():
                return finished(out)
            if client is not None:
                run(client, tasks(prep, parts), quiet)
            else:
                with own_workers(min(workers or usable_cores(), len(parts))) as own:
                    run(own, tasks(prep, parts), quiet)
            return publish(prep, **about)
    except OSError as error:
        raise sentence(error, out) from None


@contextlib.contextmanager
def alone(folder: Path, out: Path) -> Iterator[None]:
    """Look whether `out` may be used, make it, and hold it while nobody else prepares into it."""
    find(folder)
    if out == folder or out in folder.parents or folder in out.parents:
        raise CourseError(f"The shards of {folder} cannot go to {out}: neither may hold the other. "
                          "Name a folder elsewhere.")  # fmt: skip
    if out.exists() and not out.is_dir():
        raise CourseError(f"{out} is a file. Name a folder for the shards.")
    work = out / ".preparing"
    if out.exists() and not work.exists() and any(out.iterdir()):
        raise CourseError(f"{out} holds other things. Name a new folder for the shards.")
    work.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(work / "lock", timeout=0):
            yield
    except Timeout:
        raise CourseError(
            f"Another call is preparing {out} at this moment. Wait for it, or stop it."
        ) from None


def plan(folder: Path, out: Path, recipe: Recipe) -> tuple[Preparation, list[list[Block]], dict]:
    """(prep, what each task reads, what the manifest says of it), after comparing with an earlier call's."""
    opt_outs = read_list(recipe.opt_out)
    leave_out = OptOuts(opt_outs)
    read, others = find(folder)
    opted_out: dict[str, int] = {}
    sources = []
    for source in read:
        if pattern := leave_out.pattern_for(source):
            opted_out[pattern] = opted_out.get(pattern, 0) + 1
        else:
            sources.append(source)
    unreadable: dict[str, str] | None = {} if recipe.skip_unreadable else None
    parts = partitions(folder, sources, recipe.partition, unreadable)
    if not parts:
        raise CourseError(f"Nothing is left to read in {folder}: every file is opted out or unreadable.")
    prep = Preparation(folder, out, recipe, tuple(opt_outs), len(parts))
    tokenizer = tokenizer_file(recipe)
    end_of_text(load_tokenizer(tokenizer), recipe.end)
    facts = recipe.facts()
    versions = {name: importlib.metadata.version(name) for name in ("tokenizers", "rensa", "py3langid")}
    same_as_before(prep, {"recipe": facts, "versions": versions, "texts": inputs(folder, sources)})
    write_whole(prep.work / "tokenizer.json", tokenizer.read_bytes())
    unread = {"others": others, "opted_out": opted_out, "unreadable": unreadable or {}}
    return prep, parts, {"facts": facts, "versions": versions, "unread": unread}


def tokenizer_file(recipe: Recipe) -> Path:
    if recipe.tokenizer is not None:
        return Path(recipe.tokenizer)
    from .. import corpus

    return corpus.prepare(quiet=True).folder / "tokenizer.json"


def inputs(folder: Path, sources: list[str]) -> list[list]:
    """Path, bytes and time of change of every file: whether the texts are those of the call before."""
    facts = [(folder / source).stat() for source in sources]
    return [[source, one.st_size, one.st_mtime_ns] for source, one in zip(sources, facts, strict=True)]


def same_as_before(prep: Preparation, now: dict) -> None:
    """Note what this preparing is; raises CourseError where the folder holds one of another kind."""
    file = prep.work / "recipe.json"
    now = json.loads(json.dumps(now))
    try:
        before = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return write_whole(file, json.dumps(now, ensure_ascii=False))
    if before == now:
        return None
    old, new = before["recipe"], now["recipe"]
    other = [name for name in new if new[name] != old.get(name)] or [
        name for name in ("texts", "versions") if before[name] != now[name]
    ]
    raise CourseError(f"{prep.out} was prepared, or begun, with other {' and '.join(other)}. "
                      "Name a new folder, or remove that one.")  # fmt: skip


def finished(out: Path) -> dict:
    """The manifest of a complete preparing. Raises CourseError where a shard is gone or cut off."""
    manifest = read_manifest(out)
    for shard in manifest["shards"]:
        open_shard(out / shard["name"])
    return manifest


def tasks(prep: Preparation, parts: Sequence[Sequence[Block]]) -> list[Any]:
    """The graph as `dask.delayed` objects, not yet run: clean, compare and pack, in this order.

    Two joints in the middle keep it small: every comparison needs every cleaning, and every packing every
    comparison.
    """
    from dask import delayed

    mark = uuid.uuid4().hex[:8]  # a scheduler takes two tasks of one name for the same one
    shared = delayed(prep, name=f"prep-{mark}", traverse=False)

    def add(step: Any, number: int, *arguments: Any, after: Any = None) -> Any:
        name = f"{step.__name__}-{number}-{mark}"
        return delayed(step, pure=False)(shared, number, *arguments, after=after, dask_key_name=name)

    def joint(name: str, steps: list) -> Any:
        return delayed(all_done, pure=False)(steps, dask_key_name=f"{name}-{mark}")

    files = [delayed(part, name=f"files-{n}-{mark}", traverse=False) for n, part in enumerate(parts)]
    cleaned = [add(clean, n, part) for n, part in enumerate(files)]
    compared = [add(compare, bucket, after=joint("cleaned", cleaned)) for bucket in range(prep.buckets)]
    packed = [add(pack, n, after=joint("compared", compared)) for n in range(prep.partitions)]
    return [*cleaned, *compared, *packed]


def all_done(steps: list) -> None:
    """A joint of the graph: it depends on many tasks, and many depend on it."""


def run(client: Any, steps: list[Any], quiet: bool) -> None:
    """Let the workers do all tasks, with a bar. After an error or an interrupt no further task begins."""
    from dask.distributed import KilledWorker, as_completed

    shown = not quiet and sys.stderr.isatty()
    futures = client.compute(steps, optimize_graph=False)
    try:
        with tqdm(total=len(futures), desc="preparing", unit="task", disable=not shown, leave=False) as bar:
            for future in as_completed(futures):
                future.result()
                bar.set_description(future.key.partition("-")[0])
                bar.update()
    except KilledWorker:
        raise CourseError(
            "Workers were killed at the same task several times, probably because memory ran out. "
            "Call again with fewer workers or a smaller partition: what was finished is kept."
        ) from None
    finally:
        for future in futures:  # a scheduler drops tasks that nobody wants
            future.release()


@contextlib.contextmanager
def own_workers(count: int) -> Iterator[Any]:
    """A client of `count` worker processes with one thread each, which end with the block."""
    from dask.distributed import Client, LocalCluster, WorkerPlugin

    class Undisturbed(WorkerPlugin):
        """Ctrl-C reaches every process of a terminal; workers are ended by the one that started them."""

        def setup(self, worker: Any) -> None:
            signal.signal(signal.SIGINT, signal.SIG_IGN)

    with (
        tempfile.TemporaryDirectory(prefix="scaleup-dask-", ignore_cleanup_errors=True) as place,
        LocalCluster(
            n_workers=count,
            threads_per_worker=1,
            dashboard_address="127.0.0.1:0",
            local_directory=place,
            silence_logs=logging.CRITICAL,
            env=WORKER,
        ) as cluster,
        Client(cluster) as client,
    ):
        client.register_plugin(Undisturbed())
        yield client
