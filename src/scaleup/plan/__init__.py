"""The planner: how long, how much memory, how many hours. Standard library only: it runs in a browser."""

from .layout import SOFTWARE, Layout, Machine, Run
from .planner import Bill, Plan, predict_run
from .question import Answer, Question, answer, plan
from .shapes import KNOWN, Shape, model

__all__ = [
    "KNOWN",
    "SOFTWARE",
    "Answer",
    "Bill",
    "Layout",
    "Machine",
    "Plan",
    "Question",
    "Run",
    "Shape",
    "answer",
    "model",
    "plan",
    "predict_run",
]
