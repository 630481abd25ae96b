"""On how many nodes: the cheapest number in time, the quickest within a budget, searched over every count."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import CourseError
from ..words import count
from . import search
from .planner import Bill, Plan, predict_run

LESS = "Train fewer tokens, or a smaller model."
NEAR = 12  # counts on both sides of the one where the answer changes: some split the batch better than others


class Counts:
    """The best plan of a task on each number of nodes up to `most`; each is searched once, when asked for."""

    def __init__(self, task: search.Task, tokens: float, most: int, bill: Bill, longer: float = 1.0) -> None:
        self.task, self.tokens, self.most, self.bill, self.longer = task, tokens, most, bill, longer
        self.found: dict[int, Plan | None] = {}

    def plan(self, nodes: int) -> Plan | None:
        """The best plan on so many nodes; None where nothing fits."""
        if nodes not in self.found:
            found = search.search(self.task, nodes * self.task.machine.devices_per_node, keep=1)
            whole = predict_run(found.best.run, self.tokens, self.bill) if found.plans else None
            self.found[nodes] = whole
        return self.found[nodes]

    def hours(self, plan: Plan) -> float:
        """Wall time, with a step that takes `longer` times what is planned."""
        return plan.hours * self.longer

    def node_hours(self, plan: Plan) -> float:
        return plan.node_hours * self.longer

    def plans(self) -> list[Plan]:
        """All that were found so far, by nodes."""
        return [plan for _, plan in sorted(self.found.items()) if plan]

    def powers(self) -> list[int]:
        return sorted({2**n for n in range(17) if 2**n < self.most} | {self.most})

    def around(self, wanted: Callable[[Plan], bool], grows: bool) -> None:
        """Search powers of two, then every count around the one where `wanted` changes.

        `grows`: it is true from some number of nodes on; otherwise up to some number.
        """
        for nodes in self.powers():
            self.plan(nodes)
        if not self.plans():  # raises CourseError with what the most nodes lack
            _ = search.search(self.task, self.most * self.task.machine.devices_per_node, keep=1).best
        true = [n for n, plan in self.found.items() if plan and wanted(plan)]
        if not true:
            return
        edge = min(true) if grows else max(true)
        others = [n for n in self.found if (n < edge if grows else n > edge)]
        low, high = (max(others, default=0), edge) if grows else (edge, min(others, default=self.most + 1))
        while high - low > 1:
            middle = (low + high) // 2
            plan = self.plan(middle)
            if (bool(plan) and wanted(plan)) == grows:
                high = middle
            else:
                low = middle
        for nodes in range(max(1, high - NEAR), min(self.most, high + NEAR) + 1):
            self.plan(nodes)


def cheapest(counts: Counts, deadline: float) -> Plan:
    """The fewest node-hours within so many hours. Raises CourseError, with the fastest, where none is."""
    counts.around(lambda plan: counts.hours(plan) <= deadline, grows=True)
    fastest = min(counts.plans(), key=counts.hours)
    if counts.hours(fastest) > deadline:
        raise CourseError(
            f"None is done in {deadline:g} hours: the fastest, on {fastest.nodes:g} of at most "
            f"{counts.most:,} nodes, needs {counts.hours(fastest):,.0f}. {LESS}"
        )
    return min((p for p in counts.plans() if counts.hours(p) <= deadline), key=counts.node_hours)


def quickest(counts: Counts, budget: float) -> Plan:
    """The fewest hours within so many node-hours. Raises CourseError, with the cheapest, where none is."""
    counts.around(lambda plan: counts.node_hours(plan) <= budget, grows=False)
    least = min(counts.plans(), key=counts.node_hours)
    if counts.node_hours(least) > budget:
        raise CourseError(
            f"No number of nodes does it in {budget:,g} node-hours: the cheapest, "
            f"{count(least.nodes, 'node')}, needs {counts.node_hours(least):,.0f}. {LESS}"
        )
    return min((p for p in counts.plans() if counts.node_hours(p) <= budget), key=counts.hours)
