"""Google's TensorFlow checkpoints of BERT and ALBERT: their names and settings.

Four layouts, told apart by their names: BERT (``layer_N``); ALBERT of google-research/albert
(``group_G/inner_group_K``); ALBERT of brightmart/albert_zh (one ``layer_shared``); and BERT of the TensorFlow model
garden, whose files of TensorFlow 2 name each variable by its place in a graph of objects.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from minibert.config import EncoderConfig
from minibert.errors import InputError
from minibert.families import ALBERT, BERT, Family, Rows
from minibert.files import read_json_object, write_json, write_whole
from minibert.formats.google.tensor_bundle import TensorBundle, write_bundle
from minibert.formats.names import (
    OTHER_HEAD,
    Letters,
    NameTable,
    Readers,
    Take,
    expand,
    owner_of_encoder,
    under,
)

# Dense layers keep their kernel the other way round; norms have names of their own.
_LETTERS: Letters = {
    "d": [("kernel", "weight.T"), ("bias", "bias")],
    "n": [("gamma", "weight"), ("beta", "bias")],
}

_WORDS = "bert/embeddings/word_embeddings"
_WIDENING = "bert/embeddings/word_embeddings_2"
_EMBEDDINGS: Rows = {
    _WORDS: "embeddings.word_embeddings.weight",
    "bert/embeddings/position_embeddings": "embeddings.position_embeddings.weight",
    "bert/embeddings/token_type_embeddings": "embeddings.token_type_embeddings.weight",
    "bert/embeddings/LayerNorm/{n}": "embeddings.norm.{n}",
    "bert/pooler/dense/{d}": "pooler.{d}",
}


def _layer(
    theirs: str, ours: str, attention: str, after_attention: str, ffn: str, ffn_out: str, after_ffn: str
) -> Rows:
    return {
        f"{theirs}/{attention}/self/query/{{d}}": f"{ours}.attention.qkv.{{d}}[0/3]",
        f"{theirs}/{attention}/self/key/{{d}}": f"{ours}.attention.qkv.{{d}}[1/3]",
        f"{theirs}/{attention}/self/value/{{d}}": f"{ours}.attention.qkv.{{d}}[2/3]",
        f"{theirs}/{attention}/output/dense/{{d}}": f"{ours}.attention.output.{{d}}",
        f"{theirs}/{after_attention}/{{n}}": f"{ours}.attention_norm.{{n}}",
        f"{theirs}/{ffn}/{{d}}": f"{ours}.feed_forward.intermediate.{{d}}",
        f"{theirs}/{ffn_out}/{{d}}": f"{ours}.feed_forward.output.{{d}}",
        f"{theirs}/{after_ffn}/{{n}}": f"{ours}.feed_forward_norm.{{n}}",
    }


_BERT_PLACES = ("attention", "attention/output/LayerNorm", "intermediate/dense", "output/dense", "output/LayerNorm")
_ALBERT_PLACES = (
    "attention_1", "LayerNorm", "ffn_1/intermediate/dense", "ffn_1/intermediate/output/dense", "LayerNorm_1",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class _Layout:
    """How one of the programs names its variables.

    Attributes:
        family: that the program computes.
        body: its names for the encoder's tensors -> ours.
        bundle: what its files are called, as Google ships them.
        gelu: the form of GELU that the program means by ``gelu``, by Hugging Face's name.
    """

    family: Family
    body: Rows
    bundle: str
    gelu: str


_BERT = _Layout(
    family=BERT,
    body={**_EMBEDDINGS, **_layer("bert/encoder/layer_{l}", "groups.{l}.0", *_BERT_PLACES)},
    bundle="bert_model.ckpt",
    gelu="gelu",
)
_ALBERT = _Layout(
    family=ALBERT,
    body={
        **_EMBEDDINGS,
        "bert/encoder/embedding_hidden_mapping_in/{d}": "embeddings.projection.{d}",
        **_layer("bert/encoder/transformer/group_{g}/inner_group_{k}", "groups.{g}.{k}", *_ALBERT_PLACES),
    },
    bundle="model.ckpt-best",
    gelu="gelu_new",
)
_BRIGHTMART = replace(_ALBERT, body={**_EMBEDDINGS, **_layer("bert/encoder/layer_shared", "groups.0.0", *_BERT_PLACES)})
_WRITTEN = (_BERT, _ALBERT)
_HEADS: dict[str, Rows] = {
    "ForPreTraining": {
        "cls/predictions/transform/dense/{d}": "mlm.dense.{d}",
        "cls/predictions/transform/LayerNorm/{n}": "mlm.norm.{n}",
        "cls/predictions/output_bias": "mlm.bias",
        "cls/seq_relationship/output_weights": "pair.weight",
        "cls/seq_relationship/output_bias": "pair.bias",
    },
    "ForSequenceClassification": {"output_weights": "classifier.weight", "output_bias": "classifier.bias"},
    "ForQuestionAnswering": {
        "cls/squad/output_weights": "classifier.weight",
        "cls/squad/output_bias": "classifier.bias",
    },
}

# Adam's and LAMB's moments stand under the name of their variable, with a number where a name was taken.
_SLOT = re.compile(r".*/(adam|lamb)_[mv](_\d+)?|.*/(AdamWeightDecayOptimizer|LAMBOptimizer|Adam)(_\d+)?")
_TRAINING = {"global_step", "save_counter", "_CHECKPOINTABLE_OBJECT_GRAPH", "learning_rate", "loss_scale"}
_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"

_ACTIVATIONS_BACK = {"gelu": "gelu", "gelu_new": "gelu", "gelu_pytorch_tanh": "gelu", "relu": "relu", "tanh": "tanh"}
_LAYER_NORM_EPS = 1e-12  # layer_norm in modeling.py of both programs, through tf.contrib.layers


def name_table(config: EncoderConfig, head: str) -> NameTable:
    """The names of a checkpoint as Google's own programs write it."""
    return _name_table(config, head, _layout_of(config))


