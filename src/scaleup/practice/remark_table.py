"""All rules for remarks, in the order in which they are told."""

from __future__ import annotations

from . import cost_remarks, header_remarks, node_remarks, start_remarks, version_remarks

HEADER = header_remarks.RULES
BODY = (*start_remarks.RULES, *node_remarks.RULES)
ACCEPTED = (*cost_remarks.RULES, *version_remarks.RULES, *BODY, *HEADER)
PLACE = tuple(rule for rule in cost_remarks.RULES if rule.explains)
REFUSED = (*PLACE, *HEADER, *BODY)  # what a refused script would waste is of no use to anybody
ALL = ACCEPTED
EXPLAINING = frozenset(rule.name for rule in ALL if rule.explains)
