"""Which installed fonts can draw the names of classes and models, and what stands for the names if none can.

matplotlib is imported inside functions because it is optional (the extra ``report``) and takes half a second.
"""

import logging
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import NamedTuple

FONT = "DejaVu Sans"
"""Comes with matplotlib."""
_CJK_FONTS = (
    "Noto Sans CJK TC", "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans TC", "Noto Sans SC", "Source Han Sans TC",
    "Source Han Sans SC", "PingFang TC", "PingFang SC", "PingFang HK", "Heiti TC", "Hiragino Sans GB",
    "Arial Unicode MS", "Microsoft JhengHei", "Microsoft YaHei", "SimHei", "WenQuanYi Zen Hei", "WenQuanYi Micro Hei",
    "Droid Sans Fallback",
)  # fmt: skip
_LONGEST_LABEL = 32


class Labels(NamedTuple):
    """Names as a plot shows them.

    Attributes:
        texts: the names, long ones shortened; or numbers from 1, if no installed font has all their characters.
        key: the names that the numbers stand for, in order; empty if the texts are the names.
    """

    texts: Sequence[str] = ()
    key: Sequence[str] = ()


def labels(names: Sequence[str]) -> Labels:
    """The names, or numbers if no font can draw them."""
    texts = [shortened(name) for name in names]
    if families("".join(texts)) is not None:
        return Labels(texts)
    return Labels([str(index) for index in range(1, len(names) + 1)], list(names))


def shortened(name: str) -> str:
    """At most 32 characters of a name; characters that cannot be seen become their codes."""
    shown = "".join(char if char.isprintable() else f"U+{ord(char):04X}" for char in name)
    return shown if len(shown) <= _LONGEST_LABEL else f"{shown[: _LONGEST_LABEL - 1]}…"


def width(text: str) -> float:
    """About how wide a text is, in ems: a Chinese character has one, other characters have 0.6."""
    return sum(1 if unicodedata.east_asian_width(character) in "WF" else 0.6 for character in text)


def families(text: str) -> list[str] | None:
    """Installed font families that together have every character of ``text``; None if there are none."""
    with without_font_warnings():
        left = _missing(FONT, set(text))
        if not left:
            return [FONT]
        found = _family_with(left)
        if found is None:
            _add_new_fonts()
            found = _family_with(left)
        return None if found is None else [FONT, found]


@contextmanager
def without_font_warnings() -> Iterator[None]:
    """matplotlib warns where a family has no normal weight, as WenQuanYi Zen Hei, which is no reason to worry."""
    logger = logging.getLogger("matplotlib.font_manager")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _family_with(characters: set[str]) -> str | None:
    from matplotlib import font_manager  # an extra

    installed = {font.name for font in font_manager.fontManager.ttflist}
    return next((name for name in _CJK_FONTS if name in installed and not _missing(name, characters)), None)


def _missing(family: str, characters: set[str]) -> set[str]:
    """The characters that a family does not have; all of them if its file is gone."""
    from matplotlib import font_manager  # an extra

    try:
        font = font_manager.get_font(font_manager.findfont(family, fallback_to_default=False))
    except ValueError:
        return characters
    return {char for char in characters if not font.get_char_index(ord(char))}


def _add_new_fonts() -> None:
    """Finds fonts that were installed since matplotlib saved its list of them, which it never renews by itself."""
    from matplotlib import font_manager  # an extra

    manager = font_manager.fontManager
    for path in sorted({*font_manager.findSystemFonts()} - {font.fname for font in manager.ttflist}):
        with suppress(OSError, RuntimeError, ValueError, KeyError, UnicodeError):  # not every file is a whole font
            manager.addfont(path)
