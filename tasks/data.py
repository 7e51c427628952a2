"""The plain data that tasks, runs and reports pass to each other."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, Generic, NamedTuple, Protocol, TypeVar, runtime_checkable

import numpy as np
import numpy.typing as npt

from minibert.batch import IntSequence


@runtime_checkable
class Takes(Protocol):
    """Many items that are not in memory, some of which can be chosen without making them."""

    def take(self, indices: IntSequence) -> Sequence[Any]: ...


class HasIds(Protocol):
    """An example: token ids with special tokens, and whatever the task keeps with them."""

    @property
    def ids(self) -> IntSequence: ...


Item = TypeVar("Item")
Example = TypeVar("Example", bound=HasIds)
Output = TypeVar("Output")


@dataclass(frozen=True, kw_only=True)
class Split(Generic[Item]):
    """One part of the data: train, dev or test.

    Attributes:
        path: the file, as given.
        part: which part of the file, if not all of it.
        sha256: of the file.
        items: in file order; each has a ``line``.
        notes: facts from reading it, such as the names of its columns.
        understood: how the file was understood, in lines for the terminal.
        indices: of the items in the file, counted from 0; None if this is all of it.
        draw: how a held-out part was drawn: its share of the file, seed and counts; None for a part that was given.
    """

    path: str
    part: str = ""
    sha256: str
    items: Sequence[Item]
    notes: Mapping[str, Any] = field(default_factory=dict)
    understood: Sequence[str] = ()
    indices: IntSequence | None = None
    draw: Mapping[str, Any] | None = None

    @property
    def source(self) -> str:
        """File and part, for people."""
        return f"{self.path} ({self.part})" if self.part else self.path


@dataclass(frozen=True, kw_only=True)
class Encoded(Generic[Example]):
    """Items as the model sees them.

    Attributes:
        examples: those of the first item, then those of the second, and so on.
        counts: the number of examples of each item; above 1 where a long text is read in windows.
        notes: counts worth reporting, such as ``unknown_tokens``, by name.
    """

    examples: Sequence[Example]
    counts: IntSequence
    notes: Mapping[str, int] = field(default_factory=Counter)

    @cached_property
    def lengths(self) -> IntSequence:
        """The number of tokens of each example."""
        return [len(example.ids) for example in self.examples]


class PlainItem(NamedTuple):
    """A text with its label (None if unknown) and its line in the file."""

    text: str
    label: str | None
    line: int


class PlainExample(NamedTuple):
    """A text as the model sees it: ids with special tokens, the index of its label, and its line in the file."""

    ids: IntSequence
    target: int
    line: int


class GroupExample(NamedTuple):
    """Several sequences that belong together, such as the choices of a question.

    Attributes:
        ids, types: of all sequences, end to end.
        lengths: of each sequence.
        target: the place of the right one, from 0.
        line: of the item in its file.
    """

    ids: npt.NDArray[np.int32]
    types: npt.NDArray[np.int8]
    lengths: tuple[int, ...]
    target: int
    line: int

    @classmethod
    def join(cls, sequences: Sequence[tuple[IntSequence, IntSequence]], *, target: int, line: int) -> "GroupExample":
        """Joins sequences, each with its ids and types."""
        ids, types = (np.concatenate(parts) for parts in zip(*sequences, strict=True))
        lengths = tuple(len(of_sequence) for of_sequence, _ in sequences)
        return cls(ids.astype(np.int32), types.astype(np.int8), lengths, target, line)


class LabelPrediction(NamedTuple):
    """The likeliest label of an item, and its probability."""

    label: str
    probability: float


@dataclass(frozen=True, kw_only=True)
class Mark:
    """Characters ``start:end`` of a text, and what they are: ``gold``, ``predicted`` or ``both``."""

    start: int
    end: int
    kind: str
    label: str


@dataclass(frozen=True, kw_only=True)
class ErrorCase:
    """An item with a wrong answer, for a person to read.

    Attributes:
        place: its line in the file, or an id.
        text: the input.
        gold, predicted: in words.
        loss: of the item; reports show the largest first.
        marks: spans of ``text``, in order; spans of one kind do not overlap.
    """

    place: str
    text: str
    gold: str
    predicted: str
    loss: float
    marks: Sequence[Mark] = ()


@dataclass(frozen=True, kw_only=True)
class Chart:
    """Lines over an axis from 0 to 1, both axes.

    Attributes:
        name: for its file.
        title: above it.
        x, y: the axes' names, with their units.
        lines: name in the key -> points.
        diagonal: the name of a line from corner to corner; empty for none.
        caption: below it.
    """

    name: str
    title: str
    x: str
    y: str
    lines: Mapping[str, Sequence[tuple[float, float]]]
    diagonal: str = ""
    caption: str = ""


@dataclass(frozen=True, kw_only=True)
class Details:
    """What a report shows besides the metrics.

    Attributes:
        title: of the table, such as ``seqeval in strict mode (IOB2)``.
        rows: metrics per class and averaged, as ``{class: {column: value}}``.
        table: the same for the terminal.
        confusion: ``{gold label: {predicted label: count}}``, where the task has labels; counts of 0 are left out.
        errors: wrong answers, largest loss first.
        counted: what the confusion matrix counts, in the plural.
        charts: plots of the task's own.
        by_label: where items have several labels, each label's ``true_positives``, ``false_positives``,
            ``false_negatives`` and ``true_negatives``.
        confusion_note: what the confusion matrix counts, where that is not each item once.
        loss: which loss the errors have, with its unit.
    """

    title: str
    rows: Mapping[str, Mapping[str, float]]
    table: str
    confusion: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    errors: Sequence[ErrorCase] = ()
    counted: str = "items"
    charts: Sequence[Chart] = ()
    by_label: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    confusion_note: str = ""
    loss: str = "cross-entropy (nats)"

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Details":
        """What :meth:`to_json` gave."""
        errors = [ErrorCase(**{**case, "marks": [Mark(**mark) for mark in case["marks"]]}) for case in values["errors"]]
        charts = tuple(Chart(**chart) for chart in values.get("charts", ()))
        return cls(**{**values, "errors": errors, "charts": charts})


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """A simple model that was fitted to the same data.

    Attributes:
        record: its ``name``, and its metrics by split.
        answers: to the items of each split, in the form of ``predicted`` in ``predictions-dev.jsonl``.
    """

    record: Mapping[str, Any]
    answers: Mapping[str, Sequence[Any]]


def taken(items: Sequence[Item], indices: IntSequence) -> Sequence[Item]:
    """The items at some indices."""
    return items.take(indices) if isinstance(items, Takes) else [items[index] for index in indices]


def cut(values: Sequence[Any], lengths: Sequence[Sequence[int]]) -> list[Any]:
    """Each example's ids or types, cut into its sequences."""
    ends = (np.cumsum(of_example)[:-1] for of_example in lengths)
    return [part for value, end in zip(values, ends, strict=True) for part in np.split(np.asarray(value), end)]


def nonzero_counts(notes: Mapping[str, Any]) -> list[str]:
    """The counts in ``notes`` that are not 0, in words, such as ``3 cut texts``."""
    return [f"{value:,} {name.replace('_', ' ')}" for name, value in notes.items() if type(value) is int and value]


def worst(cases: Iterable[ErrorCase], most: int = 20) -> list[ErrorCase]:
    """The cases with the largest losses, largest first."""
    return sorted(cases, key=lambda case: -case.loss)[:most]
