"""Hostile values, and hostile changes to a structure of JSON."""

import random
from typing import Any

LONG = "\u5b57" * 40_000


def odd_value(chance: random.Random) -> Any:
    """A value that nobody expects."""
    return chance.choice((
        None, True, False, 0, -1, 1, 2, 3, 7, 255, 2**16, 2**31, 2**32, 2**63, 2**64, 10**6, 10**9, 10**18, 10**400,
        -(10**400), 0.5, -0.5, 1e300, 5e-324, float("nan"), float("inf"), -float("inf"), "", " ", "0", "a", "\x00",
        "\x1b[31m", "\x1b]0;x\x07", "\u202eabc", "\ud800", "\n", "../../etc/passwd", "/dev/zero", "[MASK]", "##", LONG,
        [], {}, [[]], [{}], {"": {}}, [1, 2, 3], ["a", "b"], {"a": 1}, {"type": "Sequence"}, {"content": "x"},
        nested(chance.choice((10, 200, 5000)), chance), list(range(300)), {str(i): i for i in range(300)},
    ))  # fmt: skip


def nested(depth: int, chance: random.Random) -> Any:
    """Lists in lists or objects in objects."""
    value: Any = "x"
    as_list = chance.random() < 0.5
    for _ in range(depth):
        value = [value] if as_list else {"a": value}
    return value


def _places(value: Any, limit: int = 4000) -> list[tuple[Any, Any]]:
    """Every container in a structure with each of its keys, as far as a limit."""
    found: list[tuple[Any, Any]] = []
    queue = [value] if isinstance(value, (dict, list)) else []
    while queue and len(found) < limit:
        part = queue.pop()
        keys = list(part)[:200] if isinstance(part, dict) else range(min(len(part), 50))
        for key in keys:
            found.append((part, key))
            if isinstance(part[key], (dict, list)):
                queue.append(part[key])
    return found


def change(value: Any, chance: random.Random) -> Any:
    """The same structure (changed in place) with up to four values replaced, removed, doubled or moved."""
    for _ in range(chance.randint(1, 4)):
        places = _places(value)
        if not places:
            return odd_value(chance)
        part, key = chance.choice(places)
        how = chance.choice(("replace", "replace", "replace", "remove", "repeat", "move", "wrap", "number"))
        if isinstance(part, list) and key >= len(part):
            continue
        if how == "replace":
            part[key] = odd_value(chance)
        elif how == "remove":
            del part[key]
        elif how == "repeat" and isinstance(part, list):
            part[key:key] = [part[key]] * chance.choice((1, 2, 40))
        elif how == "move":
            other, name = chance.choice(places)
            if not isinstance(other, list) or name < len(other):
                part[key] = other[name] if not isinstance(other[name], (dict, list)) else odd_value(chance)
        elif how == "wrap":
            part[key] = [part[key]] if chance.random() < 0.5 else {"type": "Sequence", "normalizers": [part[key]]}
        elif type(part[key]) in (int, float):
            part[key] = chance.choice((part[key] * 1000, -part[key], part[key] + 1, part[key] * 10**9))
    return value
