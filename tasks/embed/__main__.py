"""``python -m tasks.embed``."""

from tasks.registry import main

if __name__ == "__main__":
    main("embed")
