"""Answers from a trained run: :func:`load` in Python, ``python -m tasks.predict`` on the command line."""

from typing import TYPE_CHECKING

from minibert.lazy import lazy_attributes

if TYPE_CHECKING:
    from tasks.predict.answerer import Answer, Answerer, Input, load
else:
    __getattr__ = lazy_attributes(__name__, answerer=("Answer", "Answerer", "Input", "load"))

__all__ = ["Answer", "Answerer", "Input", "load"]
