"""Opens a checkpoint of any format for conversion: detects what it is, and checks that it is complete.

No model is built; tensors are read on demand.
"""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from minibert.checkpoint import Pretrained
from minibert.config import EncoderConfig
from minibert.encoder import Encoder
from minibert.errors import InputError
from minibert.families import FAMILIES, Family
from minibert.files import read_json_object
from minibert.formats import huggingface
from minibert.formats.fairseq import checkpoint as fairseq
from minibert.formats.google import checkpoint as google
from minibert.formats.names import NameTable, Readers, Slot, check_layers, encoder_prefix, match_names, shorten
from minibert.formats.other_tools import FOREIGN, foreign_names, no_weights
from minibert.heads import (
    CrfTokenClassifier,
    MeanSequenceClassifier,
    MultipleChoiceClassifier,
    PretrainingModel,
    ReplacedTokenDetector,
    SequenceClassifier,
    SpanClassifier,
    TokenClassifier,
)
from minibert.hub import resolve
from minibert.loading import on_meta_device

FORMATS = ("huggingface", "google", "fairseq")

MODELS: dict[str, type[Pretrained]] = {
    model.head: model
    for model in (
        Encoder,
        PretrainingModel,
        TokenClassifier,
        CrfTokenClassifier,
        SequenceClassifier,
        MeanSequenceClassifier,
        MultipleChoiceClassifier,
        SpanClassifier,
        ReplacedTokenDetector,
    )
}

