"""The settings in fairseq's ``model.pt``, read into an encoder's config and written from one.

The file is untrusted: the type of each setting is checked, and sizes are compared with the tensors' shapes.
"""

import argparse
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from minibert.config import EncoderConfig
from minibert.errors import InputError
from minibert.families import ROBERTA
from minibert.formats.fairseq.names import ENCODER

_FAMILY = ROBERTA  # fairseq has others, which are not supported

# fairseq's names of activations (get_activation_fn in fairseq/utils.py): its "gelu" is the erf form, its
# "gelu_accurate", of old "gelu_fast", the tanh form (fairseq/modules/gelu.py).
HIDDEN_ACTS = {"gelu": "gelu", "gelu_accurate": "gelu_new", "gelu_fast": "gelu_new", "relu": "relu", "tanh": "tanh"}
_FAIRSEQ_ACTIVATIONS = {"gelu": "gelu", "gelu_new": "gelu_accurate", "gelu_pytorch_tanh": "gelu_accurate"}
_FAIRSEQ_ACTIVATIONS |= {"relu": "relu", "tanh": "tanh"}
_LAYER_NORM_EPS = 1e-5  # the default of torch's LayerNorm, which fairseq leaves as it is
PAD_ID = 1  # fairseq.data.Dictionary: <s> 0, <pad> 1, </s> 2, <unk> 3

# Settings that would change what is computed, with the only value that this encoder computes.
_REQUIRED_VALUES = {
    "no_scale_embedding": True,
    "no_token_positional_embeddings": False,
    "encoder_learned_pos": True,
    "adaptive_input": False,
}


@dataclass(frozen=True)
class Settings:
    """The settings of an untrusted file; each value's type is checked when it is read."""

    values: Mapping[Any, Any]
    path: Path

    def integer(self, name: str) -> int | None:
        """A positive integer, or None if the setting is absent."""
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


def read_settings(state: Mapping[Any, Any], path: Path) -> Settings:
    """The settings of the model in a checkpoint, whichever version of fairseq wrote it.

    Raises:
        InputError: there are none.
    """
    found = state.get("args")
    if found is None:  # load_model_ensemble_and_task in fairseq/checkpoint_utils.py takes them in this order
        cfg = state.get("cfg")
        found = cfg.get("model") if isinstance(cfg, dict) else None
    if type(found) is argparse.Namespace:
        found = dict(vars(found))
    if not isinstance(found, dict):
        raise InputError(f"{path}: has no settings; a fairseq checkpoint keeps them under 'args' or 'cfg'.")
    return Settings(found, path)


