"""Real supercomputers as data: `facts` with source and date, the `table` of machines, `job` scripts for them."""

from .facts import Fact, Source
from .table import FIELDS, Field, Machine, Pitfall, load, machine, operational, pitfalls, taught

__all__ = [
    "FIELDS",
    "Fact",
    "Field",
    "Machine",
    "Pitfall",
    "Source",
    "load",
    "machine",
    "operational",
    "pitfalls",
    "taught",
]
