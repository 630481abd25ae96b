"""From text to tokens: `corpus` makes the course's own, `shards` is the format, `feed` and `windows` read."""
