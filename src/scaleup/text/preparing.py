"""From a folder of texts to published token shards, as a graph of tasks that Dask runs.

    clean 0   clean 1   clean 2 …       read, leave out, filter, scrub; keys for finding duplicates
         \\       |       /
        compare 0   compare 1 …         which text repeats an earlier one; each task sees a share of the keys
              \\    |    /
    pack 0    pack 1    pack 2 …        tokenise what stays, write shards
         \\       |       /
             publish                    move the shards, write manifest.json last

Tasks hand on nothing but names and counts: texts, keys and shards are files below `OUT/.preparing`, each written
whole or not at all. So memory does not grow with the corpus, and a second call goes on after the last finished file.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .recipe import Recipe


def prepare(
    folder: Path,
    out: Path,
    recipe: Recipe = Recipe(),
    client: Any = None,
    workers: int | None = None,
    quiet: bool = False,
) -> dict:
    """Prepare every text below `folder` into `out` and return the manifest, as `shards.read_manifest(out)` does.

    `client` is a `dask.distributed.Client`: of a LocalCluster, or of a SLURMCluster whose nodes see both
    folders. Without one, a LocalCluster of `workers` processes (one for each usable core) is started and
    ended here. The bytes are the same for any number of workers. A call that was interrupted, or killed, is
    taken up by the next one with the same texts and recipe; a finished one returns its manifest at once.

    Raises CourseError: a file that cannot be read, a folder that cannot be used, a full disk, a worker that
    was killed. Nothing is published then.
    """
    raise NotImplementedError


def tasks(folder: Path, out: Path, recipe: Recipe) -> Sequence[Any]:
    """The graph as `dask.delayed` objects, not yet run: one for each partition's shards."""
    raise NotImplementedError
