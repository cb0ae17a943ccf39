"""Measures what the store costs: `python -m benchmarks`."""
