"""``python -m tasks.search``."""

from tasks.registry import main

if __name__ == "__main__":
    main("search")
