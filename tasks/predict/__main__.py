"""``python -m tasks.predict``."""

from tasks.registry import main

if __name__ == "__main__":
    main("predict")
