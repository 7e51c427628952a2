"""Questions answered by a label: ``python -m tasks.qa``."""
