"""Rank 1 fails in the way the argument names, while rank 0 waits for it in a collective."""

import os
import sys

import torch.distributed as dist

dist.init_process_group("gloo")
print("before")
if dist.get_rank() == 1:
    if sys.argv[1] == "exit":
        os._exit(3)
    try:
        {}["weights"]
    except KeyError:
        # The exception that counts is the last one of the chain, and its message has two lines.
        raise ValueError("the batch has 3 rows\nand 4 were expected") from None
dist.barrier()
