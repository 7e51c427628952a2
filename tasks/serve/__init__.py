"""Answers over HTTP: ``python -m tasks.serve``."""