def encoder_config(
    settings: Settings, shapes: Mapping[str, torch.Size], activation: str, old_names: bool
) -> EncoderConfig:
    """The config; sizes come from the tensors' shapes by name, and the settings must agree with them. The activation is
    in fairseq's words; ``old_names`` are those of before fairseq 1.0.

    Raises:
        InputError: it is no RoBERTa, or one that this encoder does not compute.
    """
    path = settings.path
    for name, only in _REQUIRED_VALUES.items():
        value = settings.values.get(name, only)
        if type(value) not in (bool, int) or value != only:
            raise InputError(f"{path}: the setting {name} must be {only}; other RoBERTas are not supported.")
    # Before fairseq 1.0, when the first norm was called emb_layer_norm, this setting only meant that it exists.
    if settings.values.get("encoder_normalize_before") not in (None, False) and not old_names:
        raise InputError(f"{path}: its layers are pre-norm (encoder_normalize_before); only post-norm is supported.")

    def matrix(name: str) -> torch.Size:
        if len(shapes.get(ENCODER + name, ())) != 2:
            raise InputError(f"{path}: has no matrix {ENCODER}{name}; it is incomplete or not a RoBERTa.")
        return shapes[ENCODER + name]

    found = (re.match(rf"{re.escape(ENCODER)}layers\.(\d{{1,4}})\.", name) for name in shapes)
    rows, width = matrix("embed_tokens.weight")
    counted = {
        "encoder_layers": len({int(match[1]) for match in found if match}),
        "encoder_embed_dim": width,
        "encoder_ffn_embed_dim": matrix("layers.0.fc1.weight")[0],
        "max_positions": matrix("embed_positions.weight")[0] - PAD_ID - 1,
    }
    for name, size in counted.items():
        if settings.integer(name) not in (None, size):
            raise InputError(f"{path}: {name} is {settings.integer(name)} in its settings, but {size} in its tensors.")
    heads = settings.integer("encoder_attention_heads")
    if heads is None:
        raise InputError(f"{path}: the setting encoder_attention_heads is missing.")
    try:
        return EncoderConfig(
            model_type=_FAMILY.name,
            vocab_size=rows,
            hidden_size=width,
            num_hidden_layers=counted["encoder_layers"],
            num_attention_heads=heads,
            intermediate_size=counted["encoder_ffn_embed_dim"],
            max_position_embeddings=counted["max_positions"] + PAD_ID + 1,
            type_vocab_size=1,
            hidden_act=HIDDEN_ACTS[activation],
            hidden_dropout_prob=settings.rate("dropout", 0.1),
            attention_probs_dropout_prob=settings.rate("attention_dropout", 0.1),
            layer_norm_eps=_LAYER_NORM_EPS,
            pad_token_id=PAD_ID,
            bos_token_id=0,
            eos_token_id=2,
        )
    except InputError as error:
        raise InputError(f"{path}: {str(error).removeprefix('config: ')}") from None


def classification_heads(settings: Settings, shapes: Mapping[str, torch.Size]) -> dict[str, int]:
    """The number of labels of each classification head, by its name.

    Raises:
        InputError: a head is damaged.
    """
    heads = {}
    for name, shape in shapes.items():
        if match := re.fullmatch(r"classification_heads\.([^.{}]+)\.out_proj\.weight", name):
            if len(shape) != 2 or shape[0] < 1:
                raise InputError(f"{settings.path}: {name} must be a matrix (labels, hidden size).")
            heads[match[1]] = shape[0]
    return heads


def check_writable(config: EncoderConfig) -> None:
    """Raises InputError if fairseq's RoBERTa cannot compute a model."""
    if config.family is not _FAMILY:
        raise InputError(
            f"fairseq's format is supported for {_FAMILY.title} only, not for {config.family.title}; choose another "
            "format."
        )
    for name, only in (
        ("layer_norm_eps", _LAYER_NORM_EPS), ("type_vocab_size", 1),
        ("pad_token_id", PAD_ID),
    ):  # fmt: skip
        if getattr(config, name) != only:
            raise InputError(f"fairseq's RoBERTa has {name} {only!r}, this model has {getattr(config, name)!r}.")
    if config.hidden_act not in _FAIRSEQ_ACTIVATIONS:
        raise InputError(f"fairseq's RoBERTa has no activation {config.hidden_act!r}.")


def settings_to_write(config: EncoderConfig) -> argparse.Namespace:
    """The settings under which fairseq builds a model of this config."""
    return argparse.Namespace(
        arch="roberta",  # fairseq's own name for it
        task="masked_lm",
        criterion="masked_lm",
        encoder_layers=config.num_hidden_layers,
        encoder_embed_dim=config.hidden_size,
        encoder_ffn_embed_dim=config.intermediate_size,
        encoder_attention_heads=config.num_attention_heads,
        activation_fn=_FAIRSEQ_ACTIVATIONS[config.hidden_act],
        pooler_activation_fn="tanh",
        dropout=config.hidden_dropout_prob,
        attention_dropout=config.attention_probs_dropout_prob,
        pooler_dropout=config.hidden_dropout_prob if config.classifier_dropout is None else config.classifier_dropout,
        max_positions=config.max_length,
        tokens_per_sample=config.max_length,
    )
