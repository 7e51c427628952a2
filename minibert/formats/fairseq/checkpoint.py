"""fairseq's RoBERTa checkpoints: ``model.pt``, one dictionary of settings and tensors.

The settings are under ``args`` (an ``argparse.Namespace``) or, since fairseq 1.0, under ``cfg`` (dictionaries); the
tensors under ``model``. Source: ``fairseq/checkpoint_utils.py``. The vocabulary is read by
:mod:`minibert.formats.fairseq.dictionary`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from minibert.config import EncoderConfig
from minibert.errors import InputError
from minibert.files import write_atomically
from minibert.formats.fairseq.names import DECODER, ENCODER, canonical_name, name_table
from minibert.formats.fairseq.settings import (
    HIDDEN_ACTS,
    PAD_ID,
    check_writable,
    classification_heads,
    encoder_config,
    read_settings,
    settings_to_write,
)
from minibert.formats.names import GetTensor, NameTable, Readers, Slot
from minibert.formats.torch_file import plain_tensors, read_torch_file


@dataclass(frozen=True, kw_only=True)
class FairseqCheckpoint:
    """An open ``model.pt``.

    Attributes:
        path: the file.
        config: the encoder's config, without the labels of a head.
        tensors: name in the file -> a function that reads the tensor.
        heads: name of a classification head -> its number of labels.
        fused: whether query, key and value are one tensor.
        activation: of the feed-forward layers and the language head, by fairseq's name.
        pooler_activation, pooler_dropout: of the classification heads.
        unread: the file's other keys (``optimizer_history``, ``extra_state``, ...).
    """

    path: Path
    config: EncoderConfig
    tensors: Mapping[str, Callable[[], Tensor]]
    heads: Mapping[str, int]
    fused: bool
    activation: str
    pooler_activation: str
    pooler_dropout: float
    unread: tuple[str, ...]

    def table(self, head: str, classification_head: str | None = None) -> NameTable:
        """The names for one head of ours; the table's ``config`` has that head's labels.

        Args:
            head: the model's head, as in :class:`~minibert.checkpoint.Pretrained`.
            classification_head: the fairseq head to use for ``ForSequenceClassification``; required if it has several.

        Raises:
            InputError: there is no such head, or its activation is not supported.
        """
        config, chosen = self.config, None
        if head == "ForPreTraining" and self.activation != "gelu":
            raise InputError(
                f"{self.path}: its language head has the activation {self.activation}; minibert and Hugging Face "
                "support gelu only. Convert the encoder without this head."
            )
        if head == "ForSequenceClassification" and (self.heads or classification_head is not None):
            chosen = self._choose_head(classification_head)
            if self.pooler_activation != "tanh":
                raise InputError(
                    f"{self.path}: its classification heads have the activation {self.pooler_activation}; minibert and "
                    "Hugging Face support tanh only. Convert the encoder without them."
                )
            labels = {index: f"LABEL_{index}" for index in range(self.heads[chosen])}
            config = replace(config.with_labels(labels), classifier_dropout=self.pooler_dropout)
        others = tuple(name for name in self.heads if name != chosen)
        return name_table(config, head, classification_head=chosen, other_heads=others, fused=self.fused)

    def _choose_head(self, name: str | None) -> str:
        if name is None and len(self.heads) == 1:
            return next(iter(self.heads))
        if name is None or name not in self.heads:
            asked = "has several classification heads" if name is None else f"has no classification head {name!r}"
            raise InputError(f"{self.path}: {asked}; choose one of: {', '.join(self.heads) or 'none'}.")
        return name


def open_fairseq_checkpoint(path: Path) -> FairseqCheckpoint:
    """Opens a ``model.pt``, or the one in a folder, and checks its settings against its tensors' shapes.

    The file may contain tensors, plain values and ``argparse.Namespace`` only; no option allows more.

    Raises:
        InputError: the file is damaged or unsafe, is not a RoBERTa, or its settings and shapes disagree.
    """
    path = path / "model.pt" if path.is_dir() else path
    state = read_torch_file(path, allow_namespace=True)
    if not isinstance(state, dict) or "model" not in state:
        raise InputError(f"{path}: is not a fairseq checkpoint: it is not a dictionary with the key 'model'.")
    tensors = plain_tensors(state["model"], path)
    settings = read_settings(state, path)
    shapes = {canonical_name(name): tensor.shape for name, tensor in tensors.items()}
    old_names = any(".emb_layer_norm." in name for name in tensors)
    activation = settings.text("activation_fn", "gelu", tuple(HIDDEN_ACTS))
    return FairseqCheckpoint(
        path=path,
        config=encoder_config(settings, shapes, activation, old_names),
        tensors={name: partial(tensors.__getitem__, name) for name in tensors},
        heads=classification_heads(settings, shapes),
        fused=any(name.endswith(".in_proj_weight") for name in shapes),
        activation="gelu" if HIDDEN_ACTS[activation] == "gelu" else activation,
        pooler_activation=settings.text("pooler_activation_fn", "tanh", (*HIDDEN_ACTS, "linear")),
        pooler_dropout=settings.rate("pooler_dropout", 0.0),
        unread=tuple(key for key in state if type(key) is str and key not in ("model", "args", "cfg")),
    )


def open_state(folder: Path) -> Readers:
    """All tensors of a folder's ``model.pt`` under their own names; InputError if it has none."""
    path = folder / "model.pt"
    state = read_torch_file(path, allow_namespace=True)
    tensors = plain_tensors(state.get("model") if isinstance(state, dict) else None, path)
    return {name: partial(tensors.__getitem__, name) for name in tensors}


def write_checkpoint(path: Path, table: NameTable, get_tensor: GetTensor) -> None:
    """Writes a model's weights as a ``model.pt`` in the layout of fairseq 1.0.

    The file has all that ``fairseq.checkpoint_utils.load_checkpoint_to_cpu`` needs, and no training state. fairseq
    always builds a language head; it loads a file without one only with ``strict=False``.

    Args:
        path: the file to write.
        table: the names to write under.
        get_tensor: returns our parameters.

    Raises:
        InputError: fairseq's RoBERTa cannot compute this configuration.
        OSError: the file cannot be written.
    """
    config = table.config
    check_writable(config)
    history = {"criterion_name": "", "optimizer_name": "", "lr_scheduler_state": {}, "num_updates": 0}
    content = {
        "args": settings_to_write(config),
        "model": {name: tensor.detach().cpu() for name, tensor in _with_decoder(table, get_tensor).items()},
        "optimizer_history": [history],
        "extra_state": {"train_iterator": {"epoch": 1, "iterations_in_epoch": 0}},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda temporary: torch.save(content, temporary))


def _with_decoder(table: NameTable, get_tensor: GetTensor) -> dict[str, Tensor]:
    """The tensors of a ``model.pt``, with the tied decoder repeated under its own name.

    fairseq has no token types. A row that is not 0 is added to every position embedding, which has the same effect.
    """
    tensors = table.export(get_tensor)
    for name in table.zeros:
        row = get_tensor(Slot(name))
        if row is not None and row.any():
            positions = tensors[f"{ENCODER}embed_positions.weight"].clone()
            positions[PAD_ID + 1 :] += row[0]
            tensors[f"{ENCODER}embed_positions.weight"] = positions
    if "encoder.lm_head.bias" in tensors:
        tensors[DECODER] = tensors[table.tied[DECODER]]
    return tensors
