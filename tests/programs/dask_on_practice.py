"""Counts the lines of SymPy's source with Dask workers on the practice supercomputer; run on its login node.

Says what it saw as JSON: the nodes of one and of two workers, the counts before and after a worker is lost.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import dask.bag
import sympy
from dask_jobqueue import SLURMCluster
from distributed import Client


def count_lines(path):
    with open(path, "rb") as file:
        return sum(1 for _ in file)


def slowly(path):
    time.sleep(0.05)  # so that a worker is lost in the midst of the graph
    return count_lines(path)


def nodes_of(client):
    return sorted(client.run(lambda: os.uname().nodename).values())


def main(folder):
    files = sorted(str(path) for path in Path(sympy.__file__).parent.rglob("*.py"))[:400]
    bag = dask.bag.from_sequence(files, npartitions=40)
    seen = {"expected": sum(map(count_lines, files))}
    with SLURMCluster(log_directory=folder) as cluster, Client(cluster) as client:
        cluster.scale(jobs=1)
        client.wait_for_workers(1, timeout=60)
        seen["one"] = nodes_of(client)
        cluster.scale(jobs=2)
        client.wait_for_workers(2, timeout=60)
        seen["two"] = nodes_of(client)
        seen["lines"] = bag.map(count_lines).sum().compute()
        pending = client.compute(bag.map(slowly).sum())
        time.sleep(0.5)
        lost = next(iter(cluster.workers.values())).job_id
        subprocess.run(["scancel", "--signal=KILL", "--full", lost], check=True)
        seen["lines_after_a_loss"] = pending.result(timeout=60)
        seen["workers_after_a_loss"] = len(client.scheduler_info()["workers"])
        cluster.scale(jobs=0)
        while client.scheduler_info()["workers"]:
            time.sleep(0.1)
    print(json.dumps(seen))


if __name__ == "__main__":
    main(sys.argv[1])
