"""Google's TensorFlow checkpoints of BERT and ALBERT: a bundle of variables with its settings beside it."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from minibert.config import EncoderConfig
from minibert.errors import InputError
from minibert.files import read_json_object, write_json, write_whole
from minibert.formats.google.names import (
    BRIGHTMART,
    HEADS,
    WORD_EMBEDDINGS,
    WORD_PROJECTION,
    detect_layout,
    layout_name_table,
    layout_of,
    settings_name,
    training_state,
)
from minibert.formats.google.settings import (
    LAYER_NORM_EPS,
    check_writable,
    hidden_act_of,
    settings_file,
    settings_to_write,
)
from minibert.formats.google.tensor_bundle import TensorBundle, write_bundle
from minibert.formats.names import (
    NameTable,
    Readers,
    Take,
    owner_of_encoder,
)


@dataclass(frozen=True, kw_only=True)
class GoogleCheckpoint:
    """An opened checkpoint.

    Attributes:
        table: its names.
        tensors: each variable's name in the file, with a function that reads it.
        skipped: the file's other names, with the rule by which they are not read.
        made: parameters of ours that are made of something else than one variable.
        notes: what a person should know of how it was read.
    """

    table: NameTable
    tensors: Readers
    skipped: Mapping[str, str]
    made: Readers = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def find_checkpoint(folder: Path) -> Path | None:
    """The prefix of the only bundle in a folder, or of the latest where their names end in step numbers.

    Raises:
        InputError: there are several without such numbers.
    """
    prefixes = [path.with_suffix("") for path in sorted(folder.glob("*.index"))]
    if len(prefixes) < 2:
        return prefixes[0] if prefixes else None
    numbered = [(int(match[1]), prefix) for prefix in prefixes if (match := re.search(r"-(\d+)$", prefix.name))]
    if len(numbered) == len(prefixes):
        return max(numbered)[1]
    raise InputError(
        f"{folder}: holds several checkpoints ({', '.join(prefix.name for prefix in prefixes)}); "
        "keep one of them in the folder."
    )


def open_google_checkpoint(prefix: Path, *, hidden_act: str | None = None) -> GoogleCheckpoint:
    """Opens a bundle with the settings beside it, ``bert_config.json`` or ``albert_config*.json``.

    Args:
        prefix: of the bundle's files.
        hidden_act: the activation, where it is not what Hugging Face's published configs say: ``gelu`` in a BERT is the
            erf form, in an ALBERT the tanh form (``gelu_new``).

    Raises:
        InputError: the bundle or the settings cannot be read, or are of no layout that is known.
    """
    bundle = TensorBundle(prefix)
    skipped = {name: why for name in bundle.names() if (why := training_state(name))}
    tensors: dict[str, Callable[[], Tensor]] = {
        name: partial(bundle.read, name) for name in bundle.names() if name not in skipped
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
            raise InputError(f"{path}: ln_type is {settings['ln_type']!r}; norms before the layers are not supported.")
        settings |= {"embedding_size": settings.get("hidden_size"), "num_hidden_groups": 1, "inner_group_num": 1}
    try:
        config = EncoderConfig.from_dict(settings)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    head = next((head for head, rows in HEADS.items() if any(name in tensors for name in rows)), "Model")
    if head == "ForSequenceClassification":
        shape = bundle.entry("output_weights").shape if "output_weights" in tensors else ()
        if len(shape) != 2:
            raise InputError(f"{prefix}: its classifier needs output_weights, a matrix of labels by widths.")
        labels = shape[0]
        config = config.with_labels({index: f"LABEL_{index}" for index in range(labels)})
    table = layout_name_table(config, head, layout)
    if layout is BRIGHTMART:
        return _with_folded_projection(table, tensors, skipped)
    return GoogleCheckpoint(
        table=table,
        tensors={name: partial(_without_heads, read, table.canonical(name)) for name, read in tensors.items()},
        skipped=skipped,
    )


def open_variables(folder: Path) -> Readers:
    """Every variable of a folder's bundle that holds numbers, under its own name.

    Raises:
        InputError: there is no single bundle, or it cannot be read.
    """
    prefix = find_checkpoint(folder)
    if prefix is None:
        raise InputError(f"{folder}: holds no TensorFlow checkpoint (NAME.index with NAME.data-...).")
    bundle = TensorBundle(prefix)
    return {name: partial(bundle.read, name) for name in bundle.names() if bundle.entry(name).dtype != "string"}


def write_checkpoint(folder: Path, table: NameTable, take: Take) -> None:
    """Writes a model's weights and settings as Google ships them: a bundle with its settings beside it.

    Raises:
        InputError: Google's programs cannot compute this configuration.
        OSError: the folder cannot be written.
    """
    config = table.config
    check_writable(config, table.head)
    write_bundle(folder / layout_of(config).bundle, table.to_foreign(take))
    write_whole(folder / settings_name(config), lambda path: write_json(path, settings_to_write(config)))


def _with_folded_projection(table: NameTable, tensors: Readers, skipped: Mapping[str, str]) -> GoogleCheckpoint:
    """brightmart's ALBERT widens the word embedding before positions and types are added, Google's after the norm.

    The product of both matrices is a word embedding of full width, and gives the same hidden states with a projection
    that changes nothing; the decoder, tied to both there, is tied to the product.
    """
    if WORD_EMBEDDINGS not in tensors or WORD_PROJECTION not in tensors:
        raise InputError(
            f"a layout with layer_shared needs {WORD_EMBEDDINGS} and {WORD_PROJECTION}; the file is incomplete."
        )
    narrow, widen = tensors[WORD_EMBEDDINGS], tensors[WORD_PROJECTION]
    width = table.config.hidden_size
    owner = owner_of_encoder(table.head)
    return GoogleCheckpoint(
        table=table,
        tensors={
            **{name: read for name, read in tensors.items() if name != WORD_PROJECTION},
            WORD_EMBEDDINGS: lambda: narrow() @ widen(),
        },
        skipped={**skipped, WORD_PROJECTION: "multiplied into the word embedding"},
        made={
            f"{owner}embeddings.projection.weight": lambda: torch.eye(width),
            f"{owner}embeddings.projection.bias": lambda: torch.zeros(width),
        },
        notes=(
            "albert_zh's projection of the word embedding is multiplied into it, and the projection behind the norm is "
            f"the identity: the embedding is {width} wide",
        ),
    )


def _without_heads(read: Callable[[], Tensor], name: str) -> Tensor:
    """Folds away the axis that TensorFlow 2's attention has for its heads; TensorFlow 1's has none."""
    value = read()
    if value.ndim == 3:  # (C, H, D) into the heads, (H, D, C) out of them
        return value.flatten(1) if "/self/" in name else value.flatten(0, 1)
    return value.flatten() if value.ndim == 2 and name.endswith("/bias") else value
