"""This computer: its `resources`, its `slurm`, its PyTorch (`torch_probe`); `doctor` reports on all of it.

Standard library only, so that it still reports where nothing else is installed.
"""
