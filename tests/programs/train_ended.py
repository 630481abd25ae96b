"""`scaleup.train.train`, and the last rank is told to end after its third step."""

import os
import signal
import sys

from scaleup import config, train

step, taken = train.Share.step, []


def then_ended(share, stream):
    loss = step(share, stream)
    taken.append(loss)
    if len(taken) == 3 and os.environ["RANK"] == "1":
        os.kill(os.getpid(), signal.SIGTERM)
    return loss


train.Share.step = then_ended
train.train(config.load(sys.argv[1]))
