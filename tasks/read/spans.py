"""Records of texts with spans, or of words with tags, as annotation tools and data sets write them.

doccano (all of its layouts), label-studio (JSON, JSON-MIN, CSV), Prodigy, brat, spaCy, GLiNER, CLUENER, PaddleNLP,
Hugging Face's datasets: each is told by its fields, and read into :class:`SpannedText` or :class:`TaggedWords`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from minibert.errors import InputError
from tasks.read import dataturks, label_studio
from tasks.read.cells import parsed_list
from tasks.read.columns import TEXT_NAMES, near
from tasks.read.folders import DISCONTINUOUS, MISSING, OTHER
from tasks.read.notes import Notes
from tasks.read.records import Record, shown
from tasks.read.tables import find

WORD_COLUMNS = ("word", "token", "char", "character", "字", "词")
LIST_COLUMNS = ("tokens", "words", "tokenized_text", "chars")
SPAN_COLUMNS = ("entities", "ents", "spans", "labels", "label", "annotations", "result_list", "实体")
TAG_COLUMNS = ("tags", "labels", "ner_tags", "tag", "label", "ner", "bio", "标签")
CELL_COLUMNS = (*TEXT_NAMES, "tokens", "words")
UNITS = ("characters", "utf16", "bytes")
"""Of the offsets of spans."""
OFFSETS = ("auto", *UNITS)
_STARTS = ("start", "start_offset", "begin", "start_idx", "start_char")
_ENDS = ("end", "end_offset", "end_idx", "end_char")
_TYPES = ("label", "labels", "type", "entity_type", "entity_group", "tag", "hypertextlabels", "entity")
_TEXTS = ("text", "surface", "word", "mention")
_PLACES = ("span", "offsets")  # of a start and an end
_WORD_SPANS = "ner"  # the field of spans whose numbers are those of their first and last word
_LABEL_STUDIO = ("annotator", "annotation_id", "lead_time")  # in its tables, whatever its labels are called
_ANSWERS = ("accept", "reject", "ignore")
_PRODIGY = {"_task_hash", "_input_hash", "label", "spans", "tokens", "accept"}


class Span(NamedTuple):
    """A span of a text as the file has it: ``start:end`` in the file's units, its label, and its own text if given."""

    start: int
    end: int
    label: str
    text: str | None = None


class SpannedText(NamedTuple):
    """A text with spans."""

    text: str
    spans: list[Span]
    record: Record


class TaggedWords(NamedTuple):
    """Words with a tag each, and the line of each."""

    words: list[str]
    tags: list[str]
    lines: list[int]


def is_header(names: Sequence[str]) -> bool:
    """Whether the names of a table are those of words or texts, and of tags or spans."""
    tags = find(names, TAG_COLUMNS) or find(names, SPAN_COLUMNS) or find(names, _LABEL_STUDIO)
    return bool(tags and find([name for name in names if name != tags], WORD_COLUMNS + CELL_COLUMNS))


def is_answered(fields: Mapping[str, Any], line: int, notes: Notes) -> bool:
    """Whether Prodigy's answer is to accept, or there is none; rejected and ignored rows are counted."""
    answer = fields.get("answer")
    if answer in _ANSWERS and fields.keys() & _PRODIGY:
        notes.facts["layout"] = "Prodigy"
    if answer in _ANSWERS[1:] and fields.keys() & _PRODIGY:
        notes.leave_out(f"rows with the answer {answer}", line)
        return False
    return True


