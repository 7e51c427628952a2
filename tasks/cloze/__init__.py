"""Labels by filling a gap: ``python -m tasks.cloze``."""
