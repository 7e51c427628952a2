"""Benchmarks against other tools for the same work; run them with ``python -m benchmarks.NAME``."""
