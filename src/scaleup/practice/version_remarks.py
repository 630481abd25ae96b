"""Remarks that depend on Slurm's version."""

from __future__ import annotations

from collections.abc import Iterator

from .reading import Reading
from .remarks import FIRST_JOB, Example, Finding, Rule
from .slurm_versions import OPTIONS


def newer_option(reading: Reading) -> Iterator[Finding]:
    """An option that the machine's Slurm may not have; the Slurm here was asked without it."""
    version = reading.machine["slurm_version"].value
    for name, fact in OPTIONS.items():
        if name in reading.asked.options and fact.holds(version) is not True:
            here = (
                f"{reading.name} has {version}" if version else f"which one {reading.name} has is not known"
            )
            yield Finding(reading.asked.line(name), {"name": name, "since": fact.since, "here": here})


RULES = (
    Rule(
        "newer-option",
        newer_option,
        "sbatch has --{name} since Slurm {since}; {here}.",
        FIRST_JOB,
        Example(
            "#!/bin/bash\n#SBATCH --account=my_project -p boost_usr_prod --gres=gpu:4\n#SBATCH --segment=2\n",
            3,
        ),
    ),
)
