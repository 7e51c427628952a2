"""Labelled sentences for named-entity recognition, from the files people have.

:mod:`tasks.read` reads the file, whatever its container and the tool that exported it, into texts with spans or words
with tags. Here these become sentences: words, and the entities among them.
"""

import logging
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import itemgetter
from typing import NamedTuple

from minibert.errors import InputError
from tasks.data import Split
from tasks.ner.span_words import WordBorders
from tasks.ner.tag_forms import as_inside, in_usual_form, with_names
from tasks.ner.tags import PREFIXES, SCHEMES, Entity, detect_scheme, entities_from_tags
from tasks.read import spans as read_spans
from tasks.read import tables
from tasks.read.alike import alike_warning
from tasks.read.cell_words import cell_words
from tasks.read.cells import parsed_list
from tasks.read.columns import Columns, is_tag
from tasks.read.conll_2012 import is_conll_2012, words_in_brackets
from tasks.read.notes import Notes
from tasks.read.offsets import choose_unit, place_spans, refuse_empty, settle_breaks
from tasks.read.records import DEFAULT, ReadOptions, Record, Source, enumerate_cells, open_source, table_records
from tasks.read.spans import SpannedText, TaggedWords
from tasks.read.word_columns import other_tag_column, words_in_columns

logger = logging.getLogger(__name__)

_DOCUMENT_COLUMNS = ("doc_id", "document_id", "docid", "doc", "document", "doc_no", "article_id", "file_name", "file")
_SENTENCE_COLUMNS = (
    *("sentence_id", "sentence #", "sentence", "sentence_idx", "sentence_no", "sentence_number", "sentenceid"),
    *("sent_id", "sent #", "sent", "sent_idx", "sent_no", "sent_number", "sentid", "id"),
)
_ENDS = frozenset(".!?。！？")
_IS_CHINESE = re.compile(r"[\u2e80-\u9fff\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff]").match


class Sentence(NamedTuple):
    """Words (for Chinese, usually characters) and the entities among them.

    Attributes:
        words: at least one.
        entities: in order, without overlaps.
        line: where the sentence starts in its file.
        num_repaired: tags that continue no entity (such as a first ``I-``), read as the start of one.
        num_widened: spans that begin or end inside a word, widened to whole words.
        num_cut: those in words that are cut at their borders, since they contain several.
        text: the running text of the words, if there is one.
        places: of each word in the text, as ``(start, end)`` in characters.
    """

    words: list[str]
    entities: list[Entity]
    line: int
    num_repaired: int = 0
    num_widened: int = 0
    num_cut: int = 0
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


def read_ner(
    path: str,
    scheme: str = "auto",
    options: ReadOptions = DEFAULT,
    *,
    text_column: str | None = None,
    tag_column: str | None = None,
    offsets: str = "auto",
) -> Split[Sentence]:
    """Reads a file of labelled sentences.

    Args:
        path: in any layout that :mod:`tasks.read` knows.
        scheme: one of :data:`SCHEMES`; ``auto`` looks at all tags of the file.
        options: how to read the file.
        text_column, tag_column: names of columns or fields; numbers, from 1, where a line has a word; those that are
            None are recognised.
        offsets: the unit of the spans' offsets; ``auto`` looks at all of the file.

    Raises:
        InputError: something cannot be used; names file and line.
    """
    if scheme not in SCHEMES:
        raise InputError(f"--scheme {scheme}: use one of {', '.join(SCHEMES)}.")
    source = open_source(path, options, is_header=_header_test(text_column, tag_column))
    notes = source.notes
    read: Iterable[SpannedText | TaggedWords]
    if source.records is None:
        read = _columns(source, text_column, tag_column)
    elif source.table is not None:
        read = _table(source, source.table, text_column, tag_column, options)
    else:
        read = _labelled(source.records, text_column, tag_column, options, notes)
    rows = read_spans.merged_prompts(list(read), notes)
    borders = WordBorders()
    sentences = [
        *_tagged_sentences(source, rows, scheme, options),
        *_spanned_sentences(source, rows, offsets, borders),
    ]
    if not sentences:
        raise InputError(f"{path}: has no sentences{' that can be used' if notes.left_out else ''}.")
    sentences.sort(key=lambda sentence: sentence.line)
    if inside_words := borders.warning():
        logger.warning("%s: %s", path, inside_words)
    first = {entity.type: sentence.line for sentence in reversed(sentences) for entity in sentence.entities}
    if alike := alike_warning(dict(sorted(first.items(), key=itemgetter(1))), "types of entities"):
        notes.warnings.append(alike)
    return Split(path=path, sha256=source.sha256, items=sentences, notes=notes.to_json(), understood=notes.in_words())


