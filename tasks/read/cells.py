"""Lists and objects that a table has as text in its cells."""

import ast
import contextlib
import json
import re
from typing import Any

_NUMPYS_VALUE = r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[-+]?\d+(?:\.\d*)?(?:e[-+]?\d+)?"""
_NUMPYS_LIST = re.compile(rf"\[\s*(?:{_NUMPYS_VALUE})(?:\s+(?:{_NUMPYS_VALUE}))*\s*\]")


def parsed_list(text: str) -> Any:
    """The value of a cell that is a list or an object, in JSON's or Python's notation; None if it is neither."""
    text = text.strip()
    if text[:1] + text[-1:] not in ("[]", "{}"):
        return None
    with contextlib.suppress(ValueError, RecursionError):
        return json.loads(text)
    if (values := _numpys_list(text)) is not None:
        return values
    with contextlib.suppress(ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        value = ast.literal_eval(text)
        return value if isinstance(value, (list, dict)) else None
    return None


def _numpys_list(text: str) -> list[Any] | None:
    """The values of NumPy's form of an array, which has spaces alone between them and which pandas writes into cells;
    None for any other text. Python would join its strings."""
    if _NUMPYS_LIST.fullmatch(text) is None:
        return None
    with contextlib.suppress(ValueError, SyntaxError):
        return [ast.literal_eval(value) for value in re.findall(_NUMPYS_VALUE, text[1:-1])]
    return None
