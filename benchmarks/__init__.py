"""What the store costs, measured: `python -m benchmarks`."""