def _tagged_sentences(
    source: Source, rows: Sequence[SpannedText | TaggedWords], scheme: str, options: ReadOptions
) -> Iterator[Sentence]:
    tagged: Sequence[TaggedWords] = [row for row in rows if isinstance(row, TaggedWords)]
    notes = source.notes
    if not tagged:
        notes.facts["scheme"] = "spans"
        return
    _warn_of_odd_lengths(source.path, [row.words for row in tagged])
    tagged = list(with_names(tagged, options.label_names, source.path, notes))
    tagged = as_inside(tagged, source.path) if scheme == "io" else in_usual_form(tagged, notes)
    if scheme == "auto":
        scheme = detect_scheme(row.tags for row in tagged)
    notes.facts["scheme"] = scheme
    if scheme == "io":
        scheme = "iob1"
    valid_tags = {"O"}
    for row in tagged:
        with notes.row(row.lines[0]):
            if not valid_tags.issuperset(row.tags):
                for tag, line in zip(row.tags, row.lines, strict=True):
                    _check_tag(source, line, tag, scheme)
                valid_tags.update(row.tags)
            entities, num_repaired = entities_from_tags(row.tags, scheme)
            yield Sentence(row.words, entities, row.lines[0], num_repaired)


def _spanned_sentences(
    source: Source, rows: Sequence[SpannedText | TaggedWords], offsets: str, borders: WordBorders
) -> Iterator[Sentence]:
    texts = settle_breaks([row for row in rows if isinstance(row, SpannedText)], source)
    refuse_empty(texts)
    _refuse_tags(texts)
    unit = choose_unit(texts, source.path, source.notes) if offsets == "auto" else offsets
    for each in texts:
        with source.notes.row(each.record.line):
            placed = place_spans(each, unit, source.notes)
            for span in placed:
                _check_type(each.record.error, span.label)
            found = borders.words(each.record, each.text, placed)
            yield Sentence(
                [each.text[start:end] for start, end in found.places], found.entities, each.record.line,
                num_widened=found.num_widened, num_cut=found.num_cut, text=each.text, places=found.places,
            )  # fmt: skip


def _refuse_tags(texts: Sequence[SpannedText]) -> None:
    """Raises InputError if all types of a file are tags of words; one of them alone may be a type, such as B-cell."""
    first = {span.label: each.record for each in reversed(texts) for span in reversed(each.spans)}
    if first and all(is_tag(type_) and (type_[0] in "BI" or type_.isupper()) for type_ in first):
        type_, record = list(first.items())[-1]
        raise record.error(
            f"{type_[:40]!r}, given as the type of an entity, is the tag of a word. Merge the words of each entity and "
            'give its type alone (in transformers\' pipeline, aggregation_strategy="simple" makes it entity_group).'
        )


