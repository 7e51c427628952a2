"""``python -m tasks.fill_mask``."""

from tasks.registry import main

if __name__ == "__main__":
    main("fill_mask")
