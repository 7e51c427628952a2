"""What only a GPU shows, in one command: ``python -m benchmarks.gpu --out FOLDER``."""
