"""Figures of a trained run on a labelled file: ``python -m tasks.evaluate``."""
