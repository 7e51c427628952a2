"""The numbers that describe an encoder, read from and written to Hugging Face's ``config.json``.

All families are one encoder. What sets their configs apart (defaults, names of fields, fields of their own) stands in
:mod:`minibert.families`.
"""

import dataclasses
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from minibert.errors import InputError
from minibert.families import FAMILIES, Family, family_of_old_config

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

# Hugging Face's BERT has these values for absent fields; a family's record has its own where they differ.
_DEFAULTS: Mapping[str, Any] = {
    "type_vocab_size": 2, "inner_group_num": 1, "hidden_act": "gelu", "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1, "classifier_dropout": None, "pad_token_id": 0,
}  # fmt: skip
# Fields that some families have and BERT has not.
_FIELDS_OF_SOME = (
    "embedding_size", "num_hidden_groups", "inner_group_num", "qa_dropout", "summary_last_dropout", "use_task_id",
    "task_type_vocab_size",
)  # fmt: skip
_FROM_FAMILY: Any = None  # a field's value until __post_init__ takes it from the family

_POSITIVE_INTEGERS = (
    "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size",
    "max_position_embeddings", "embedding_size", "num_hidden_groups", "inner_group_num", "task_type_vocab_size",
)  # fmt: skip
# Far above any encoder there is: larger sizes are refused before anything is made from them.
_LARGEST = {
    "vocab_size": 10_000_000, "hidden_size": 65_536, "num_hidden_layers": 1000, "num_attention_heads": 65_536,
    "intermediate_size": 1_000_000, "max_position_embeddings": 1_000_000, "type_vocab_size": 1000,
    "embedding_size": 65_536, "num_hidden_groups": 1000, "inner_group_num": 100, "task_type_vocab_size": 1000,
    "ngram_buckets": 10_000_000,
}  # fmt: skip
MOST_LABELS = 100_000
_LARGEST_FLOAT = sys.float_info.max
_RATES = (
    "hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout", "qa_dropout", "summary_last_dropout",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """An encoder's shape and constants, under Hugging Face's field names.

    Fields left out take the value that Hugging Face's config class of the same ``model_type`` has (``embedding_size``
    and ``num_hidden_groups``, where the family has no such field: ``hidden_size`` and ``num_hidden_layers``).

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
    type_vocab_size: int = _FROM_FAMILY
    embedding_size: int = _FROM_FAMILY
    num_hidden_groups: int = _FROM_FAMILY
    inner_group_num: int = _FROM_FAMILY
    hidden_act: str = _FROM_FAMILY
    hidden_dropout_prob: float = _FROM_FAMILY
    attention_probs_dropout_prob: float = _FROM_FAMILY
    classifier_dropout: float | None = _FROM_FAMILY
    qa_dropout: float = 0.1  # DistilBERT's, for spans
    summary_last_dropout: float = 0.1  # ELECTRA's, for choices
    use_task_id: bool = False  # ERNIE's: whether there are task types
    task_type_vocab_size: int = 3
    layer_norm_eps: float = 1e-12
    initializer_range: float = 0.02
    pad_token_id: int = _FROM_FAMILY
    bos_token_id: int | None = _FROM_FAMILY
    eos_token_id: int | None = _FROM_FAMILY
    id2label: Mapping[int, str] = field(default_factory=lambda: {0: "LABEL_0", 1: "LABEL_1"})
    problem_type: str | None = None  # what a sequence classifier's labels are: one of Hugging Face's three names
    ngram_buckets: int = 0  # minibert's own: rows of the n-gram scores beside a sequence classifier; 0 for none

    def __post_init__(self) -> None:
        _require_known(self.model_type)
        sizes = {"embedding_size": self.hidden_size, "num_hidden_groups": self.num_hidden_layers}
        for name, default in {**_DEFAULTS, **sizes, **self.family.defaults}.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, default)
        self._check()

    def _check(self) -> None:
        for name in _POSITIVE_INTEGERS:
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise InputError(f"config: {name} must be a whole number of 1 or more, not {_brief(value)}.")
        for name, largest in _LARGEST.items():
            value = getattr(self, name)
            if type(value) is int and value > largest:
                raise InputError(f"config: {name} is {_brief(value)}, and no encoder has more than {largest:,}.")
        self._check_shape()
        self._check_constants()
        self._check_labels()

    def _check_shape(self) -> None:
        if type(self.type_vocab_size) is not int or self.type_vocab_size < self._least_token_types:
            raise InputError(
                f"config: type_vocab_size must be a whole number of {self._least_token_types} or more, not "
                f"{_brief(self.type_vocab_size)}."
            )
        if self.hidden_size % self.num_attention_heads:
            raise InputError(
                f"config: hidden_size {self.hidden_size} is not a multiple of "
                f"num_attention_heads {self.num_attention_heads}."
            )
        if self.num_hidden_groups > self.num_hidden_layers:
            raise InputError(
                f"config: num_hidden_groups {self.num_hidden_groups} exceeds "
                f"num_hidden_layers {self.num_hidden_layers}."
            )
        for name, only in (
            ("embedding_size", self.hidden_size),
            ("num_hidden_groups", self.num_hidden_layers),
            ("inner_group_num", 1),
            ("use_task_id", False),
        ):
            if name not in self.family.own_fields and getattr(self, name) != only:
                raise InputError(
                    f"config: {name} is {_brief(getattr(self, name))}, but {self.family.title} has no such setting; "
                    f"its value is always {only!r} here."
                )
        if self.max_length < 1:
            raise InputError(
                f"config: max_position_embeddings {self.max_position_embeddings} leaves no position for a token."
            )

    def _check_constants(self) -> None:
        if not isinstance(self.hidden_act, str) or self.hidden_act not in HIDDEN_ACTS:
            raise InputError(
                f"config: hidden_act {_brief(self.hidden_act)} is not supported; use one of {', '.join(HIDDEN_ACTS)}."
            )
        for name in _RATES:
            value = getattr(self, name)
            if value is not None and not (_is_number(value) and 0 <= value < 1):
                raise InputError(f"config: {name} must lie in [0, 1), not {_brief(value)}.")
        for name in ("layer_norm_eps", "initializer_range"):
            value = getattr(self, name)
            if not (_is_number(value) and value > 0):
                raise InputError(f"config: {name} must be a positive number, not {_brief(value)}.")
        if type(self.ngram_buckets) is not int or self.ngram_buckets < 0:
            raise InputError(
                f"config: ngram_buckets must be a whole number of 0 or more, not {_brief(self.ngram_buckets)}."
            )
        if type(self.use_task_id) is not bool:
            raise InputError(f"config: use_task_id must be true or false, not {_brief(self.use_task_id)}.")
        if type(self.pad_token_id) is not int or not 0 <= self.pad_token_id < self.vocab_size:
            raise InputError(
                f"config: pad_token_id {_brief(self.pad_token_id)} is not a row of the {self.vocab_size}-row embedding."
            )
        for name in ("bos_token_id", "eos_token_id"):
            if getattr(self, name) is not None and type(getattr(self, name)) is not int:
                raise InputError(f"config: {name} must be a whole number, not {_brief(getattr(self, name))}.")

    def _check_labels(self) -> None:
        if self.problem_type not in (None, *PROBLEM_TYPES):
            raise InputError(
                f"config: problem_type {_brief(self.problem_type)} is not one of {', '.join(PROBLEM_TYPES)}; leave it "
                "out where the model is no sequence classifier."
            )
        if len(self.id2label) > MOST_LABELS:
            raise InputError(f"config: id2label has {len(self.id2label):,} labels; {MOST_LABELS:,} is the most.")
        if sorted(self.id2label) != list(range(len(self.id2label))) or not self.id2label:
            raise InputError("config: id2label must number its labels 0, 1, 2, ... without gaps.")
        if len(set(self.id2label.values())) != len(self.id2label):
            raise InputError("config: id2label holds the same label twice.")

    @property
    def family(self) -> Family:
        """What the model's family is like."""
        return FAMILIES[self.model_type]

    @property
    def _least_token_types(self) -> int:
        """1, or 0 in a family without token types."""
        return min(1, self.family.defaults.get("type_vocab_size", 1))

    @property
    def has_projection(self) -> bool:
        """Whether a linear map widens the embeddings to ``hidden_size``."""
        narrower = self.embedding_size != self.hidden_size
        return self.family.projection == "always" or (narrower and self.family.projection == "where narrower")

    @property
    def position_offset(self) -> int:
        """The row of the position table that a sequence's first token takes (RoBERTa: ``pad_token_id + 1``)."""
        return self.pad_token_id + 1 if self.family.positions_after_padding else 0

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

    def dropout_of(self, head: str) -> float:
        """The dropout rate of a head, named by the ending of Hugging Face's class."""
        name = self.family.dropout_field(head)
        if name is None:
            return 0.0
        rate: float | None = getattr(self, name)
        return self.hidden_dropout_prob if rate is None else rate

    def with_problem_type(self, problem_type: str) -> "EncoderConfig":
        return dataclasses.replace(self, problem_type=problem_type)

    def with_ngrams(self, buckets: int) -> "EncoderConfig":
        return dataclasses.replace(self, ngram_buckets=buckets)

    def with_labels(self, labels: Mapping[int, str]) -> "EncoderConfig":
        return dataclasses.replace(self, id2label=dict(labels))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "EncoderConfig":
        """Builds a config from the fields of a ``config.json``; fields that describe no computation are passed over.

        Where a family has its own name for a field, the usual name is read, too, as Hugging Face does.

        Raises:
            InputError: the model is of another kind, a shape is missing, or a field asks for something this encoder
                does not compute.
        """
        model_type = values.get("model_type")
        if model_type is None:
            model_type = family_of_old_config(values).name
        _require_known(model_type)
        for name, allowed in _REQUIRED_VALUES.items():
            if name in values and values[name] not in allowed:
                raise InputError(
                    f"config: {name} = {_brief(values[name])} is not supported; "
                    f"minibert computes {name} = {allowed[0]!r} only."
                )
        names = {f.name: FAMILIES[model_type].config_names.get(f.name, f.name) for f in dataclasses.fields(cls)}
        given = {ours: values.get(theirs, values.get(ours)) for ours, theirs in names.items() if theirs is not None}
        picked = {name: value for name, value in given.items() if value is not None} | {"model_type": model_type}
        required = [f.name for f in dataclasses.fields(cls) if f.default is f.default_factory is dataclasses.MISSING]
        if missing := [str(names[name]) for name in required if name not in picked]:
            raise InputError(f"config: {', '.join(missing)} missing; a config.json of the model must give them.")
        if "id2label" in picked:
            picked["id2label"] = _labels(picked["id2label"])
        elif isinstance(values.get("num_labels"), int):
            if values["num_labels"] > MOST_LABELS:
                raise InputError(f"config: num_labels is {_brief(values['num_labels'])}; {MOST_LABELS:,} is the most.")
            picked["id2label"] = {i: f"LABEL_{i}" for i in range(values["num_labels"])}
        return cls(**picked)

    def to_dict(self) -> dict[str, Any]:
        """The fields of the ``config.json`` that both minibert and Hugging Face read back."""
        foreign = {*_FIELDS_OF_SOME} - {*self.family.own_fields}
        if not self.ngram_buckets:
            foreign.add("ngram_buckets")
        names = {f.name: self.family.config_names.get(f.name, f.name) for f in dataclasses.fields(self)}
        values = {name: getattr(self, ours) for ours, name in names.items() if name is not None and ours not in foreign}
        values["id2label"] = {str(index): label for index, label in sorted(self.id2label.items())}
        values["label2id"] = {label: index for index, label in sorted(self.id2label.items())}
        values["position_embedding_type"] = "absolute"
        return values


def _require_known(model_type: Any) -> None:
    if not isinstance(model_type, str) or model_type not in FAMILIES:
        raise InputError(
            f"config: model_type {_brief(model_type)} is another kind of model; minibert computes "
            f"{', '.join(FAMILIES)}."
        )


def _is_number(value: Any) -> bool:
    """Whether a value is a number that a float can be; JSON's integers have any length."""
    return type(value) in (int, float) and -_LARGEST_FLOAT <= value <= _LARGEST_FLOAT


def _brief(value: Any) -> str:
    return repr(value)[:80]


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
