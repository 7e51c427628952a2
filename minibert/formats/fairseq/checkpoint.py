"""fairseq's RoBERTa checkpoints: ``model.pt``, one dictionary of settings and tensors.

The settings stand under ``args`` (an ``argparse.Namespace``) or, since fairseq 1.0, under ``cfg`` (dictionaries); the
tensors under ``model``. Sources: ``fairseq/models/roberta/model.py``, ``fairseq/checkpoint_utils.py`` and
``fairseq/modules/transformer_sentence_encoder.py``. The vocabulary is read by
:mod:`minibert.formats.fairseq.dictionary`.
"""

import argparse
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from minibert.config import EncoderConfig
from minibert.errors import InputError
from minibert.families import ROBERTA, Rows
from minibert.files import write_whole
from minibert.formats.names import OTHER_HEAD, NameTable, Readers, Slot, Take, expand, owner_of_encoder, under
from minibert.formats.torch_file import plain_tensors, read_torch_file

_BODY: Rows = {
    "embed_tokens.weight": "embeddings.word_embeddings.weight",
    "embed_positions.weight": "embeddings.position_embeddings.weight",
    "embed_positions._float_tensor": None,  # carries a device and a dtype, no value
    "version": None,  # the number of the naming scheme
    "layernorm_embedding.{p}": "embeddings.norm.{p}",  # emb_layer_norm before fairseq 1.0
    "layers.{l}.self_attn.out_proj.{p}": "groups.{l}.0.attention.output.{p}",
    "layers.{l}.self_attn_layer_norm.{p}": "groups.{l}.0.attention_norm.{p}",
    "layers.{l}.fc1.{p}": "groups.{l}.0.feed_forward.intermediate.{p}",
    "layers.{l}.fc2.{p}": "groups.{l}.0.feed_forward.output.{p}",
    "layers.{l}.final_layer_norm.{p}": "groups.{l}.0.feed_forward_norm.{p}",
}
_SPLIT: Rows = {
    "layers.{l}.self_attn.q_proj.{p}": "groups.{l}.0.attention.qkv.{p}[0/3]",
    "layers.{l}.self_attn.k_proj.{p}": "groups.{l}.0.attention.qkv.{p}[1/3]",
    "layers.{l}.self_attn.v_proj.{p}": "groups.{l}.0.attention.qkv.{p}[2/3]",
}
_FUSED: Rows = {"layers.{l}.self_attn.in_proj_{p}": "groups.{l}.0.attention.qkv.{p}"}  # before fairseq 0.9
_LANGUAGE_HEAD: Rows = {
    "encoder.lm_head.dense.{p}": "mlm.dense.{p}",
    "encoder.lm_head.layer_norm.{p}": "mlm.norm.{p}",
    "encoder.lm_head.bias": "mlm.bias",
}
_CLASSIFICATION_HEAD: Rows = {"dense.{p}": "dense.{p}", "out_proj.{p}": "classifier.{p}"}
_ENCODER = "encoder.sentence_encoder."
_DECODER = "encoder.lm_head.weight"
_TOKEN_TYPES = "embeddings.token_type_embeddings.weight"

# fairseq's names of activations (get_activation_fn in fairseq/utils.py): its "gelu" is the erf form, its
# "gelu_accurate", of old "gelu_fast", the tanh form (fairseq/modules/gelu.py).
_ACTIVATIONS = {"gelu": "gelu", "gelu_accurate": "gelu_new", "gelu_fast": "gelu_new", "relu": "relu", "tanh": "tanh"}
_ACTIVATIONS_BACK = {"gelu": "gelu", "gelu_new": "gelu_accurate", "gelu_pytorch_tanh": "gelu_accurate"}
_ACTIVATIONS_BACK |= {"relu": "relu", "tanh": "tanh"}
_LAYER_NORM_EPS = 1e-5  # the default of torch's LayerNorm, which fairseq leaves as it is
_PAD = 1  # fairseq.data.Dictionary: <s> 0, <pad> 1, </s> 2, <unk> 3

