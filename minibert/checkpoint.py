"""A model folder on disk: strict loading with a report, and saving that cannot leave half a file."""

import contextlib
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch
from safetensors.torch import save_file
from torch import nn
from torch.overrides import TorchFunctionMode

from minibert.config import EncoderConfig
from minibert.errors import InputError
from minibert.files import read_json_object, write_json, write_whole
from minibert.formats.huggingface import family_of, name_table, open_weights
from minibert.formats.names import NameTable, Readers, Slot, from_parameters, listed, match
from minibert.hub import resolve
from minibert.tokenizer import Tokenizer

logger = logging.getLogger(__name__)

PathOrName = str | os.PathLike[str]


class Pretrained(nn.Module):
    """A module that is built from an :class:`EncoderConfig` and kept in a Hugging Face folder."""

    head: ClassVar[str]
    """The ending of Hugging Face's class name for this kind of model, such as ``ForTokenClassification``."""
    config: EncoderConfig

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config

    @classmethod
    def from_pretrained(cls: type["Model"], path_or_name: PathOrName) -> "Model":
        """Loads a checkpoint folder or hub name, with a warning where a part of it starts at random or its CRF is left
        out; see :meth:`Checkpoint.load`."""
        return _loaded(cls, open_checkpoint(path_or_name), None)

    def save_pretrained(self, folder: PathOrName) -> None:
        """Writes ``config.json`` and ``model.safetensors`` that this class and Hugging Face's load; see
        :func:`save_model`."""
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
            num_labels: the number of labels, where it should not be the checkpoint's.
            id2label: the labels by index, where they should not be the checkpoint's.

        Raises:
            ValueError: both are given and disagree.
        """
        if id2label is not None and num_labels not in (None, len(id2label)):
            raise ValueError(
                f"num_labels is {num_labels}, but id2label holds {len(id2label)} labels; pass one of them."
            )
        checkpoint = open_checkpoint(path_or_name)
        if id2label is None and num_labels is not None and num_labels != checkpoint.config.num_labels:
            id2label = {index: f"LABEL_{index}" for index in range(num_labels)}
        return _loaded(cls, checkpoint, id2label)


def _loaded(model_class: type[Model], checkpoint: "Checkpoint", labels: Mapping[int, str] | None) -> Model:
    model, report = checkpoint.load(model_class, labels=labels)
    # A token classifier without the CRF over it answers otherwise than it was trained to.
    without_crf = model.head == "ForTokenClassification" and any(name.startswith("crf.") for name in report.ignored)
    if report.fresh or without_crf:
        logger.warning("%s: %s", checkpoint.folder, report)
    return model


@dataclass(frozen=True, kw_only=True)
class LoadReport:
    """What became of each tensor.

    Attributes:
        loaded: names in the file that were read.
        ignored: names in the file that were not, with the reason.
        fresh: parameters of ours that the file does not have and need not have (a head, a pooler), now random.
        zeros: parameters of ours that the file's format does not know, now 0, with the reason.
    """

    loaded: tuple[str, ...]
    ignored: Mapping[str, str]
    fresh: tuple[str, ...]
    zeros: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        parts = [f"{len(self.loaded)} tensors loaded"]
        if self.fresh:
            parts.append(f"newly initialised: {', '.join(self.fresh)}")
        parts += [f"{name} ({reason})" for name, reason in self.zeros.items()]
        for reason in dict.fromkeys(self.ignored.values()):
            names = [name for name, why in self.ignored.items() if why == reason]
            parts.append(f"not used ({reason}): {', '.join(names)}")
        return "; ".join(parts)


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A checkpoint folder, opened once: what a run needs of it is read from here. Made by :func:`open_checkpoint`.

    Attributes:
        folder: where it lies.
        config: the model's, by ``config.json`` and the names of its tensors.
        architectures: the classes that ``config.json`` names, such as ``BertForTokenClassification``.
        tensors: each tensor's name in the file, with a function that reads it.
    """

    folder: Path
    config: EncoderConfig
    architectures: tuple[str, ...]
    tensors: Readers

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The checkpoint's tokenizer; InputError where there is none, or it does not belong to the model."""
        tokenizer = Tokenizer.from_pretrained(self.folder)
        tokenizer.check_fits(self.config, self.folder)
        return tokenizer

    def load(
        self, model_class: type["Model"], *, labels: Mapping[int, str] | None = None
    ) -> tuple["Model", LoadReport]:
        """Builds a model and fills it from the checkpoint in fp32, in evaluation mode.

        Every tensor of the architecture must be there once with the right shape, and every name in the file must be
        known. Heads and poolers alone may be absent; they are then initialised at random and reported.

        Args:
            model_class: what to build.
            labels: the head's labels, by index. Where they are not the checkpoint's, the head starts afresh.

        Raises:
            InputError: a tensor is missing, unknown or misshapen, or ``labels`` are the checkpoint's in another order.
        """
        why_no_head = self._why_head_cannot_be_used(model_class.head, labels)
        config = self.config if labels is None else self.config.with_labels(labels)
        table = name_table(config, model_class.head)
        return build_model(model_class, table, self.tensors, self.folder, why_no_head)

    def _why_head_cannot_be_used(self, head: str, labels: Mapping[int, str] | None) -> str | None:
        """The reason why a classifier in the file is not this model's, or None where it is."""
        kind = head.removeprefix("Crf")  # a CRF stands on a token classifier, and each loads the other's
        if kind not in _NAMED_CLASSIFIER:
            return None
        named = self.architectures
        if named and not any(name.endswith(kind) for name in named):
            return f"the checkpoint is a {named[0]}"
        if labels is None or dict(labels) == dict(self.config.id2label):
            return None
        if named and set(labels.values()) == set(self.config.id2label.values()):
            raise InputError(
                f"{self.folder}: was trained with the same labels in another order; pass them in its order: "
                f"{', '.join(self.config.id2label[i] for i in range(self.config.num_labels))}."
            )
        return "it was trained with other labels"