def labelled(
    record: Record, *, text_column: str | None, tag_column: str | None, label_names: Sequence[str], notes: Notes
) -> SpannedText | TaggedWords | None:
    """Reads one record; None if it is left out, and counted.

    Args:
        record: from any container.
        text_column, tag_column: names of fields; those that are None are recognised.
        label_names: of tags and labels that are whole numbers.
        notes: count what is read otherwise than it is written.

    Raises:
        InputError: it is not a text with spans, or words with tags.
    """
    fields = record.fields
    if not is_answered(fields, record.line, notes):
        return None
    found = find(list(fields), [text_column.lower()] if text_column else LIST_COLUMNS)
    if found is None and not text_column and _has_tags(fields, tag_column):
        found = find([name for name, value in fields.items() if value and are_strings(value)], TEXT_NAMES)
    words = fields[found] if found and (not text_column or isinstance(fields[found], list)) else None
    if words is not None and not (_has_objects(words) and isinstance(fields.get("text"), str)):
        return _words(record, words, tag_column, label_names, notes)
    name = _text_name(record, text_column)
    text = fields[name]
    if isinstance(text, list) and len(text) == 1:
        notes.repair("lists of one text read as that text", record.line)
        text = text[0]
    if not isinstance(text, str):
        raise record.error(f"{name} is {shown(text)}, not text.")
    if label_studio.is_task(fields) and tag_column is None:
        notes.facts["layout"] = "tasks of label-studio"
        given: Any = label_studio.results(record, notes)
        if given is None:
            return None
        given = label_studio.of_text(record, name, given, notes)
        given = [part["value"] for part in given if isinstance(part, dict) and _is_span_value(part.get("value"))]
    else:
        given = _given_spans(record, {name}, tag_column, notes)
    notes.facts.setdefault("layout", "texts with spans")
    notes.repair("discontinuous spans left aside", record.line, fields.get(DISCONTINUOUS, 0))
    notes.repair("annotations of brat that are no spans passed over", record.line, fields.get(OTHER, 0))
    spans = [_span(record, span, label_names, notes) for span in given]
    return SpannedText(text, spans, record)


def text_of(fields: Mapping[str, Any], column: str | None) -> str | list[str] | None:
    """The text of a record for prediction, or its list of words; None if it has neither.

    Args:
        fields: of the record.
        column: the name of its field in training; recognised names come next.
    """
    if column is not None and (name := find(list(fields), [column.lower()])):
        names: Sequence[str] = (name,)
    else:
        known = (*LIST_COLUMNS, *TEXT_NAMES)
        names = sorted((name for name in fields if name.lower() in known), key=lambda name: known.index(name.lower()))
    for name in names:
        value = fields.get(name)
        if isinstance(value, str) or (value and are_strings(value)):
            return value
    return [] if any(fields.get(name) == [] for name in names) else None


def _has_objects(words: Any) -> bool:
    return isinstance(words, list) and any(isinstance(word, dict) for word in words)


def _text_name(record: Record, column: str | None) -> str:
    if column is not None:
        return _given_name(record, "text", column)
    found = find([name for name in record.fields if isinstance(record.fields[name], (str, list))], TEXT_NAMES)
    if found is None:
        raise record.error("neither text with entities nor tokens with tags; name the text with --text-column.")
    return found


def _given_name(record: Record, role: str, column: str) -> str:
    """The name of a field that an option gives, in upper or lower case; InputError if there is none."""
    names = list(record.fields)
    found = find(names, [column.lower()])
    if found is None:
        raise record.error(f"has no --{role}-column {column[:40]}{near(column, names) or '.'}")
    return found


# -- words with tags --------------------------------------------------------------------------------------------------


def _words(record: Record, words: Any, tag_column: str | None, label_names: Sequence[str], notes: Notes) -> TaggedWords:
    fields = record.fields
    words = _strings_in_cell(words)
    name = _given_name(record, "tag", tag_column) if tag_column else find(list(fields), TAG_COLUMNS)
    if name is None or are_spans(fields[name]):
        spans = "text" in fields and any(map(are_spans, fields.values()))
        advice = "its text with spans is read with --text-column text" if spans else "name them with --tag-column"
        raise record.error(f"has tokens without tags in one of the fields {', '.join(TAG_COLUMNS)}; {advice}.")
    tags = _strings_in_cell(fields[name])
    if (
        are_strings(words)
        and words
        and isinstance(tags, list)
        and all(_is_word_span(part) for part in tags)
        and (tags or "tokenized_text" in fields)
    ):
        if name.lower() != _WORD_SPANS and "tokenized_text" not in fields:
            raise record.error(
                f"{name} has spans of words, but does not show whether the last word belongs to them. If it does, call "
                f"the field {_WORD_SPANS}, as GLiNER does; else give each word a tag. If they count characters, name "
                "the text with --text-column."
            )
        tags = _tags_of_word_spans(record, len(words), tags)
        notes.facts["layout"] = "GLiNER"
    if isinstance(tags, list) and tags and all(type(tag) is int for tag in tags):
        tags = [named(record, tag, label_names, "tags") for tag in tags]
    if not (are_strings(words) and are_strings(tags)):
        raise record.error(
            "tokens and tags must be lists of strings; where tags are numbers, give their names with --label-names."
        )
    if not words or len(words) != len(tags):
        raise record.error(f"{len(tags)} tags for {len(words)} tokens.")
    require_words(record, words)
    return TaggedWords(words, tags, [record.line] * len(words))


