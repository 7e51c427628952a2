"""``python -m tasks.pretraining``."""

from tasks.registry import main

if __name__ == "__main__":
    main("pretraining")
