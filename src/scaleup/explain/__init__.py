"""Why a run failed: the likely cause and the line of its log that shows it, or that none is known.

`causes` is the table: signs, what to do first, how to prevent it, an example each. `diagnosis` reads a log
with it, `waiting` reads who hangs where, `findings` says what was found.
"""

from .diagnosis import Candidate, Diagnosis, diagnose
from .findings import text

__all__ = ["Candidate", "Diagnosis", "diagnose", "text"]
