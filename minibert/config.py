"""The numbers that describe an encoder, read from and written to Hugging Face's ``config.json``.

BERT, ALBERT and RoBERTa are one encoder. What sets them apart is here: ``embedding_size`` (ALBERT's is narrower than
``hidden_size``), ``num_hidden_groups`` with ``inner_group_num`` (how far layers are shared), and ``position_offset``
with ``type_vocab_size`` (RoBERTa numbers positions from ``pad_token_id + 1`` and has one token type).
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from minibert.errors import InputError

ARCHITECTURES = ("bert", "albert", "roberta")

PROBLEM_TYPES = ("single_label_classification", "multi_label_classification", "regression")

HIDDEN_ACTS = ("gelu", "gelu_new", "gelu_pytorch_tanh", "relu", "silu", "tanh")

# Fields that would change what is computed, with the only values this encoder computes.
_REQUIRED_VALUES: dict[str, tuple[Any, ...]] = {
    "position_embedding_type": ("absolute",),
    "is_decoder": (False,),
    "add_cross_attention": (False,),
    "is_encoder_decoder": (False,),
    "pruned_heads": ({}, None),
    "down_scale_factor": (1,),
    "gap_size": (0,),
    "net_structure_type": (0,),
    "num_memory_blocks": (0,),
}

# What Hugging Face's config classes fill in for an absent field where the families differ.
_FAMILY_DEFAULTS: dict[str, dict[str, Any]] = {
    "bert": {"hidden_act": "gelu", "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1,
             "pad_token_id": 0, "classifier_dropout": None},
    "albert": {"hidden_act": "gelu_new", "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
               "pad_token_id": 0, "classifier_dropout": 0.1, "bos_token_id": 2, "eos_token_id": 3,
               "embedding_size": 128, "num_hidden_groups": 1, "inner_group_num": 1},
    "roberta": {"hidden_act": "gelu", "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1,
                "pad_token_id": 1, "classifier_dropout": None, "bos_token_id": 0, "eos_token_id": 2},
}  # fmt: skip

_POSITIVE_INTEGERS = (
    "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size",
    "max_position_embeddings", "type_vocab_size", "embedding_size", "num_hidden_groups", "inner_group_num",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """An encoder's shape and constants, under Hugging Face's field names.

    Fields left at ``None`` take the value that Hugging Face's config class of the same ``model_type`` has
    (``embedding_size`` and ``num_hidden_groups`` of BERT and RoBERTa: ``hidden_size`` and ``num_hidden_layers``).

    Raises:
        InputError: a value is missing, out of range, or asks for something this encoder does not compute.
    """

    model_type: str
    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    embedding_size: int = None  # type: ignore[assignment]  # filled in by __post_init__, as are the others
    num_hidden_groups: int = None  # type: ignore[assignment]
    inner_group_num: int = None  # type: ignore[assignment]
    hidden_act: str = None  # type: ignore[assignment]
    hidden_dropout_prob: float = None  # type: ignore[assignment]
    attention_probs_dropout_prob: float = None  # type: ignore[assignment]
    classifier_dropout: float | None = None
    layer_norm_eps: float = 1e-12
    initializer_range: float = 0.02
    pad_token_id: int = None  # type: ignore[assignment]
    bos_token_id: int | None = None
    eos_token_id: int | None = None
    id2label: Mapping[int, str] = field(default_factory=lambda: {0: "LABEL_0", 1: "LABEL_1"})
    problem_type: str | None = None  # what a sequence classifier's labels are: one of Hugging Face's three names

    def __post_init__(self) -> None:
        if self.model_type not in ARCHITECTURES:
            raise InputError(
                f"config: model_type {self.model_type!r} is not one of {', '.join(ARCHITECTURES)}; "
                "minibert computes these three architectures only."
            )
        family = _FAMILY_DEFAULTS[self.model_type]
        own_layers = {
            "embedding_size": self.hidden_size,
            "num_hidden_groups": self.num_hidden_layers,
            "inner_group_num": 1,
        }
        for name, default in {**own_layers, **family}.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, default)
        self._check()

    def _check(self) -> None:
        for name in _POSITIVE_INTEGERS:
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise InputError(f"config: {name} must be a whole number of 1 or more, not {value!r}.")
        if self.hidden_size % self.num_attention_heads:
            raise InputError(
                f"config: hidden_size {self.hidden_size} is not a multiple of "
                f"num_attention_heads {self.num_attention_heads}."
            )
        if not isinstance(self.hidden_act, str) or self.hidden_act not in HIDDEN_ACTS:
            raise InputError(
                f"config: hidden_act {self.hidden_act!r} is not supported; use one of {', '.join(HIDDEN_ACTS)}."
            )
        for name in ("hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout"):
            value = getattr(self, name)
            if value is not None and not (_is_number(value) and 0 <= value < 1):
                raise InputError(f"config: {name} must lie in [0, 1), not {value!r}.")
        for name in ("layer_norm_eps", "initializer_range"):
            value = getattr(self, name)
            if not (_is_number(value) and value > 0):
                raise InputError(f"config: {name} must be a positive number, not {value!r}.")
        if type(self.pad_token_id) is not int or not 0 <= self.pad_token_id < self.vocab_size:
            raise InputError(
                f"config: pad_token_id {self.pad_token_id!r} is not a row of the {self.vocab_size}-row embedding."
            )
        if self.num_hidden_groups > self.num_hidden_layers:
            raise InputError(
                f"config: num_hidden_groups {self.num_hidden_groups} exceeds "
                f"num_hidden_layers {self.num_hidden_layers}."
            )
        if self.model_type != "albert":
            for name, only in (
                ("embedding_size", self.hidden_size),
                ("num_hidden_groups", self.num_hidden_layers),
                ("inner_group_num", 1),
            ):
                if getattr(self, name) != only:
                    raise InputError(
                        f"config: {name} {getattr(self, name)} is an ALBERT setting; "
                        f"{self.model_type} always has {only} here."
                    )
        if self.max_length < 1:
            raise InputError(
                f"config: max_position_embeddings {self.max_position_embeddings} leaves no position for a token."
            )
        for name in ("bos_token_id", "eos_token_id"):
            if getattr(self, name) is not None and type(getattr(self, name)) is not int:
                raise InputError(f"config: {name} must be a whole number, not {getattr(self, name)!r}.")
        if self.problem_type not in (None, *PROBLEM_TYPES):
            raise InputError(
                f"config: problem_type {self.problem_type!r} is not one of {', '.join(PROBLEM_TYPES)}; leave it out "
                "where the model is no sequence classifier."
            )
        if sorted(self.id2label) != list(range(len(self.id2label))) or not self.id2label:
            raise InputError("config: id2label must number its labels 0, 1, 2, ... without gaps.")
        if len(set(self.id2label.values())) != len(self.id2label):
            raise InputError("config: id2label holds the same label twice.")

    @property
    def position_offset(self) -> int:
        """The row of the position table that a sequence's first token takes (RoBERTa: ``pad_token_id + 1``)."""
        return self.pad_token_id + 1 if self.model_type == "roberta" else 0

    @property
    def max_length(self) -> int:
        """The most tokens a sequence may have, special tokens included (512 for RoBERTa's 514 positions)."""
        return self.max_position_embeddings - self.position_offset

    @property
    def num_labels(self) -> int:
        return len(self.id2label)

    def group_of_layer(self, layer: int) -> int:
        """The group whose weights layer number ``layer`` uses (``int(layer / layers * groups)`` in Google ALBERT's
        ``modeling.py``, here without its rounding)."""
        return layer * self.num_hidden_groups // self.num_hidden_layers

    def with_problem_type(self, problem_type: str) -> "EncoderConfig":
        return dataclasses.replace(self, problem_type=problem_type)

    def with_labels(self, labels: Mapping[int, str]) -> "EncoderConfig":
        return dataclasses.replace(self, id2label=dict(labels))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "EncoderConfig":
        """Builds a config from the fields of a ``config.json``; fields that describe no computation are passed over.

        Files of 2019 have no ``model_type``: shared layers then mean ALBERT, a single token type RoBERTa.

        Raises:
            InputError: a shape is missing, or a field asks for something this encoder does not compute.
        """
        for name, allowed in _REQUIRED_VALUES.items():
            if name in values and values[name] not in allowed:
                raise InputError(
                    f"config: {name} = {values[name]!r} is not supported; "
                    f"minibert computes {name} = {allowed[0]!r} only."
                )
        known = {f.name for f in dataclasses.fields(cls)}
        picked = {name: value for name, value in values.items() if name in known and value is not None}
        if "classifier_dropout_prob" in values:  # ALBERT's name for it
            picked["classifier_dropout"] = values["classifier_dropout_prob"]
        picked.setdefault("model_type", _guess_model_type(values))
        required = [f.name for f in dataclasses.fields(cls) if f.default is f.default_factory is dataclasses.MISSING]
        if missing := [name for name in required if name not in picked]:
            raise InputError(f"config: {', '.join(missing)} missing; a config.json of the model must give them.")
        if "id2label" in picked:
            picked["id2label"] = _labels(picked["id2label"])
        elif isinstance(values.get("num_labels"), int):
            picked["id2label"] = {i: f"LABEL_{i}" for i in range(values["num_labels"])}
        return cls(**picked)

    def to_dict(self) -> dict[str, Any]:
        """The fields of the ``config.json`` that both minibert and Hugging Face read back."""
        values = dataclasses.asdict(self)
        if self.model_type == "albert":
            values["classifier_dropout_prob"] = values.pop("classifier_dropout")
        else:
            for name in ("embedding_size", "num_hidden_groups", "inner_group_num"):
                del values[name]
        values["id2label"] = {str(index): label for index, label in sorted(self.id2label.items())}
        values["label2id"] = {label: index for index, label in sorted(self.id2label.items())}
        values["position_embedding_type"] = "absolute"
        return values


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _labels(given: Any) -> dict[int, str]:
    if not isinstance(given, dict) or not all(isinstance(label, str) for label in given.values()):
        raise InputError("config: id2label must map numbers to labels.")
    try:
        labels = {int(index): label for index, label in given.items()}
    except ValueError:
        raise InputError("config: id2label must map numbers to labels.") from None
    if len(labels) != len(given):
        raise InputError("config: id2label holds the same number twice.")
    return labels


def _guess_model_type(values: Mapping[str, Any]) -> str:
    if "num_hidden_groups" in values:
        return "albert"
    return "roberta" if values.get("type_vocab_size") == 1 else "bert"
