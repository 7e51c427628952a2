"""A model folder on disk: strict loading with a report, and saving that cannot leave half a file."""

import contextlib
import json
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from minibert.config import EncoderConfig, read_json_object
from minibert.errors import InputError
from minibert.formats.huggingface import NameTable, class_name, open_tensors
from minibert.hub import resolve

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
        """Loads a checkpoint folder or hub name, with a warning where a part of it starts at random; see
        :func:`load_model`."""
        return _loaded(cls, path_or_name, None)

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
        """Loads a checkpoint folder or hub name; see :func:`load_model`.

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
        if id2label is None and num_labels is not None and num_labels != read_config(path_or_name).num_labels:
            id2label = {index: f"LABEL_{index}" for index in range(num_labels)}
        return _loaded(cls, path_or_name, id2label)


def _loaded(model_class: type[Model], path_or_name: PathOrName, labels: Mapping[int, str] | None) -> Model:
    model, report = load_model(model_class, path_or_name, labels=labels)
    if report.fresh:
        logger.warning("%s: %s", path_or_name, report)
    return model


@dataclass(frozen=True, kw_only=True)
class LoadReport:
    """What became of each tensor.

    Attributes:
        loaded: names in the file that were read.
        ignored: names in the file that were not, with the reason.
        fresh: parameters of ours that the file does not have and need not have (a head, a pooler), now random.
    """

    loaded: tuple[str, ...]
    ignored: Mapping[str, str]
    fresh: tuple[str, ...]

    def __str__(self) -> str:
        parts = [f"{len(self.loaded)} tensors loaded"]
        if self.fresh:
            parts.append(f"newly initialised: {', '.join(self.fresh)}")
        for reason in dict.fromkeys(self.ignored.values()):
            names = [name for name, why in self.ignored.items() if why == reason]
            parts.append(f"not used ({reason}): {', '.join(names)}")
        return "; ".join(parts)


def read_config(path_or_name: PathOrName) -> EncoderConfig:
    """The config of a checkpoint; InputError names the file where it is absent or unusable."""
    return _config_of(resolve(path_or_name))[0]


def _config_of(folder: Path) -> tuple[EncoderConfig, list[str]]:
    """A folder's config, and the classes that it names as its architectures."""
    path = folder / "config.json"
    values = read_json_object(path)
    try:
        config = EncoderConfig.from_dict(values)
    except InputError as error:
        raise InputError(f"{path}: {str(error).removeprefix('config: ')}") from None
    named = values.get("architectures") or []
    if not isinstance(named, list) or not all(isinstance(name, str) for name in named):
        raise InputError(f"{path}: architectures must be a list of class names.")
    return config, named


def load_model(
    model_class: type[Model], path_or_name: PathOrName, *, labels: Mapping[int, str] | None = None
) -> tuple[Model, LoadReport]:
    """Builds a model and fills it from a checkpoint in fp32, in evaluation mode.

    Every tensor of the architecture must be there once with the right shape, and every name in the file must be known.
    Heads and poolers alone may be absent; they are then initialised at random and reported.

    Args:
        model_class: what to build.
        path_or_name: a local folder, or a name on the hub.
        labels: the head's labels, by index. Where they are not the checkpoint's, the head starts afresh.

    Raises:
        InputError: the folder cannot be read, a tensor is missing, unknown or misshapen, or ``labels`` are the
            checkpoint's in another order.
    """
    folder = resolve(path_or_name)
    config, named = _config_of(folder)
    why_no_head = _why_head_cannot_be_used(folder, config, named, model_class.head, labels)
    if labels is not None:
        config = config.with_labels(labels)
    try:
        with torch.device("meta"):
            model = model_class(config)
        model.to_empty(device="cpu")
    except (RuntimeError, TypeError, OverflowError):
        raise InputError(f"{folder / 'config.json'}: describes a model that does not fit in memory.") from None
    report = _fill(model, folder, why_no_head)
    return model.eval(), report


def _why_head_cannot_be_used(
    folder: Path, config: EncoderConfig, named: list[str], head: str, labels: Mapping[int, str] | None
) -> str | None:
    """The reason why a classifier in the file is not this model's, or None where it is."""
    if head not in ("ForTokenClassification", "ForSequenceClassification"):  # both are named `classifier`
        return None
    if named and not any(name.endswith(head) for name in named):
        return f"the checkpoint is a {named[0]}"
    if labels is None or dict(labels) == dict(config.id2label):
        return None
    if named and set(labels.values()) == set(config.id2label.values()):
        raise InputError(
            f"{folder}: was trained with the same labels in another order; pass them in its order: "
            f"{', '.join(config.id2label[i] for i in range(config.num_labels))}."
        )
    return "it was trained with other labels"


