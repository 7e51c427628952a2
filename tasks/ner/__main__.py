"""``python -m tasks.ner``."""

from tasks.registry import main

if __name__ == "__main__":
    main("ner")
