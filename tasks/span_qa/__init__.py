"""Questions answered by a span of a text: ``python -m tasks.span_qa``."""