def _warn_of_odd_lengths(path: str, sentences: Sequence[Sequence[str]]) -> None:
    """Warns if sentence boundaries seem to be missing, or if every word seems to be a sentence."""
    lengths = [len(words) for words in sentences]
    ends = sum(word in _ENDS for word in sentences[0]) if len(sentences) == 1 else 0
    if ends > 1 or (len(lengths) == 1 and lengths[0] >= 500):
        logger.warning(
            "%s: all of its %s words are one sentence%s; put a blank line after each sentence, or give a table a "
            "sentence_id column.", path, f"{lengths[0]:,}", f", though {ends:,} of them end one" * (ends > 1),
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


def _check_tag(source: Source, line: int, tag: str, scheme: str) -> None:
    if tag == "O":
        return

    def error(problem: str) -> InputError:
        return InputError(f"{source.path}, line {line}: {problem}")

    if tag[1:2] != "-" or tag[:1] not in PREFIXES[scheme]:
        in_columns = source.text if source.records is None and source.notes.names_next else None
        column = other_tag_column(in_columns, line) if in_columns else None  # reads the whole file
        bare = tag[1:2] != "-" and not tag.isdecimal() and not column
        raise error(
            f"unknown tag {tag[:40]!r}; in the {scheme} scheme a tag is O, or one of {', '.join(PREFIXES[scheme])} "
            f"with a hyphen and a type, such as B-PER. Other schemes are {', '.join(SCHEMES[1:])} (--scheme)."
            + (f" Column {column} has tags: --tag-column {column}." if column else "")
            + (" Where all tags are numbers, --label-names names them." if tag.isdecimal() else "")
            + (" Where tags are types alone, --scheme io makes neighbours of a type one entity." if bare else "")
        )
    _check_type(error, tag[2:])


def _check_type(error: Callable[[str], InputError], type_: str) -> None:
    """Refuses types that seqeval would change or confuse: it strips hyphens, and has rows named like averages."""
    odd = type_ != type_.strip("- \t") or not type_ or type_ in ("micro avg", "macro avg", "weighted avg")
    if odd or not type_.isprintable():
        raise error(f"{type_[:40]!r} cannot be the name of an entity type; use letters, such as PER.")


# -- records ----------------------------------------------------------------------------------------------------------


def _header_test(text_column: str | None, tag_column: str | None) -> Callable[[Sequence[str]], bool]:
    """Whether a first line is a header: the options name its columns, or it has recognised ones."""

    def is_header(names: Sequence[str]) -> bool:
        given = [column.lower() for column in (text_column, tag_column) if column and not column.isdecimal()]
        if given and all(tables.find(names, [column]) for column in given):
            return True
        return read_spans.is_header(names)

    return is_header


def _columns(source: Source, text_column: str | None, tag_column: str | None) -> Iterator[TaggedWords]:
    assert source.text is not None
    if source.text.suffix == ".csv":
        raise source.text.error(
            1,
            f"the header {source.text.lines[0][:60] if source.text.lines else ''!r} has no recognised columns; name "
            "them text and tags (a row per sentence) or sentence_id, word and tag (a row per word), or give "
            "--text-column and --tag-column.",
        )
    if is_conll_2012(source.text) and text_column is tag_column is None:
        return words_in_brackets(source.text, source.notes)
    return words_in_columns(source.text, source.notes, text_column=text_column, tag_column=tag_column)


def _labelled(
    records: Iterable[Record], text_column: str | None, tag_column: str | None, options: ReadOptions, notes: Notes
) -> Iterator[SpannedText | TaggedWords]:
    for record in records:
        with notes.row(record.line):
            found = read_spans.labelled(
                record,
                text_column=text_column,
                tag_column=tag_column,
                label_names=options.label_names,
                notes=notes,
            )
            if found is not None:
                yield found


def _table(
    source: Source, layout: tables.Layout, text_column: str | None, tag_column: str | None, options: ReadOptions
) -> Iterator[SpannedText | TaggedWords]:
    names, notes = layout.names, source.notes
    assert source.records is not None
    assert source.text is not None
    place = f"{source.path}, line 1"
    tag = _column("tag", tag_column, names, place) or tables.find(names, read_spans.TAG_COLUMNS)
    text = _column("text", text_column, names, place)
    others = [name for name in names if name != tag]
    word = text if text and text.lower() in read_spans.WORD_COLUMNS else None
    word = word or (None if text else tables.find(others, read_spans.WORD_COLUMNS))
    text = text or tables.find(others, read_spans.CELL_COLUMNS)
    if word and tag:
        rest = [name for name in others if name != word]
        # A word that is left out would change its sentence, so rows of words are never left out.
        records = table_records(enumerate_cells(source.text, layout), source.text, layout, Notes(skip_invalid=None))
        # The document counts, too, since sentences may be numbered anew in each.
        dividing = [name for known in (_DOCUMENT_COLUMNS, _SENTENCE_COLUMNS) if (name := tables.find(rest, known))]
        yield from _word_rows(records, word, tag, dividing, notes)
        return
    if text is None:
        raise InputError(
            f"{place}: no column ({', '.join(names)[:200]}) is recognised as the text; give --text-column."
        )
    rows = list(source.records)
    if tag is None:  # label-studio's, which has the name that somebody gave it
        have_spans = [name for name in others if any(read_spans.are_spans(row.fields.get(name)) for row in rows)]
        tag = read_spans.only_column(have_spans, place)
    for record in rows:
        if not any(record.fields.values()):
            if record.fields:  # a blank line has none
                notes.leave_out("blank rows", record.line)
            continue
        with notes.row(record.line):
            cell = record.fields.get(tag, "") if tag else ""
            if tag and cell.strip() and '"start"' not in cell and not _is_span_list(cell):
                yield cell_words(record, text, tag, options.label_names)
            elif found := read_spans.labelled(
                record, text_column=text, tag_column=tag, label_names=options.label_names, notes=notes
            ):
                yield found


def _is_span_list(cell: str) -> bool:
    value = parsed_list(cell)
    return isinstance(value, dict) or (
        isinstance(value, list) and all(isinstance(part, (list, dict)) for part in value)
    )


def _column(role: str, column: str | None, names: Sequence[str], place: str) -> str | None:
    return None if column is None else Columns(names=names, place=place).given(role, column)


def _word_rows(
    records: Iterable[Record], word_column: str, tag_column: str, dividing: Sequence[str], notes: Notes
) -> Iterator[TaggedWords]:
    words: list[str] = []
    tags: list[str] = []
    lines: list[int] = []
    current = [""] * len(dividing)
    notes.facts["sentences_divided"] = f"by {' and '.join(dividing)}" if dividing else "by nothing"
    for record in records:
        fields = record.fields
        if any("\n" in cell for cell in fields.values()):
            raise record.error(
                "a quotation mark opens a cell that ends in a later line; write a word that is a quotation mark as "
                '"""".'
            )
        empty = not any(fields.values())
        # Values may be in every row, or only in the first row of a sentence.
        values = [fields.get(name) or old for name, old in zip(dividing, current, strict=True)]
        if words and (empty or values != current):
            if empty and not dividing:
                notes.facts["sentences_divided"] = "by blank rows"
            notes.rows += 1
            yield TaggedWords(words, tags, lines)
            words, tags, lines = [], [], []
        current = values
        if not empty:
            read_spans.require_words(record, [fields[word_column]])
            words.append(fields[word_column])
            tags.append(fields[tag_column].strip())
            lines.append(record.line)
    if words:
        notes.rows += 1
        yield TaggedWords(words, tags, lines)
