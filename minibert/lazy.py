"""Packages that import their modules, and torch, only when a public name is used (PEP 562)."""

import importlib
from collections.abc import Callable, Sequence
from typing import Any


def lazy_attributes(package: str, **names: Sequence[str]) -> Callable[[str], Any]:
    """A ``__getattr__`` for a package, which imports the module of a public name when the name is first used.

    Args:
        package: its ``__name__``.
        names: the public names of each module, by module name.
    """
    module_of = {name: module for module, group in names.items() for name in group}

    def get(name: str) -> Any:
        if name not in module_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(f"{package}.{module_of[name]}"), name)
        setattr(importlib.import_module(package), name, value)  # the next access finds it without this function
        return value

    return get
