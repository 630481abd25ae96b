"""What a lesson shows: `predict` before a measurement, `plots` of it.

Lessons import it, and the course's own code does not.
"""
