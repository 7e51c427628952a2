"""Reads hostile files of every kind, and counts what must never happen: ``python -m benchmarks.attack``."""
