"""From text to tokens: `corpus` makes shards once, `windows` cuts them into samples. Imports paths and files only."""
