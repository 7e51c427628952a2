"""``python -m tasks.serve``."""

from tasks.registry import main

if __name__ == "__main__":
    main("serve")
