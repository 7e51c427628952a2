"""``python -m tasks.classification``."""

from tasks.registry import main

if __name__ == "__main__":
    main("classification")
