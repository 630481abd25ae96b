"""Time on EuroHPC machines: the `doors` with their facts, the `route_rules`, the `route` for a company.

`opening_days` says when a door opens, `interview` is `scaleup access`.
"""

from .doors import FIELDS, modes, section
from .route import Company, Route, find_route

__all__ = ["FIELDS", "Company", "Route", "find_route", "modes", "section"]
