"""Pre-training on plain text: ``python -m tasks.pretraining``."""
