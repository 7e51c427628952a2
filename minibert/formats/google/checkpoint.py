"""Google's TensorFlow checkpoints of BERT and ALBERT: a bundle of variables and a settings file."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from minibert.config import EncoderConfig
from minibert.errors import InputError
from minibert.files import read_json_object, write_atomically, write_json
from minibert.formats.google.names import (
    BRIGHTMART,
    HEADS,
    WORD_EMBEDDINGS,
    WORD_PROJECTION,
    detect_layout,
    layout_name_table,
    layout_of,
    reason_to_ignore,
    settings_name,
)
from minibert.formats.google.settings import (
    LAYER_NORM_EPS,
    check_writable,
    hidden_act_of,
    settings_file,
    settings_to_write,
)
from minibert.formats.google.tensor_bundle import TensorBundle, write_bundle
from minibert.formats.names import GetTensor, NameTable, Readers, check_layers, encoder_prefix
from minibert.formats.other_tools import FOREIGN

# The encoder, heads for pre-training, and everything in TensorFlow 2's files, whose names are paths of objects.
_OF_GOOGLE = re.compile(r"^(bert|cls)/|/\.ATTRIBUTES/")


@dataclass(frozen=True, kw_only=True)
class GoogleCheckpoint:
    """An open checkpoint.

    Attributes:
        table: its names.
        tensors: name in the file -> a function that reads the variable.
        unused: name in the file -> why it is not read.
        synthesised: parameters of ours with no variable of their own -> a function that computes them.
        notes: remarks for the report.
    """

    table: NameTable
    tensors: Readers
    unused: Mapping[str, str]
    synthesised: Readers = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def find_checkpoint(folder: Path) -> Path | None:
    """The prefix of the only bundle in a folder, or of the latest if their names end in step numbers.

    Raises:
        InputError: there are several, without step numbers.
    """
    prefixes = [path.with_suffix("") for path in sorted(folder.glob("*.index"))]
    if len(prefixes) < 2:
        return prefixes[0] if prefixes else None
    numbered = [(int(match[1]), prefix) for prefix in prefixes if (match := re.search(r"-(\d+)$", prefix.name))]
    if len(numbered) == len(prefixes):
        return max(numbered)[1]
    raise InputError(
        f"{folder}: contains several checkpoints ({', '.join(prefix.name for prefix in prefixes)}); "
        "keep one of them in the folder."
    )


def open_google_checkpoint(prefix: Path, *, hidden_act: str | None = None) -> GoogleCheckpoint:
    """Opens a bundle and its settings, ``bert_config.json`` or ``albert_config*.json``.

    Args:
        prefix: of the bundle's files.
        hidden_act: the activation. By default ``gelu`` means what it does in Hugging Face's published configs: the erf
            form in a BERT, the tanh form (``gelu_new``) in an ALBERT.

    Raises:
        InputError: the bundle or the settings cannot be read, or have an unknown layout.
    """
    bundle = TensorBundle(prefix)
    unused = {name: why for name in bundle.names() if (why := reason_to_ignore(name))}
    tensors: dict[str, Callable[[], Tensor]] = {
        name: partial(bundle.read, name) for name in bundle.names() if name not in unused
    }
    path = settings_file(prefix.parent)
    settings = read_json_object(path)
    layout = detect_layout(tensors)
    settings |= {
        "model_type": layout.family.name,
        "hidden_act": hidden_act or hidden_act_of(settings.get("hidden_act", "gelu"), layout),
        "layer_norm_eps": LAYER_NORM_EPS,
    }
    if layout is BRIGHTMART:
        if settings.get("ln_type", "postln") != "postln":
            raise InputError(f"{path}: ln_type is {settings['ln_type']!r}; only postln is supported.")
        settings |= {"embedding_size": settings.get("hidden_size"), "num_hidden_groups": 1, "inner_group_num": 1}
    try:
        config = EncoderConfig.from_dict(settings)
    except InputError as error:
        raise InputError(f"{path}: {str(error).removeprefix('config: ')}") from None
    head = next((head for head, rows in HEADS.items() if any(name in tensors for name in rows)), "Model")
    if head == "ForSequenceClassification":
        shape = bundle.entry("output_weights").shape if "output_weights" in tensors else ()
        if len(shape) != 2:
            raise InputError(f"{prefix}: its classifier needs output_weights, a matrix of labels by widths.")
        labels = shape[0]
        config = config.with_labels({index: f"LABEL_{index}" for index in range(labels)})
    check_layers(config, len(tensors), path)
    table = layout_name_table(config, head, layout)
    known = table.slots.keys() | table.ignored.keys()
    foreign = [name for name in tensors if name not in known and not _OF_GOOGLE.search(name)]
    unused |= dict.fromkeys(foreign, FOREIGN)
    tensors = {name: read for name, read in tensors.items() if name not in unused}
    if layout is BRIGHTMART:
        return _fold_projection(table, tensors, unused)
    return GoogleCheckpoint(
        table=table,
        tensors={name: partial(_without_heads, read, table.canonical(name)) for name, read in tensors.items()},
        unused=unused,
    )


def open_variables(folder: Path) -> Readers:
    """All numeric variables of a folder's bundle, under their own names.

    Raises:
        InputError: there is no single bundle, or it cannot be read.
    """
    prefix = find_checkpoint(folder)
    if prefix is None:
        raise InputError(f"{folder}: contains no TensorFlow checkpoint (NAME.index with NAME.data-...).")
    bundle = TensorBundle(prefix)
    return {name: partial(bundle.read, name) for name in bundle.names() if bundle.entry(name).dtype != "string"}


def write_checkpoint(folder: Path, table: NameTable, get_tensor: GetTensor) -> None:
    """Writes a model's weights and settings as Google ships them.

    Raises:
        InputError: Google's programs cannot compute this configuration.
        OSError: the folder cannot be written.
    """
    config = table.config
    check_writable(config, table.head)
    write_bundle(folder / layout_of(config).bundle, table.export(get_tensor))
    write_atomically(folder / settings_name(config), lambda path: write_json(path, settings_to_write(config)))


def _fold_projection(table: NameTable, tensors: Readers, unused: Mapping[str, str]) -> GoogleCheckpoint:
    """Multiplies brightmart's projection into the word embedding, and sets ours to the identity.

    Its ALBERT projects word embeddings to the hidden size before positions and types are added, Google's after the
    norm. The product of both matrices is a full-width word embedding that gives the same hidden states; the decoder,
    tied to both matrices there, is tied to the product.
    """
    if WORD_EMBEDDINGS not in tensors or WORD_PROJECTION not in tensors:
        raise InputError(
            f"a layout with layer_shared needs {WORD_EMBEDDINGS} and {WORD_PROJECTION}; the file is incomplete."
        )
    narrow, widen = tensors[WORD_EMBEDDINGS], tensors[WORD_PROJECTION]
    width = table.config.hidden_size
    owner = encoder_prefix(table.head)
    return GoogleCheckpoint(
        table=table,
        tensors={
            **{name: read for name, read in tensors.items() if name != WORD_PROJECTION},
            WORD_EMBEDDINGS: lambda: narrow() @ widen(),
        },
        unused={**unused, WORD_PROJECTION: "multiplied into the word embedding"},
        synthesised={
            f"{owner}embeddings.projection.weight": lambda: torch.eye(width),
            f"{owner}embeddings.projection.bias": lambda: torch.zeros(width),
        },
        notes=(
            f"the word embedding is {width} wide: albert_zh's projection is multiplied into it, and the projection "
            "after the norm is the identity",
        ),
    )


def _without_heads(read: Callable[[], Tensor], name: str) -> Tensor:
    """Merges the heads axis of TensorFlow 2's attention, which TensorFlow 1's does not have."""
    value = read()
    if value.ndim == 3:  # (C, H, D) for query, key and value; (H, D, C) for the output
        return value.flatten(1) if "/self/" in name else value.flatten(0, 1)
    return value.flatten() if value.ndim == 2 and name.endswith("/bias") else value
