"""What was published against what the planner says: `read_runs` reads a table, `fit` fits, `validate` compares."""
