"""`scaleup train` in a job that is told once, after its step 17, that its time is nearly up.

Rank 0 sends what Slurm sends: USR1 to the job's script. All ranks then wait in that step until TERM has come.
"""

import contextlib
import os
import subprocess
import sys
import time

from scaleup import config, train
from scaleup.train import loop

AFTER = 17
noted, step, taken, asked = loop.sigterm_noted, train.Share.step, [], []


@contextlib.contextmanager
def noted_here():
    with noted() as found:
        asked.append(found)
        yield found


def then_told(share, stream):
    loss = step(share, stream)
    taken.append(loss)
    if len(taken) == AFTER and os.environ.get("SLURM_RESTART_COUNT", "0") == "0":
        if os.environ["RANK"] == "0":
            words = ["scancel", "--signal=USR1", "--batch", os.environ["SLURM_JOB_ID"]]
            subprocess.run(words, check=True)
        end = time.monotonic() + 60
        while not asked[0] and time.monotonic() < end:
            time.sleep(0.02)
    return loss


loop.sigterm_noted, train.Share.step = noted_here, then_told
train.train(config.load(sys.argv[sys.argv.index("--config") + 1]))
