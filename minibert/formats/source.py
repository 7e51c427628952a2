"""Checkpoints opened by their content: matched name by name with their format's table, and accounted for.

No model is built: a tensor is read when it is asked for.
"""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from minibert.checkpoint import Pretrained, shapes_alone
from minibert.config import EncoderConfig
from minibert.encoder import Encoder
from minibert.errors import InputError
from minibert.families import FAMILIES, Family
from minibert.files import read_json_object
from minibert.formats import huggingface
from minibert.formats.fairseq import checkpoint as fairseq
from minibert.formats.google import checkpoint as google
from minibert.formats.names import NameTable, Readers, Slot, listed, match, owner_of_encoder
from minibert.heads import (
    CrfTokenClassifier,
    MultipleChoiceClassifier,
    PretrainingModel,
    ReplacedTokenDetector,
    SequenceClassifier,
    SpanClassifier,
    TokenClassifier,
)
from minibert.hub import resolve

FORMATS = ("huggingface", "google", "fairseq")

MODELS: dict[str, type[Pretrained]] = {
    model.head: model
    for model in (
        Encoder,
        PretrainingModel,
        TokenClassifier,
        CrfTokenClassifier,
        SequenceClassifier,
        MultipleChoiceClassifier,
        SpanClassifier,
        ReplacedTokenDetector,
    )
}

