"""Maintainers' scripts, started as `python -m tools.NAME` from the top folder.

They import the course; nothing of the course imports them, and they are not installed with it.
"""
