"""Several runs of a task compared: ``python -m tasks.compare``."""
