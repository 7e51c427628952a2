"""Measurements against the tools people would use instead, run as ``python -m benchmarks.NAME``."""
