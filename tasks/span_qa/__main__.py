"""``python -m tasks.span_qa``."""

from tasks.registry import main

if __name__ == "__main__":
    main("span_qa")