# Settings that would change what is computed, with the only value that this encoder computes.
_REQUIRED_VALUES = {
    "no_scale_embedding": True,
    "no_token_positional_embeddings": False,
    "encoder_learned_pos": True,
    "adaptive_input": False,
}


def name_table(
    config: EncoderConfig,
    head: str,
    *,
    classification_head: str | None = None,
    other_heads: tuple[str, ...] = (),
    fused: bool = False,
) -> NameTable:
    """The names of a fairseq RoBERTa, as fairseq 1.0 spells them.

    Args:
        config: the sizes.
        head: what the model is, as in :class:`~minibert.checkpoint.Pretrained`.
        classification_head: fairseq's name for the head that is our classifier.
        other_heads: the names of further classification heads in the file.
        fused: query, key and value are one tensor ``in_proj`` in the file.
    """
    owner = owner_of_encoder(head)
    slots: dict[str, Slot] = {}
    ignored = {"encoder.version": "a constant buffer"}
    for name, slot in expand({**_BODY, **(_FUSED if fused else _SPLIT)}, config).items():
        if slot is None:
            ignored[_ENCODER + name] = "a constant buffer"
        else:
            slots[_ENCODER + name] = under(owner, slot)
    heads = [(_LANGUAGE_HEAD, head == "ForPreTraining"), *((_named_head(name), False) for name in other_heads)]
    if classification_head is not None:
        heads.append((_named_head(classification_head), head == "ForSequenceClassification"))
    for rows, is_ours in heads:
        for name, slot in expand(rows, config).items():
            if is_ours and slot is not None:
                slots[name] = slot
            else:
                ignored[name] = OTHER_HEAD
    return NameTable(
        config=config,
        head=head,
        slots=slots,
        ignored=ignored,
        tied={_DECODER: f"{_ENCODER}embed_tokens.weight"},
        zeros={owner + _TOKEN_TYPES: "not in fairseq: zeros"},
        settings="model.pt's args or cfg",
        canonical=_canonical,
    )


def _named_head(name: str) -> Rows:
    # Braces would read as a template's letter; no name that fairseq's command line takes has any.
    return {f"classification_heads.{name}.{row}": target for row, target in _CLASSIFICATION_HEAD.items()}


def _canonical(name: str) -> str:
    """A name as fairseq 1.0 spells it: ``encoder.sentence_encoder.`` for ``decoder.sentence_encoder.``, ``encoder.``,
    ``decoder.`` or nothing, and ``layernorm_embedding`` for ``emb_layer_norm``."""
    bare = re.sub(r"^((en|de)coder\.)?(sentence_encoder\.)?", "", name)
    bare = re.sub(r"^emb_layer_norm\.", "layernorm_embedding.", bare)
    if bare.startswith("classification_heads."):
        return bare
    if bare.startswith("lm_head."):
        return f"encoder.{bare}"
    if name in ("encoder.version", "decoder.version"):  # may stand beside the sentence encoder's own
        return "encoder.version"
    return _ENCODER + bare


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
    settings = _settings(state, path)
    shapes = {_canonical(name): tensor.shape for name, tensor in tensors.items()}
    old_names = any(".emb_layer_norm." in name for name in tensors)
    activation = settings.text("activation_fn", "gelu", tuple(_ACTIVATIONS))
    return FairseqCheckpoint(
        path=path,
        config=_config(settings, shapes, activation, old_names),
        tensors={name: partial(tensors.__getitem__, name) for name in tensors},
        heads=_heads(settings, shapes),
        fused=any(name.endswith(".in_proj_weight") for name in shapes),
        activation="gelu" if _ACTIVATIONS[activation] == "gelu" else activation,
        pooler_activation=settings.text("pooler_activation_fn", "tanh", (*_ACTIVATIONS, "linear")),
        pooler_dropout=settings.rate("pooler_dropout", 0.0),
        not_read=tuple(key for key in state if type(key) is str and key not in ("model", "args", "cfg")),
    )


