"""A proposal for computing time: the company's words, a plan and a study become an annex that names its gaps.

`own_words` reads the company's file, `asked_hours` does units and sizes, `annex` writes the sections,
`printing` makes pages of them, `review` asks what a reviewer asks, `proposing` is the command.
"""
