"""JSON as people have it: an object a line, arrays, pretty-printed objects, and objects that wrap the records.

All of these hold the same records: ``{...}`` a line; ``[{...}, ...]``; objects one after the other over many lines;
``{"data": [...]}`` and other wrappers; and pandas' tables by columns, by index or split.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from minibert.errors import InputError
from tasks.read.notes import Notes
from tasks.read.text_file import TextFile

SUFFIXES = (".jsonl", ".json", ".ndjson")
_LINES = (".jsonl", ".ndjson")
_STARTS = re.compile(r'\s*(\{\s*"|\[\s*[\[{]\s*(["\[{}\]]|$))').match
_SURROGATE = re.compile(r"\\[uU][dD]").search
_WORD_FIELDS = ("tokens", "words", "tokenized_text", "chars")


class Value(NamedTuple):
    """A record as the file has it, usually an object; its line; and its path in a document, such as ``data[3]``."""

    value: Any
    line: int
    path: str = ""


class Object(dict[str, Any]):
    """A JSON object and the line where it starts."""

    def __init__(self, fields: Mapping[str, Any], line: int) -> None:
        super().__init__(fields)
        self.line = line


def starts_json(line: str) -> bool:
    """Whether a line begins like a JSON object with a field, or an array of objects or of arrays."""
    return bool(_STARTS(line))


def is_json(file: TextFile) -> bool:
    """Whether a file has JSON, by its suffix or its first lines."""
    if file.suffix in SUFFIXES:
        return True
    filled = [line.strip() for line in file.lines[:200] if line.strip()][:2]
    return bool(filled) and (starts_json(filled[0]) or (filled[0] in ("{", "[") and starts_json("".join(filled))))


def values(file: TextFile, notes: Notes) -> tuple[str, Iterator[Value]]:
    """What kind of JSON a file has, in words, and its records.

    Raises:
        InputError: it is not JSON, or has half a surrogate pair; names file and line.
    """
    filled = [(number, line) for number, line in enumerate(file.lines[:200], 1) if line.strip()]
    if not filled:
        return "JSON", iter(())
    first = _parsed(filled[0][1])
    if isinstance(first, dict) and (len(filled) > 1 or not is_wrapper(first)) and not _continues(filled):
        return "JSON lines", _by_line(file, notes)
    try:
        whole = _whole(file)
    except InputError:
        if file.suffix in _LINES and first is None:  # then most likely an object a line, the first one broken
            whole = []
            if error_of_line := _error_of_line(file, *filled[0]):
                if not notes.skip_invalid:
                    raise error_of_line from None
                return "JSON lines", _by_line(file, notes)
        raise
    format = "JSON" if len(whole) == 1 else "JSON objects over several lines"
    if len(whole) == 1 and isinstance(whole[0].value, list) and not is_pair(whole[0].value):
        format = "a JSON array"
    found: list[Value] = []
    for value in whole:
        wrapper, inner = unwrap(value)
        found += inner
        format = wrapper or format
    return format, _checked(file, iter(found), notes)


def _continues(filled: Sequence[tuple[int, str]]) -> bool:
    """Whether what follows a first line with an object of its own is something else than objects, such as a list."""
    return len(filled) > 1 and filled[1][1].lstrip()[:1] in (",", "[")


def _by_line(file: TextFile, notes: Notes) -> Iterator[Value]:
    for number, line in enumerate(file.lines, 1):
        if not line.strip():
            continue
        try:
            value = parse(file, line, number)
            if not isinstance(value, (dict, list)):
                raise file.error(number, "not a JSON object; write one object a line.")
            if "\\u" in line and _SURROGATE(line):  # the first test is quick
                check_characters(file, Value(value, number))
        except InputError as error:
            notes.rows += 1
            notes.refuse(error, number)
            continue
        yield Value(value, number)


def _checked(file: TextFile, found: Iterator[Value], notes: Notes) -> Iterator[Value]:
    """Refuses lone halves of surrogate pairs, which only escapes can make."""
    if not any(map(_SURROGATE, file.lines)):
        yield from found
        return
    for value in found:
        try:
            yield check_characters(file, value)
        except InputError as error:
            notes.rows += 1
            notes.refuse(error, value.line)


def check_characters(file: TextFile, value: Value) -> Value:
    """The value; InputError if it has half a surrogate pair."""
    try:
        json.dumps(value.value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise file.error(value.line, r"an escape \uD800 to \uDFFF stands alone, which is not a character.") from None
    return value


def check_numbers(file: TextFile, value: Value) -> Value:
    """The value; InputError if it has NaN or an infinite number, which JSON has not: an answer that passes it on would
    be none."""
    left = [value.value]
    while left:
        part = left.pop()
        if isinstance(part, float) and not math.isfinite(part):
            raise file.error(value.line, "has NaN or an infinite number, which is no JSON; write null, or a text.")
        if isinstance(part, (list, dict)):
            left += part.values() if isinstance(part, dict) else part
    return value


# -- parsing ----------------------------------------------------------------------------------------------------------

# Whole strings, so that braces inside them do not count.
_STRING_OR_BRACE = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[{}]', re.DOTALL)
_BLANK = re.compile(r"[ \t\n\r]*")


def _lines_of_objects(text: str) -> Iterator[int]:
    """The line where each object starts, in the order in which the objects end, as in json's ``object_hook``."""
    unclosed: list[int] = []
    line, counted = 1, 0
    for token in _STRING_OR_BRACE.finditer(text):
        if token[0] == "{":
            line += text.count("\n", counted, token.start())
            counted = token.start()
            unclosed.append(line)
        elif token[0] == "}" and unclosed:
            yield unclosed.pop()


