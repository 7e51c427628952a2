"""Model folders: strict loading with a report, and saving that never leaves half a file."""

import contextlib
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from minibert.config import EncoderConfig
from minibert.errors import InputError
from minibert.files import read_json_object, write_atomically, write_json
from minibert.formats.huggingface import family_of, name_table, open_weights
from minibert.formats.names import (
    MatchedNames,
    NameTable,
    Readers,
    Slot,
    check_layers,
    from_parameters,
    match_names,
    shorten,
)
from minibert.formats.other_tools import FOREIGN, foreign_names
from minibert.formats.sentence_transformers import mean_pooling
from minibert.hub import resolve
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


_MOST_NAMES = 4


@dataclass(frozen=True, kw_only=True)
class LoadReport:
    """What was loaded from a checkpoint, and what was not.

    Attributes:
        loaded: names in the file that were read.
        ignored: names in the file that were not read -> why.
        newly_initialised: parameters (of a head or a pooler) that the file lacks, now random.
        zeros: parameters that the file's format lacks, now 0 -> why.
        notes: how the tensors were found, where they were wrapped.
    """

    loaded: tuple[str, ...]
    ignored: Mapping[str, str]
    newly_initialised: tuple[str, ...]
    zeros: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def foreign(self) -> tuple[str, ...]:
        """Names outside the encoder that belong to no head of minibert."""
        return tuple(name for name, why in self.ignored.items() if why == FOREIGN)

    @property
    def summary(self) -> str:
        """The same in few words: numbers instead of long lists of names."""
        parts = [f"{len(self.loaded)} tensors loaded"]
        if new := self.newly_initialised:
            names = ", ".join(new) if len(new) <= _MOST_NAMES else f"{len(new)} parameters"
            parts.append(f"newly initialised: {names}")
        parts += [f"{len(self.zeros)} set to 0"] if self.zeros else []
        if foreign := self.foreign:
            parts.append(f"left out, as {FOREIGN}: {shorten(foreign, _MOST_NAMES)}")
        if not_used := len(self.ignored) - len(foreign):
            parts.append(f"{not_used} not used")
        return "; ".join([*parts, *self.notes])

    def __str__(self) -> str:
        parts = [f"{len(self.loaded)} tensors loaded"]
        if self.newly_initialised:
            parts.append(f"newly initialised: {', '.join(self.newly_initialised)}")
        parts += [f"{name} ({reason})" for name, reason in self.zeros.items()]
        for reason in dict.fromkeys(self.ignored.values()):
            names = [name for name, why in self.ignored.items() if why == reason]
            parts.append(f"not used ({reason}): {', '.join(names)}")
        return "; ".join([*parts, *self.notes])


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
        return mean_pooling(self.folder) and not any("pooler." in name for name in self.tensors)

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


_REPLACED = ("classifier.", "crf.")  # the parameters of a head that is reset
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
    named = values.get("architectures") or []
    if not isinstance(named, list) or not all(isinstance(name, str) for name in named):
        raise InputError(f"{path}: architectures must be a list of class names.")
    foreign = foreign_names(tensors, config.family)
    return Checkpoint(
        folder=folder,
        config=config,
        architectures=tuple(named),
        tensors={name: read for name, read in tensors.items() if name not in foreign},
        foreign=foreign,
        notes=notes,
    )


def build_model(
    model_class: type[Model], table: NameTable, tensors: Readers, source: Path, reset_head_reason: str | None = None
) -> tuple[Model, LoadReport]:
    """Builds a model and loads the tensors of any format in fp32, in evaluation mode; see :meth:`Checkpoint.load`.

    Args:
        model_class: the class to build.
        table: the format's names, for the config and this class's head.
        tensors: name in the file -> a function that reads the tensor.
        source: the checkpoint, for messages.
        reset_head_reason: why the file's classifier and CRF are not to be used; None to use them.

    Raises:
        InputError: a tensor is missing or unexpected, or has a wrong shape.
    """
    try:
        with on_meta_device():
            model = model_class(table.config)
        found = match_names(table, tensors, source)
        _check_sizes(model, table, found, source, reset_head_reason)
        buffers = dict(model.named_buffers())  # constants, computed on the CPU; to_empty would lose them
        model.to_empty(device="cpu")
    except (RuntimeError, TypeError, OverflowError):
        raise InputError(f"{source}: its {table.settings} describes a model that does not fit in memory.") from None
    for name, buffer in model.named_buffers():
        buffer.copy_(buffers[name])
    report = _fill(model, table, found, source, reset_head_reason)
    return model.eval(), report


_MOST_NEW_NUMBERS = 1 << 24  # in a head that a file lacks; or as many as the file has


def _check_sizes(
    model: Pretrained, table: NameTable, found: MatchedNames, source: Path, reset_head_reason: str | None
) -> None:
    """Compares sizes with the file before memory is allocated: a tensor of each shape, and the numbers that are new."""
    parameters = dict(model.named_parameters())
    slots = {name: slot for name, slot in table.slots.items() if name in found.readers and slot.name in parameters}
    if reset_head_reason:
        slots = {name: slot for name, slot in slots.items() if not slot.name.startswith(_REPLACED)}
    shapes = {slot.view(parameters[slot.name].data).shape: name for name, slot in reversed(slots.items())}
    for shape, name in shapes.items():
        _check_tensor(found.readers[name](), shape, f"{source}: {found.canonical_to_file[name]}", table.settings)
    loaded = {slot.name for slot in slots.values()}
    numbers = {name: parameter.numel() for name, parameter in parameters.items()}
    new = sum(numbers[name] for name in numbers if name not in loaded and not name.startswith("encoder."))
    if new > max(_MOST_NEW_NUMBERS, sum(numbers[name] for name in loaded)):
        what = f"a head of {new:,} numbers, which the file lacks"
        raise InputError(f"{source}: {table.settings} describes {what}; check the labels there.")


