"""Benchmarks: `make bench`, or `python -m benchmarks [TOPIC…]`. What they found is in BENCHMARKS.md."""
