"""Clean-ups: patterns that are replaced in texts."""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from minibert.errors import InputError


class Cleanup(NamedTuple):
    """A pattern to replace in texts, and its replacement (a template of :mod:`re`)."""

    pattern: re.Pattern[str]
    replacement: str


def parse_cleanups(texts: Sequence[str]) -> list[Cleanup]:
    """Parses clean-ups from the command line, such as ``https?://\\S+ -> URL``.

    The first `` -> `` separates pattern and replacement; ``#\\w+ ->`` removes.

    Raises:
        InputError: there is no arrow, or one side cannot be used.
    """
    return [_parse_cleanup(text) for text in texts]


def _parse_cleanup(text: str) -> Cleanup:
    source, arrow, replacement = text.partition(" -> ")
    if not arrow:
        source, arrow, _ = text.rpartition(" ->")
    if not source:
        raise InputError(f"--clean {text!r}: write it as 'PATTERN -> REPLACEMENT', such as '#\\w+ -> TAG'.")
    try:
        pattern = re.compile(source)
    except (re.error, OverflowError) as error:
        raise InputError(f"--clean {text!r}: {source!r} is not a regular expression ({error}).") from None
    try:
        pattern.sub(replacement, "")  # parses the template even without a match
    except (re.error, IndexError) as error:
        raise InputError(f"--clean {text!r}: {replacement!r} is not a replacement ({error}).") from None
    return Cleanup(pattern, replacement)


def clean(text: str, cleanups: Iterable[Cleanup]) -> str:
    """Applies clean-ups in order."""
    for pattern, replacement in cleanups:
        text = pattern.sub(replacement, text)
    return text
