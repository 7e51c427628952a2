"""Model folders: strict loading with a report, and saving that never leaves half a file."""

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import ClassVar, TypeVar

import torch
from safetensors.torch import save_file
from torch import nn

from minibert.config import EncoderConfig
from minibert.errors import InputError
from minibert.files import make_folder, read_json_object, write_atomically, write_json
from minibert.formats.huggingface import family_of, name_table, open_weights
from minibert.formats.names import Readers, check_layers, from_parameters, shorten
from minibert.formats.other_tools import FOREIGN, foreign_names
from minibert.formats.sentence_transformers import MEAN, SentenceSettings, sentence_settings
from minibert.hub import resolve
from minibert.loading import LoadReport, build_model
from minibert.tokenizer import Tokenizer

logger = logging.getLogger(__name__)

PathOrName = str | os.PathLike[str]


class Pretrained(nn.Module):
    """A module that is built from an :class:`EncoderConfig` and saved in Hugging Face's format."""

    head: ClassVar[str]
    """The ending of Hugging Face's class name for this kind of model, such as ``ForTokenClassification``."""
    config: EncoderConfig

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return next(self.parameters()).device

    @classmethod
    def from_pretrained(cls: type["Model"], path_or_name: PathOrName) -> "Model":
        """Loads a checkpoint folder or hub name; warns if parameters are newly initialised or the file's CRF is not
        used. See :meth:`Checkpoint.load`."""
        return _load_with_warning(cls, open_checkpoint(path_or_name), None)

    def save_pretrained(self, folder: PathOrName) -> None:
        """Writes ``config.json`` and ``model.safetensors`` in Hugging Face's format; see :func:`save_model`."""
        save_model(self, folder)


Model = TypeVar("Model", bound=Pretrained)


class PretrainedClassifier(Pretrained):
    """A :class:`Pretrained` module whose head has labels."""

    @classmethod
    def from_pretrained(
        cls: type["Model"],
        path_or_name: PathOrName,
        *,
        num_labels: int | None = None,
        id2label: Mapping[int, str] | None = None,
    ) -> "Model":
        """Loads a checkpoint folder or hub name; see :meth:`Checkpoint.load`.

        Args:
            path_or_name: a local folder, or a name on the hub.
            num_labels: the number of labels; the checkpoint's by default.
            id2label: the labels by index; the checkpoint's by default.

        Raises:
            ValueError: both are given and disagree.
        """
        if id2label is not None and num_labels not in (None, len(id2label)):
            raise ValueError(f"num_labels is {num_labels}, but id2label has {len(id2label)} labels; pass one of them.")
        checkpoint = open_checkpoint(path_or_name)
        if id2label is None and num_labels is not None and num_labels != checkpoint.config.num_labels:
            id2label = {index: f"LABEL_{index}" for index in range(num_labels)}
        return _load_with_warning(cls, checkpoint, id2label)


