"""Hot paths timed against the plain way of doing the same work: `python3 scripts/benchmark`."""
