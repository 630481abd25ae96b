"""The lessons' road on one GPU, measured and recorded: `python -m tools.gpu`, or `make gpu`.

`parts` and `steps` are what is measured, `work` what these share, `device` the only module that names
`torch.cuda`, `run` starts the parts one by one, and `page` writes the book's page from the records.
"""