def _load_with_warning(model_class: type[Model], checkpoint: "Checkpoint", labels: Mapping[int, str] | None) -> Model:
    model, report = checkpoint.load(model_class, labels=labels)
    checkpoint.require_whole_head(model, report)
    # Without its CRF, a token classifier gives other answers than it was trained to give.
    without_crf = model.head == "ForTokenClassification" and any(name.startswith("crf.") for name in report.ignored)
    if report.newly_initialised or report.foreign or without_crf:
        logger.warning("%s: %s", checkpoint.folder, report)
    return model


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """An open checkpoint folder; see :func:`open_checkpoint`.

    Attributes:
        folder: its path.
        config: the model's, from ``config.json`` and the names of the tensors.
        architectures: the classes in ``config.json``, such as ``BertForTokenClassification``.
        tensors: name in the file, without a common prefix -> a function that reads the tensor.
        foreign: names outside the encoder that belong to no head of minibert, and are not among ``tensors``.
        notes: how the tensors were found, where they were wrapped.
    """

    folder: Path
    config: EncoderConfig
    architectures: tuple[str, ...]
    tensors: Readers
    foreign: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def has_head(self, head: str) -> bool:
        """Whether ``config.json`` names a class with this ending."""
        return any(name.endswith(head) for name in self.architectures)

    @property
    def made_for_means(self) -> bool:
        """Whether a text's vector is the mean of its last hidden states, and the file has no trained pooler: a folder
        of sentence-transformers says so, or a classifier of this project's.

        Raises:
            InputError: a settings file of sentence-transformers cannot be read.
        """
        if self.has_head(_MEAN_HEAD):
            return True
        settings = self.sentence_settings
        return settings is not None and settings.pooling == MEAN and not any("pooler." in name for name in self.tensors)

    @cached_property
    def sentence_settings(self) -> SentenceSettings | None:
        """How a folder of sentence-transformers makes a text's vector; None for any other folder.

        Raises:
            InputError: a settings file of sentence-transformers cannot be read.
        """
        return sentence_settings(self.folder)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The checkpoint's tokenizer; InputError if there is none or it does not fit the model."""
        tokenizer = Tokenizer.from_pretrained(self.folder)
        tokenizer.check_fits(self.config, self.folder)
        return tokenizer

    def load(
        self, model_class: type["Model"], *, labels: Mapping[int, str] | None = None
    ) -> tuple["Model", LoadReport]:
        """Builds a model and loads its weights in fp32, in evaluation mode.

        Every tensor of the architecture must be present once with the right shape, and every name in the file must be
        known. Only heads and poolers may be absent; they are initialised at random and reported.

        Args:
            model_class: the class to build.
            labels: the head's labels, by index. If they are not the checkpoint's, the head is newly initialised.

        Raises:
            InputError: a tensor is missing or unexpected or has a wrong shape, or ``labels`` are the checkpoint's in
                another order.
        """
        reset_head_reason = self._reason_to_reset_head(model_class.head, labels)
        config = self.config if labels is None else self.config.with_labels(labels)
        table = name_table(config, model_class.head)
        model, report = build_model(model_class, table, self.tensors, self.folder, reset_head_reason)
        ignored = {**report.ignored, **dict.fromkeys(self.foreign, FOREIGN)}
        return model, replace(report, ignored=ignored, notes=self.notes)

    def require_whole_head(self, model: Pretrained, report: LoadReport) -> None:
        """Raises InputError if the file's head was loaded, and the file has parts beside it that minibert does not
        know: without them its answers would be others."""
        own = {name for name, _ in model.named_parameters() if not name.startswith("encoder.")}
        if model.head != "Model" and self.foreign and own - {*report.newly_initialised}:
            raise InputError(
                f"{self.folder}: its head has parts that minibert does not know ({shorten(self.foreign)}), without "
                "which it would answer otherwise than it was trained to. To train a new head on its encoder, give the "
                "folder as --weights; to keep the head without them, convert it with tools/convert_weights.py."
            )

    def _reason_to_reset_head(self, head: str, labels: Mapping[int, str] | None) -> str | None:
        """Why the classifier in the file cannot be used for this model, or None if it can."""
        kind = head.removeprefix("Crf")  # with or without a CRF, the classifier is the same
        if kind not in _HEADS_NAMED_CLASSIFIER:
            return None
        named = self.architectures
        if kind == "ForMultipleChoice" and not named:
            return "config.json does not say that it is for multiple choice"
        of_file = list(filter(self.has_head, _HEADS_NAMED_CLASSIFIER))
        if named and of_file[:1] != [kind]:
            return f"the checkpoint is a {named[0]}"
        if labels is None or dict(labels) == dict(self.config.id2label):
            return None
        if named and set(labels.values()) == set(self.config.id2label.values()):
            raise InputError(
                f"{self.folder}: was trained with the same labels in another order; pass them in this order: "
                f"{', '.join(self.config.id2label[i] for i in range(self.config.num_labels))}."
            )
        return "it was trained with other labels"


# Heads whose linear layer is called `classifier` in every file: tensor names cannot distinguish them. The first that a
# class name ends with is meant.
_MEAN_HEAD = "MeanForSequenceClassification"
_HEADS_NAMED_CLASSIFIER = (_MEAN_HEAD, "ForSequenceClassification", "ForTokenClassification", "ForMultipleChoice")


def open_checkpoint(path_or_name: PathOrName, *, revision: str | None = None) -> Checkpoint:
    """Opens a checkpoint in Hugging Face's format; tensors are read on demand.

    Args:
        path_or_name: a local folder, or a name on the hub.
        revision: a branch, tag or commit on the hub; the main branch by default.

    Raises:
        InputError: the folder cannot be read, or contains another kind of model.
    """
    folder = resolve(path_or_name, revision=revision)
    tensors, notes = open_weights(folder)
    path = folder / "config.json"
    values = read_json_object(path)
    family = family_of(tensors, values.get("model_type"))
    try:
        config = EncoderConfig.from_dict(values | ({"model_type": family.name} if family else {}))
    except InputError as error:
        raise InputError(f"{path}: {str(error).removeprefix('config: ')}") from None
    check_layers(config, len(tensors), path)
    foreign = foreign_names(tensors, config.family)
    return Checkpoint(
        folder=folder,
        config=config,
        architectures=class_names(values, path),
        tensors={name: read for name, read in tensors.items() if name not in foreign},
        foreign=foreign,
        notes=notes,
    )


def class_names(values: Mapping[str, object], path: Path) -> tuple[str, ...]:
    """The names of the classes that a ``config.json`` lists; none where it does not.

    Raises:
        InputError: it has something else in their place.
    """
    named = values.get("architectures") or []
    if not isinstance(named, list) or not all(isinstance(name, str) for name in named):
        raise InputError(f"{path}: architectures must be a list of class names.")
    return tuple(named)


def save_model(model: Pretrained, folder: PathOrName) -> None:
    """Writes ``config.json`` and ``model.safetensors`` under Hugging Face's names, tied tensors once.

    Each file is written atomically, so that ``folder`` may be the one the model was loaded from.

    Raises:
        InputError: the folder cannot be written.
    """
    folder = Path(folder)
    make_folder(folder)
    get_tensor = from_parameters(dict(model.named_parameters()))
    tensors = {
        name: tensor.detach().cpu().contiguous()
        for name, tensor in name_table(model.config, model.head).export(get_tensor).items()
    }
    dtype = str(next(iter(tensors.values())).dtype).removeprefix("torch.")
    config = {"architectures": [model.config.family.class_of(model.head)], "dtype": dtype, **model.config.to_dict()}
    write_atomically(folder / "model.safetensors", lambda path: save_file(tensors, path, metadata={"format": "pt"}))
    write_atomically(folder / "config.json", lambda path: write_json(path, config))
