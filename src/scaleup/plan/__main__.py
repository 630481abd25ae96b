"""How fast the search is: `python -m scaleup.plan`."""

import time

from . import search
from .accelerators import ACCELERATORS
from .layout import Machine
from .shapes import KNOWN


def main() -> None:
    """Weigh the layouts of some large tasks and say how fast that was."""
    machine = Machine(ACCELERATORS["GH200"], 4, 100e9)
    for name, devices, batch in (("llama-3-70b", 1024, 1024), ("qwen3-235b-a22b", 3840, 23040)):
        start = time.process_time()
        found = search.search(search.Task(KNOWN[name], 8192, batch, machine), devices)
        seconds = time.process_time() - start
        print(
            f"{name} on {devices} devices: {found.weighed:,} layouts weighed, {found.feasible:,} fit, "
            f"{seconds:.2f} s of one core"
        )


if __name__ == "__main__":
    main()
