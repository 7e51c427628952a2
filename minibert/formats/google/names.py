"""The variable names of Google's TensorFlow checkpoints of BERT and ALBERT.

Four layouts, which their names tell apart: BERT (``layer_N``); ALBERT of google-research/albert
(``group_G/inner_group_K``); ALBERT of brightmart/albert_zh (one ``layer_shared``); and BERT of the TensorFlow model
garden, whose files of TensorFlow 2 name each variable by its place in a graph of objects.
"""

import re
from dataclasses import dataclass, replace
from functools import partial

from minibert.config import EncoderConfig
from minibert.errors import InputError
from minibert.families import ALBERT, BERT, Family, Rows
from minibert.formats.names import (
    OTHER_HEAD,
    Letters,
    NameTable,
    Readers,
    expand,
    owner_of_encoder,
    under,
)

# Dense layers keep their kernel the other way round; norms have names of their own.
_LETTERS: Letters = {
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


_BERT_PLACES = ("attention", "attention/output/LayerNorm", "intermediate/dense", "output/dense", "output/LayerNorm")
_ALBERT_PLACES = (
    "attention_1", "LayerNorm", "ffn_1/intermediate/dense", "ffn_1/intermediate/output/dense", "LayerNorm_1",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Layout:
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


_BERT = Layout(
    family=BERT,
    body={**_EMBEDDINGS, **_layer("bert/encoder/layer_{l}", "groups.{l}.0", *_BERT_PLACES)},
    bundle="bert_model.ckpt",
    gelu="gelu",
)
_ALBERT = Layout(
    family=ALBERT,
    body={
        **_EMBEDDINGS,
        "bert/encoder/embedding_hidden_mapping_in/{d}": "embeddings.projection.{d}",
        **_layer("bert/encoder/transformer/group_{g}/inner_group_{k}", "groups.{g}.{k}", *_ALBERT_PLACES),
    },
    bundle="model.ckpt-best",
    gelu="gelu_new",
)
BRIGHTMART = replace(_ALBERT, body={**_EMBEDDINGS, **_layer("bert/encoder/layer_shared", "groups.0.0", *_BERT_PLACES)})
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
    owner = owner_of_encoder(head)
    body = expand(layout.body, config, _LETTERS)
    slots = {name: under(owner, slot) for name, slot in body.items() if slot}
    slots |= {name: slot for name, slot in expand(HEADS.get(head, {}), config, _LETTERS).items() if slot}
    others = {name for rows in HEADS.values() for name in expand(rows, config, _LETTERS)} - slots.keys()
    return NameTable(
        config=config,
        head=head,
        slots=slots,
        ignored=dict.fromkeys(sorted(others), OTHER_HEAD),
        settings=settings_name(config),
        canonical=partial(tf1_name, config.num_hidden_layers),
    )


def layout_of(config: EncoderConfig) -> Layout:
    """How Google's own program for a family names its variables; InputError where there is none."""
    for layout in _WRITTEN:
        if layout.family is config.family:
            return layout
    raise InputError(f"Google has no TensorFlow program for {config.model_type}; choose another format.")


def detect_layout(tensors: Readers) -> Layout:
    if any("/layer_shared/" in name for name in tensors):
        return BRIGHTMART
    return _ALBERT if any("/inner_group_0/" in name for name in tensors) else _BERT


def settings_name(config: EncoderConfig) -> str:
    """What Google calls the file of a model's settings."""
    return f"{config.model_type}_config.json"


# -- what belongs to training, not to the model ------------------------------------------------------------------------

# Adam's and LAMB's moments stand under the name of their variable, with a number where a name was taken.
_SLOT = re.compile(r".*/(adam|lamb)_[mv](_\d+)?|.*/(AdamWeightDecayOptimizer|LAMBOptimizer|Adam)(_\d+)?")
_TRAINING = {"global_step", "save_counter", "_CHECKPOINTABLE_OBJECT_GRAPH", "learning_rate", "loss_scale"}
_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"


def training_state(name: str) -> str | None:
    """The rule by which a variable is not part of a model, or None where it is."""
    if ".OPTIMIZER_SLOT" in name or name.startswith("optimizer/") or _SLOT.fullmatch(name):
        return "kept by the optimizer"
    return "kept by the training program" if name.removesuffix(_VALUE) in _TRAINING else None


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
