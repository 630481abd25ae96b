"""From text to tokens: `corpus` makes the course's own, `shards` is the format, `windows` and `feed` hand out samples."""