def open_state(folder: Path) -> Readers:
    """Every tensor of a folder's ``model.pt`` under its own name; InputError where it holds none."""
    path = folder / "model.pt"
    state = read_torch_file(path, allow_namespace=True)
    tensors = plain_tensors(state.get("model") if isinstance(state, dict) else None, path)
    return {name: partial(tensors.__getitem__, name) for name in tensors}


@dataclass(frozen=True)
class _Settings:
    """The settings of a file that nobody vouches for: each is read by its type, or refused by its name."""

    values: Mapping[Any, Any]
    path: Path

    def whole(self, name: str) -> int | None:
        """A whole number, or None where there is none of this name."""
        value = self.values.get(name)
        if value is not None and not (type(value) is int and 0 < value < 2**31):
            raise self._refused(name, "a whole number of 1 or more")
        return value

    def rate(self, name: str, default: float) -> float:
        value = self.values.get(name, default)
        if type(value) not in (int, float) or not 0 <= value < 1:
            raise self._refused(name, "a number in [0, 1)")
        return float(value)

    def text(self, name: str, default: str, choices: tuple[str, ...]) -> str:
        value = self.values.get(name, default)
        if type(value) is not str or value not in choices:
            raise self._refused(name, f"one of {', '.join(choices)}")
        return value

    def _refused(self, name: str, wanted: str) -> InputError:
        value = self.values[name]
        shown = repr(value)[:80] if type(value) in (int, float, str, bool) else f"a {type(value).__name__}"
        return InputError(f"{self.path}: the setting {name} must be {wanted}, not {shown}.")


def _settings(state: Mapping[Any, Any], path: Path) -> _Settings:
    found = state.get("args")
    if found is None:  # load_model_ensemble_and_task in fairseq/checkpoint_utils.py takes them in this order
        cfg = state.get("cfg")
        found = cfg.get("model") if isinstance(cfg, dict) else None
    if type(found) is argparse.Namespace:
        found = dict(vars(found))
    if not isinstance(found, dict):
        raise InputError(f"{path}: holds no settings; a fairseq checkpoint keeps them under 'args' or 'cfg'.")
    return _Settings(found, path)