def _has_tags(fields: Mapping[str, Any], tag_column: str | None) -> bool:
    """Whether a record has a list of tags, which may be numbers; then a text that is a list is its words."""
    name = find(list(fields), [tag_column.lower()] if tag_column else TAG_COLUMNS)
    tags = fields[name] if name else None
    return isinstance(tags, list) and bool(tags) and all(type(tag) in (str, int) for tag in tags)


def require_words(record: Record, words: Sequence[str]) -> None:
    """Raises InputError if a word is empty, as another tool may have written a missing value; white space is a
    character of running text that was cut into characters."""
    if not all(words):
        raise record.error("a word is empty; remove it and its tag, or write a word.")


def named(record: Record, number: int, label_names: Sequence[str], what: str) -> str:
    """The name of a label that is a whole number."""
    if not label_names:
        raise record.error(
            f"the {what} are numbers; give their names, from 0 on, with --label-names: names, or a file with one a "
            "line."
        )
    if not 0 <= number < len(label_names):
        raise record.error(f"{number} is none of the {len(label_names)} --label-names, which count from 0.")
    return label_names[number]


def are_strings(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(value, str) for value in values)


def _is_word_span(part: Any) -> bool:
    return isinstance(part, list) and [type(value) for value in part[:3]] == [int, int, str]


def _tags_of_word_spans(record: Record, length: int, spans: Sequence[Any]) -> list[str]:
    """BIO tags of GLiNER's spans ``[first word, last word, type]``."""
    tags = ["O"] * length
    for first, last, type_ in sorted({(span[0], span[1], span[2]) for span in spans}):
        if not 0 <= first <= last < length:
            raise record.error(f"the span {first} to {last} is outside the {length} tokens.")
        if any(tag != "O" for tag in tags[first : last + 1]):
            raise record.error(f"the span {first} to {last} overlaps another; nested entities are not supported.")
        tags[first : last + 1] = [f"B-{type_}", *[f"I-{type_}"] * (last - first)]
    return tags


def _strings_in_cell(value: Any) -> Any:
    """A list that a cell of a table has as text."""
    return parsed_list(value) if isinstance(value, str) else value


# -- texts with spans -------------------------------------------------------------------------------------------------


def _given_spans(record: Record, besides: set[str], column: str | None, notes: Notes) -> list[Any]:
    """The spans of a record as the file has them."""
    fields = record.fields
    name: str | None
    if column is not None:
        name = _given_name(record, "tag", column)
    else:
        rest = [name for name in fields if name not in besides and name.lower() not in LIST_COLUMNS]
        name = find(rest, SPAN_COLUMNS)
        name = name or only_column([name for name in rest if are_spans(fields[name])], record.where)
    if name is None and fields.get("answer") == "accept":
        return []  # Prodigy writes no spans where nothing was marked
    if name is None and dataturks.is_record(fields):
        return dataturks.spans(record, notes)
    if MISSING in fields:
        raise record.error(
            f"{fields[MISSING]} is missing beside it; add it, empty if the text has no entities, or move the text away."
        )
    given = fields.get(name) if name else None
    if isinstance(given, str):
        blank = not given.strip()
        notes.repair("blank cells read as no spans", record.line, blank)
        given = [] if blank else parsed_list(given)
    if isinstance(given, dict) and given and all(isinstance(value, dict) for value in given.values()):
        notes.facts["layout"] = "CLUENER"
        return _cluener(record, given)
    if isinstance(given, dict) and not given:
        return []
    if not isinstance(given, list):
        raise record.error(f"text without a list of spans; expected one of the fields {', '.join(SPAN_COLUMNS)}.")
    if name == "result_list" and isinstance(fields.get("prompt"), str):  # the type is the prompt
        notes.facts["layout"] = "PaddleNLP's UIE"
        return [{**span, "label": fields["prompt"]} if isinstance(span, dict) else span for span in given]
    return given


