"""Starts the practice supercomputer, runs a torchrun job over two nodes and stops it, N times.

    python tests/programs/practice_cycles.py 30 [namespaces|plain]

Prints how many cycles left nothing behind, and how long a start and a stop took. It uses the course's own
cluster: stop yours first.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "practice"))
from test_practice import left_behind, two_node_job

from scaleup import practice


def main(cycles, mode=None):
    good, starts, stops = 0, [], []
    for number in range(1, cycles + 1):
        begin = time.perf_counter()
        plan = practice.up(mode=mode)
        starts.append(time.perf_counter() - begin)
        with tempfile.TemporaryDirectory(dir=practice.cluster.state()) as folder:
            state = practice.wait(two_node_job(Path(folder, "results")))
            ranks = len(list(Path(folder, "results").glob("rank*")))
        begin = time.perf_counter()
        practice.down()
        stops.append(time.perf_counter() - begin)
        left = left_behind(plan)
        good += state == "COMPLETED" and ranks == 4 and not left
        print(f"{number}: {state}, {ranks} ranks, left behind: {left or 'nothing'}", flush=True)
    print(
        f"{good} of {cycles} good in mode {plan.mode}; start: median {statistics.median(starts):.2f} s, "
        f"longest {max(starts):.2f} s; stop: median {statistics.median(stops):.2f} s"
    )
    return good != cycles


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), *sys.argv[2:]))
