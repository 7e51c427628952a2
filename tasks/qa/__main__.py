"""``python -m tasks.qa``."""

from tasks.registry import main

if __name__ == "__main__":
    main("qa")