def are_spans(value: Any) -> bool:
    """Whether a field has objects with a start, an end and a label, whatever its name."""
    if isinstance(value, str):
        value = parsed_list(value) if '"start"' in value else None
    return isinstance(value, list) and bool(value) and all(map(_is_span_value, value))


def only_column(names: Sequence[str], place: str) -> str | None:
    """The column that has spans; None if none has, InputError if several have."""
    if len(names) > 1:
        raise InputError(f"{place}: the entities may be in {' or '.join(names)[:200]}; choose with --tag-column.")
    return names[0] if names else None


def _is_span_value(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    return all(any(name in value for name in names) for names in (_STARTS, _ENDS, _TYPES))


def _cluener(record: Record, given: Mapping[str, Mapping[str, Any]]) -> list[Any]:
    """CLUENER's ``{type: {surface: [[start, last]]}}``; the last character belongs to the span."""
    spans = []
    for type_, surfaces in given.items():
        for surface, places in surfaces.items():
            if not isinstance(places, list):
                raise record.error(f"{type_} of {surface[:20]!r} is {shown(places)}, not a list of [start, last].")
            for place in places:
                if not (isinstance(place, list) and [type(value) for value in place] == [int, int]):
                    raise record.error(f"{type_} of {surface[:20]!r} is {shown(place)}, not [start, last].")
                spans.append({"start": place[0], "end": place[1] + 1, "label": type_, "text": surface})
    return spans


def _span(record: Record, span: Any, label_names: Sequence[str], notes: Notes) -> Span:
    """One span: ``[start, end, label]``, or an object."""
    if isinstance(span, dict) and isinstance(span.get("value"), dict):
        span = span["value"]
    text = None
    if isinstance(span, dict):
        span = _with_places(span)
        start, end, label = (_first(span, names) for names in (_STARTS, _ENDS, _TYPES))
        # The field entity is the type where nothing else is; else, as in CMeEE, it is the text.
        names = [*_TEXTS, *(["entity"] if any(name in span for name in _TYPES if name != "entity") else [])]
        text = next((span[name] for name in names if isinstance(span.get(name), str)), None)
        if text is None and type(end) is int and next(name for name in _ENDS if name in span) == "end_idx":
            end += 1
            notes.repair("places in end_idx read as the last character's", record.line)
    else:
        start, end, label = span if isinstance(span, (list, tuple)) and len(span) == 3 else (None, None, None)
    if isinstance(label, list):
        if len(label) != 1:
            raise record.error(f"the span {start}:{end} has {len(label)} labels; give it one.")
        label = label[0]
    if type(label) is int:
        label = named(record, label, label_names, "labels of the spans")
    if [type(value) for value in (start, end, label)] != [int, int, str]:
        raise record.error(f"the span {str(span)[:80]} is not [start, end, type].")
    return Span(start, end, label, text if text and text.strip() else None)


def _with_places(span: Mapping[str, Any]) -> Mapping[str, Any]:
    """The same with a start and an end, where one field has both."""
    places = _first(span, _PLACES)
    if not isinstance(places, list) or [type(place) for place in places] != [int, int] or span.keys() & {*_STARTS}:
        return span
    return {**span, "start": places[0], "end": places[1]}


def _first(span: Mapping[str, Any], names: Sequence[str]) -> Any:
    return next((span[name] for name in names if name in span), None)


def merged_prompts(texts: Sequence[SpannedText | TaggedWords], notes: Notes) -> list[SpannedText | TaggedWords]:
    """PaddleNLP's UIE has a record for each text and type: one text with the spans of all of them."""
    merged: dict[str, SpannedText] = {}
    others: list[SpannedText | TaggedWords] = []
    for each in texts:
        if not (isinstance(each, SpannedText) and {"prompt", "result_list"} <= each.record.fields.keys()):
            others.append(each)
        elif each.text in merged:
            notes.leave_out("rows merged with the first about the same text", each.record.line)
            merged[each.text].spans.extend(each.spans)
        else:
            merged[each.text] = each
    return [*merged.values(), *others]
