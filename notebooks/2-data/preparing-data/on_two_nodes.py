"""Prepares texts with Dask workers on two nodes. Run it on a login node of the practice supercomputer.

python on_two_nodes.py TEXTS SHARDS TOKENIZER OPT_OUTS
"""

import os
import shlex
import sys
from pathlib import Path

from dask.distributed import Client
from dask_jobqueue import SLURMCluster

from scaleup.text.prepare import preparing
from scaleup.text.prepare.recipe import Recipe


def main(raw: Path, out: Path, tokenizer: Path, opt_out: Path) -> None:
    recipe = Recipe(tokenizer=tokenizer, opt_out=opt_out, partition=2**18)
    how = {"cores": 1, "processes": 1, "log_directory": "logs"}  # our steps are Python: one thread
    how["python"] = shlex.quote(sys.executable)  # it becomes a line of a shell script
    with SLURMCluster(**how) as cluster, Client(cluster) as client:
        cluster.scale(jobs=2)  # two jobs, each of them one worker
        client.wait_for_workers(2, timeout=120)  # seconds: on a real machine as long as its queue
        nodes = client.run(lambda: os.uname().nodename).values()
        print("workers on", *sorted(nodes))
        preparing.prepare(raw, out, recipe, client)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