def _check_tensor(values: Tensor, shape: torch.Size, place: str, settings: str) -> None:
    if values.shape != shape:
        raise InputError(
            f"{place} has shape {tuple(values.shape)}, but {settings} requires {tuple(shape)}; they are not from the "
            "same model."
        )
    if not values.is_floating_point() or values.layout != torch.strided:
        raise InputError(f"{place} is not a plain floating-point tensor ({values.dtype}).")


class _NoInitialValues(TorchFunctionMode):
    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if getattr(func, "__module__", None) == "torch.nn.init":
            return args[0] if args else (kwargs or {})["tensor"]
        return func(*args, **(kwargs or {}))


@contextlib.contextmanager
def on_meta_device() -> Iterator[None]:
    """Within the block, modules are created on the meta device, with shapes but no values.

    ``torch.nn.init`` is skipped: on the meta device it imports PyTorch's compiler, which takes more than a second.
    """
    with torch.device("meta"), _NoInitialValues():
        yield


def _fill(
    model: Pretrained, table: NameTable, found: MatchedNames, source: Path, reset_head_reason: str | None
) -> LoadReport:
    parameters = dict(model.named_parameters())
    loaded, filled = [], set()
    for name, slot in table.slots.items():
        if name not in found.readers:
            continue
        file_name = found.canonical_to_file[name]
        if slot.name not in parameters:
            found.ignored[file_name] = "this head does not use it"
        elif reset_head_reason and slot.name.startswith(_REPLACED):
            found.ignored[file_name] = reset_head_reason
        else:
            values, block = found.readers[name](), slot.view(parameters[slot.name].data)
            _check_tensor(values, block.shape, f"{source}: {file_name}", table.settings)
            block.copy_(values)
            # The sum is a quick check; a sum of huge numbers may overflow, then every number is checked.
            if not block.sum().isfinite() and not block.isfinite().all():
                raise InputError(
                    f"{source}: {file_name} contains NaN or infinity, so the weights are damaged; download or convert "
                    "them again (tools/inspect_weights.py shows which)."
                )
            loaded.append(file_name)
            filled.add(slot)

    zeros = {name: why for name, why in table.zeros.items() if name in parameters}
    for name in zeros:
        parameters[name].data.zero_()
    missing = {slot: name for name, slot in table.slots.items() if slot.name in parameters and slot not in filled}
    known = {slot.name for slot in table.slots.values()} | zeros.keys()
    missing |= {Slot(name): name for name in parameters if name not in known}  # a head that the format lacks
    may_be_absent = [slot for slot in missing if not slot.name.startswith("encoder.") or "pooler." in slot.name]
    if model.head == "Model":
        may_be_absent = [slot for slot in missing if slot.name.startswith("pooler.")]
    if required := [missing[slot] for slot in missing if slot not in may_be_absent]:
        raise InputError(
            f"{source}: missing tensors: {shorten(required)}; the file is incomplete or {table.settings} describes "
            "another model."
        )
    fresh = tuple(dict.fromkeys(slot.name for slot in may_be_absent))
    initialise(model, model.config, only=fresh)
    return LoadReport(loaded=tuple(loaded), ignored=found.ignored, newly_initialised=fresh, zeros=zeros)


def initialise(module: nn.Module, config: EncoderConfig, *, only: tuple[str, ...] | None = None) -> None:
    """Initialises parameters: norms with 1 and 0, biases and a CRF's scores with 0, the rest from a normal distribution
    with standard deviation ``initializer_range`` (``create_initializer`` in Google's BERT, which truncates it).

    Args:
        only: names of the parameters to initialise; all by default.
    """
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if parameter.is_meta or (only is not None and name not in only):
                continue  # drawing numbers for a meta tensor has no effect and takes time
            if name.endswith("bias") or name.startswith("crf."):
                parameter.zero_()
            elif "norm" in name:
                parameter.fill_(1.0)
            else:
                parameter.normal_(0.0, config.initializer_range)


def save_model(model: Pretrained, folder: PathOrName) -> None:
    """Writes ``config.json`` and ``model.safetensors`` under Hugging Face's names, tied tensors once.

    Each file is written atomically, so that ``folder`` may be the one the model was loaded from.

    Raises:
        InputError: the folder cannot be written.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    get_tensor = from_parameters(dict(model.named_parameters()))
    tensors = {
        name: tensor.detach().cpu().contiguous()
        for name, tensor in name_table(model.config, model.head).export(get_tensor).items()
    }
    dtype = str(next(iter(tensors.values())).dtype).removeprefix("torch.")
    config = {"architectures": [model.config.family.class_of(model.head)], "dtype": dtype, **model.config.to_dict()}
    write_atomically(folder / "model.safetensors", lambda path: save_file(tensors, path, metadata={"format": "pt"}))
    write_atomically(folder / "config.json", lambda path: write_json(path, config))
