"""``python -m tasks.report``."""

from tasks.registry import main

if __name__ == "__main__":
    main("report")
