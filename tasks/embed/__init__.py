"""Vectors of texts: :func:`load` in Python, ``python -m tasks.embed`` on the command line."""

from typing import TYPE_CHECKING

from minibert.lazy import lazy_attributes

if TYPE_CHECKING:
    from tasks.embed.embedder import Embedder, load
else:
    __getattr__ = lazy_attributes(__name__, embedder=("Embedder", "load"))

__all__ = ["Embedder", "load"]
