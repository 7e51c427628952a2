"""Encodings other than UTF-8: what a file would read like in each, as an encoding that decodes may still be wrong."""

import codecs
import re

from minibert.shown import shown

# Of several names, the first that decodes: Windows has its own forms of Big5 and Shift JIS.
_CANDIDATES = (("gb18030",), ("big5", "cp950", "big5hkscs"), ("shift_jis", "cp932"), ("cp1252",))
_SHOWN = 60  # characters of a line
START = 4000
"""Characters that show whether a file is text."""
_PACKED = {  # what is not unpacked here, by its first bytes
    "a bzip2 file": re.compile(rb"BZh[1-9](1AY&SY|\x17rE8P\x90)"),
    "an xz file": re.compile(rb"\xfd7zXZ\0"),
    "a Zstandard file": re.compile(rb"\x28\xb5\x2f\xfd"),
    "a 7-Zip archive": re.compile(rb"7z\xbc\xaf\x27\x1c"),
    "a RAR archive": re.compile(rb"Rar!\x1a\x07"),
    "a tar archive": re.compile(rb".{257}ustar", re.DOTALL),
}


def codec_name(encoding: str | None) -> str:
    """The codec for an encoding; None and UTF-8 in any spelling allow a byte-order mark."""
    name = codecs.lookup(encoding or "utf-8").name
    return "utf-8-sig" if name == "utf-8" else name


def packed(content: bytes) -> str | None:
    """What is wrong with a file that is packed in a way that is not read, by its start; None if it is not."""
    kind = next((kind for kind, starts in _PACKED.items() if starts.match(content)), None)
    return f"is {kind}; unpack it, and name the text file that is in it." if kind else None


def nul_problem(start: str, encoding: str | None) -> str | None:
    """What is wrong with a text that has many NUL characters, by its start; None for any other text. UTF-16 of Latin
    letters is valid UTF-8, with a NUL beside each letter."""
    start = start[:START]
    count = start.count("\0")
    if count < 2 or count * 10 <= len(start):
        return None
    even, odd = start[::2].count("\0"), start[1::2].count("\0")
    if not codec_name(encoding).startswith(("utf-16", "utf-32")) and min(even, odd) * 10 <= max(even, odd):
        name = "utf-16-le" if odd > even else "utf-16-be"
        return f"has NUL characters, as UTF-16 has; give --encoding {name}."
    return "has NUL characters, as binary files have; export it as text in UTF-8, or give its --encoding."


def advice(content: bytes, start: int) -> str:
    """How to read a file that is not UTF-8: the line of byte ``start`` in each encoding that decodes ``content``."""
    if content[:4] == b"PK\x03\x04" or content[:8] == b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1":
        return "It is a spreadsheet or an archive; export it as CSV in UTF-8."
    found = [(name, line) for name in _candidates(content) if (line := _line(content, start, name)) is not None]
    listed = "".join(f"\n  --encoding {name:<10} {shown(line, _SHOWN)}" for name, line in found)
    other = "Save the file as UTF-8, or give --encoding with the name of its encoding"
    if not found:
        return f"{other}, such as euc-kr."
    return f"Choose the encoding in which this line reads as it should:{listed}\n  If none does: {other}."


def _candidates(content: bytes) -> list[str]:
    found = []
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        found.append("utf-16")
    elif b"\0" in content[:4000]:  # as every ASCII character has it in UTF-16
        found.append("utf-16-le" if content[:4000:2].count(0) < content[1:4000:2].count(0) else "utf-16-be")
    for names in _CANDIDATES:
        decodes = next((name for name in names if _decodes(content, name)), None)
        if decodes:
            found.append(decodes)
    return found


def _decodes(content: bytes, name: str) -> bool:
    try:
        content.decode(name)
    except UnicodeError:
        return False
    return True


def _line(content: bytes, start: int, name: str) -> str | None:
    """The line of a byte as an encoding reads it; None if the encoding does not fit."""
    if name.startswith("utf-16"):
        try:  # without half a character at the end, which the first line of a stream has
            lines = content[: len(content) // 2 * 2].decode(name).splitlines()
        except UnicodeError:
            return None
        return next((line for line in lines if not line.isascii()), lines[0] if lines else "")
    # In the other encodings, the byte of a line break is never part of a character.
    end = content.find(b"\n", start)
    return content[content.rfind(b"\n", 0, start) + 1 : end if end >= 0 else None].decode(name).rstrip("\r")