def _config(settings: _Settings, shapes: Mapping[str, torch.Size], activation: str, old_names: bool) -> EncoderConfig:
    """The encoder's sizes by the shapes, where the settings do not say otherwise."""
    path = settings.path
    for name, only in _REQUIRED_VALUES.items():
        value = settings.values.get(name, only)
        if type(value) not in (bool, int) or value != only:
            raise InputError(f"{path}: the setting {name} must be {only}; minibert computes no other RoBERTa.")
    # Before fairseq 1.0, while the first norm was called emb_layer_norm, this setting only meant that there is one.
    if settings.values.get("encoder_normalize_before") not in (None, False) and not old_names:
        raise InputError(f"{path}: its layers are normalised before, not after; minibert computes no such RoBERTa.")

    def matrix(name: str) -> torch.Size:
        if len(shapes.get(_ENCODER + name, ())) != 2:
            raise InputError(f"{path}: holds no matrix {_ENCODER}{name}; it is no RoBERTa, or incomplete.")
        return shapes[_ENCODER + name]

    found = (re.match(rf"{re.escape(_ENCODER)}layers\.(\d{{1,4}})\.", name) for name in shapes)
    rows, width = matrix("embed_tokens.weight")
    counted = {
        "encoder_layers": len({int(match[1]) for match in found if match}),
        "encoder_embed_dim": width,
        "encoder_ffn_embed_dim": matrix("layers.0.fc1.weight")[0],
        "max_positions": matrix("embed_positions.weight")[0] - _PAD - 1,
    }
    for name, size in counted.items():
        if settings.whole(name) not in (None, size):
            raise InputError(f"{path}: {name} is {settings.whole(name)} by its settings, {size} by its tensors.")
    heads = settings.whole("encoder_attention_heads")
    if heads is None:
        raise InputError(f"{path}: the setting encoder_attention_heads is missing, and no tensor's shape tells it.")
    try:
        return EncoderConfig(
            model_type=ROBERTA.name,
            vocab_size=rows,
            hidden_size=width,
            num_hidden_layers=counted["encoder_layers"],
            num_attention_heads=heads,
            intermediate_size=counted["encoder_ffn_embed_dim"],
            max_position_embeddings=counted["max_positions"] + _PAD + 1,
            type_vocab_size=1,
            hidden_act=_ACTIVATIONS[activation],
            hidden_dropout_prob=settings.rate("dropout", 0.1),
            attention_probs_dropout_prob=settings.rate("attention_dropout", 0.1),
            layer_norm_eps=_LAYER_NORM_EPS,
            pad_token_id=_PAD,
            bos_token_id=0,
            eos_token_id=2,
        )
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _heads(settings: _Settings, shapes: Mapping[str, torch.Size]) -> dict[str, int]:
    heads = {}
    for name, shape in shapes.items():
        if match := re.fullmatch(r"classification_heads\.([^.{}]+)\.out_proj\.weight", name):
            if len(shape) != 2 or shape[0] < 1:
                raise InputError(f"{settings.path}: {name} is no matrix of labels by widths.")
            heads[match[1]] = shape[0]
    return heads


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
    args = argparse.Namespace(
        arch="roberta",  # fairseq's own name for it
        task="masked_lm",
        criterion="masked_lm",
        encoder_layers=config.num_hidden_layers,
        encoder_embed_dim=config.hidden_size,
        encoder_ffn_embed_dim=config.intermediate_size,
        encoder_attention_heads=config.num_attention_heads,
        activation_fn=_ACTIVATIONS_BACK[config.hidden_act],
        pooler_activation_fn="tanh",
        dropout=config.hidden_dropout_prob,
        attention_dropout=config.attention_probs_dropout_prob,
        pooler_dropout=config.hidden_dropout_prob if config.classifier_dropout is None else config.classifier_dropout,
        max_positions=config.max_length,
        tokens_per_sample=config.max_length,
    )
    history = {"criterion_name": "", "optimizer_name": "", "lr_scheduler_state": {}, "num_updates": 0}
    content = {
        "args": args,
        "model": {name: tensor.detach().cpu() for name, tensor in _with_decoder(table, take).items()},
        "optimizer_history": [history],
        "extra_state": {"train_iterator": {"epoch": 1, "iterations_in_epoch": 0}},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, lambda temporary: torch.save(content, temporary))


def check_writable(config: EncoderConfig) -> None:
    """Makes sure that fairseq's RoBERTa computes a model; InputError says what it does not."""
    for name, only in (
        ("model_type", ROBERTA.name), ("layer_norm_eps", _LAYER_NORM_EPS), ("type_vocab_size", 1),
        ("pad_token_id", _PAD),
    ):  # fmt: skip
        if getattr(config, name) != only:
            raise InputError(f"fairseq's RoBERTa has {name} {only!r}, this model {getattr(config, name)!r}.")
    if config.hidden_act not in _ACTIVATIONS_BACK:
        raise InputError(f"fairseq's RoBERTa has no activation {config.hidden_act!r}.")


def _with_decoder(table: NameTable, take: Take) -> dict[str, Tensor]:
    """The tensors of a ``model.pt``, in which the tied decoder stands under its own name too.

    A token type's row that is not 0 goes into the table of positions, to which every token adds it.
    """
    tensors = table.to_foreign(take)
    for name in table.zeros:
        row = take(Slot(name))
        if row is not None and row.any():
            positions = tensors[f"{_ENCODER}embed_positions.weight"].clone()
            positions[_PAD + 1 :] += row[0]
            tensors[f"{_ENCODER}embed_positions.weight"] = positions
    if "encoder.lm_head.bias" in tensors:
        tensors[_DECODER] = tensors[table.tied[_DECODER]]
    return tensors
