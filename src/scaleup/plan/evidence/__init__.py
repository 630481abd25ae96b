"""The planner against published runs, for maintainers: a browser does not load it.

`read_runs` reads a table of runs, `predict_table` predicts its rows, `fit` fits the planner's numbers,
`validate` writes the page that says how far off they are. The planner itself imports none of it.
"""
