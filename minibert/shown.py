"""Text that came from outside, made safe to show on a terminal or in a log."""

import re

_MOST = 160
# What moves the cursor, rings, recolours, or changes the order of what is read: the controls C0 and C1, line and
# paragraph separators, direction marks and overrides, invisible characters (but the joiners that Persian and emoji
# need), tags, and lone halves of surrogate pairs.
_UNSAFE = (
    "\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f"
)
_ANY_UNSAFE = re.compile(f"[{_UNSAFE}]")
_UNSAFE_IN_LINES = re.compile(f"(?![\t\n\r])[{_UNSAFE}]")


def shown(text: object, most: int = _MOST) -> str:
    """``text`` on one line, with control characters as escapes such as ``\\u001b``, and at most ``most`` characters:
    what is too long loses its middle, since a message ends with what to do."""
    whole = str(text)
    if len(whole) > most:  # before escaping, so that the cost does not grow with the text
        end = most // 3
        whole = f"{whole[: most - end]} ... {whole[-end:]}"
    return _ANY_UNSAFE.sub(_escape, whole)


def shown_lines(text: str) -> str:
    """``text`` with line breaks and tabs as they are, and other control characters as escapes. A JSON text keeps its
    meaning, since its strings may have the same escapes."""
    return text if text.isascii() and text.isprintable() else _UNSAFE_IN_LINES.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code > 0xFFFF:  # as JSON does
        return f"\\u{0xD7C0 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"
    return {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(match[0], f"\\u{code:04x}")
