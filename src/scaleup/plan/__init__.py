"""The planner: how long, how much memory, how many hours. Standard library only: it runs in a browser."""

from .layout import SOFTWARE, Layout, Machine, Run
from .planner import Bill, Plan, arithmetic, as_dict, plan
from .shapes import KNOWN, Shape, model

__all__ = [
    "KNOWN",
    "SOFTWARE",
    "Bill",
    "Layout",
    "Machine",
    "Plan",
    "Run",
    "Shape",
    "arithmetic",
    "as_dict",
    "model",
    "plan",
]
