"""Labelled sentences for named-entity recognition, from the files people have.

Formats, recognised by suffix and content: a word or character with its tag per line (``word TAG``, separated by tab or
spaces, perhaps with columns in between; CoNLL's ``-DOCSTART-``); CSV or TSV with a header, a row per sentence or
per word; JSON lines with ``text`` and spans, or ``tokens`` and ``tags``. Tags may be IOB1, BIO, BIOES or BMES.
"""

import ast
import contextlib
import logging
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from minibert.errors import InputError
from minibert.tokenizer.tokenizer import split_words
from tasks.data import Split
from tasks.ner.tags import PREFIXES, SCHEMES, Entity, detect_scheme, entities_from_tags
from tasks.read import tables
from tasks.read.text_file import TextFile, read_text

logger = logging.getLogger(__name__)

# Recognised names of columns and fields, in lower case.
_WORD_COLUMNS = ("word", "token", "char", "character")
_SENTENCE_ID_COLUMNS = ("sentence_id", "sentence #", "sentence", "sent_id", "id")
_TEXT_COLUMNS = ("text", "sentence", "tokens", "words", "content")
_TAG_COLUMNS = ("tags", "labels", "ner_tags", "tag", "label", "ner")
_IS_CHINESE = re.compile(r"[\u2e80-\u9fff\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff]").match
_SPAN_FIELDS = ("entities", "spans", "labels", "label")


class Sentence(NamedTuple):
    """Words (for Chinese, usually characters) and the entities among them.

    Attributes:
        words: at least one.
        entities: in order, without overlaps.
        line: where the sentence starts in its file.
        num_repaired: tags that continue no entity (such as a first ``I-``), read as the start of one.
        num_widened: spans that begin or end inside a word, widened to whole words.
        text: the running text of the words, if there is one.
        places: of each word in the text, as ``(start, end)`` in characters.
    """

    words: list[str]
    entities: list[Entity]
    line: int
    num_repaired: int = 0
    num_widened: int = 0
    text: str | None = None
    places: Sequence[tuple[int, int]] = ()

    def laid_out(self) -> tuple[str, Sequence[tuple[int, int]]]:
        """A text and the words' places in it: the original, or the words joined by spaces, except between Chinese
        characters."""
        if self.text is not None:
            return self.text, self.places
        text, places = "", []
        for word in self.words:
            if text and not (_IS_CHINESE(text[-1]) and _IS_CHINESE(word)):
                text += " "
            places.append((len(text), len(text) + len(word)))
            text += word
        return text, places


class _TaggedSentence(NamedTuple):
    words: list[str]
    tags: list[str]
    lines: list[int]


def read_ner(path: str, scheme: str = "auto") -> Split[Sentence]:
    """Reads a file of labelled sentences.

    Args:
        path: gzipped or not.
        scheme: one of :data:`SCHEMES`; ``auto`` looks at all tags of the file.

    Raises:
        InputError: something cannot be used; names file and line.
    """
    if scheme not in SCHEMES:
        raise InputError(f"--scheme {scheme}: use one of {', '.join(SCHEMES)}.")
    file = read_text(path)
    rows: Iterable[_TaggedSentence | Sentence]
    if tables.is_json_lines(file):
        rows = _json_lines(file)
    elif delimiter := _table_delimiter(file):
        rows = _table(file, delimiter)
    else:
        rows = _columns(file)
    read = list(rows)
    tagged = [sentence for sentence in read if isinstance(sentence, _TaggedSentence)]
    if tagged and scheme == "auto":
        scheme = detect_scheme(sentence.tags for sentence in tagged)
    _warn_of_odd_lengths(path, [len(sentence.words) for sentence in tagged])
    sentences = []
    valid_tags = {"O"}
    for row in read:
        if isinstance(row, _TaggedSentence):
            if not valid_tags.issuperset(row.tags):
                for tag, line in zip(row.tags, row.lines, strict=True):
                    _check_tag(file, line, tag, scheme)
                valid_tags.update(row.tags)
            entities, num_repaired = entities_from_tags(row.tags, scheme)
            row = Sentence(row.words, entities, row.lines[0], num_repaired)
        sentences.append(row)
    if not sentences:
        raise InputError(f"{path}: has no sentences.")
    if widened := [sentence for sentence in sentences if sentence.num_widened]:
        logger.warning(
            "%s: %s spans begin or end inside a word, the first in line %d; they are widened to whole words for "
            "training, scores and predictions.", path, f"{sum(s.num_widened for s in widened):,}", widened[0].line,
        )  # fmt: skip
    return Split(path=path, sha256=file.sha256, items=sentences, notes={"scheme": scheme if tagged else "spans"})


