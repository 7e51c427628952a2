"""What a search may choose from: a range or a list of choices for each searched setting, and the settings of trials."""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import Field, dataclass, fields
from typing import Any

from minibert.errors import InputError
from minibert.shown import shown
from minibert.training.settings import Limits, option_name
from tasks.run.options import setting_kinds
from tasks.settings import RunSettings

# Trials differ in what is searched and nothing else: they see the same data, and are ranked by one figure at the same
# epochs. A step takes its size from --batch-size, which has a default, so that batch_tokens cannot vary.
_SHARED = ("epochs", "seed", "metric", "kind", "dev_share", "test_share", "batch_tokens")
_DIGITS = 3  # of a number that is drawn
_ATTEMPTS = 100  # draws for each trial until they differ


@dataclass(frozen=True)
class Range:
    """Numbers between two ends, both included.

    They are drawn log-uniformly, as suits rates and sizes; from 0, which has no logarithm, uniformly. Whole numbers
    stay whole, others have three significant digits.
    """

    low: float
    high: float

    def draw(self, rng: random.Random) -> float:
        whole = isinstance(self.low, int)
        margin = 0.5 if whole else 0.0  # so that the ends are as likely as other whole numbers
        low, high = self.low - margin, self.high + margin
        value = math.exp(rng.uniform(math.log(low), math.log(high))) if self.low > 0 else rng.uniform(low, high)
        rounded = round(value) if whole else float(f"{value:.{_DIGITS}g}")
        return min(max(rounded, self.low), self.high)

    def to_json(self) -> dict[str, float]:
        return {"low": self.low, "high": self.high}


@dataclass(frozen=True)
class Choices:
    """Some values, each as likely as the others."""

    values: tuple[Any, ...]

    def draw(self, rng: random.Random) -> Any:
        return rng.choice(self.values)

    def to_json(self) -> list[Any]:
        return list(self.values)


Space = Mapping[str, Range | Choices]
"""What is searched, by the setting's name."""


def searchable(settings_class: type[RunSettings]) -> dict[str, type]:
    """The settings that take a value, which a search may be given several of, by name with their plain type."""
    return {name: kind for name, kind in setting_kinds(settings_class).items() if kind in (int, float, str)}


def parse_dimension(settings_class: type[RunSettings], name: str, texts: Sequence[str]) -> Range | Choices | None:
    """What is searched for a setting; None for a single value, which is not searched.

    Args:
        settings_class: has the setting.
        name: of the setting, one of :func:`searchable`.
        texts: the values of its option: ``LOW..HIGH``, or one or several values.

    Raises:
        InputError: the setting is not searched, or a value is not accepted.
    """
    field = next(field for field in fields(settings_class) if field.name == name)
    kind, limits = searchable(settings_class)[name], field.metadata["limits"]
    is_range = kind is not str and any(".." in text for text in texts)
    if len(texts) == 1 and not is_range:
        return None
    place = f"{option_name(name)} {shown(' '.join(texts), 80)}"
    if _is_shared(field) or (kind is str and not limits.choices):
        raise InputError(f"{place}: all trials have the same; give one value.")
    if not is_range:
        values = tuple(_value(text, kind, limits, place) for text in texts)
        if len(set(values)) < len(values):
            raise InputError(f"{place}: has a value twice; leave one of them out.")
        return Choices(values)
    if len(texts) > 1:
        raise InputError(f"{place}: give one range, as in 1e-5..1e-4, or several values.")
    if "..." in texts[0]:
        raise InputError(f"{place}: a range has two dots, as in 1e-5..1e-4.")
    low, high = (_value(end, kind, limits, place) for end in texts[0].split("..", 1))
    if not low < high:
        raise InputError(f"{place}: the first end of a range must be below the second; swap them.")
    return Range(low, high)


def _is_shared(field: "Field[Any]") -> bool:
    return field.name in _SHARED or bool(field.metadata["resumable"])


def _value(text: str, kind: type, limits: Limits, place: str) -> Any:
    try:
        value = kind(text)
    except ValueError:
        wanted = "a whole number" if kind is int else "a number"
        raise InputError(f"{place}: {shown(repr(text), 40)} is not {wanted}; write a range as 1e-5..1e-4.") from None
    if not limits.allow(value):
        raise InputError(f"{place}: {limits.advice()}.")
    return value


def draw_settings(space: Space, count: int, seed: int) -> list[dict[str, Any]]:
    """The searched settings of each trial, no two the same: random search (Bergstra and Bengio 2012). They depend on
    these arguments alone.

    Raises:
        InputError: the space has fewer.
    """
    rng = random.Random(seed)
    drawn: dict[tuple[Any, ...], dict[str, Any]] = {}
    for _ in range(_ATTEMPTS * count):
        values = {name: dimension.draw(rng) for name, dimension in space.items()}
        drawn.setdefault(tuple(values.values()), values)
        if len(drawn) == count:
            return list(drawn.values())
    raise InputError(
        f"--budget {count}: the ranges and choices have {len(drawn)} combinations; give that many at most."
    )