# Heads whose linear map is called `classifier` in every file, so that names do not tell one from the other.
_NAMED_CLASSIFIER = ("ForTokenClassification", "ForSequenceClassification", "ForMultipleChoice")


def open_checkpoint(path_or_name: PathOrName) -> Checkpoint:
    """Opens a checkpoint in Hugging Face's format; tensors are read when they are asked for.

    Args:
        path_or_name: a local folder, or a name on the hub.

    Raises:
        InputError: the folder cannot be read, or holds another kind of model.
    """
    folder = resolve(path_or_name)
    tensors = open_weights(folder)
    path = folder / "config.json"
    values = read_json_object(path)
    family = family_of(tensors, values.get("model_type"))
    try:
        config = EncoderConfig.from_dict(values | ({"model_type": family.name} if family else {}))
    except InputError as error:
        raise InputError(f"{path}: {str(error).removeprefix('config: ')}") from None
    named = values.get("architectures") or []
    if not isinstance(named, list) or not all(isinstance(name, str) for name in named):
        raise InputError(f"{path}: architectures must be a list of class names.")
    return Checkpoint(folder=folder, config=config, architectures=tuple(named), tensors=tensors)


def build_model(
    model_class: type[Model], table: NameTable, tensors: Readers, source: Path, why_no_head: str | None = None
) -> tuple[Model, LoadReport]:
    """Builds a model and fills it in fp32 from the tensors of any format, in evaluation mode;
    see :meth:`Checkpoint.load`.

    Args:
        model_class: what to build.
        table: the format's names, for the config and this class's head.
        tensors: each tensor's name in the file, with a function that reads it.
        source: what messages call the checkpoint.
        why_no_head: the reason to leave the file's classifier and CRF unread, where there is one.

    Raises:
        InputError: a tensor is missing, unknown or misshapen.
    """
    try:
        with shapes_alone():
            model = model_class(table.config)
        buffers = dict(model.named_buffers())  # constants, which a module makes on the CPU; the next line drops them
        model.to_empty(device="cpu")
    except (RuntimeError, TypeError, OverflowError):
        raise InputError(f"{source}: its {table.settings} describes a model that does not fit in memory.") from None
    for name, buffer in model.named_buffers():
        buffer.copy_(buffers[name])
    report = _fill(model, table, tensors, source, why_no_head)
    return model.eval(), report


class _NoInitialValues(TorchFunctionMode):
    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if getattr(func, "__module__", None) == "torch.nn.init":
            return args[0] if args else (kwargs or {})["tensor"]
        return func(*args, **(kwargs or {}))


@contextlib.contextmanager
def shapes_alone() -> Iterator[None]:
    """Within the block, modules are made as shapes without values, on the meta device.

    Drawing values there would bring in PyTorch's compiler, which takes more than a second.
    """
    with torch.device("meta"), _NoInitialValues():
        yield


