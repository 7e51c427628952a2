"""Text from outside, made safe to show."""

import json
import re
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minibert.errors import InputError
from minibert.shown import shown, shown_lines

STEERING = [
    "\x1b[2J",
    "\x1b]0;title\x07",
    "\x9b31m",
    "\r",
    "\b",
    "\x7f",
    "\u202e",
    "\u2066",
    "\u2028",
    "\ud800",
    "\ufeff",
]
OVERRIDES = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
JOINERS = {"\u200c", "\u200d"}  # which Persian and emoji need


@pytest.mark.parametrize("text", STEERING)
def test_what_steers_a_terminal_is_escaped(text: str) -> None:
    for found in (shown(f"a{text}b"), str(InputError(f"a{text}b"))):
        assert text not in found
        assert found.isprintable()
        assert found.startswith("a")
    assert shown("a\nb\tc") == "a\\nb\\tc"
    assert shown_lines("a\nb\tc\x1b") == "a\nb\tc\\u001b"


@settings(max_examples=30)
@given(st.text(st.characters(exclude_categories=())))
def test_no_control_or_format_character_is_left(text: str) -> None:
    for character in set(shown(text, most=10_000)) - JOINERS:
        assert unicodedata.category(character) not in ("Cc", "Cs", "Zl", "Zp")
        assert unicodedata.bidirectional(character) not in (
            "LRE",
            "RLE",
            "LRO",
            "RLO",
            "PDF",
            "LRI",
            "RLI",
            "FSI",
            "PDI",
        )


@settings(max_examples=30)
@given(st.text(st.characters(exclude_categories=())))
def test_json_keeps_its_meaning(text: str) -> None:
    line = json.dumps({"text": text}, ensure_ascii=False)
    assert json.loads(shown_lines(line)) == {"text": text}


def test_what_is_too_long_loses_its_middle() -> None:
    found = shown("a" * 40_000 + "end")
    assert re.fullmatch(r"a+ \.\.\. a+end", found)
    assert len(found) < 200
    assert len(str(InputError(f"f.txt, line 3: {'x' * 40_000} is no label; correct it."))) < 2100
    assert str(InputError(f"{'x' * 40_000} is no label; correct it.")).endswith("is no label; correct it.")


def test_readable_text_stays() -> None:
    for text in (
        "caf\u00e9 \u4e2d\u6587 \U0001f469\u200d\U0001f4bb \u0645\u06cc\u200c\u0634\u0648\u062f",
        "a - b_c/d.e",
    ):
        assert shown(text) == shown_lines(text) == text
