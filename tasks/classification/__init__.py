"""Text classification: ``python -m tasks.classification``."""
