"""Pictures made from a lesson's own values, so that none can say something else than its lesson.

A cell ends with one of these calls, and the picture shows itself. `canvas.Drawing` is what they draw on.
"""

from .areas import areas
from .bars import bars
from .canvas import KINDS, Drawing
from .course_map import course
from .dealt import dealt
from .decisions import decisions
from .flow import Arrow, Box, flow
from .lanes import Span, lanes
from .machine_node import node
from .over_time import over_time
from .rings import ring
from .shrinking import shrinking
from .stacks import stacks
from .tensors import Piece, cut, on_ranks

__all__ = [
    "KINDS", "Arrow", "Box", "Drawing", "Piece", "Span",
    "areas", "bars", "course", "cut", "dealt", "decisions", "flow", "lanes", "node", "on_ranks", "over_time",
    "ring", "shrinking", "stacks",
]  # fmt: skip
