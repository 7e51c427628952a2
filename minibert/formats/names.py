"""Tables from a checkpoint family's tensor names to ours, and their inverse.

A table is a dictionary of templates. A letter in braces stands for several endings or numbers: ``{l}`` for every layer,
``{g}`` and ``{k}`` for every group and inner layer, ``{p}`` for ``weight`` and ``bias`` (a format may bring more). In a
target, ``name[1/3]`` is the second of three equal blocks of rows of ``name`` (the foreign file keeps apart what we hold
in one tensor), ``name.T`` its transpose; a target ``None`` is a name that is known and ignored.
"""

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from torch import Tensor

from minibert.config import EncoderConfig
from minibert.errors import InputError
from minibert.families import Rows

Letters = Mapping[str, Sequence[tuple[str, str]]]  # what a letter stands for, on their side and on ours
Readers = Mapping[str, Callable[[], Tensor]]  # the names in a file, each with a function that reads its tensor

_WEIGHT_AND_BIAS: Letters = {"p": [("weight", "weight"), ("bias", "bias")]}
OTHER_HEAD = "belongs to another head"


@dataclass(frozen=True)
class Slot:
    """A parameter of ours, or one of ``parts`` equal blocks of its rows, perhaps seen transposed."""

    name: str
    part: int = 0
    parts: int = 1
    transposed: bool = False

    def of(self, parameter: Tensor) -> Tensor:
        """The view of ``parameter`` that this slot names."""
        block = parameter.chunk(self.parts)[self.part]
        return block.T if self.transposed else block


Take = Callable[[Slot], Tensor | None]
"""Gives the tensor of a slot, or None where there is none."""


def from_parameters(parameters: Mapping[str, Tensor]) -> Take:
    """Takes slots out of whole parameters (or their gradients) by name."""
    return lambda slot: slot.of(parameters[slot.name]) if slot.name in parameters else None


@dataclass(frozen=True, kw_only=True)
class NameTable:
    """Every tensor name that a checkpoint of one format, configuration and head may hold.

    Attributes:
        config: the sizes that it was written out for.
        head: what the model is, as in :class:`~minibert.checkpoint.Pretrained`.
        slots: their name -> the parameter of ours that it fills.
        ignored: their name -> why nothing is read from it.
        tied: a name that repeats another -> that other name.
        zeros: parameters of ours that the format does not have, and whose value is 0 there -> why.
        settings: where the sizes of the model come from, as a message names it.
        canonical: gives a name as this table spells it.
    """

    config: EncoderConfig
    head: str
    slots: Mapping[str, Slot]
    ignored: Mapping[str, str] = field(default_factory=dict)
    tied: Mapping[str, str] = field(default_factory=dict)
    zeros: Mapping[str, str] = field(default_factory=dict)
    settings: str
    canonical: Callable[[str], str] = str

    def to_foreign(self, take: Take) -> dict[str, Tensor]:
        """Our tensors, as far as ``take`` has them, under their names; tied ones once."""
        taken = ((name, take(slot)) for name, slot in self.slots.items())
        return {name: tensor for name, tensor in taken if tensor is not None}


@dataclass(frozen=True, kw_only=True)
class Matched:
    """A file's tensors, each found in a table.

    Attributes:
        readers: by the table's spelling.
        spelled: the table's spelling -> the file's.
        ignored: names, as in the file, that nothing is read from -> why.
    """

    readers: Readers
    spelled: Mapping[str, str]
    ignored: dict[str, str]


def match(table: NameTable, tensors: Readers, source: object) -> Matched:
    """Finds each name of a file in a table.

    Where a tied name stands alone, its tensor takes the place of the one that it repeats.

    Args:
        table: the names that are known.
        tensors: the names in the file, with their readers.
        source: what messages call the file.

    Raises:
        InputError: a name is unknown, stands twice in two spellings, or repeats a tensor with other values.
    """
    spelled: dict[str, str] = {}
    for name in tensors:
        canonical = table.canonical(name)
        if canonical in spelled:
            raise InputError(f"{source}: {name!r} and {spelled[canonical]!r} are the same tensor; remove one of them.")
        spelled[canonical] = name
    readers = {canonical: tensors[name] for canonical, name in spelled.items()}
    known = table.slots.keys() | table.ignored.keys() | table.tied.keys()
    if unknown := [name for canonical, name in spelled.items() if canonical not in known]:
        raise InputError(
            f"{source}: {listed(unknown)} not part of a {table.config.model_type} checkpoint of "
            f"{table.config.num_hidden_layers} layers; check the model type and the sizes in {table.settings}."
        )
    ignored = {name: table.ignored[canonical] for canonical, name in spelled.items() if canonical in table.ignored}
    for alias, target in table.tied.items():
        if alias not in readers:
            continue
        ignored[spelled[alias]] = f"the same as {target}"
        if target not in readers:
            readers[target], spelled[target] = readers[alias], spelled[alias]
        elif table.head == "ForPreTraining" and not readers[alias]().equal(readers[target]()):
            raise InputError(
                f"{source}: {spelled[alias]} differs from {spelled[target]}; minibert computes tied decoders only."
            )
    return Matched(readers=readers, spelled=spelled, ignored=ignored)


def listed(names: Sequence[str], most: int = 6) -> str:
    """The first of some names, and the verb behind them."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more + (" is" if len(names) == 1 else " are")


def expand(rows: Rows, config: EncoderConfig, letters: Letters = _WEIGHT_AND_BIAS) -> dict[str, Slot | None]:
    """Writes out the templates of ``rows`` for the layers of ``config``."""
    counts = {"l": config.num_hidden_layers, "g": config.num_hidden_groups, "k": config.inner_group_num}
    choices = {**letters, **{letter: [(str(i), str(i)) for i in range(n)] for letter, n in counts.items()}}
    table: dict[str, Slot | None] = {}
    for foreign, ours in rows.items():
        used = re.findall(r"\{(\w)\}", foreign)
        for choice in itertools.product(*(choices[letter] for letter in used)):
            theirs = {letter: pair[0] for letter, pair in zip(used, choice, strict=True)}
            mine = {letter: pair[1] for letter, pair in zip(used, choice, strict=True)}
            table[foreign.format(**theirs)] = None if ours is None else _slot(ours.format(**mine))
    return table


def under(owner: str, slot: Slot) -> Slot:
    """The slot of the same parameter in a model that holds the encoder under a name (``encoder.``, or nothing)."""
    return replace(slot, name=owner + slot.name)


def owner_of_encoder(head: str) -> str:
    """What stands before an encoder's parameters in a model with this head."""
    return "" if head == "Model" else "encoder."


def _slot(target: str) -> Slot:
    match = re.fullmatch(r"(?P<name>.+?)(?P<transposed>\.T)?(\[(?P<part>\d+)/(?P<parts>\d+)\])?", target)
    assert match
    return Slot(match["name"], int(match["part"] or 0), int(match["parts"] or 1), bool(match["transposed"]))
