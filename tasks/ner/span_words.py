"""Spans of running text as entities of its words, and how many of them do not begin and end where words do."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from minibert.tokenizer.tokenizer import split_words
from tasks.ner.tags import Entity
from tasks.read.records import Record
from tasks.read.spans import Span

_FEW = 0.1  # the share of spans inside of words that may be slips of the annotators


class SpannedWords(NamedTuple):
    """The words of a text as ``(start, end)`` in characters, the entities among them, and how many of these are widened
    to whole words, or stand in a word that is cut between several."""

    places: list[tuple[int, int]]
    entities: list[Entity]
    num_widened: int
    num_cut: int


class WordBorders:
    """Reads spans as words, and counts those of a file that begin or end inside a word."""

    def __init__(self) -> None:
        self._spans = self._widened = self._cut = 0
        self._first = ""  # in words

    def words(self, record: Record, text: str, spans: Sequence[Span]) -> SpannedWords:
        """Splits running text as for prediction, and widens spans to whole words ("Parisian" for a marked Paris), which
        predictions consist of. A word is split only if it contains parts of several spans.

        Args:
            record: for messages.
            text: of the record.
            spans: in characters, in order.

        Raises:
            InputError: the text has no words, a span ends outside of words, or two overlap.
        """
        whole = split_words(text)
        if not whole:
            raise record.error("the text has no words.")
        whole_at = _index_by_character(whole)
        places = _cut(whole, whole_at, spans)
        word_at = _index_by_character(places)
        entities: list[Entity] = []
        inside = [span for span in spans if not _fits(span, whole, whole_at)]
        for start, end, type_, _ in spans:
            if start not in word_at or end - 1 not in word_at:
                shown = text[start:end][:40]
                raise record.error(
                    f"the span {start}:{end} ({shown!r}) starts or ends with a character that is no word."
                )
            first, last = word_at[start], word_at[end - 1]
            if entities and first < entities[-1].end:
                raise record.error(
                    f"the span {start}:{end} overlaps the one before; nested entities are not supported."
                )
            entities.append(Entity(first, last + 1, type_))
        num_cut = sum(_fits(span, places, word_at) for span in inside)
        self._spans += len(spans)
        self._widened += len(inside) - num_cut
        self._cut += num_cut
        if inside and not self._first:
            start, end, *_ = inside[0]
            first, last = whole_at[start], whole_at[end - 1]
            word = text[slice(*whole[first if start > whole[first][0] else last])]
            self._first = f"{text[start:end][:40]!r} in {word[:40]!r}, line {record.line}"
        return SpannedWords(places, entities, len(inside) - num_cut, num_cut)

    def warning(self) -> str | None:
        """About the spans of the file that begin or end inside a word; None if there are none."""
        count = self._widened + self._cut
        if not count:
            return None
        done = [f"{self._widened:,} widened to whole words for training, scores and predictions"] * bool(self._widened)
        done += [f"{self._cut:,} trained and scored in words that are cut between several spans"] * bool(self._cut)
        share = count / self._spans
        spans = f"{count:,} of {self._spans:,} spans ({share:.1%})"
        found = f"{spans} begin or end inside a word (the first is {self._first}): {', '.join(done)}."
        if share <= _FEW:
            return found
        return (
            f"{found} Predictions come in whole words: single Chinese characters (Han), punctuation marks, and runs of "
            "any other letters and digits. Entities such as these cannot be predicted as they are marked, which the "
            "scores do not show. Give the file as a character or word a line, or as lists of tokens, and predict from "
            "lists of tokens."
        )


def _index_by_character(places: Sequence[tuple[int, int]]) -> dict[int, int]:
    """The index of the word at each character."""
    return {character: index for index, (start, end) in enumerate(places) for character in range(start, end)}


def _cut(whole: Sequence[tuple[int, int]], word_at: dict[int, int], spans: Sequence[Span]) -> list[tuple[int, int]]:
    """The words, of which those that contain parts of several spans are cut at their borders."""
    ends_in: dict[int | None, list[Span]] = {}
    for span in spans:
        for index in {word_at.get(span.start), word_at.get(span.end - 1)}:
            ends_in.setdefault(index, []).append(span)
    places: list[tuple[int, int]] = []
    for index, (start, end) in enumerate(whole):
        inside = ends_in.get(index, [])
        borders = {border for span in inside for border in (span.start, span.end) if start < border < end}
        places += pairwise([start, *(sorted(borders) if len(inside) > 1 else []), end])
    return places


def _fits(span: Span, places: Sequence[tuple[int, int]], word_at: dict[int, int]) -> bool:
    """Whether a span begins and ends where words do, as far as it does so in words at all."""
    first, last = word_at.get(span.start), word_at.get(span.end - 1)
    return first is None or last is None or (span.start, span.end) == (places[first][0], places[last][1])