# The first component of our parameters' names -> the part of the model. A file has a part whole or not at all.
_PARTS = {
    "mlm": "language head", "pair": "pair head", "dense": "classifier", "classifier": "classifier", "crf": "CRF",
    "ngrams": "n-gram scores",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ConversionSource:
    """An open checkpoint of any format: complete, and with every name known.

    Attributes:
        folder: its path.
        format: one of :data:`FORMATS`.
        table: its names, with the model's config and head.
        parameters: ours, on the meta device.
        readers: our parameter, or a part of one, never transposed -> a function that reads it.
        read: name in the file -> the slot that it fills.
        ignored: name in the file -> why it is not read.
        synthesised: parameters of ours with no tensor of their own in the file -> what they are set to.
        absent: optional parts that the file lacks.
        settings: the fields of its ``config.json``, if it has one.
        notes: remarks for the report.
    """

    folder: Path
    format: str
    table: NameTable
    parameters: Mapping[str, Tensor]
    readers: Mapping[Slot, Callable[[], Tensor]]
    read: Mapping[str, Slot]
    ignored: Mapping[str, str]
    synthesised: Mapping[str, str]
    absent: tuple[str, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def config(self) -> EncoderConfig:
        return self.table.config

    @property
    def architecture(self) -> str:
        """Hugging Face's class for the model in the file."""
        head = self.table.head
        if "pair head" in self.absent:
            head = "ForMaskedLM"
        elif "language head" in self.absent and self.config.family.pair_objective == "next_sentence":
            head = "ForNextSentencePrediction"  # other families have no such class
        return self.config.family.class_of(head)

    def get_tensor(self, slot: Slot) -> Tensor | None:
        """The tensor of a slot, sliced or concatenated as needed; None if the file lacks it."""
        value = self._read_untransposed(replace(slot, transposed=False))
        return value.T if value is not None and slot.transposed else value

    def _read_untransposed(self, slot: Slot) -> Tensor | None:
        if slot in self.readers:
            return self.readers[slot]()
        whole = Slot(slot.name)
        if whole in self.readers:
            return slot.view(self.readers[whole]())
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
    """Opens a checkpoint and detects its format and architecture from the files and tensors.

    Args:
        path_or_name: a local folder, or a name on the hub.
        arch: the family that the caller expects; if it is another, a note says why.
        hidden_act: the activation, if the file's settings are wrong.
        head: the name of a fairseq classification head; the language head by default.

    Raises:
        InputError: the files cannot be read, a name is unknown, or a tensor is missing.
    """
    folder = resolve(path_or_name)
    format_ = detect_format(folder)
    if head is not None and format_ != "fairseq":
        raise InputError(f"{folder}: is in {format_} format; only fairseq's files have heads to choose from.")
    if format_ == "huggingface":
        opened = _open_huggingface(folder, hidden_act)
    elif format_ == "google":
        opened = _open_google(folder, hidden_act)
    else:
        opened = _open_fairseq(folder, hidden_act, head)
    family = opened.config.family
    if arch is not None and arch != family.name:
        note = f"this is {family.title}, not {FAMILIES[arch].title}: {_evidence_for_family(opened, FAMILIES[arch])}"
        opened = replace(opened, notes=(note, *opened.notes))
    return opened


def detect_format(folder: Path) -> str:
    """The format of the weights in a folder, judged by file names.

    Raises:
        InputError: there are no weights of a known format.
    """
    if any((folder / f"{whole}{index}").is_file() for whole in huggingface.WEIGHTS for index in ("", ".index.json")):
        return "huggingface"
    if any(folder.glob("*.index")):
        return "google"
    if (folder / "model.pt").is_file():
        return "fairseq"
    raise no_weights(
        folder,
        "a folder should contain model.safetensors or pytorch_model.bin (Hugging Face), bert_model.ckpt.index with its "
        "data (Google) or model.pt (fairseq).",
    )


def open_any_tensors(folder: Path) -> Readers:
    """All tensors of a checkpoint under their own names, without any checks, for inspection."""
    format_ = detect_format(folder)
    if format_ == "google":
        return google.open_variables(folder)
    return fairseq.open_state(folder) if format_ == "fairseq" else huggingface.open_raw_weights(folder).tensors


def _open_huggingface(folder: Path, hidden_act: str | None) -> ConversionSource:
    tensors, opened_notes = huggingface.open_weights(folder)
    path = folder / "config.json"
    settings = read_json_object(path)
    named = settings.get("model_type")
    family = huggingface.family_of(tensors, named)
    notes = list(opened_notes)
    if family and named and named != family.name:
        notes.append(f"config.json says model_type {named}, but the tensor names are {family.title}'s")
    settings |= {"model_type": family.name if family else named, "hidden_act": hidden_act or settings.get("hidden_act")}
    settings = {name: value for name, value in settings.items() if value is not None}
    try:
        config = EncoderConfig.from_dict(settings)
    except InputError as error:
        raise InputError(f"{path}: {str(error).removeprefix('config: ')}") from None
    check_layers(config, len(tensors), path)
    foreign = foreign_names(tensors, config.family)
    tensors = {name: read for name, read in tensors.items() if name not in foreign}
    head = huggingface.head_of(tensors, config.family, settings.get("architectures"), foreign)
    if head == "ForQuestionAnswering":
        config = config.with_labels({0: "LABEL_0", 1: "LABEL_1"})
    elif head == "ForMultipleChoice":
        config = config.with_labels({0: "LABEL_0"})
    elif not settings.keys() & {"id2label", "num_labels"}:
        config = _with_labels_by_size(config, head, tensors)
    table = huggingface.name_table(config, head)
    unused = dict.fromkeys(foreign, FOREIGN)
    return _build_source(folder, "huggingface", table, tensors, unused=unused, settings=settings, notes=tuple(notes))


def _with_labels_by_size(config: EncoderConfig, head: str, tensors: Readers) -> EncoderConfig:
    """The config with as many labels as a file's classifier has."""
    slots = huggingface.name_table(config, head).slots
    name = next((name for name, slot in slots.items() if slot.name == "classifier.weight"), None)
    if name is None or name not in tensors:
        return config
    shape = tensors[name]().shape
    return config.with_labels({index: f"LABEL_{index}" for index in range(shape[0])}) if len(shape) == 2 else config


def _open_google(folder: Path, hidden_act: str | None) -> ConversionSource:
    prefix = google.find_checkpoint(folder)
    assert prefix  # detect_format found one
    opened = google.open_google_checkpoint(prefix, hidden_act=hidden_act)
    return _build_source(
        folder,
        "google",
        opened.table,
        opened.tensors,
        unused=opened.unused,
        synthesised={name: (read, "the identity") for name, read in opened.synthesised.items()},
        notes=opened.notes,
    )


def _open_fairseq(folder: Path, hidden_act: str | None, head: str | None) -> ConversionSource:
    opened = fairseq.open_fairseq_checkpoint(folder)
    if hidden_act:
        opened = replace(opened, config=replace(opened.config, hidden_act=hidden_act))
    kind = "ForPreTraining" if any("lm_head." in name for name in opened.tensors) else "Model"
    if head is not None or (kind == "Model" and opened.heads):
        kind = "ForSequenceClassification"
    notes = [f"model.pt also holds {', '.join(opened.unread)}; not read"] if opened.unread else []
    return _build_source(folder, "fairseq", opened.table(kind, head), opened.tensors, notes=tuple(notes))


def _build_source(
    folder: Path,
    format_: str,
    table: NameTable,
    tensors: Readers,
    *,
    unused: Mapping[str, str] | None = None,
    synthesised: Mapping[str, tuple[Callable[[], Tensor], str]] | None = None,
    settings: Mapping[str, Any] | None = None,
    notes: tuple[str, ...] = (),
) -> ConversionSource:
    """Matches the names in a file with its table.

    Raises:
        InputError: a name is unknown, or a tensor is missing.
    """
    parameters = _parameters(table)
    found = match_names(table, tensors, folder)
    readers: dict[Slot, Callable[[], Tensor]] = {}
    for name, slot in table.slots.items():
        if name in found.readers:
            place = f"{folder}: {found.canonical_to_file[name]}"
            readers[replace(slot, transposed=False)] = _with_checks(
                found.readers[name], slot, slot.view(parameters[slot.name]).shape, place
            )
    words = readers.get(Slot(encoder_prefix(table.head) + "embeddings.word_embeddings.weight"))
    zeros = {name: (_zeros_like(words, parameters[name].shape), why) for name, why in table.zeros.items()}
    others = {**zeros, **(synthesised or {})}
    readers |= {Slot(name): read for name, (read, _) in others.items()}
    return ConversionSource(
        folder=folder,
        format=format_,
        table=table,
        parameters=parameters,
        readers=readers,
        read={found.canonical_to_file[name]: slot for name, slot in table.slots.items() if name in found.readers},
        ignored={**found.ignored, **(unused or {})},
        synthesised={name: why for name, (_, why) in others.items()},
        absent=_check_complete(folder, table, parameters, readers),
        settings=settings or {},
        notes=notes,
    )


def _parameters(table: NameTable) -> dict[str, Tensor]:
    """Our parameters on the meta device, with a pooler's even if the head does not use it."""
    width, owner = table.config.hidden_size, encoder_prefix(table.head)
    try:
        with on_meta_device():
            model = MODELS[table.head](table.config)
            pooler = {f"{owner}pooler.weight": torch.empty(width, width), f"{owner}pooler.bias": torch.empty(width)}
    except (RuntimeError, TypeError, OverflowError):
        raise InputError(f"{table.settings} describes a model that does not fit in memory.") from None
    return {**(pooler if table.config.family.has_pooler else {}), **dict(model.named_parameters())}


def _with_checks(read: Callable[[], Tensor], slot: Slot, shape: torch.Size, place: str) -> Callable[[], Tensor]:
    def read_and_check() -> Tensor:
        value = read()
        if value.shape != shape or not value.is_floating_point():
            raise InputError(
                f"{place} is {str(value.dtype).removeprefix('torch.')} of shape {tuple(value.shape)}, but the settings "
                f"require floating-point numbers of shape {tuple(shape)}; they are not from the same model."
            )
        return value.T if slot.transposed else value

    return read_and_check


def _zeros_like(words: Callable[[], Tensor] | None, shape: torch.Size) -> Callable[[], Tensor]:
    return lambda: torch.zeros(shape, dtype=words().dtype if words else None)


def _check_complete(
    folder: Path, table: NameTable, parameters: Mapping[str, Tensor], readers: Mapping[Slot, object]
) -> tuple[str, ...]:
    """The optional parts that a file lacks; InputError if a required part is missing or any part is incomplete."""
    parts: dict[str, list[str]] = {}
    missing: dict[str, list[str]] = {}
    for name in parameters:
        parts.setdefault(part_of_model(name), []).append(name)
        if Slot(name) not in readers and not all(third in readers for third in _thirds(name)):
            missing.setdefault(part_of_model(name), []).append(name)
    absent = [part for part, names in missing.items() if names == parts[part] and part != "encoder"]
    needs_pooler = ("pair head" in parts and "pair head" not in absent) or (
        table.head in ("ForSequenceClassification", "ForMultipleChoice")
        and table.head not in table.config.family.summaries
    )
    broken = [part for part in missing if part not in absent or (part == "pooler" and needs_pooler)]
    names = [
        name
        for name, slot in table.slots.items()
        if any(slot.name in missing[part] for part in broken) and replace(slot, transposed=False) not in readers
    ]
    if names:
        raise InputError(
            f"{folder}: missing tensors: {shorten(names)}; the file is incomplete or {table.settings} describes "
            "another model."
        )
    return tuple(absent)


def part_of_model(name: str) -> str:
    """The part of a model that a parameter of ours belongs to."""
    return "pooler" if "pooler." in name else _PARTS.get(name.split(".")[0], "encoder")


def _thirds(name: str) -> list[Slot]:
    return [Slot(name, part, 3) for part in range(3)]


def _evidence_for_family(source: ConversionSource, expected: Family) -> str:
    if source.format == "huggingface":
        own, other = source.config.family.pattern, expected.pattern
        distinctive = (name for name in source.read if re.search(own, name) and not re.search(other, name))
        if (name := next(distinctive, None)) is not None:
            return f"{expected.title} has no tensor named {name}"
        return f"config.json says {source.config.model_type}"
    if source.format == "google":
        return "its tensor names are those of Google's program for it"
    return "RoBERTa is the only one of them that fairseq has"
