"""The settings files of Google's checkpoints: ``bert_config.json`` and ``albert_config.json``."""

import re
from pathlib import Path
from typing import Any

from minibert.config import EncoderConfig
from minibert.errors import InputError
from minibert.formats.google.names import HEADS, Layout, layout_of

_GOOGLE_ACTIVATIONS = {"gelu": "gelu", "gelu_new": "gelu", "gelu_pytorch_tanh": "gelu", "relu": "relu", "tanh": "tanh"}
LAYER_NORM_EPS = 1e-12  # layer_norm in modeling.py of both programs, through tf.contrib.layers


def check_writable(config: EncoderConfig, head: str) -> None:
    """Raises InputError if Google's programs cannot compute a model."""
    layout_of(config)
    if head != "Model" and head not in HEADS:
        raise InputError(f"Google's checkpoints have no head {head}; choose another format.")
    if config.layer_norm_eps != LAYER_NORM_EPS:
        raise InputError(
            f"Google's programs have layer_norm_eps {LAYER_NORM_EPS}, this model has {config.layer_norm_eps}."
        )
    if config.hidden_act not in _GOOGLE_ACTIVATIONS:
        raise InputError(f"Google's programs have no activation {config.hidden_act!r}.")


def hidden_act_read_back(config: EncoderConfig) -> str:
    """The activation that :func:`open_google_checkpoint` would read after a config was written."""
    return hidden_act_of(_GOOGLE_ACTIVATIONS[config.hidden_act], layout_of(config))


def hidden_act_of(theirs: str, layout: Layout) -> str:
    """Hugging Face's name of an activation in Google's settings."""
    return layout.gelu if theirs == "gelu" else theirs


def settings_to_write(config: EncoderConfig) -> dict[str, Any]:
    """The fields of Google's settings file."""
    names = [
        "attention_probs_dropout_prob", "hidden_dropout_prob", "hidden_size", "initializer_range", "intermediate_size",
        "max_position_embeddings", "num_attention_heads", "num_hidden_layers", "type_vocab_size", "vocab_size",
    ]  # fmt: skip
    names += config.family.own_fields
    return {
        "hidden_act": _GOOGLE_ACTIVATIONS[config.hidden_act],
        **{name: getattr(config, name) for name in names},
    }


def settings_file(folder: Path) -> Path:
    """The settings file in a bundle's folder.

    Raises:
        InputError: there is none, or more than one.
    """
    found = sorted(path for path in folder.glob("*_config*.json") if re.match(r"(al)?bert_config", path.name))
    if not found and (folder / "config.json").is_file():
        return folder / "config.json"
    if len(found) != 1:
        raise InputError(
            f"{folder}: {len(found)} files named bert_config.json or albert_config.json; a TensorFlow checkpoint needs "
            "exactly one next to it."
        )
    return found[0]