def _fill(model: Pretrained, folder: Path, why_no_head: str | None) -> LoadReport:
    table = NameTable(model.config, model.head)
    parameters = dict(model.named_parameters())
    readers: dict[str, Callable[[], Tensor]] = {}
    spelled: dict[str, str] = {}  # the table's spelling -> the file's
    for name, read in open_tensors(folder).items():
        canonical = table.canonical(name)
        if canonical in readers:
            raise InputError(f"{folder}: {name!r} and {spelled[canonical]!r} are the same tensor; remove one of them.")
        readers[canonical], spelled[canonical] = read, name
    tied = {alias: target for alias, target in table.tied.items() if alias in readers}

    unknown = [name for name in readers if name not in table.slots and name not in table.ignored and name not in tied]
    if unknown:
        raise InputError(
            f"{folder}: {_listed([spelled[name] for name in unknown])} not part of a {model.config.model_type} "
            f"checkpoint of {model.config.num_hidden_layers} layers; check model_type and the sizes in config.json."
        )
    ignored = {spelled[name]: table.ignored[name] for name in readers if name in table.ignored}
    for alias, target in tied.items():
        ignored[spelled[alias]] = f"the same as {target}"
        if target not in readers:
            readers[target], spelled[target] = readers[alias], spelled[alias]
        elif model.head == "ForPreTraining" and not torch.equal(readers[alias](), readers[target]()):
            raise InputError(
                f"{folder}: {spelled[alias]} differs from {spelled[target]}; minibert computes tied decoders only."
            )

    loaded, filled = [], set()
    for name, slot in table.slots.items():
        if name not in readers:
            continue
        if slot.name not in parameters:
            ignored[spelled[name]] = "this head does not use it"
        elif why_no_head and slot.name.startswith("classifier."):
            ignored[spelled[name]] = why_no_head
        else:
            source, target_block = readers[name](), slot.of(parameters[slot.name].data)
            if source.shape != target_block.shape:
                raise InputError(
                    f"{folder}: {spelled[name]} has shape {tuple(source.shape)}, but its config.json asks for "
                    f"{tuple(target_block.shape)}; the two files do not belong together."
                )
            if not source.is_floating_point() or source.layout != torch.strided:
                raise InputError(f"{folder}: {spelled[name]} holds no plain floating-point numbers ({source.dtype}).")
            target_block.copy_(source)
            loaded.append(spelled[name])
            filled.add(slot)

    missing = {slot: name for name, slot in table.slots.items() if slot.name in parameters and slot not in filled}
    may_be_absent = [slot for slot in missing if not slot.name.startswith("encoder.") or "pooler." in slot.name]
    if model.head == "Model":
        may_be_absent = [slot for slot in missing if slot.name.startswith("pooler.")]
    if required := [missing[slot] for slot in missing if slot not in may_be_absent]:
        raise InputError(
            f"{folder}: {_listed(required)} missing from the weights; the file is incomplete or config.json "
            "describes another model."
        )
    fresh = tuple(dict.fromkeys(slot.name for slot in may_be_absent))
    initialise(model, model.config, only=fresh)
    return LoadReport(loaded=tuple(loaded), ignored=ignored, fresh=fresh)


def _listed(names: list[str], most: int = 6) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more + (" is" if len(names) == 1 else " are")


def initialise(module: nn.Module, config: EncoderConfig, *, only: tuple[str, ...] | None = None) -> None:
    """Gives parameters their starting values: norms 1 and 0, biases 0, the rest normal with ``initializer_range``
    (``create_initializer`` in Google's BERT, there truncated).

    Args:
        only: names of the parameters to touch; all where absent.
    """
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if only is not None and name not in only:
                continue
            if name.endswith("bias"):
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
    table = NameTable(model.config, model.head)
    tensors = {
        name: tensor.detach().cpu().contiguous()
        for name, tensor in table.to_foreign(dict(model.named_parameters())).items()
    }
    dtype = str(next(iter(tensors.values())).dtype).removeprefix("torch.")
    config = {"architectures": [class_name(model.config, model.head)], "dtype": dtype, **model.config.to_dict()}
    write_whole(folder / "model.safetensors", lambda path: save_file(tensors, path, metadata={"format": "pt"}))
    write_whole(folder / "config.json", lambda path: write_json(path, config))


def write_json(path: Path, values: object) -> None:
    path.write_text(json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Lets ``write`` fill a temporary file beside ``path``, brings it to the disk, and renames it into place.

    Raises:
        InputError: the disk is full or cannot be written; what stood at ``path`` is untouched.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.touch()
        mode = temporary.stat().st_mode  # what this folder's users expect; some writers narrow it to the owner
        write(temporary)
        temporary.chmod(mode)
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: cannot be written ({error}).") from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
