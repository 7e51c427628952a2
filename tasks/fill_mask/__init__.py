"""Predictions for masked words: ``python -m tasks.fill_mask``."""
