"""Lists and objects that a table has as text in its cells."""

import ast
import contextlib
import json
import re
from typing import Any

_NUMPYS_VALUE = r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[-+]?\d+(?:\.\d*)?(?:e[-+]?\d+)?"""
_NUMPYS_LIST = re.compile(rf"\[\s*(?:{_NUMPYS_VALUE})(?:\s+(?:{_NUMPYS_VALUE}))*\s*\]")


def parsed_list(text: str) -> Any:
    """The value of a cell that is a list or an object, in JSON's, Python's or NumPy's notation; None if it is neither.

    NumPy's arrays and Python's tuples become lists.
    """
    text = text.strip()
    if text[:1] + text[-1:] not in ("[]", "{}", "()"):
        return None
    with contextlib.suppress(ValueError, RecursionError):
        return json.loads(text)
    if (values := _numpys_list(text)) is not None:
        return values
    with contextlib.suppress(ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        value = ast.literal_eval(_Lists().visit(ast.parse(text, mode="eval")))
        return value if isinstance(value, (list, dict)) else None
    return None


class _Lists(ast.NodeTransformer):
    """Puts lists in place of tuples, and of NumPy's ``array([...], dtype=...)``, as pandas writes arrays that are in an
    object."""

    def visit_Tuple(self, node: ast.Tuple) -> ast.expr:
        self.generic_visit(node)
        return ast.List(elts=node.elts, ctx=node.ctx)

    def visit_Call(self, node: ast.Call) -> ast.expr:
        self.generic_visit(node)
        is_array = isinstance(node.func, ast.Name) and node.func.id == "array" and len(node.args) == 1
        return node.args[0] if is_array and isinstance(node.args[0], ast.List) else node


def _numpys_list(text: str) -> list[Any] | None:
    """The values of NumPy's form of an array, which has spaces alone between them and which pandas writes into cells;
    None for any other text. Python would join its strings."""
    if _NUMPYS_LIST.fullmatch(text) is None:
        return None
    with contextlib.suppress(ValueError, SyntaxError):
        return [ast.literal_eval(value) for value in re.findall(_NUMPYS_VALUE, text[1:-1])]
    return None
