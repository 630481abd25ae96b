"""The planner against published runs, for maintainers. The planner imports none of it, nor does a browser.

`read_runs` reads a table of runs, `predict_table` predicts its rows, `fit` fits the planner's numbers,
`validate` writes the page on how far off they are, `calibrate` says it of plans from measured steps.
"""
