"""What a task must offer: its data, its model, its loss, its figures, and its answers to new text.

One training run (:mod:`tasks.run.train`) and one prediction run (:mod:`tasks.predict.command`) serve every task
through this.
"""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn

from minibert import EncoderConfig, Tokenizer
from minibert.batch import IntSequence
from minibert.checkpoint import LoadReport, Pretrained
from minibert.errors import InputError
from minibert.training import Divergence, LabelledBatch, Metric
from tasks.settings import RunSettings

SAMPLES = Path(__file__).parent / "samples"
_SMALL_VOCABULARY = 8000


class HasIds(Protocol):
    """What the model sees at a time: token ids with special tokens, and whatever the task keeps beside them."""

    @property
    def ids(self) -> IntSequence: ...


Item = TypeVar("Item")
Example = TypeVar("Example", bound=HasIds)
Output = TypeVar("Output")


@dataclass(frozen=True, kw_only=True)
class Split(Generic[Item]):
    """One part of the data.

    Attributes:
        path: the file, as it was given.
        part: which part of the file, where it is not the whole.
        sha256: of the file.
        items: in file order; each has a ``line``.
        notes: counts and facts from reading it, such as repaired labels.
    """

    path: str
    part: str = ""
    sha256: str
    items: Sequence[Item]
    notes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def source(self) -> str:
        """File and part, for people."""
        return f"{self.path} ({self.part})" if self.part else self.path


@dataclass(frozen=True, kw_only=True)
class Encoded(Generic[Example]):
    """Items as the model sees them.

    Attributes:
        examples: those of the first item, then of the second, and so on.
        counts: how many of the examples belong to each item; more than one where a long text is read in windows.
        notes: counts worth knowing, such as ``unknown_tokens``, by name.
    """

    examples: Sequence[Example]
    counts: Sequence[int]
    notes: Mapping[str, int] = field(default_factory=Counter)

    @cached_property
    def lengths(self) -> list[int]:
        """Each example's tokens."""
        return [len(example.ids) for example in self.examples]


def counted(notes: Mapping[str, Any]) -> list[str]:
    """The counts in ``notes`` that are not 0, in words, such as ``3 cut texts``."""
    return [f"{value:,} {name.replace('_', ' ')}" for name, value in notes.items() if type(value) is int and value]


@dataclass(frozen=True, kw_only=True)
class Mark:
    """Characters ``start:end`` of a text, and what they are: ``gold``, ``predicted`` or ``both``."""

    start: int
    end: int
    kind: str
    label: str


@dataclass(frozen=True, kw_only=True)
class ErrorCase:
    """An item that was answered wrongly, for a person to read.

    Attributes:
        place: the file's line, or an id.
        text: what was read.
        gold, predicted: in words.
        loss: the item's; the largest are shown first.
        marks: places in ``text``, in order; those of one kind do not overlap.
    """

    place: str
    text: str
    gold: str
    predicted: str
    loss: float
    marks: Sequence[Mark] = ()


@dataclass(frozen=True, kw_only=True)
class Details:
    """What a report shows beside the figures.

    Attributes:
        title: what the table is, such as ``seqeval in strict mode (IOB2)``.
        rows: figures by class and averaged, as ``{class: {column: figure}}``.
        table: the same for the terminal.
        confusion: ``{gold class: {predicted class: count}}``, where the task has classes; all classes in both.
        errors: wrong answers, worst first.
    """

    title: str
    rows: Mapping[str, Mapping[str, float]]
    table: str
    confusion: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    errors: Sequence[ErrorCase] = ()


