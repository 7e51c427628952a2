"""Tables that map a checkpoint format's tensor names to ours, and back.

A table is a dictionary of templates. A letter in braces is a placeholder: ``{l}`` for every layer, ``{g}`` and ``{k}``
for every group and its inner layers, ``{p}`` for ``weight`` and ``bias`` (a format may define more). In a target,
``name[1/3]`` is the second of three equal blocks of rows of ``name`` (the file has separate query, key and value
matrices, we have one), ``name.T`` is its transpose, and ``None`` marks a name that is known and ignored.
"""

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from torch import Tensor

from minibert.config import EncoderConfig
from minibert.errors import InputError
from minibert.families import Rows
from minibert.shown import shown

Placeholders = Mapping[str, Sequence[tuple[str, str]]]  # letter -> its values in their names and in ours
Readers = Mapping[str, Callable[[], Tensor]]  # name in a file -> a function that reads its tensor

_WEIGHT_AND_BIAS: Placeholders = {"p": [("weight", "weight"), ("bias", "bias")]}
OTHER_HEAD = "belongs to another head"


@dataclass(frozen=True)
class Slot:
    """A parameter of ours, or one of ``parts`` equal blocks of its rows, transposed or not."""

    name: str
    part: int = 0
    parts: int = 1
    transposed: bool = False

    def view(self, parameter: Tensor) -> Tensor:
        """The view of ``parameter`` that this slot names."""
        block = parameter.chunk(self.parts)[self.part]
        return block.T if self.transposed else block


GetTensor = Callable[[Slot], Tensor | None]
"""Returns the tensor of a slot, or None if there is none."""


def from_parameters(parameters: Mapping[str, Tensor]) -> GetTensor:
    """Looks slots up in a module's named parameters, or in their gradients."""
    return lambda slot: slot.view(parameters[slot.name]) if slot.name in parameters else None


@dataclass(frozen=True, kw_only=True)
class NameTable:
    """Every tensor name that a checkpoint of one format, configuration and head may hold.

    Attributes:
        config: the model's sizes.
        head: its head, as in :class:`~minibert.checkpoint.Pretrained`.
        slots: name in the file -> the parameter of ours that it fills.
        ignored: name in the file -> why it is not read.
        tied: name in the file -> the name whose tensor it repeats.
        zeros: parameters of ours that the format lacks and implicitly sets to 0 -> why.
        settings: the file that holds the sizes, for messages.
        canonical: maps any accepted spelling of a name to this table's.
    """

    config: EncoderConfig
    head: str
    slots: Mapping[str, Slot]
    ignored: Mapping[str, str] = field(default_factory=dict)
    tied: Mapping[str, str] = field(default_factory=dict)
    zeros: Mapping[str, str] = field(default_factory=dict)
    settings: str
    canonical: Callable[[str], str] = str

    def export(self, get_tensor: GetTensor) -> dict[str, Tensor]:
        """Our tensors under the format's names, those that ``get_tensor`` has; tied ones once."""
        found = ((name, get_tensor(slot)) for name, slot in self.slots.items())
        return {name: tensor for name, tensor in found if tensor is not None}


@dataclass(frozen=True, kw_only=True)
class MatchedNames:
    """A file's tensors, matched with a table.

    Attributes:
        readers: the table's name -> a function that reads the tensor.
        canonical_to_file: the table's name -> the file's.
        ignored: name in the file -> why it is not read.
    """

    readers: Readers
    canonical_to_file: Mapping[str, str]
    ignored: dict[str, str]


MOST_TENSORS = 20_000
"""In a file; a BERT of 1,000 layers has 16,000."""


def check_number(count: int, path: object) -> None:
    """Raises InputError for a file with more tensors than a model has."""
    if count > MOST_TENSORS:
        raise InputError(f"{path}: has {count:,} tensors, and no model has more than {MOST_TENSORS:,}; check the file.")


