"""``python -m tasks.compare``."""

from tasks.registry import main

if __name__ == "__main__":
    main("compare")
