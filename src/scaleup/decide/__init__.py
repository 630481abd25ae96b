"""Decisions with numbers: `costs` of three worlds, `scaling_runs` of small models."""
