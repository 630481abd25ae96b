"""From text to tokens: `corpus` makes token shards once, `windows` cuts them into samples."""