def _name_table(config: EncoderConfig, head: str, layout: _Layout) -> NameTable:
    owner = owner_of_encoder(head)
    body = expand(layout.body, config, _LETTERS)
    slots = {name: under(owner, slot) for name, slot in body.items() if slot}
    slots |= {name: slot for name, slot in expand(_HEADS.get(head, {}), config, _LETTERS).items() if slot}
    others = {name for rows in _HEADS.values() for name in expand(rows, config, _LETTERS)} - slots.keys()
    return NameTable(
        config=config,
        head=head,
        slots=slots,
        ignored=dict.fromkeys(sorted(others), OTHER_HEAD),
        settings=settings_name(config),
        canonical=partial(_canonical, config.num_hidden_layers),
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
    skipped = {name: why for name in bundle.names() if (why := _not_read(name))}
    tensors: dict[str, Callable[[], Tensor]] = {
        name: partial(bundle.read, name) for name in bundle.names() if name not in skipped
    }
    path = settings_file(prefix.parent)
    settings = read_json_object(path)
    layout = _layout(tensors)
    settings |= {
        "model_type": layout.family.name,
        "hidden_act": hidden_act or _act(settings.get("hidden_act", "gelu"), layout),
        "layer_norm_eps": _LAYER_NORM_EPS,
    }
    if layout is _BRIGHTMART:
        if settings.get("ln_type", "postln") != "postln":
            raise InputError(f"{path}: ln_type is {settings['ln_type']!r}; norms before the layers are not supported.")
        settings |= {"embedding_size": settings.get("hidden_size"), "num_hidden_groups": 1, "inner_group_num": 1}
    try:
        config = EncoderConfig.from_dict(settings)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    head = next((head for head, rows in _HEADS.items() if any(name in tensors for name in rows)), "Model")
    if head == "ForSequenceClassification":
        shape = bundle.entry("output_weights").shape if "output_weights" in tensors else ()
        if len(shape) != 2:
            raise InputError(f"{prefix}: its classifier needs output_weights, a matrix of labels by widths.")
        labels = shape[0]
        config = config.with_labels({index: f"LABEL_{index}" for index in range(labels)})
    table = _name_table(config, head, layout)
    if layout is _BRIGHTMART:
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
    write_bundle(folder / _layout_of(config).bundle, table.to_foreign(take))
    write_whole(folder / settings_name(config), lambda path: write_json(path, _settings_of(config)))


def check_writable(config: EncoderConfig, head: str) -> None:
    """Makes sure that Google's programs compute a model; InputError says what they do not."""
    _layout_of(config)
    if head != "Model" and head not in _HEADS:
        raise InputError(f"Google's checkpoints have no head {head}; choose another format.")
    if config.layer_norm_eps != _LAYER_NORM_EPS:
        raise InputError(
            f"Google's programs compute with layer_norm_eps {_LAYER_NORM_EPS}, this model with {config.layer_norm_eps}."
        )
    if config.hidden_act not in _ACTIVATIONS_BACK:
        raise InputError(f"Google's programs have no activation {config.hidden_act!r}.")


def act_read_back(config: EncoderConfig) -> str:
    """The activation that :func:`open_google_checkpoint` reads from what was written for a config."""
    return _act(_ACTIVATIONS_BACK[config.hidden_act], _layout_of(config))


def _act(theirs: str, layout: _Layout) -> str:
    return layout.gelu if theirs == "gelu" else theirs


def _layout_of(config: EncoderConfig) -> _Layout:
    """How Google's own program for a family names its variables; InputError where there is none."""
    for layout in _WRITTEN:
        if layout.family is config.family:
            return layout
    raise InputError(f"Google has no TensorFlow program for {config.model_type}; choose another format.")


def _settings_of(config: EncoderConfig) -> dict[str, Any]:
    names = [
        "attention_probs_dropout_prob", "hidden_dropout_prob", "hidden_size", "initializer_range", "intermediate_size",
        "max_position_embeddings", "num_attention_heads", "num_hidden_layers", "type_vocab_size", "vocab_size",
    ]  # fmt: skip
    names += config.family.own_fields
    return {
        "hidden_act": _ACTIVATIONS_BACK[config.hidden_act],
        **{name: getattr(config, name) for name in names},
    }


def settings_name(config: EncoderConfig) -> str:
    """What Google calls the file of a model's settings."""
    return f"{config.model_type}_config.json"


def settings_file(folder: Path) -> Path:
    """The file of settings beside a bundle.

    Raises:
        InputError: there is none, or more than one.
    """
    found = sorted(path for path in folder.glob("*_config*.json") if re.match(r"(al)?bert_config", path.name))
    if not found and (folder / "config.json").is_file():
        return folder / "config.json"
    if len(found) != 1:
        raise InputError(
            f"{folder}: {len(found)} files named bert_config.json or albert_config.json; a TensorFlow checkpoint needs "
            "exactly one beside it, as it was shipped."
        )
    return found[0]


def _not_read(name: str) -> str | None:
    """The rule by which a variable is not part of a model, or None where it is."""
    if ".OPTIMIZER_SLOT" in name or name.startswith("optimizer/") or _SLOT.fullmatch(name):
        return "kept by the optimizer"
    return "kept by the training program" if name.removesuffix(_VALUE) in _TRAINING else None


def _layout(tensors: Readers) -> _Layout:
    if any("/layer_shared/" in name for name in tensors):
        return _BRIGHTMART
    return _ALBERT if any("/inner_group_0/" in name for name in tensors) else _BERT


def _with_folded_projection(table: NameTable, tensors: Readers, skipped: Mapping[str, str]) -> GoogleCheckpoint:
    """brightmart's ALBERT widens the word embedding before positions and types are added, Google's after the norm.

    The product of both matrices is a word embedding of full width, and gives the same hidden states with a projection
    that changes nothing; the decoder, tied to both there, is tied to the product.
    """
    if _WORDS not in tensors or _WIDENING not in tensors:
        raise InputError(f"a layout with layer_shared needs {_WORDS} and {_WIDENING}; the file is incomplete.")
    narrow, widen = tensors[_WORDS], tensors[_WIDENING]
    width = table.config.hidden_size
    owner = owner_of_encoder(table.head)
    return GoogleCheckpoint(
        table=table,
        tensors={
            **{name: read for name, read in tensors.items() if name != _WIDENING},
            _WORDS: lambda: narrow() @ widen(),
        },
        skipped={**skipped, _WIDENING: "multiplied into the word embedding"},
        made={
            f"{owner}embeddings.projection.weight": lambda: torch.eye(width),
            f"{owner}embeddings.projection.bias": lambda: torch.zeros(width),
        },
        notes=(
            "albert_zh's projection of the word embedding is multiplied into it, and the projection behind the norm is "
            f"the identity: the embedding is {width} wide",
        ),
    )


# -- TensorFlow 2 ------------------------------------------------------------------------------------------------------

_WITHIN_LAYER = (
    (r"_attention_layer/_(query|key|value)_dense", r"attention/self/\1"),
    (r"_attention_(layer/_)?output_dense", "attention/output/dense"),
    (r"_attention_layer_norm", "attention/output/LayerNorm"),
    (r"_intermediate_dense", "intermediate/dense"),
    (r"_output_dense", "output/dense"),
    (r"_output_layer_norm", "output/LayerNorm"),
)
_FIRST = ("word_embeddings", "position_embeddings", "token_type_embeddings", "LayerNorm")


def _canonical(num_layers: int, name: str) -> str:
    """A name as TensorFlow 1 has it: ``layer_with_weights-N`` counts the embeddings, their norm, the layers and the
    pooler of TensorFlow 2's encoder."""
    match = re.fullmatch(rf"(?:\w+/)?layer_with_weights-(\d+)/(.+){_VALUE}", name)
    if not match:
        return name
    number, rest = int(match[1]), match[2]
    if number < len(_FIRST):
        return f"bert/embeddings/{_FIRST[number]}" + (f"/{rest}" if rest != "embeddings" else "")
    layer = number - len(_FIRST)
    if layer == num_layers:
        return f"bert/pooler/dense/{rest}"
    for theirs, ours in _WITHIN_LAYER:
        rest = re.sub(f"^{theirs}/", f"{ours}/", rest)
    return f"bert/encoder/layer_{layer}/{rest}" if layer < num_layers else name


def _without_heads(read: Callable[[], Tensor], name: str) -> Tensor:
    """Folds away the axis that TensorFlow 2's attention has for its heads; TensorFlow 1's has none."""
    value = read()
    if value.ndim == 3:  # (C, H, D) into the heads, (H, D, C) out of them
        return value.flatten(1) if "/self/" in name else value.flatten(0, 1)
    return value.flatten() if value.ndim == 2 and name.endswith("/bias") else value