class Task(ABC, Generic[Item, Example, Output]):
    """A task with its settings.

    An *item* is what a person labels (a sentence, a question); an *example* is what the model sees at a time (an item,
    or a window of it); an *output* is the task's answer to an item.
    """

    name: ClassVar[str]
    """As in ``python -m tasks.NAME``; also the folder of its sample under ``tasks/samples``."""
    sample: ClassVar[str | None] = None
    """The folder of its sample, where that is another task's."""
    settings_class: ClassVar[type[RunSettings]]
    unit: ClassVar[str]
    """What is to be found in an item, for messages."""
    for_words: ClassVar[bool] = False
    """Whether the tokenizer is used on words (``Tokenizer.encode_words``), not on running text."""

    def __init__(self, settings: Any) -> None:
        """Raises InputError for a ``--metric`` that this task does not have."""
        self.settings = settings
        known = {name: Metric(name) for name in self.metrics} | {"loss": Metric("loss", higher_is_better=False)}
        name = settings.metric or next(iter(known))
        if name not in known:
            raise InputError(f"--metric {name}: use one of {', '.join(known)}.")
        self.metric = known[name]

    @property
    @abstractmethod
    def metrics(self) -> Sequence[str]:
        """The figures that can choose the best epoch, beside the loss: better when larger, the leading one first."""

    # -- data --------------------------------------------------------------------------------------------------------

    def read_given(self) -> dict[str, Split[Item]]:
        """Reads the files of the settings, or the sample: ``train``, and perhaps ``dev`` and ``test``."""
        settings: RunSettings = self.settings
        given = {"train": settings.train, "dev": settings.dev, "test": settings.test}
        if settings.train is None:
            given = {name: str(next((SAMPLES / (self.sample or self.name)).glob(f"{name}.*"))) for name in given}
        return {name: self.read(path) for name, path in given.items() if path is not None}

    @abstractmethod
    def read(self, path: str) -> Split[Item]:
        """Reads a labelled file; InputError names file and line."""

    @abstractmethod
    def key(self, item: Item) -> Hashable:
        """What makes two items the same."""

    def group(self, item: Item) -> Hashable:
        """What must stay together on one side of a random split."""
        return self.key(item)

    @abstractmethod
    def classes(self, item: Item) -> Iterable[str]:
        """The classes in an item: training must hold each one that evaluation asks for."""

    def stratum(self, item: Item) -> Hashable:
        """What a random split should have in equal parts on both sides."""
        return None

    @abstractmethod
    def headline(self, split: Split[Item]) -> str:
        """The sizes of a split in a few words, for the terminal."""

    @abstractmethod
    def describe(self, split: Split[Item]) -> dict[str, Any]:
        """The sizes of a split, for the record."""

    @abstractmethod
    def strings(self, item: Item) -> Sequence[str]:
        """The words or texts of an item as the tokenizer meets them, to make one for a random model."""

    def settle(self, train: Split[Item]) -> None:
        """Settles ``self.settings`` where they depend on the training data."""

    # -- model -------------------------------------------------------------------------------------------------------

    def new_tokenizer(self, train: Split[Item], arch: str) -> Tokenizer:
        """The tokenizer of a random model."""
        return Tokenizer.train(
            map(self.strings, train.items),
            model_type=arch,
            vocab_size=_SMALL_VOCABULARY,
            running_text=not self.for_words,
        )

    def new_shape(self) -> Mapping[str, Any]:
        """The fields of ``config.json`` that a random model does not share with all small ones."""
        return {}

    def start_new(self, model: Pretrained, tokenizer: Tokenizer, train: Split[Item]) -> str:
        """Sets weights of a new model, which are random; says in a word or two where it starts from."""
        return "random"

    @property
    @abstractmethod
    def model_class(self) -> type[Pretrained]: ...

    @abstractmethod
    def labels(self, train: Split[Item]) -> Mapping[int, str] | None:
        """The head's labels by index; None where it has none."""

    @classmethod
    def settings_of(cls, config: EncoderConfig) -> dict[str, Any]:
        """The settings that a fine-tuned checkpoint without a run's settings file tells of."""
        return {}

    def check_loaded(self, report: LoadReport, weights: object) -> None:
        """Raises InputError where ``weights`` lacks what the task cannot start without."""

    def configured(self, config: EncoderConfig) -> EncoderConfig:
        """The config with what the task itself settles."""
        return config

    @abstractmethod
    def encode(self, items: Sequence[Item], tokenizer: Tokenizer, config: EncoderConfig) -> Encoded[Example]:
        """Cuts items into examples of at most ``max_length`` tokens; items without labels too."""

    def at_epoch(self, example: Example, epoch: int) -> Example:
        """What a training example is in an epoch, counted from 1; it may depend on the settings, and on no more."""
        return example

    @abstractmethod
    def collate(self, examples: Sequence[Example]) -> LabelledBatch: ...

    @abstractmethod
    def losses(self, model: nn.Module, logits: Any, batch: LabelledBatch) -> Tensor:
        """Each sequence's loss, summed over its targets, in fp32: ``(B,)``. ``logits`` is what the model gave."""

    def divergence(self, model: nn.Module) -> Divergence | None:
        """How far two outputs of the model for a batch lie apart, for ``--r-drop``; None where there is no measure."""
        return None

    # -- answers -----------------------------------------------------------------------------------------------------

    @abstractmethod
    def decode(self, model: nn.Module, logits: Any, batch: LabelledBatch, examples: Sequence[Example]) -> list[Any]:
        """What :meth:`outputs` needs of each example in a batch, on the host, as small as can be."""

    @abstractmethod
    def outputs(self, model: nn.Module, items: Sequence[Item], decoded: Sequence[Sequence[Any]]) -> list[Output]:
        """The answer to each item from what its examples gave."""

    @abstractmethod
    def figures(self, items: Sequence[Item], outputs: Sequence[Output]) -> dict[str, float]:
        """The figures by which epochs and runs are compared, except the loss."""

    @abstractmethod
    def details(self, split: Split[Item], outputs: Sequence[Output], losses: Sequence[float]) -> Details:
        """What the report shows of the final evaluation."""

    def doubts(self, items: Sequence[Item], figures: Mapping[str, float]) -> list[str]:
        """What to know of figures that look better than the answers are."""
        return []

    def choices(self, item: Item, output: Output) -> Iterable[tuple[str, str]]:
        """Gold and predicted class of each choice the model makes in an item, where it chooses among ``labels``; they
        tell a model that has learnt nothing."""
        return ()

    def baseline(self, splits: Mapping[str, Split[Item]]) -> dict[str, Any] | None:
        """The figures of a linear model on the same data, where the task has one: ``name``, and figures by split."""
        return None

    # -- new text ----------------------------------------------------------------------------------------------------

    @abstractmethod
    def item_from(self, record: Mapping[str, Any], place: str) -> Item:
        """An item without labels from an input's fields.

        Raises:
            InputError: a field is missing or is not text; the message begins with ``place``.
        """

    @abstractmethod
    def answer(self, item: Item, output: Output) -> dict[str, Any]:
        """The output as a line of JSON gives it: text, places by character, probabilities."""


def worst(cases: Iterable[ErrorCase], most: int = 20) -> list[ErrorCase]:
    """The cases with the largest losses, largest first."""
    return sorted(cases, key=lambda case: -case.loss)[:most]


def sum_by_sequence(values: Tensor, batch: LabelledBatch) -> Tensor:
    """``(T,)`` -> ``(B,)``."""
    inputs = batch.inputs
    sequence = torch.repeat_interleave(inputs.cu_seqlens.diff(), output_size=inputs.num_tokens)
    return values.new_zeros(inputs.num_sequences).index_add(0, sequence, values)
