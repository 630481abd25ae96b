"""Two tasks of a node work for two seconds: on one core, then on a core each."""

import json
import os
import sys
import time
from pathlib import Path

task = int(os.environ["SLURM_PROCID"])
cores = sorted(os.sched_getaffinity(0))
mine = cores[0] if sys.argv[1] == "same" else cores[task % len(cores)]
os.sched_setaffinity(0, {mine})
begin, used, rounds = time.perf_counter(), time.process_time(), 0
while time.perf_counter() - begin < 2:
    sum(range(20_000))
    rounds += 1
share = (time.process_time() - used) / (time.perf_counter() - begin)
seen = {"cores": sorted(os.sched_getaffinity(0)), "share": share, "rounds": rounds}
Path(f"binding-{sys.argv[1]}-{task}.json").write_text(json.dumps(seen))
