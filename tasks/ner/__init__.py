"""Named-entity recognition: ``python -m tasks.ner``."""