def _fill(model: Pretrained, table: NameTable, tensors: Readers, source: Path, why_no_head: str | None) -> LoadReport:
    parameters = dict(model.named_parameters())
    found = match(table, tensors, source)
    loaded, filled = [], set()
    for name, slot in table.slots.items():
        if name not in found.readers:
            continue
        if slot.name not in parameters:
            found.ignored[found.spelled[name]] = "this head does not use it"
        elif why_no_head and slot.name.startswith(("classifier.", "crf.")):
            found.ignored[found.spelled[name]] = why_no_head
        else:
            values, block = found.readers[name](), slot.of(parameters[slot.name].data)
            if values.shape != block.shape:
                raise InputError(
                    f"{source}: {found.spelled[name]} has shape {tuple(values.shape)}, but {table.settings} asks for "
                    f"{tuple(block.shape)}; the two do not belong together."
                )
            if not values.is_floating_point() or values.layout != torch.strided:
                raise InputError(
                    f"{source}: {found.spelled[name]} holds no plain floating-point numbers ({values.dtype})."
                )
            block.copy_(values)
            # The sum tells at a glance; a sum of huge numbers may overflow, so that each number has to be looked at.
            if not block.sum().isfinite() and not block.isfinite().all():
                raise InputError(
                    f"{source}: {found.spelled[name]} holds numbers that are not finite, so the weights are damaged; "
                    "fetch or convert them again (tools/inspect_weights.py shows where)."
                )
            loaded.append(found.spelled[name])
            filled.add(slot)

    zeros = {name: why for name, why in table.zeros.items() if name in parameters}
    for name in zeros:
        parameters[name].data.zero_()
    missing = {slot: name for name, slot in table.slots.items() if slot.name in parameters and slot not in filled}
    known = {slot.name for slot in table.slots.values()} | zeros.keys()
    missing |= {Slot(name): name for name in parameters if name not in known}  # a head that the format does not have
    may_be_absent = [slot for slot in missing if not slot.name.startswith("encoder.") or "pooler." in slot.name]
    if model.head == "Model":
        may_be_absent = [slot for slot in missing if slot.name.startswith("pooler.")]
    if required := [missing[slot] for slot in missing if slot not in may_be_absent]:
        raise InputError(
            f"{source}: {listed(required)} missing from the weights; the file is incomplete or "
            f"{table.settings} describes another model."
        )
    fresh = tuple(dict.fromkeys(slot.name for slot in may_be_absent))
    initialise(model, model.config, only=fresh)
    return LoadReport(loaded=tuple(loaded), ignored=found.ignored, fresh=fresh, zeros=zeros)


def initialise(module: nn.Module, config: EncoderConfig, *, only: tuple[str, ...] | None = None) -> None:
    """Gives parameters their starting values: norms 1 and 0, biases and a CRF's scores 0, the rest normal with
    ``initializer_range`` (``create_initializer`` in Google's BERT, there truncated).

    Args:
        only: names of the parameters to touch; all where absent.
    """
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if parameter.is_meta or (only is not None and name not in only):
                continue  # on the meta device there are shapes alone, and drawing no numbers still takes time
            if name.endswith("bias") or name.startswith("crf."):
                parameter.zero_()
            elif "norm" in name:
                parameter.fill_(1.0)
            else:
                parameter.normal_(0.0, config.initializer_range)


def save_model(model: Pretrained, folder: PathOrName) -> None:
    """Writes ``config.json`` and ``model.safetensors`` under Hugging Face's names, tied tensors once.

    Each file appears whole or not at all, also where ``folder`` is the one the model was loaded from.

    Raises:
        InputError: the folder cannot be written.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    take = from_parameters(dict(model.named_parameters()))
    tensors = {
        name: tensor.detach().cpu().contiguous()
        for name, tensor in name_table(model.config, model.head).to_foreign(take).items()
    }
    dtype = str(next(iter(tensors.values())).dtype).removeprefix("torch.")
    config = {"architectures": [model.config.family.class_of(model.head)], "dtype": dtype, **model.config.to_dict()}
    write_whole(folder / "model.safetensors", lambda path: save_file(tensors, path, metadata={"format": "pt"}))
    write_whole(folder / "config.json", lambda path: write_json(path, config))
