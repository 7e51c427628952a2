"""The words and tags of a sentence in two cells of a table."""

import re
from collections.abc import Sequence

from tasks.read.cells import parsed_list
from tasks.read.records import Record
from tasks.read.spans import TaggedWords, are_strings, named

_PADDLE = "\x02"  # between the characters, and between the tags, of a cell


def cell_words(record: Record, text_column: str, tag_column: str, label_names: Sequence[str]) -> TaggedWords:
    """The words and tags of a sentence in two cells: lists, words separated by spaces, PaddleNLP's characters, or
    running characters."""
    text, tag_cell = record.fields[text_column], record.fields[tag_column]
    if _PADDLE in text or _PADDLE in tag_cell:
        words, tags = text.split(_PADDLE), tag_cell.split(_PADDLE)
    else:
        tags = _tags_of_cell(tag_cell)
        words = _words_of_cell(record, len(tags), text)
    if tags and label_names and all(tag.isdecimal() for tag in tags):
        tags = [named(record, int(tag[:9]), label_names, "tags") for tag in tags]
    if not words or len(words) != len(tags):
        raise record.error(f"{len(tags)} tags for {len(text.split())} words or {len(text)} characters of text.")
    return TaggedWords(words, tags, [record.line] * len(tags))


def _tags_of_cell(text: str) -> list[str]:
    listed = parsed_list(text)
    if isinstance(listed, list) and are_strings(listed):
        if len(listed) != 1:
            return [tag.strip() for tag in listed]  # types may have blanks inside
        text = listed[0]
    return re.findall(r"[^\s,;\[\]'\"]+", text)


def _words_of_cell(record: Record, num_tags: int, text: str) -> list[str]:
    listed = parsed_list(text)
    if isinstance(listed, list) and are_strings(listed) and len(listed) == num_tags:
        return listed
    words = text.split()
    if len(words) != num_tags:
        return list(text)
    if words and words[0][:1] + words[-1][-1:] == "[]" and words[0] != "[":
        raise record.error(f"{text[:60]!r} looks like a list, but cannot be read as one; put its words in quotes.")
    return words
