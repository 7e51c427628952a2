"""Answers from a trained run: ``python -m tasks.predict``."""
