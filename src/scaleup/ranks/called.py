"""The program behind `ranks.call`: each rank unpickles one function, calls it and saves what it returns."""

import sys
from pathlib import Path

import cloudpickle
import torch
import torch.distributed as dist

from .. import ranks


def main() -> None:
    torch.set_num_threads(1)
    function, args, join = cloudpickle.loads(Path(sys.argv[1]).read_bytes())
    if join:
        dist.init_process_group("gloo")
    ranks.save_result(function(*args))
    if dist.is_initialized():
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
