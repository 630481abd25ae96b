"""Maintainers' scripts, started as `python -m tools.NAME` from the top folder; nothing of the course imports them."""
