"""This computer: what it may use (`resources`), and whether the course runs on it (`doctor`).

Standard library only, so that it still reports where nothing else is installed. Everybody may import it.
"""
