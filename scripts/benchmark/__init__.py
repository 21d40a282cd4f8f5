"""Benchmarks of the hot paths against plain implementations: `python3 scripts/benchmark`."""
