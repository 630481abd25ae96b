"""Decisions with numbers: `costs` of three worlds, `scaling_runs` for a law of small models."""