def parse(file: TextFile, text: str, first_line: int) -> Any:
    """Parses one line.

    Raises:
        InputError: it is not JSON.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        problem = f"not JSON (column {error.colno}: {error.msg}); write one object a line."
        raise file.error(first_line + error.lineno - 1, problem) from None
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, or brackets nested a thousand deep
        raise file.error(first_line, f"JSON that cannot be parsed ({error}).") from None


def _parsed(line: str) -> Any:
    """The value of a line, or None if it is not JSON by itself."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _error_of_line(file: TextFile, number: int, line: str) -> InputError | None:
    try:
        parse(file, line, number)
    except InputError as error:
        return error
    return None


def _whole(file: TextFile) -> list[Value]:
    """The values of a file, which may stretch over lines, one after the other."""
    text = "\n".join(file.lines)
    lines = _lines_of_objects(text)
    decoder = json.JSONDecoder(object_hook=lambda fields: Object(fields, next(lines, 1)))
    found: list[Value] = []
    at, line, counted = 0, 1, 0
    while True:
        at = _BLANK.match(text, at).end()  # type: ignore[union-attr]  # matches everywhere
        line += text.count("\n", counted, at)
        counted = at
        if at == len(text):
            return found
        if found and text[at] == ",":  # objects with commas between them, as pasted from an array
            at += 1
            continue
        try:
            value, at = decoder.raw_decode(text, at)
        except json.JSONDecodeError as error:
            raise file.error(error.lineno, f"not JSON (column {error.colno}: {error.msg}).") from None
        except (ValueError, RecursionError) as error:
            raise file.error(line, f"JSON that cannot be parsed ({error}).") from None
        found.append(Value(value, line))


# -- wrappers ---------------------------------------------------------------------------------------------------------


def is_wrapper(value: Mapping[str, Any]) -> bool:
    """Whether an object that stands alone in its file holds several records."""
    wrapper, _ = unwrap(Value(value, 1))
    return bool(wrapper)


def is_pair(content: Any) -> bool:
    """Whether a list is one record: spaCy's text with its annotations."""
    return isinstance(content, list) and list(map(type, content)) in ([str, dict], [str, Object])


def unwrap(value: Value) -> tuple[str, list[Value]]:
    """The records that a value wraps, and how in words; the value itself, and nothing, if it wraps none."""
    content, line, path = value
    if isinstance(content, list) and not is_pair(content):
        return "a JSON array", [Value(part, _line(part, line), f"{path}[{n}]") for n, part in enumerate(content)]
    if not isinstance(content, dict):
        return "", [value]
    by_table = _table(content)
    if by_table is not None:
        names, rows = by_table
        return "a table in JSON, as pandas writes it", [
            Value(dict(zip(names, row, strict=True)), line, f"row {n}") for n, row in enumerate(rows)
        ]
    for name in ("data", "annotations", "rows", "examples"):
        inner = content.get(name)
        if name == "annotations" and _are_spans(inner):
            continue
        if isinstance(inner, list) and "text" not in content and not _has_result(content):
            parts = [part["row"] if name == "rows" and _is_row(part) else part for part in inner]
            return f'JSON with the records in "{name}"', [
                Value(part, _line(part, line), f"{name}[{n}]") for n, part in enumerate(parts)
            ]
    return "", [value]


def _has_result(content: Mapping[str, Any]) -> bool:
    """Whether an object is one record of label-studio, whose annotations are its own."""
    return isinstance(content.get("data"), dict)


def _are_spans(inner: Any) -> bool:
    """Whether annotations are the spans of one record, or none; not records."""
    return isinstance(inner, list) and all(
        any(name.lower().startswith(("start", "begin")) for name in part)
        if isinstance(part, dict)
        else isinstance(part, list) and [type(value) for value in part[:2]] == [int, int]
        for part in inner
    )


def _is_row(part: Any) -> bool:
    return isinstance(part, dict) and isinstance(part.get("row"), dict)


def _line(part: Any, line: int) -> int:
    if isinstance(part, Object):
        return part.line
    if isinstance(part, list):
        return next((inner.line for inner in part if isinstance(inner, Object)), line)
    return line


def _table(content: Mapping[str, Any]) -> tuple[Sequence[str], list[Sequence[Any]]] | None:
    """The columns and rows of a whole table that one object holds."""
    names, cells = content.get("columns"), content.get("data")
    if isinstance(names, list) and isinstance(cells, list):  # orient="split"
        fits = all(isinstance(row, list) and len(row) == len(names) for row in cells)
        return ([str(name) for name in names], cells) if fits else None
    parts = list(content.values())
    if len(parts) > 1 and all(isinstance(part, list) and len(part) == len(parts[0]) > 0 for part in parts):
        of_words = any(name.lower() in _WORD_FIELDS and isinstance(part[0], str) for name, part in content.items())
        if of_words or any(is_pair(part[0]) for part in parts):
            return None
        return list(content), list(zip(*parts, strict=True))
    if not parts or not all(isinstance(part, dict) and part for part in parts):
        return None
    if all(name.isdecimal() for name in content):  # orient="index"
        names = list(parts[0])
        fits = all(list(part) == names for part in parts)
        return (names, [list(part.values()) for part in parts]) if fits else None
    keys = list(parts[0])
    if all(key.isdecimal() for key in keys) and all(list(part) == keys for part in parts):  # orient="columns"
        return list(content), list(zip(*(part.values() for part in parts), strict=True))
    return None