def _warn_of_odd_lengths(path: str, lengths: Sequence[int]) -> None:
    """Warns if sentence boundaries seem to be missing, or if every word seems to be a sentence."""
    if len(lengths) == 1 and lengths[0] >= 500:
        logger.warning(
            "%s: all of its %s words are one sentence; put a blank line after each sentence, or give a table a "
            "sentence_id column.", path, f"{lengths[0]:,}",
        )  # fmt: skip
    if len(lengths) >= 20 and max(lengths) == 1:
        logger.warning(
            "%s: each of its %s sentences is a single word; blank lines, or a new sentence_id, end a "
            "sentence.", path, f"{len(lengths):,}",
        )  # fmt: skip


def entity_counts(sentences: Iterable[Sentence]) -> dict[str, int]:
    """The number of entities of each type, by name."""
    return dict(sorted(Counter(entity.type for sentence in sentences for entity in sentence.entities).items()))


# -- tags -------------------------------------------------------------------------------------------------------------


def bio_tags(sentence: Sentence) -> list[str]:
    """A sentence's entities as BIO tags, one a word."""
    tags = ["O"] * len(sentence.words)
    for start, end, type_ in sentence.entities:
        tags[start] = f"B-{type_}"
        tags[start + 1 : end] = [f"I-{type_}"] * (end - start - 1)
    return tags


def _check_tag(file: TextFile, line: int, tag: str, scheme: str) -> None:
    if tag == "O":
        return
    if tag[1:2] != "-" or tag[:1] not in PREFIXES[scheme]:
        raise file.error(
            line,
            f"unknown tag {tag!r}; in the {scheme} scheme a tag is O, or one of {', '.join(PREFIXES[scheme])} with a "
            f"hyphen and a type, such as B-PER. Other schemes are {', '.join(SCHEMES[1:])} (--scheme).",
        )
    _check_type(file, line, tag[2:])


def _check_type(file: TextFile, line: int, type_: str) -> None:
    """Refuses types that seqeval would change or confuse: it strips hyphens, and has rows named like averages."""
    if type_ != type_.strip("- \t") or not type_ or type_ in ("micro avg", "macro avg", "weighted avg"):
        raise file.error(line, f"{type_!r} cannot be the name of an entity type; use letters, such as PER.")


# -- one word per line ------------------------------------------------------------------------------------------------


def _columns(file: TextFile) -> Iterator[_TaggedSentence]:
    words: list[str] = []
    tags: list[str] = []
    lines: list[int] = []
    width = 0
    known: dict[str, tuple[str, str]] = {}  # most lines have occurred before; equal ones share their strings
    for number, line in enumerate(file.lines, 1):
        pair = known.get(line)
        if pair is None:
            if not line or line.isspace() or line.startswith("-DOCSTART-"):
                if words:
                    yield _TaggedSentence(words, tags, lines)
                    words, tags, lines = [], [], []
                continue
            # Only tab and space separate: str.split would also split at a no-break or ideographic space that is a word.
            cells = line.split("\t" if "\t" in line else " ")
            if len(cells) != width or "" in cells:
                if "\t" not in line:
                    cells = [cell for cell in cells if cell]
                if len(cells) < 2:
                    raise file.error(number, f"only one column ({line[:40]!r}); expected a word and its tag.")
                if width and len(cells) != width:
                    raise file.error(number, f"{len(cells)} columns, but {width} in the lines before.")
                width = len(cells)
            pair = known[line] = cells[0], cells[-1]
        words.append(pair[0])
        tags.append(pair[1])
        lines.append(number)
    if words:
        yield _TaggedSentence(words, tags, lines)


