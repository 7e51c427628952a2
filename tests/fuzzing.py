"""Readers on inputs that are drawn: each is read or refused, and some are read, so that the test says something."""

import contextlib
from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis.strategies import SearchStrategy, tuples

from minibert.errors import InputError


def read_or_refuse(check: Callable[..., None], *drawn: SearchStrategy[Any], examples: int, at_least: int) -> None:
    """Draws ``examples`` inputs.

    Args:
        check: reads an input and asserts what holds of what is read, or raises InputError.
        drawn: a strategy for each of its arguments.
        examples: how many to draw.
        at_least: how many must be read.
    """
    read = 0

    @settings(max_examples=examples)
    @given(tuples(*drawn))
    def each(values: tuple[Any, ...]) -> None:
        nonlocal read
        with contextlib.suppress(InputError):
            check(*values)
            read += 1

    each()
    assert read >= at_least, f"{read} of {examples} were read"
