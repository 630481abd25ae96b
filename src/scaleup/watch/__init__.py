"""Watching a run while it goes on: its curves in TensorBoard, alarms, and what its energy comes to.

`live` turns a run's lines into curves, `alarms` judges them, `footprint` knows power, PUE, grids and prices.
May import decide, plan, machines, measure and below; training imports nothing from here.
"""
