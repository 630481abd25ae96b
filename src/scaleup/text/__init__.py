"""From text to tokens: `corpus` makes the course's own, `shards` is the format, `windows` and `feed` read.

`preparing` makes shards of any folder with Dask: `documents`, `optouts`, `filters`, `languages`, `cleaning`,
`duplicates`, `comparing`, `packing`, `publishing`, as `recipe` says. `multilingual` makes raw texts.
"""
