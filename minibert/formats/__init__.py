"""Checkpoint formats: a table of names and a reader for each, and the conversion between them."""
