"""Where spans stand in their text: offsets in characters, UTF-16 units or bytes, and spans with their own text."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from minibert.tokenizer.tokenizer import split_words
from tasks.read.notes import Notes
from tasks.read.records import Source
from tasks.read.same_text import as_spoken, spaced
from tasks.read.spans import UNITS, Span, SpannedText

_IN_WORDS = {"characters": "characters", "utf16": "UTF-16 units", "bytes": "bytes"}
_CHANCE = 2  # spans that may all be at the borders of another unit by chance

Place = Callable[[int], int | None]
"""The character at an offset; None if there is none."""


def _place(text: str, unit: str) -> Place:
    """How offsets in a text become characters."""
    if unit == "characters" or text.isascii():
        return lambda offset: offset
    size = (lambda char: 1 + (char > "\uffff")) if unit == "utf16" else (lambda char: len(char.encode()))
    index = {offset: number for number, offset in enumerate(accumulate(map(size, text), initial=0))}
    return index.get


def settle_breaks(texts: Sequence[SpannedText], source: Source) -> Sequence[SpannedText]:
    """The texts with LF for CRLF, if their offsets count it as one character: if all spans behind breaks fit words,
    or have their own text, so, and hardly any as the texts stand. A program that changes the line ends of a whole file
    changes those inside of texts, too; where all are CRLF and the file does not tell, it warns."""
    behind = [(each, spans) for each in texts if (spans := _behind_breaks(each))]
    if not behind:
        return texts
    as_two = [fits for each, spans in behind for fits in _fit(each.text, spans)]
    as_one = [fits for each, spans in behind for fits in _fit(_with_lf(each.text), spans)]
    if all(as_one) and sum(as_two) <= len(as_two) // 4:
        for each, _ in behind:
            source.notes.repair("texts read with LF for CRLF, as their offsets count it", each.record.line)
        return [each._replace(text=_with_lf(each.text)) for each in texts]
    undecided = next((each for each, spans in behind if any(span.text is None for span in spans)), None)
    if undecided and sum(as_one) > sum(as_two) // 4 and _ends_in_crlf(source):
        source.notes.warnings.append(
            f"{undecided.record.place}: CRLF stands before spans, and the file does not show whether its offsets count "
            "it as two characters or as one; read as two. If they count one, save the file with LF at its line ends."
        )
    return texts


def _behind_breaks(each: SpannedText) -> list[Span]:
    first = each.text.find("\r\n")
    return [span for span in each.spans if 0 <= first < span.end - 1]


def _ends_in_crlf(source: Source) -> bool:
    """Whether CRLF inside of texts may come of the line ends of their file."""
    if source.text is None:
        return Path(source.path).is_dir()
    return source.table is not None and any(line.endswith("\r") for line in source.text.raw[:1])


def _with_lf(text: str) -> str:
    return text.replace("\r\n", "\n")


def _fit(text: str, spans: Iterable[Span]) -> list[bool]:
    """Whether each span, in characters, has its own text, or else fits words."""
    fits = _word_test(text)
    return [
        fits(span.start, span.end)
        if span.text is None
        else as_spoken(text[span.start : span.end]) == as_spoken(span.text)
        for span in spans
    ]


def _word_test(text: str) -> Callable[[int | None, int | None], bool]:
    """Tells whether a place, without white space at its ends, begins and ends where words do."""
    words = split_words(text)
    starts, ends = {start for start, _ in words}, {end for _, end in words}

    def fits(start: int | None, end: int | None) -> bool:
        found = _trimmed(text, start, end)
        return found is not None and found[0] in starts and found[1] in ends

    return fits


class _Affected(NamedTuple):
    """A span without a text of its own whose place depends on the unit: whether it fits words in each unit,
    lies outside the text as characters, and stands behind a character beyond U+FFFF."""

    line: int
    fits: dict[str, bool]
    outside: bool
    has_wide: bool


def choose_unit(texts: Iterable[SpannedText], path: str, notes: Notes) -> str:
    """The unit of a file's offsets: another than characters only where all spans fit words in that unit, and hardly any
    in characters, or some lie outside of their texts: among Chinese characters, which are words, all others fit. Where
    emoji stand before spans, or another unit fits better, and the file does not tell, it warns."""
    affected = [span for each in texts for span in _affected(each)]
    if not affected:
        return "characters"
    fitting = {unit: sum(span.fits[unit] for span in affected) for unit in UNITS}
    wide = next((span for span in affected if span.has_wide), None)
    outside = len(affected) > _CHANCE and any(span.outside for span in affected)
    hardly = outside or fitting["characters"] <= len(affected) // 4
    for unit in ("utf16", "bytes"):
        if hardly and fitting[unit] == len(affected) and (wide or unit == "bytes"):
            return unit
    # Among Chinese characters, offsets in characters are at the borders of bytes by chance, one in three.
    best = "bytes" if fitting["bytes"] == len(affected) > _CHANCE else max(UNITS, key=lambda unit: fitting[unit])
    if wide and not (fitting["characters"] == len(affected) > fitting["utf16"]):
        notes.warnings.append(
            f"{path}, line {wide.line}: emoji or other characters beyond U+FFFF stand before spans, and the file does "
            "not show whether its offsets count characters or UTF-16 units; read as characters. Give --offsets "
            "characters, utf16 or bytes."
        )
    elif best != "characters":
        notes.warnings.append(
            f"{path}: of {len(affected):,} spans, {fitting['characters']:,} are at the borders of words where offsets "
            f"count characters, and {fitting[best]:,} where they count {_IN_WORDS[best]}; read as characters. Give "
            f"--offsets characters or {best}."
        )
    return "characters"


def _affected(each: SpannedText) -> Iterator[_Affected]:
    text = each.text
    spans = [span for span in each.spans if span.text is None]
    if not spans or text.isascii():
        return
    fits = _word_test(text)
    first = next(index for index, char in enumerate(text) if not char.isascii())
    first_wide = next((index for index, char in enumerate(text) if char > "\uffff"), None)
    places = {unit: _place(text, unit) for unit in UNITS}
    for span in spans:
        if span.end <= first:
            continue
        in_units = {unit: fits(place(span.start), place(span.end)) for unit, place in places.items()}
        has_wide = first_wide is not None and span.end > first_wide
        yield _Affected(each.record.line, in_units, span.end > len(text), has_wide)


def _trimmed(text: str, start: int | None, end: int | None) -> tuple[int, int] | None:
    """The same without white space at its ends; None if nothing is left, or it is outside the text."""
    if start is None or end is None or not 0 <= start < end <= len(text):
        return None
    inside = text[start:end]
    bare = inside.strip()
    return (start + inside.index(bare), start + inside.index(bare) + len(bare)) if bare else None


def refuse_empty(texts: Iterable[SpannedText]) -> None:
    """Raises InputError for an empty span. It is not left out as a row of its own: if ends are the last characters'
    places, so are all others in the file, and longer spans would be learnt one character short."""
    for each in texts:
        for span in each.spans:
            if span.start == span.end and span.text is None:
                raise each.record.error(
                    f"the span {span.start}:{span.end} is empty: an end is the place behind the last character. If the "
                    "ends in this file are the places of the last characters, add 1 to each; else remove the span."
                )


def place_spans(each: SpannedText, unit: str, notes: Notes) -> list[Span]:
    """The spans of a text in characters, in order, trimmed, each once.

    A span's own text decides: where its offsets show another text, they are read in another unit, or the nearest place
    that has its text is taken.

    Args:
        each: a text with spans.
        unit: of their offsets, one of :data:`~tasks.read.spans.UNITS`.
        notes: count what was repaired.

    Raises:
        InputError: a span is nowhere in the text.
    """
    text, line = each.text, each.record.line
    places: dict[str, Place] = {}
    found: dict[Span, None] = {}
    for span in each.spans:
        start, end = _characters(each, span, unit, places, notes)
        if start >= end:
            raise each.record.error(f"the span {span.start}:{span.end} does not end behind its start; correct it.")
        if not 0 <= start < end <= len(text):
            advice = "" if text.isascii() else "; give --offsets bytes or utf16 if that is what offsets count"
            raise each.record.error(f"the span {start}:{end} is outside the text of {len(text)} characters{advice}.")
        trimmed = _trimmed(text, start, end)
        if trimmed is None:
            raise each.record.error(f"the span {start}:{end} is white space.")
        notes.repair("spans trimmed of white space", line, trimmed != (start, end))
        placed = Span(*trimmed, span.label)
        notes.repair("duplicate spans read once", line, placed in found)
        found[placed] = None
    return sorted(found)


def _characters(each: SpannedText, span: Span, unit: str, places: dict[str, Place], notes: Notes) -> tuple[int, int]:
    """Where a span stands; ``places`` keeps what was worked out for the text."""
    text, line = each.text, each.record.line
    for tried, same in _tries(span, unit):
        if tried not in places:
            places[tried] = _place(text, tried)
        start, end = places[tried](span.start), places[tried](span.end)
        if start is None or end is None:
            continue
        if same is None or (0 <= start < end <= len(text) and same(text[start:end]) == same(span.text or "")):
            if tried != "characters" and (start, end) != (span.start, span.end):
                notes.repair(f"spans converted from {_IN_WORDS[tried]} to characters", line)
            return start, end
    if span.text is None:
        raise each.record.error(f"the span {span.start}:{span.end} does not end between two characters.")
    bare = span.text.strip()
    around = (text.find(bare, max(0, span.start)), text.rfind(bare, 0, max(0, span.start - 1 + len(bare))))
    nearest = min((at for at in around if at >= 0), key=lambda at: abs(at - span.start), default=None)
    if nearest is None:
        raise each.record.error(
            f"the span {span.start}:{span.end} has the text {bare[:40]!r}, which is not in the text."
        )
    notes.repair("spans moved to where their own text stands", line)
    return nearest, nearest + len(bare)


def _tries(span: Span, unit: str) -> Iterator[tuple[str, Callable[[str], str] | None]]:
    """The units in which a span is read, and how its own text is compared, if it has one: as it is written in any of
    them, then as the pipelines of uncased models write it."""
    if span.text is None:
        yield unit, None
        return
    for same in (spaced, as_spoken):
        if same(span.text):  # not a mark alone
            yield from ((tried, same) for tried in dict.fromkeys((unit, *UNITS)))
