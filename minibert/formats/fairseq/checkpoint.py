"""fairseq's RoBERTa checkpoints: ``model.pt``, one dictionary of settings and tensors.

The settings stand under ``args`` (an ``argparse.Namespace``) or, since fairseq 1.0, under ``cfg`` (dictionaries); the
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
from minibert.files import write_whole
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
from minibert.formats.names import NameTable, Readers, Slot, Take
from minibert.formats.torch_file import plain_tensors, read_torch_file


@dataclass(frozen=True, kw_only=True)
class FairseqCheckpoint:
    """An opened ``model.pt``.

    Attributes:
        path: the file.
        config: the encoder's sizes; without labels of a head.
        tensors: each tensor's name in the file, with a function that reads it.
        heads: the classification heads' names, with their numbers of labels.
        fused: query, key and value are one tensor.
        activation: of the feed-forward layers and the language head, by fairseq's name.
        pooler_activation, pooler_dropout: of the classification heads.
        not_read: what else the file holds (``optimizer_history``, ``extra_state``, ...).
    """

    path: Path
    config: EncoderConfig
    tensors: Mapping[str, Callable[[], Tensor]]
    heads: Mapping[str, int]
    fused: bool
    activation: str
    pooler_activation: str
    pooler_dropout: float
    not_read: tuple[str, ...]

    def table(self, head: str, classification_head: str | None = None) -> NameTable:
        """The names for one head of ours; the table's ``config`` has that head's labels.

        Args:
            head: what the model is to be, as in :class:`~minibert.checkpoint.Pretrained`.
            classification_head: which of fairseq's to take for ``ForSequenceClassification``; needed if it has several.

        Raises:
            InputError: there is no such head, or it computes what ours does not.
        """
        config, chosen = self.config, None
        if head == "ForPreTraining" and self.activation != "gelu":
            raise InputError(
                f"{self.path}: its language head has the activation {self.activation}, RoBERTa's has gelu here and in "
                "Hugging Face; convert the encoder without this head."
            )
        if head == "ForSequenceClassification" and (self.heads or classification_head is not None):
            chosen = self._chosen(classification_head)
            if self.pooler_activation != "tanh":
                raise InputError(
                    f"{self.path}: its classification heads have the activation {self.pooler_activation}, RoBERTa's "
                    "have tanh here and in Hugging Face; convert the encoder without them."
                )
            labels = {index: f"LABEL_{index}" for index in range(self.heads[chosen])}
            config = replace(config.with_labels(labels), classifier_dropout=self.pooler_dropout)
        others = tuple(name for name in self.heads if name != chosen)
        return name_table(config, head, classification_head=chosen, other_heads=others, fused=self.fused)

    def _chosen(self, name: str | None) -> str:
        if name is None and len(self.heads) == 1:
            return next(iter(self.heads))
        if name is None or name not in self.heads:
            asked = "holds several classification heads" if name is None else f"has no classification head {name!r}"
            raise InputError(f"{self.path}: {asked}; choose one of: {', '.join(self.heads) or 'none'}.")
        return name


def open_fairseq_checkpoint(path: Path) -> FairseqCheckpoint:
    """Opens a ``model.pt``, or the one in a folder, and checks its settings against its tensors' shapes.

    Nothing but tensors, plain values and ``argparse.Namespace`` may be in the file, and there is no switch for more.

    Raises:
        InputError: the file is damaged or hostile, is no RoBERTa, or settings and shapes disagree.
    """
    path = path / "model.pt" if path.is_dir() else path
    state = read_torch_file(path, allow_namespace=True)
    if not isinstance(state, dict) or "model" not in state:
        raise InputError(f"{path}: is no fairseq checkpoint; it holds no dictionary with the key 'model'.")
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
        not_read=tuple(key for key in state if type(key) is str and key not in ("model", "args", "cfg")),
    )


def open_state(folder: Path) -> Readers:
    """Every tensor of a folder's ``model.pt`` under its own name; InputError where it holds none."""
    path = folder / "model.pt"
    state = read_torch_file(path, allow_namespace=True)
    tensors = plain_tensors(state.get("model") if isinstance(state, dict) else None, path)
    return {name: partial(tensors.__getitem__, name) for name in tensors}


def write_checkpoint(path: Path, table: NameTable, take: Take) -> None:
    """Writes a model's weights as a ``model.pt`` in the layout of fairseq 1.0.

    The file has what ``fairseq.checkpoint_utils.load_checkpoint_to_cpu`` asks for, and no state of a training run.
    fairseq always builds a language head; a file made from a model without one it loads only where it is not strict.

    Args:
        path: the file to write.
        table: the names to write under.
        take: gives our parameters.

    Raises:
        InputError: fairseq's RoBERTa cannot compute this configuration.
        OSError: the file cannot be written.
    """
    config = table.config
    check_writable(config)
    history = {"criterion_name": "", "optimizer_name": "", "lr_scheduler_state": {}, "num_updates": 0}
    content = {
        "args": settings_to_write(config),
        "model": {name: tensor.detach().cpu() for name, tensor in _with_decoder(table, take).items()},
        "optimizer_history": [history],
        "extra_state": {"train_iterator": {"epoch": 1, "iterations_in_epoch": 0}},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, lambda temporary: torch.save(content, temporary))


def _with_decoder(table: NameTable, take: Take) -> dict[str, Tensor]:
    """The tensors of a ``model.pt``, in which the tied decoder stands under its own name too.

    A token type's row that is not 0 goes into the table of positions, to which every token adds it.
    """
    tensors = table.to_foreign(take)
    for name in table.zeros:
        row = take(Slot(name))
        if row is not None and row.any():
            positions = tensors[f"{ENCODER}embed_positions.weight"].clone()
            positions[PAD_ID + 1 :] += row[0]
            tensors[f"{ENCODER}embed_positions.weight"] = positions
    if "encoder.lm_head.bias" in tensors:
        tensors[DECODER] = tensors[table.tied[DECODER]]
    return tensors
