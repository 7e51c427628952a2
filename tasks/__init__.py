"""The tasks, one file each, run as ``python -m tasks.NAME``."""
