"""``python -m tasks.cloze``."""

from tasks.registry import main

if __name__ == "__main__":
    main("cloze")