# -- CSV and TSV ------------------------------------------------------------------------------------------------------


def _table_delimiter(file: TextFile) -> str | None:
    """The delimiter, if the first line is a header that names a tag column and a text or word column."""
    header = file.lines[0] if file.lines else ""
    for delimiter in ",\t;":
        names = tables.header(header, delimiter)
        if tables.find(names, _TAG_COLUMNS) and tables.find(names, _WORD_COLUMNS + _TEXT_COLUMNS):
            return delimiter
    if file.suffix == ".csv":
        raise file.error(
            1,
            f"the header {header[:60]!r} has no recognised columns; name them text and tags (a row per sentence) "
            "or sentence_id, word and tag (a row per word).",
        )
    return None


def _table(file: TextFile, delimiter: str) -> Iterator[_TaggedSentence]:
    names = tables.header(file.lines[0], delimiter)
    rows = tables.rows(_one_line_cells(file, delimiter), names, file.error)
    tag_column = tables.find(names, _TAG_COLUMNS)
    word_column = tables.find(names, _WORD_COLUMNS)
    assert tag_column
    if word_column:
        others = [name for name in names if name not in (word_column, tag_column)]
        yield from _word_rows(rows, word_column, tag_column, tables.find(others, _SENTENCE_ID_COLUMNS))
        return
    text_column = tables.find(names, _TEXT_COLUMNS)
    assert text_column
    for line, row in rows:
        if any(row.values()):
            tags = re.findall(r"[^\s,;\[\]'\"]+", row[tag_column])
            words = _words_of_cell(row[text_column], len(tags))
            if not words or len(words) != len(tags):
                raise file.error(
                    line,
                    f"{len(tags)} tags for {len(row[text_column].split())} words or "
                    f"{len(row[text_column])} characters of text.",
                )
            yield _TaggedSentence(words, tags, [line] * len(tags))


def _words_of_cell(text: str, num_tags: int) -> list[str]:
    """The words of a sentence in one cell: a list, words separated by spaces, or characters."""
    if text.startswith("[") and text.endswith("]"):
        with contextlib.suppress(ValueError, SyntaxError, MemoryError, RecursionError):
            listed = ast.literal_eval(text)
            if _all_strings(listed) and len(listed) == num_tags:
                return list(listed)
    words = text.split()
    return words if len(words) == num_tags else list(text)


