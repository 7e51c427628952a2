"""``python -m tasks.multiple_choice``."""

from tasks.registry import main

if __name__ == "__main__":
    main("multiple_choice")
