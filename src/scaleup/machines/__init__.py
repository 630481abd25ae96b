"""Real supercomputers as data: `facts` with their sources, the `table` of machines, `job` scripts for them.

This computer is in `scaleup.computer`; what pretends to be a supercomputer is in `scaleup.practice`.
"""

from .facts import Fact, Source
from .table import FIELDS, Field, Machine, Pitfall, announced, load, machine, operational, pitfalls, taught

__all__ = [
    "FIELDS",
    "Fact",
    "Field",
    "Machine",
    "Pitfall",
    "Source",
    "announced",
    "load",
    "machine",
    "operational",
    "pitfalls",
    "taught",
]
