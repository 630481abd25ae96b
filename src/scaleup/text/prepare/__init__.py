"""A folder of raw text becomes shards, with Dask: `preparing` is the whole, `prepare_shell` its command.

`documents` reads; `optouts`, `filters`, `languages` and `duplicates` judge; `cleaning`, `comparing`,
`packing` and `publishing` are the steps, as `recipe` says. `multilingual` makes raw texts. May import text.
"""
