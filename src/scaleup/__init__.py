"""Scale Up."""
