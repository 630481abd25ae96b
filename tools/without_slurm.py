"""What nbval shall leave out on this machine, as an option for it, and why: used by `make test`."""

import os
import sys

from scaleup.computer.slurm import available, missing_sentence

if __name__ == "__main__" and not available() and not os.environ.get("SCALEUP_NO_SKIP"):
    print(f"{missing_sentence()} The lessons that need it are left out.", file=sys.stderr)
    print("--ignore-glob=*/4-on-the-machine/*")
    print("--ignore-glob=*/notebooks/3-many-devices/collectives.ipynb")
