"""From text to tokens: `corpus` makes the course's own, `shards` is the format, `windows` and `feed` read.

May import this computer's resources, files and errors; `prepare/` makes shards of any folder.
"""
