"""A search for good settings of a task: ``python -m tasks.search``."""
