"""The interface of a task: what a run, a report and a prediction ask of it.

A task must have eight members, which come first: three attributes (``name``, ``settings_class``, ``model_class``) and
five methods (``read``, ``encode``, ``compute_metrics``, ``parse_input``, ``format_answer``). Everything after them has
a default for the plainest task, one label for each text, whose items, examples and outputs are
:class:`~tasks.data.PlainItem`, :class:`~tasks.data.PlainExample` and :class:`~tasks.data.LabelPrediction`. A task with
types of its own may keep a default if they have the same fields, and overrides the others. Examples may have ``types``,
and ``lengths`` (:class:`~tasks.data.GroupExample`).
"""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minibert import EncoderConfig, Tokenizer, pack
from minibert.checkpoint import Checkpoint, Pretrained
from minibert.errors import InputError
from minibert.loading import LoadReport
from minibert.training import Divergence, LabelledBatch, Metric, class_distance, class_divergence
from tasks.data import Baseline, Details, Encoded, ErrorCase, Example, Item, LabelPrediction, Output, Split, cut, worst
from tasks.settings import LOSS, RunSettings
from tasks.statistics import Figures, confusion_matrix, numbered

SAMPLES = Path(__file__).parent / "samples"
SMALL_VOCABULARY = 8000


class Task(ABC, Generic[Item, Example, Output]):
    """A task with its settings.

    An *item* is what a person labels (a sentence, a question); an *example* is what the model sees at a time (an item,
    or a window of it); an *output* is the task's answer to an item.
    """

    # -- what a task must have -----------------------------------------------------------------------------------------

    name: ClassVar[str]
    """As in ``python -m tasks.NAME``; also the folder of its sample under ``tasks/samples``."""

    settings_class: ClassVar[type[RunSettings]]

    @property
    @abstractmethod
    def model_class(self) -> type[Pretrained]:
        """The model with its head; a class attribute unless the settings decide."""

    @abstractmethod
    def read(self, path: str) -> Split[Item]:
        """Reads a labelled file; InputError names file and line."""

    @abstractmethod
    def encode(self, items: Sequence[Item], tokenizer: Tokenizer, config: EncoderConfig) -> Encoded[Example]:
        """Turns items, with labels or without, into examples of at most ``max_length`` tokens."""

    @abstractmethod
    def compute_metrics(self, items: Sequence[Item], outputs: Sequence[Output]) -> dict[str, float]:
        """The metrics that compare epochs and runs, except the loss."""

    @abstractmethod
    def parse_input(self, record: Mapping[str, Any], place: str) -> Item:
        """An item without a label from the fields of an input.

        Raises:
            InputError: a field is missing or is not text; the message begins with ``place``.
        """

    @abstractmethod
    def format_answer(self, item: Item, output: Output) -> dict[str, Any]:
        """The output as a JSON object: text, character offsets, probabilities."""

    # -- settings ------------------------------------------------------------------------------------------------------

    sample: ClassVar[str | None] = None
    """The folder of its sample, if it is another task's."""
    unit: ClassVar[str] = "label"
    """What the task looks for in an item, for messages."""
    answers_inputs: ClassVar[bool] = True
    """Whether the trained model answers inputs, so that ``tasks.predict`` can use it."""
    example_class: ClassVar[type[tuple[Any, ...]] | None] = None
    """The class of its examples, a named tuple of numbers and arrays, if :meth:`encode` depends on nothing but its
    arguments and the settings, and makes the same examples of an item whatever stands beside it: then those of a large
    file are stored."""
    for_words: ClassVar[bool] = False
    """Whether the tokenizer gets lists of words (``Tokenizer.encode_words``), not running text."""

    def __init__(self, settings: Any) -> None:
        self.settings = settings
        name = settings.metric or self.metric_names[0]
        self.metric = Metric(name, higher_is_better=name != LOSS)

    @property
    def metric_names(self) -> Sequence[str]:
        """The metrics that can choose the best epoch, besides the loss; see :attr:`RunSettings.metric_names`."""
        return tuple(self.settings.metric_names)

    def resolve_settings(self, train: Split[Item]) -> None:
        """Replaces ``self.settings`` where they depend on the training data."""

    def resolve_for_checkpoint(self, checkpoint: Checkpoint | None) -> None:
        """Replaces ``self.settings`` where they depend on the checkpoint to start from; None for a new model."""

    @classmethod
    def settings_from_checkpoint(cls, checkpoint: Checkpoint) -> dict[str, Any]:
        """The settings of a fine-tuned checkpoint that has no settings file."""
        return {}

    # -- data ----------------------------------------------------------------------------------------------------------

    def read_given(self) -> dict[str, Split[Item]]:
        """Reads the files of the settings, or the sample: ``train``, and perhaps ``dev`` and ``test``."""
        given = {name: getattr(self.settings, name) for name in ("train", "dev", "test")}
        if self.settings.train is None:
            given = {name: _sample_file(self.sample or self.name, name) for name in given}
        return {name: self.read(path) for name, path in given.items() if path is not None}

    def stored_splits(self, read: Callable[[], dict[str, Split[Item]]]) -> dict[str, Split[Item]]:
        """The train, dev and test data: what ``read`` returns, or what it returned in an earlier run."""
        return read()

    def count_duplicates(self, splits: Mapping[str, Split[Item]]) -> dict[str, dict[str, int]]:
        """For each split the ``duplicates`` within it, and for those but ``train`` the items ``also_in_train``."""
        in_training = {self.duplicate_key(item) for item in splits["train"].items}
        counts = {}
        for name, split in splits.items():
            counts[name] = {"duplicates": len(split.items) - len({self.duplicate_key(item) for item in split.items})}
            if name != "train":
                counts[name]["also_in_train"] = sum(self.duplicate_key(item) in in_training for item in split.items)
        return counts

    def group_numbers(self, items: Sequence[Item]) -> npt.NDArray[np.int64]:
        """``(N,)``, the group of each item, numbered in the order in which they come."""
        return numbered(map(self.group, items))

    def stratum_numbers(self, items: Sequence[Item]) -> npt.NDArray[np.int64]:
        """``(N,)``, a number for the stratum of each item."""
        return numbered(map(self.stratum, items))

    def texts(self, item: Item) -> Sequence[str]:
        """The texts of an item as the tokenizer gets them."""
        return [_field(item, "text")]

    def texts_as_given(self, item: Item) -> Sequence[str]:
        """The same before anything was changed in them, such as by clean-ups."""
        return self.texts(item)

    def labels_of(self, item: Item) -> Iterable[str]:
        """The labels in an item; training must contain each one that evaluation asks for."""
        label = _field(item, "label")
        return [] if label is None else [label]

    def duplicate_key(self, item: Item) -> Hashable:
        """Items with equal keys are duplicates."""
        return tuple(self.texts(item))

    def group(self, item: Item) -> Hashable:
        """Items of one group stay on the same side of a random split."""
        return self.duplicate_key(item)

    def stratum(self, item: Item) -> Hashable:
        """A random split takes the same share of each stratum."""
        return None

    def summary(self, split: Split[Item]) -> str:
        """The size of a split in a few words, for the terminal: by default the numbers in :meth:`describe`."""
        return ", ".join(f"{value:,} {name}" for name, value in self.describe(split).items() if isinstance(value, int))

    def describe(self, split: Split[Item]) -> dict[str, Any]:
        """The size of a split, for the record."""
        return {"items": len(split.items), "labels": self.count_labels(split)}

    def count_oddities(self, items: Sequence[Item]) -> Mapping[str, int]:
        """What is odd about items as they were read, counted by name, such as repaired answers."""
        return {}

    def count_labels(self, split: Split[Item]) -> dict[str, int]:
        """How often each label occurs, in alphabetical order."""
        return dict(sorted(Counter(label for item in split.items for label in self.labels_of(item)).items()))

    # -- model ---------------------------------------------------------------------------------------------------------

    def labels(self, train: Split[Item]) -> Mapping[int, str] | None:
        """The head's labels by index; None for a head without labels."""
        return dict(enumerate(self.count_labels(train)))

    def known_labels(self, model: nn.Module) -> set[str] | None:
        """The :meth:`labels_of` items that a trained model can give; None where items bring their own."""
        return set(label_names(model).values())

    def train_tokenizer(self, train: Split[Item], arch: str) -> Tokenizer:
        """The tokenizer of a model that starts at random."""
        return Tokenizer.train(
            map(self.texts, train.items), model_type=arch, vocab_size=SMALL_VOCABULARY, running_text=not self.for_words
        )

    def model_shape(self) -> Mapping[str, Any]:
        """Fields of ``config.json`` in which a new model differs from the usual small one."""
        return {}

    def init_weights(self, model: Pretrained, tokenizer: Tokenizer, train: Split[Item]) -> str:
        """Initialises a new model, whose weights are random; says in a word or two where it starts from."""
        return "random"

    def update_config(self, config: EncoderConfig) -> EncoderConfig:
        """The config with the fields that the task determines."""
        return config.with_ngrams(0)

    def check_loaded(self, report: LoadReport, weights: object) -> None:
        """Raises InputError where ``weights`` lacks what the task cannot start without."""

    def untrained(self, report: LoadReport) -> Sequence[str]:
        """The parameters that answers need and a checkpoint lacks."""
        return report.newly_initialised

    # -- training ------------------------------------------------------------------------------------------------------

    def at_epoch(self, example: Example, epoch: int) -> Example:
        """A training example as it is in an epoch, counted from 1; a function of the settings and the epoch alone."""
        return example

    def collate(self, examples: Sequence[Example]) -> LabelledBatch:
        """Packs examples; the targets are ``(B, ...)``, one for each example."""
        sequences: list[Any] = [example.ids for example in examples]
        types = [_field(example, "types") for example in examples] if hasattr(examples[0], "types") else None
        several = [_field(example, "lengths") for example in examples] if hasattr(examples[0], "lengths") else []
        if several:
            sequences = cut(sequences, several)
            types = None if types is None else cut(types, several)
        return LabelledBatch(
            inputs=pack(sequences, types),
            sequences_per_example=tuple(map(len, several)),
            targets=torch.from_numpy(np.array([_field(example, "target") for example in examples])),
            num_targets=len(examples),
            lines=tuple(_field(example, "line") for example in examples),
        )

    def losses(self, model: nn.Module, logits: Any, batch: LabelledBatch) -> Tensor:
        """Each example's loss, summed over its targets, in fp32: ``(B,)``, from what the model returned. Default:
        cross-entropy of logits ``(B, num_labels)``, or of the scores of each example's sequences."""
        return F.cross_entropy(batch.by_example(logits), batch.targets, reduction="none")

    def divergence(self, model: nn.Module) -> Divergence | None:
        """The distance between two outputs of the model for a batch, for ``--r-drop``; None where none is defined.
        Default: that of two distributions over labels, if the loss is the default one."""
        return class_divergence if type(self).losses is Task.losses else None

    def other_sources(self) -> dict[str, dict[str, Any]]:
        """What a run learns from besides its data, by name, with ``path`` and ``sha256``. Default: nothing."""
        return {}

    # -- distillation --------------------------------------------------------------------------------------------------

    def check_teacher(self, teacher: "Task[Item, Example, Output]", place: str) -> None:
        """Raises InputError, which begins with ``place``, for a teacher of the same task that answers otherwise."""

    def num_targets(self, example: Example) -> int:
        """How many targets an example has. Default: one."""
        return 1

    def target_logits(self, model: nn.Module, logits: Any, batch: LabelledBatch) -> Tensor:
        """What the model returned as a row for each target of the batch, in fp32: ``(N, K)``. Default: each example."""
        return batch.by_example(logits)

    def distances(self, logits: Tensor, soft_targets: Tensor, temperature: float) -> Tensor:
        """How far each target's logits are from a teacher's, both ``(N, K)``: ``(N,)`` in fp32. Default: of classes."""
        return class_distance(logits, soft_targets, temperature)

    # -- outputs -------------------------------------------------------------------------------------------------------

    def decode(self, model: nn.Module, logits: Any, batch: LabelledBatch, examples: Sequence[Example]) -> list[Any]:
        """What :meth:`outputs` needs of each example in a batch, on the host, as small as possible.

        Default: the index of the likeliest label and its probability.
        """
        probabilities, indices = batch.by_example(logits).softmax(-1).max(-1)
        return list(zip(indices.tolist(), probabilities.tolist(), strict=True))

    def outputs(self, model: nn.Module, items: Sequence[Item], decoded: Sequence[Sequence[Any]]) -> list[Output]:
        """The output for each item, from what :meth:`decode` returned for its examples.

        Default: the label of its only example.
        """
        id2label = label_names(model)
        found: list[Any] = [LabelPrediction(id2label[index], value) for ((index, value),) in decoded]
        return found

    def set_top_k(self, top_k: int) -> None:
        """From now on, answers have the ``top_k`` likeliest of what the task chooses among, likeliest first.

        Raises:
            InputError: it does not choose. The default.
        """
        raise InputError(f"--top-k {top_k}: answers of {self.name} are not chosen from a ranking; leave it out.")

    def take_out(self, model: Any) -> str:
        """Takes what :meth:`complete` adds out of a model; says what that is, in a word or two."""
        return ""

    def complete(self, model: Any, encoded: Mapping[str, Encoded[Example]], dev_outputs: Sequence[Output]) -> None:
        """Adds to the best model what is fitted once it is known."""

    def calibrate(self, items: Sequence[Item], outputs: Sequence[Output]) -> Sequence[Output]:
        """Fits on dev what answers need besides the best weights, and keeps it; returns the outputs with it.

        Default: nothing.
        """
        return outputs

    def calibration_record(self) -> Mapping[str, Any]:
        """What :meth:`calibrate` has fitted, as JSON for the model's folder."""
        return {}

    def load_calibration(self, record: Mapping[str, Any], place: str) -> None:
        """Takes what :meth:`calibration_record` gave.

        Raises:
            InputError: it cannot be used; the message begins with ``place``.
        """
        if record:
            raise InputError(f"{place}: the task {self.name} has no calibration; copy the file from the run again.")

    def label_pairs(self, item: Item, output: Output) -> Iterable[tuple[str, str]]:
        """Gold and predicted label of each choice among ``labels`` that the model made in an item."""
        return [(label, _field(output, "label")) for label in self.labels_of(item)]

    def prediction_record(self, item: Item, output: Output) -> dict[str, Any] | None:
        """An item's ``gold`` and ``predicted`` answers and their probabilities, as a line of ``predictions-dev.jsonl``;
        None if it has no gold answer. The metrics can be computed from these lines alone."""
        gold, predicted, probability = _field(item, "label"), _field(output, "label"), _field(output, "probability")
        return {"gold": gold, "predicted": predicted, "probability": probability}

    def weighted_metrics(self, records: Sequence[Mapping[str, Any]]) -> Figures | None:
        """The metrics, as far as they follow from what :meth:`prediction_record` gave, as a function of how often each
        record counts: for confidence intervals and tests. None for no intervals.

        Default: the accuracy, the share of records whose predicted answer is the gold one.
        """
        right = np.array([record["gold"] == record["predicted"] for record in records], float)
        return lambda weights: {"accuracy": float(weights @ right / weights.sum())}

    def warnings(self, items: Sequence[Item], metrics: Mapping[str, float]) -> list[str]:
        """Why the metrics may look better than the answers are."""
        return []

    def baseline(self, splits: Mapping[str, Split[Item]]) -> Baseline | None:
        """A linear model on the same data; None for no baseline."""
        return None

    def details(self, split: Split[Item], outputs: Sequence[Output], losses: Sequence[float]) -> Details:
        """What the report shows of the final evaluation."""
        metrics = self.compute_metrics(split.items, outputs)
        cases = [self.error_case(split, *each) for each in zip(split.items, outputs, losses, strict=True)]
        return Details(
            title=", ".join(metrics),
            rows={"all": {**metrics, "support": float(len(outputs))}},
            table="".join(f"{name.replace('_', ' ')} {value:.4f}\n" for name, value in metrics.items()),
            confusion=confusion_matrix(
                pair for each in zip(split.items, outputs, strict=True) for pair in self.label_pairs(*each)
            ),
            errors=worst(case for case in cases if case is not None),
            counted="words" if self.for_words else "items",
        )

    def error_case(self, split: Split[Item], item: Item, output: Output, loss: float) -> ErrorCase | None:
        """How the report shows an item with a wrong answer; None if the answer is right."""
        pairs = list(self.label_pairs(item, output))
        if all(gold == predicted for gold, predicted in pairs):
            return None
        return ErrorCase(
            place=f"{split.path}, line {_field(item, 'line')}",
            text=" \u2016 ".join(self.texts(item)),
            gold=", ".join(gold for gold, _ in pairs),
            predicted=", ".join(predicted for _, predicted in pairs),
            loss=loss,
        )


def label_names(model: nn.Module) -> Mapping[int, str]:
    """The labels of a model's head by index."""
    assert isinstance(model.config, EncoderConfig)
    return model.config.id2label


def _sample_file(folder: str, part: str) -> str:
    found = next((SAMPLES / folder).glob(f"{part}.*"), None)
    if found is None:
        raise InputError("--train: needed; this task has no sample.")
    return str(found)


def _field(record: Any, name: str) -> Any:
    """A field that the defaults rely on; a task whose items or examples lack it overrides the method that asked."""
    return getattr(record, name)