def _one_line_cells(file: TextFile, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """The cells of each row; refuses cells of several lines, which a stray quotation mark would open."""
    for line, row in tables.cells(file.lines, delimiter, file.error):
        if any("\n" in cell for cell in row):
            raise file.error(
                line,
                "a quotation mark opens a cell that ends in a later line; write a word that is a quotation mark as "
                '"""".',
            )
        yield line, row


def _word_rows(
    rows: Iterable[tuple[int, dict[str, str]]], word_column: str, tag_column: str, id_column: str | None
) -> Iterator[_TaggedSentence]:
    words: list[str] = []
    tags: list[str] = []
    lines: list[int] = []
    current = ""
    for line, row in rows:
        empty = not any(row.values())
        identity = row[id_column] if id_column else ""
        # The id may be in every row, or only in the first row of a sentence.
        if words and (empty or (identity and identity != current)):
            yield _TaggedSentence(words, tags, lines)
            words, tags, lines = [], [], []
        current = identity or current
        if not empty:
            words.append(row[word_column])
            tags.append(row[tag_column].strip())
            lines.append(line)
    if words:
        yield _TaggedSentence(words, tags, lines)


# -- JSON lines -------------------------------------------------------------------------------------------------------


def _json_lines(file: TextFile) -> Iterator[_TaggedSentence | Sentence]:
    for number, row in tables.json_rows(file):
        words = row.get("tokens", row.get("words"))
        if words is not None:
            tags: Any = next((row[name] for name in _TAG_COLUMNS if name in row), None)
            if not (_all_strings(words) and _all_strings(tags)):
                raise file.error(
                    number, "tokens and tags must be lists of strings; where tags are numbers, write their names."
                )
            if not words or len(words) != len(tags):
                raise file.error(number, f"{len(tags)} tags for {len(words)} tokens.")
            yield _TaggedSentence(words, tags, [number] * len(words))
        elif isinstance(row.get("text"), str):
            yield _spans_to_words(file, number, row["text"], _spans(file, number, row))
        else:
            raise file.error(number, "neither text with entities nor tokens with tags.")


def _all_strings(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(value, str) for value in values)


def _spans(file: TextFile, number: int, row: dict[str, Any]) -> list[Entity]:
    """The spans of a row, in characters: ``[start, end, type]``, or an object with start, end and label or type."""
    given = next((row[name] for name in _SPAN_FIELDS if name in row), None)
    if not isinstance(given, list):
        raise file.error(number, f"text without a list of spans; expected one of the fields {', '.join(_SPAN_FIELDS)}.")
    spans = []
    for span in given:
        if isinstance(span, dict):
            values: list[Any] = [span.get("start"), span.get("end"), span.get("label", span.get("type"))]
        else:
            values = list(span) if isinstance(span, list) else []
        if [type(value) for value in values] != [int, int, str]:
            raise file.error(number, f"the span {span!r} is not [start, end, type].")
        _check_type(file, number, values[2])
        spans.append(Entity(*values))
    return sorted(spans)


def _index_by_character(places: Sequence[tuple[int, int]]) -> dict[int, int]:
    """The index of the word at each character."""
    return {character: index for index, (start, end) in enumerate(places) for character in range(start, end)}


def _spans_to_words(file: TextFile, number: int, text: str, spans: list[Entity]) -> Sentence:
    """Splits running text as for prediction, and widens spans to whole words ("Parisian" for a marked Paris), which
    predictions consist of. A word is split only if it contains parts of several spans."""
    whole = split_words(text)
    if not whole:
        raise file.error(number, "the text has no words.")
    word_at = _index_by_character(whole)
    ends_in: dict[int | None, list[Entity]] = {}
    for span in spans:
        for index in {word_at.get(span.start), word_at.get(span.end - 1)}:
            ends_in.setdefault(index, []).append(span)
    places: list[tuple[int, int]] = []
    for index, (start, end) in enumerate(whole):
        inside = ends_in.get(index, [])
        borders = {border for span in inside for border in span[:2] if start < border < end}
        places += pairwise([start, *(sorted(borders) if len(inside) > 1 else []), end])
    word_at = _index_by_character(places)
    num_widened = 0
    entities: list[Entity] = []
    for start, end, type_ in spans:
        if not 0 <= start < end <= len(text):
            raise file.error(number, f"the span {start}:{end} is outside the text of {len(text)} characters.")
        if start not in word_at or end - 1 not in word_at:
            raise file.error(number, f"the span {start}:{end} ({text[start:end]!r}) starts or ends with white space.")
        first, last = word_at[start], word_at[end - 1]
        if entities and first < entities[-1].end:
            raise file.error(
                number, f"the span {start}:{end} overlaps the one before; nested entities are not supported."
            )
        entities.append(Entity(first, last + 1, type_))
        num_widened += (start, end) != (places[first][0], places[last][1])
    words = [text[start:end] for start, end in places]
    return Sentence(words, entities, number, text=text, places=places, num_widened=num_widened)
