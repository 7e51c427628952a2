"""Building a model and filling it from a checkpoint's tensors: strict, with a report, sizes checked first."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from minibert.config import EncoderConfig
from minibert.errors import InputError
from minibert.formats.names import MatchedNames, NameTable, Readers, Slot, match_names, shorten
from minibert.formats.other_tools import FOREIGN

if TYPE_CHECKING:
    from minibert.checkpoint import Pretrained

Model = TypeVar("Model", bound="Pretrained")

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


_REPLACED = ("classifier.", "crf.", "ngrams.")  # the parameters of a head that is reset


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
        # As to_empty, whose empty_like of a meta tensor imports PyTorch's compiler; buffers hold their values already.
        model._apply(lambda tensor: torch.empty(tensor.shape, dtype=tensor.dtype) if tensor.is_meta else tensor)
    except (RuntimeError, TypeError, OverflowError):
        raise InputError(f"{source}: its {table.settings} describes a model that does not fit in memory.") from None
    report = _fill(model, table, found, source, reset_head_reason)
    return model.eval(), report


_MOST_NEW_NUMBERS = 1 << 24  # in a head that a file lacks; or as many as the file has


def _check_sizes(
    model: "Pretrained", table: NameTable, found: MatchedNames, source: Path, reset_head_reason: str | None
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
    # Scores of n-grams are many by design, and fitted in training.
    new = sum(numbers[name] for name in numbers if name not in loaded and not name.startswith(("encoder.", "ngrams.")))
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
    model: "Pretrained", table: NameTable, found: MatchedNames, source: Path, reset_head_reason: str | None
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
    """Initialises parameters: norms with 1 and 0, biases and the scores of a CRF and of n-grams with 0, the rest from a
    normal distribution with standard deviation ``initializer_range`` (``create_initializer`` in Google's BERT, which
    truncates it).

    Args:
        only: names of the parameters to initialise; all by default.
    """
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if parameter.is_meta or (only is not None and name not in only):
                continue  # drawing numbers for a meta tensor has no effect and takes time
            if name.endswith("bias") or name.startswith(("crf.", "ngrams.")):
                parameter.zero_()
            elif "norm" in name:
                parameter.fill_(1.0)
            else:
                parameter.normal_(0.0, config.initializer_range)
