"""Five things go wrong in one run, so that it starts only once."""

from importlib import import_module

for drill in ("slow_link", "straggler", "not_a_number", "flipped_bit", "mismatch"):
    import_module(drill)  # each runs as it is imported