def check_layers(config: EncoderConfig, num_tensors: int, path: object) -> None:
    """Raises InputError if settings have more layers than a file has tensors, before a table is made of them."""
    layers = config.num_hidden_groups * config.inner_group_num
    if layers > num_tensors:
        raise InputError(
            f"{path}: describes {layers:,} layers, but the weights are {num_tensors:,} tensors; they are not from the "
            "same model."
        )


def match_names(table: NameTable, tensors: Readers, source: object) -> MatchedNames:
    """Looks up each name of a file in a table.

    If the file has a tied name but not the name that it repeats, the tied tensor is used for both.

    Args:
        table: the known names.
        tensors: the names in the file, with their readers.
        source: the file, for messages.

    Raises:
        InputError: a name is unknown or appears in two spellings, or a tied tensor has other values.
    """
    canonical_to_file: dict[str, str] = {}
    for name in tensors:
        canonical = table.canonical(name)
        if canonical in canonical_to_file:
            raise InputError(
                f"{source}: {name!r} and {canonical_to_file[canonical]!r} are the same tensor; remove one of them."
            )
        canonical_to_file[canonical] = name
    readers = {canonical: tensors[name] for canonical, name in canonical_to_file.items()}
    known = table.slots.keys() | table.ignored.keys() | table.tied.keys()
    if unknown := [name for canonical, name in canonical_to_file.items() if canonical not in known]:
        raise InputError(
            f"{source}: unexpected tensors for a {table.config.model_type} checkpoint of "
            f"{table.config.num_hidden_layers} layers: {shorten(unknown)}; check the model type and the sizes in "
            f"{table.settings}."
        )
    ignored = {
        name: table.ignored[canonical] for canonical, name in canonical_to_file.items() if canonical in table.ignored
    }
    for alias, target in table.tied.items():
        if alias not in readers:
            continue
        ignored[canonical_to_file[alias]] = f"the same as {target}"
        if target not in readers:
            readers[target], canonical_to_file[target] = readers[alias], canonical_to_file[alias]
        elif table.head == "ForPreTraining" and not readers[alias]().equal(readers[target]()):
            raise InputError(
                f"{source}: {canonical_to_file[alias]} differs from {canonical_to_file[target]}; minibert supports "
                "tied decoders only."
            )
    return MatchedNames(readers=readers, canonical_to_file=canonical_to_file, ignored=ignored)


def shorten(names: Sequence[str], most: int = 6) -> str:
    """The first names of a list for a message, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(shown, names[:most])) + more


def expand(rows: Rows, config: EncoderConfig, placeholders: Placeholders = _WEIGHT_AND_BIAS) -> dict[str, Slot | None]:
    """Fills in the templates of ``rows`` for the layers of ``config``."""
    counts = {"l": config.num_hidden_layers, "g": config.num_hidden_groups, "k": config.inner_group_num}
    choices = {**placeholders, **{letter: [(str(i), str(i)) for i in range(n)] for letter, n in counts.items()}}
    table: dict[str, Slot | None] = {}
    for foreign, ours in rows.items():
        used = re.findall(r"\{(\w)\}", foreign)
        for choice in itertools.product(*(choices[letter] for letter in used)):
            theirs = {letter: pair[0] for letter, pair in zip(used, choice, strict=True)}
            mine = {letter: pair[1] for letter, pair in zip(used, choice, strict=True)}
            table[foreign.format(**theirs)] = None if ours is None else _slot(ours.format(**mine))
    return table


def with_prefix(prefix: str, slot: Slot) -> Slot:
    return replace(slot, name=prefix + slot.name)


def encoder_prefix(head: str) -> str:
    """The prefix of the encoder's parameters in a model with this head."""
    return "" if head == "Model" else "encoder."


def _slot(target: str) -> Slot:
    match = re.fullmatch(r"(?P<name>.+?)(?P<transposed>\.T)?(\[(?P<part>\d+)/(?P<parts>\d+)\])?", target)
    assert match
    return Slot(match["name"], int(match["part"] or 0), int(match["parts"] or 1), bool(match["transposed"]))