# The parts of a model that a file has whole or not at all, by the first step of our parameters' names.
_PARTS = {
    "mlm": "language head", "pair": "pair head", "dense": "classifier", "classifier": "classifier", "crf": "CRF",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ConversionSource:
    """An opened checkpoint of any format, whole and with every name known.

    Attributes:
        folder: where it lies.
        format: one of :data:`FORMATS`.
        table: its names, with the model's config and head.
        parameters: ours, as shapes without values.
        readers: each of our parameters, or each part of one, as we hold it -> a function that reads it.
        read: each name in the file that is read -> the slot that it fills.
        ignored: each other name in the file -> why it is not read.
        made: parameters of ours that no single tensor of the file gives -> what they are.
        absent: the parts that the file does not have and need not have.
        settings: the fields of its ``config.json``, where it has one.
        notes: what else a person should know.
    """

    folder: Path
    format: str
    table: NameTable
    parameters: Mapping[str, Tensor]
    readers: Mapping[Slot, Callable[[], Tensor]]
    read: Mapping[str, Slot]
    ignored: Mapping[str, str]
    made: Mapping[str, str]
    absent: tuple[str, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def config(self) -> EncoderConfig:
        return self.table.config

    @property
    def architecture(self) -> str:
        """Hugging Face's class for what is in the file."""
        head = self.table.head
        if "pair head" in self.absent:
            head = "ForMaskedLM"
        elif "language head" in self.absent and self.config.family.pair_objective == "next_sentence":
            head = "ForNextSentencePrediction"  # the others have no such class
        return self.config.family.class_of(head)

    def take(self, slot: Slot) -> Tensor | None:
        """The tensor of a slot: as it is in the file, cut out of a larger one, or put together; None where the file has
        nothing for it."""
        value = self._upright(replace(slot, transposed=False))
        return value.T if value is not None and slot.transposed else value

    def _upright(self, slot: Slot) -> Tensor | None:
        if slot in self.readers:
            return self.readers[slot]()
        whole = Slot(slot.name)
        if whole in self.readers:
            return slot.of(self.readers[whole]())
        parts = _thirds(slot.name)
        if slot == whole and all(part in self.readers for part in parts):
            return torch.cat([self.readers[part]() for part in parts])
        return None


def open_source(
    path_or_name: str | os.PathLike[str],
    *,
    arch: str | None = None,
    hidden_act: str | None = None,
    head: str | None = None,
) -> ConversionSource:
    """Opens a checkpoint, whose format and architecture are told by its files and their content.

    Args:
        path_or_name: a local folder, or a name on the hub.
        arch: the architecture that the caller believes it is; where it is another, a note says why.
        hidden_act: the activation, where the file's settings do not say it rightly.
        head: which of fairseq's classification heads to take; the language head where absent.

    Raises:
        InputError: the files cannot be read, a name is unknown, or a tensor is missing.
    """
    folder = resolve(path_or_name)
    format_ = detect_format(folder)
    if head is not None and format_ != "fairseq":
        raise InputError(f"{folder}: is of the format {format_}; only fairseq's files have heads to choose from.")
    if format_ == "huggingface":
        opened = _open_huggingface(folder, hidden_act)
    elif format_ == "google":
        opened = _open_google(folder, hidden_act)
    else:
        opened = _open_fairseq(folder, hidden_act, head)
    family = opened.config.family
    if arch is not None and arch != family.name:
        note = f"this is {family.title}, not {FAMILIES[arch].title}: {_why_family(opened, FAMILIES[arch])}"
        opened = replace(opened, notes=(note, *opened.notes))
    return opened


def detect_format(folder: Path) -> str:
    """The format of a folder's weights, by its files.

    Raises:
        InputError: there are no weights of a known format.
    """
    if any((folder / f"{whole}{index}").is_file() for whole in huggingface.WEIGHTS for index in ("", ".index.json")):
        return "huggingface"
    if any(folder.glob("*.index")):
        return "google"
    if (folder / "model.pt").is_file():
        return "fairseq"
    raise InputError(
        f"{folder}: no weights found; a folder holds model.safetensors or pytorch_model.bin (Hugging Face), "
        "bert_model.ckpt.index with its data (Google) or model.pt (fairseq)."
    )


def open_any_tensors(folder: Path) -> Readers:
    """Every tensor of a checkpoint under its own name, unmatched: for looking at a file."""
    format_ = detect_format(folder)
    if format_ == "google":
        return google.open_variables(folder)
    return fairseq.open_state(folder) if format_ == "fairseq" else huggingface.open_weights(folder)


def _open_huggingface(folder: Path, hidden_act: str | None) -> ConversionSource:
    tensors = huggingface.open_weights(folder)
    path = folder / "config.json"
    settings = read_json_object(path)
    named = settings.get("model_type")
    family = huggingface.family_of(tensors, named)
    notes = []
    if family and named and named != family.name:
        notes.append(f"config.json calls it {named}, but its tensors are named as {family.title}'s")
    settings |= {"model_type": family.name if family else named, "hidden_act": hidden_act or settings.get("hidden_act")}
    settings = {name: value for name, value in settings.items() if value is not None}
    try:
        config = EncoderConfig.from_dict(settings)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    head = huggingface.head_of(tensors, config.family, settings.get("architectures"))
    if head == "ForQuestionAnswering":
        config = config.with_labels({0: "LABEL_0", 1: "LABEL_1"})
    elif head == "ForMultipleChoice":
        config = config.with_labels({0: "LABEL_0"})
    table = huggingface.name_table(config, head)
    return _accounted(folder, "huggingface", table, tensors, settings=settings, notes=tuple(notes))


def _open_google(folder: Path, hidden_act: str | None) -> ConversionSource:
    prefix = google.find_checkpoint(folder)
    assert prefix  # detect_format found one
    opened = google.open_google_checkpoint(prefix, hidden_act=hidden_act)
    return _accounted(
        folder,
        "google",
        opened.table,
        opened.tensors,
        skipped=opened.skipped,
        made={name: (read, "an identity, which changes nothing") for name, read in opened.made.items()},
        notes=opened.notes,
    )


def _open_fairseq(folder: Path, hidden_act: str | None, head: str | None) -> ConversionSource:
    opened = fairseq.open_fairseq_checkpoint(folder)
    if hidden_act:
        opened = replace(opened, config=replace(opened.config, hidden_act=hidden_act))
    kind = "ForPreTraining" if any("lm_head." in name for name in opened.tensors) else "Model"
    if head is not None or (kind == "Model" and opened.heads):
        kind = "ForSequenceClassification"
    notes = [f"model.pt also holds {', '.join(opened.not_read)}; not read"] if opened.not_read else []
    return _accounted(folder, "fairseq", opened.table(kind, head), opened.tensors, notes=tuple(notes))


def _accounted(
    folder: Path,
    format_: str,
    table: NameTable,
    tensors: Readers,
    *,
    skipped: Mapping[str, str] | None = None,
    made: Mapping[str, tuple[Callable[[], Tensor], str]] | None = None,
    settings: Mapping[str, Any] | None = None,
    notes: tuple[str, ...] = (),
) -> ConversionSource:
    """Matches a file's names with its table, and makes sure that nothing is missing."""
    parameters = _parameters(table)
    found = match(table, tensors, folder)
    readers: dict[Slot, Callable[[], Tensor]] = {}
    for name, slot in table.slots.items():
        if name in found.readers:
            shown = f"{folder}: {found.spelled[name]}"
            readers[replace(slot, transposed=False)] = _checked(
                found.readers[name], slot, slot.of(parameters[slot.name]).shape, shown
            )
    words = readers.get(Slot(owner_of_encoder(table.head) + "embeddings.word_embeddings.weight"))
    zeros = {name: (_zeros_like(words, parameters[name].shape), why) for name, why in table.zeros.items()}
    others = {**zeros, **(made or {})}
    readers |= {Slot(name): read for name, (read, _) in others.items()}
    return ConversionSource(
        folder=folder,
        format=format_,
        table=table,
        parameters=parameters,
        readers=readers,
        read={found.spelled[name]: slot for name, slot in table.slots.items() if name in found.readers},
        ignored={**found.ignored, **(skipped or {})},
        made={name: why for name, (_, why) in others.items()},
        absent=_absent(folder, table, parameters, readers),
        settings=settings or {},
        notes=notes,
    )


def _parameters(table: NameTable) -> dict[str, Tensor]:
    """Our parameters, and the pooler's where the head does without, as shapes without values."""
    width, owner = table.config.hidden_size, owner_of_encoder(table.head)
    try:
        with shapes_alone():
            model = MODELS[table.head](table.config)
            pooler = {f"{owner}pooler.weight": torch.empty(width, width), f"{owner}pooler.bias": torch.empty(width)}
    except (RuntimeError, TypeError, OverflowError):
        raise InputError(f"{table.settings} describes a model that does not fit in memory.") from None
    return {**(pooler if table.config.family.has_pooler else {}), **dict(model.named_parameters())}


def _checked(read: Callable[[], Tensor], slot: Slot, shape: torch.Size, shown: str) -> Callable[[], Tensor]:
    def checked() -> Tensor:
        value = read()
        if value.shape != shape or not value.is_floating_point():
            raise InputError(
                f"{shown} is {str(value.dtype).removeprefix('torch.')} of shape {tuple(value.shape)}, but the settings "
                f"ask for floating-point numbers of shape {tuple(shape)}; the two do not belong together."
            )
        return value.T if slot.transposed else value

    return checked


def _zeros_like(words: Callable[[], Tensor] | None, shape: torch.Size) -> Callable[[], Tensor]:
    return lambda: torch.zeros(shape, dtype=words().dtype if words else None)


def _absent(
    folder: Path, table: NameTable, parameters: Mapping[str, Tensor], readers: Mapping[Slot, object]
) -> tuple[str, ...]:
    """The parts of which a file holds nothing; InputError where a part that must be there is not, or not whole."""
    parts: dict[str, list[str]] = {}
    lacking: dict[str, list[str]] = {}
    for name in parameters:
        parts.setdefault(part_of_model(name), []).append(name)
        if Slot(name) not in readers and not all(third in readers for third in _thirds(name)):
            lacking.setdefault(part_of_model(name), []).append(name)
    absent = [part for part, names in lacking.items() if names == parts[part] and part != "encoder"]
    needs_pooler = ("pair head" in parts and "pair head" not in absent) or (
        table.head in ("ForSequenceClassification", "ForMultipleChoice")
        and table.head not in table.config.family.summaries
    )
    broken = [part for part in lacking if part not in absent or (part == "pooler" and needs_pooler)]
    names = [
        name
        for name, slot in table.slots.items()
        if any(slot.name in lacking[part] for part in broken) and replace(slot, transposed=False) not in readers
    ]
    if names:
        raise InputError(
            f"{folder}: {listed(names)} missing from the weights; the file is incomplete or {table.settings} describes "
            "another model."
        )
    return tuple(absent)


def part_of_model(name: str) -> str:
    """The part of a model that one of our parameters belongs to, as people call it."""
    return "pooler" if "pooler." in name else _PARTS.get(name.split(".")[0], "encoder")


def _thirds(name: str) -> list[Slot]:
    return [Slot(name, part, 3) for part in range(3)]


def _why_family(source: ConversionSource, believed: Family) -> str:
    if source.format == "huggingface":
        own, other = source.config.family.pattern, believed.pattern
        telling = (name for name in source.read if re.search(own, name) and not re.search(other, name))
        if (name := next(telling, None)) is not None:
            return f"it holds {name}, a name that {believed.title} has not"
        return f"config.json says {source.config.model_type}"
    program = "Google's program for it" if source.format == "google" else "fairseq, which has RoBERTa alone,"
    return f"{program} named its tensors"
