"""``python -m tasks.evaluate``."""

from tasks.registry import main

if __name__ == "__main__":
    main("evaluate")
