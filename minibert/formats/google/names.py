"""The variable names of Google's TensorFlow checkpoints of BERT and ALBERT.

There are four layouts: BERT (``layer_N``); ALBERT of google-research/albert
(``group_G/inner_group_K``); ALBERT of brightmart/albert_zh (one ``layer_shared``); and BERT of the TensorFlow model
garden, whose TensorFlow 2 files name each variable by its path in a graph of objects.
"""

import re
from dataclasses import dataclass, replace
from functools import partial

from minibert.config import EncoderConfig
from minibert.errors import InputError
from minibert.families import ALBERT, BERT, Family, Rows
from minibert.formats.names import (
    OTHER_HEAD,
    NameTable,
    Placeholders,
    Readers,
    encoder_prefix,
    expand,
    with_prefix,
)

# TensorFlow's dense kernels are (in, out), PyTorch's weights (out, in).
_PLACEHOLDERS: Placeholders = {
    "d": [("kernel", "weight.T"), ("bias", "bias")],
    "n": [("gamma", "weight"), ("beta", "bias")],
}
WORD_EMBEDDINGS = "bert/embeddings/word_embeddings"
WORD_PROJECTION = "bert/embeddings/word_embeddings_2"
_EMBEDDINGS: Rows = {
    WORD_EMBEDDINGS: "embeddings.word_embeddings.weight",
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


_BERT_MODULES = ("attention", "attention/output/LayerNorm", "intermediate/dense", "output/dense", "output/LayerNorm")
_ALBERT_MODULES = (
    "attention_1", "LayerNorm", "ffn_1/intermediate/dense", "ffn_1/intermediate/output/dense", "LayerNorm_1",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How one of the programs names its variables.

    Attributes:
        family: the architecture.
        body: its names of the encoder's tensors -> ours.
        bundle: the file name that Google uses.
        gelu: Hugging Face's name for the form of GELU that the program calls ``gelu``.
    """

    family: Family
    body: Rows
    bundle: str
    gelu: str


_BERT = Layout(
    family=BERT,
    body={**_EMBEDDINGS, **_layer("bert/encoder/layer_{l}", "groups.{l}.0", *_BERT_MODULES)},
    bundle="bert_model.ckpt",
    gelu="gelu",
)
_ALBERT = Layout(
    family=ALBERT,
    body={
        **_EMBEDDINGS,
        "bert/encoder/embedding_hidden_mapping_in/{d}": "embeddings.projection.{d}",
        **_layer("bert/encoder/transformer/group_{g}/inner_group_{k}", "groups.{g}.{k}", *_ALBERT_MODULES),
    },
    bundle="model.ckpt-best",
    gelu="gelu_new",
)
BRIGHTMART = replace(_ALBERT, body={**_EMBEDDINGS, **_layer("bert/encoder/layer_shared", "groups.0.0", *_BERT_MODULES)})
_WRITTEN = (_BERT, _ALBERT)
HEADS: dict[str, Rows] = {
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


def name_table(config: EncoderConfig, head: str) -> NameTable:
    """The names of a checkpoint as Google's own programs write it."""
    return layout_name_table(config, head, layout_of(config))


def layout_name_table(config: EncoderConfig, head: str, layout: Layout) -> NameTable:
    owner = encoder_prefix(head)
    body = expand(layout.body, config, _PLACEHOLDERS)
    slots = {name: with_prefix(owner, slot) for name, slot in body.items() if slot}
    slots |= {name: slot for name, slot in expand(HEADS.get(head, {}), config, _PLACEHOLDERS).items() if slot}
    others = {name for rows in HEADS.values() for name in expand(rows, config, _PLACEHOLDERS)} - slots.keys()
    return NameTable(
        config=config,
        head=head,
        slots=slots,
        ignored=dict.fromkeys(sorted(others), OTHER_HEAD),
        settings=settings_name(config),
        canonical=partial(tf1_name, config.num_hidden_layers),
    )


def layout_of(config: EncoderConfig) -> Layout:
    """The layout of Google's own program for a family; InputError if there is none."""
    for layout in _WRITTEN:
        if layout.family is config.family:
            return layout
    supported = " and ".join(layout.family.title for layout in _WRITTEN)
    raise InputError(
        f"Google's format is supported for {supported} only, not for {config.family.title}; choose another format."
    )


def detect_layout(tensors: Readers) -> Layout:
    if any("/layer_shared/" in name for name in tensors):
        return BRIGHTMART
    return _ALBERT if any("/inner_group_0/" in name for name in tensors) else _BERT


def settings_name(config: EncoderConfig) -> str:
    """Google's name of a model's settings file."""
    return f"{config.model_type}_config.json"


# -- variables of the training program ---------------------------------------------------------------------------------

# Moments of Adam and LAMB: the variable's name with a suffix, numbered if the name was taken.
_SLOT = re.compile(r".*/(adam|lamb)_[mv](_\d+)?|.*/(AdamWeightDecayOptimizer|LAMBOptimizer|Adam)(_\d+)?")
_TRAINING = {"global_step", "save_counter", "_CHECKPOINTABLE_OBJECT_GRAPH", "learning_rate", "loss_scale"}
_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"


def reason_to_ignore(name: str) -> str | None:
    """Why a variable is not part of the model, or None if it is."""
    if ".OPTIMIZER_SLOT" in name or name.startswith("optimizer/") or _SLOT.fullmatch(name):
        return "optimizer state"
    return "training state" if name.removesuffix(_VALUE) in _TRAINING else None


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


def tf1_name(num_layers: int, name: str) -> str:
    """TensorFlow 1's name of a TensorFlow 2 variable, where ``layer_with_weights-N`` numbers embeddings, their norm,
    layers and the pooler."""
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
