"""Hugging Face checkpoints: the names of their tensors, and the files that hold them."""

import re
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from minibert.config import EncoderConfig
from minibert.errors import InputError
from minibert.files import read_json_object
from minibert.formats.names import OTHER_HEAD, NameTable, Rows, Slot, expand, owner_of_encoder, under
from minibert.formats.torch_file import plain_tensors, read_torch_file

WEIGHTS = ("model.safetensors", "pytorch_model.bin")

_EMBEDDINGS: Rows = {
    "embeddings.word_embeddings.weight": "embeddings.word_embeddings.weight",
    "embeddings.position_embeddings.weight": "embeddings.position_embeddings.weight",
    "embeddings.token_type_embeddings.weight": "embeddings.token_type_embeddings.weight",
    "embeddings.LayerNorm.{p}": "embeddings.norm.{p}",
    "embeddings.position_ids": None,  # buffers of older versions: 0, 1, 2, ... and all zeros
    "embeddings.token_type_ids": None,
}
_BERT: Rows = {
    **_EMBEDDINGS,
    "encoder.layer.{l}.attention.self.query.{p}": "groups.{l}.0.attention.qkv.{p}[0/3]",
    "encoder.layer.{l}.attention.self.key.{p}": "groups.{l}.0.attention.qkv.{p}[1/3]",
    "encoder.layer.{l}.attention.self.value.{p}": "groups.{l}.0.attention.qkv.{p}[2/3]",
    "encoder.layer.{l}.attention.output.dense.{p}": "groups.{l}.0.attention.output.{p}",
    "encoder.layer.{l}.attention.output.LayerNorm.{p}": "groups.{l}.0.attention_norm.{p}",
    "encoder.layer.{l}.intermediate.dense.{p}": "groups.{l}.0.feed_forward.intermediate.{p}",
    "encoder.layer.{l}.output.dense.{p}": "groups.{l}.0.feed_forward.output.{p}",
    "encoder.layer.{l}.output.LayerNorm.{p}": "groups.{l}.0.feed_forward_norm.{p}",
    "pooler.dense.{p}": "pooler.{p}",
}
_ALBERT_LAYER = "encoder.albert_layer_groups.{g}.albert_layers.{k}"
_ALBERT: Rows = {
    **_EMBEDDINGS,
    "encoder.embedding_hidden_mapping_in.{p}": "embeddings.projection.{p}",
    f"{_ALBERT_LAYER}.attention.query.{{p}}": "groups.{g}.{k}.attention.qkv.{p}[0/3]",
    f"{_ALBERT_LAYER}.attention.key.{{p}}": "groups.{g}.{k}.attention.qkv.{p}[1/3]",
    f"{_ALBERT_LAYER}.attention.value.{{p}}": "groups.{g}.{k}.attention.qkv.{p}[2/3]",
    f"{_ALBERT_LAYER}.attention.dense.{{p}}": "groups.{g}.{k}.attention.output.{p}",
    f"{_ALBERT_LAYER}.attention.LayerNorm.{{p}}": "groups.{g}.{k}.attention_norm.{p}",
    f"{_ALBERT_LAYER}.ffn.{{p}}": "groups.{g}.{k}.feed_forward.intermediate.{p}",
    f"{_ALBERT_LAYER}.ffn_output.{{p}}": "groups.{g}.{k}.feed_forward.output.{p}",
    f"{_ALBERT_LAYER}.full_layer_layer_norm.{{p}}": "groups.{g}.{k}.feed_forward_norm.{p}",
    "pooler.{p}": "pooler.{p}",
}
_BODIES: dict[str, Rows] = {"bert": _BERT, "albert": _ALBERT, "roberta": _BERT}

# Heads, by the ending of the class name that Hugging Face gives the whole model.
_COMMON_HEADS: dict[str, Rows] = {
    "ForTokenClassification": {"classifier.{p}": "classifier.{p}"},
    "ForSequenceClassification": {"classifier.{p}": "classifier.{p}"},
    "ForQuestionAnswering": {"qa_outputs.{p}": "classifier.{p}"},
    # Ours alone: a token classifier to Hugging Face, which passes over what it does not know.
    "CrfForTokenClassification": {
        "classifier.{p}": "classifier.{p}",
        "crf.transitions": "crf.transitions",
        "crf.start": "crf.start",
        "crf.end": "crf.end",
    },
}
_HEADS: dict[str, dict[str, Rows]] = {
    "bert": {
        **_COMMON_HEADS,
        "ForPreTraining": {
            "cls.predictions.transform.dense.{p}": "mlm.dense.{p}",
            "cls.predictions.transform.LayerNorm.{p}": "mlm.norm.{p}",
            "cls.predictions.bias": "mlm.bias",
            "cls.seq_relationship.{p}": "pair.{p}",
        },
    },
    "albert": {
        **_COMMON_HEADS,
        "ForPreTraining": {
            "predictions.dense.{p}": "mlm.dense.{p}",
            "predictions.LayerNorm.{p}": "mlm.norm.{p}",
            "predictions.bias": "mlm.bias",
            "sop_classifier.classifier.{p}": "pair.{p}",
        },
    },
    "roberta": {
        **_COMMON_HEADS,
        "ForSequenceClassification": {
            "classifier.dense.{p}": "dense.{p}",
            "classifier.out_proj.{p}": "classifier.{p}",
        },
        "ForPreTraining": {
            "lm_head.dense.{p}": "mlm.dense.{p}",
            "lm_head.layer_norm.{p}": "mlm.norm.{p}",
            "lm_head.bias": "mlm.bias",
        },
    },
}

# What only one architecture's names have, prefix or not.
_TELLING = {
    "roberta": r"^(roberta|lm_head)\.",
    "albert": r"^(albert|predictions|sop_classifier)\.|albert_layer_groups|embedding_hidden_mapping_in",
    "bert": r"^(bert|cls)\.",
}

# Names that repeat another tensor of the same file: the decoder's weight is the word embedding, its bias is kept twice.
_DECODERS = {"bert": "cls.predictions", "albert": "predictions", "roberta": "lm_head"}


def name_table(config: EncoderConfig, head: str) -> NameTable:
    """The names of a Hugging Face checkpoint; those of an encoder alone have no prefix."""
    family = config.model_type
    prefix = "" if head == "Model" else f"{family}."
    slots: dict[str, Slot] = {}
    ignored: dict[str, str] = {}
    for name, slot in expand(_BODIES[family], config).items():
        if slot is None:
            ignored[prefix + name] = "a constant buffer"
        else:
            slots[prefix + name] = under(owner_of_encoder(head), slot)
    slots |= {name: slot for name, slot in expand(_HEADS[family].get(head, {}), config).items() if slot}
    others = {name for rows in _HEADS[family].values() for name in expand(rows, config)} - slots.keys()
    decoder = _DECODERS[family]

    def canonical(name: str) -> str:
        name = re.sub(r"(LayerNorm|layer_norm)\.gamma$", r"\1.weight", name)
        name = re.sub(r"(LayerNorm|layer_norm)\.beta$", r"\1.bias", name)
        body = prefix + name.removeprefix(f"{family}.")
        return body if body in slots or body in ignored else name

    return NameTable(
        config=config,
        head=head,
        slots=slots,
        ignored={**ignored, **dict.fromkeys(sorted(others), OTHER_HEAD)},
        tied={
            f"{decoder}.decoder.weight": f"{prefix}embeddings.word_embeddings.weight",
            f"{decoder}.decoder.bias": f"{decoder}.bias",
        },
        settings="config.json",
        canonical=canonical,
    )


def family_of(names: Iterable[str]) -> str | None:
    """The architecture that tensor names tell of, or None where they suit BERT and RoBERTa alike."""
    name = telling_name(names)
    return next((family for family, pattern in _TELLING.items() if name and re.search(pattern, name)), None)


def telling_name(names: Iterable[str]) -> str | None:
    """The first name that only one architecture has."""
    return next((name for name in names if any(re.search(pattern, name) for pattern in _TELLING.values())), None)


def head_of(names: Iterable[str], family: str, architectures: object) -> str:
    """The head that a file holds; where it may be one of several, the one that ``config.json`` names.

    Args:
        names: the names of the file's tensors.
        family: the architecture.
        architectures: the field of this name in ``config.json``.
    """
    names = set(names)
    if any(name.startswith("crf.") for name in names):
        return "CrfForTokenClassification"
    present = [head for head, rows in _HEADS[family].items() if names & _weights_of(rows)]
    classes = architectures if isinstance(architectures, list) else []
    for head in present:
        endings = ("ForPreTraining", "ForMaskedLM", "LMHeadModel") if head == "ForPreTraining" else (head,)
        if any(str(name).endswith(endings) for name in classes):
            return head
    if "ForTokenClassification" in present and any("pooler." in name for name in names):
        return "ForSequenceClassification"
    return present[0] if present else "Model"


def _weights_of(rows: Rows) -> set[str]:
    return {row.replace("{p}", end) for row in rows for end in ("weight", "bias")}


def class_name(config: EncoderConfig, head: str) -> str:
    """Hugging Face's class for this architecture and head."""
    if config.model_type == "roberta" and head == "ForPreTraining":
        head = "ForMaskedLM"  # RoBERTa has no sentence-pair objective
    return config.model_type.capitalize() + head


def open_tensors(folder: Path) -> dict[str, Callable[[], Tensor]]:
    """Finds the weights in a folder: each tensor's name, with a function that reads it.

    ``model.safetensors`` is taken before ``pytorch_model.bin``, a whole file before shards.

    Raises:
        InputError: there are no weights, a shard is missing, or a file is damaged.
    """
    for whole in WEIGHTS:
        if (folder / whole).is_file():
            return _open_file(folder / whole)
        index = folder / f"{whole}.index.json"
        if index.is_file():
            return _open_shards(index)
    raise InputError(
        f"{folder}: no weights found; a checkpoint folder holds model.safetensors or pytorch_model.bin "
        "(or their shards with an index) beside config.json. Google's and fairseq's files are converted first, by "
        "tools/convert_weights.py."
    )


def _open_shards(index: Path) -> dict[str, Callable[[], Tensor]]:
    weight_map = read_json_object(index).get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(shard, str) for shard in weight_map.values()):
        raise InputError(f"{index}: holds no weight_map from tensor names to files.")
    shards: dict[str, dict[str, Callable[[], Tensor]]] = {}
    for shard in sorted(set(weight_map.values())):
        if Path(shard).name != shard:
            raise InputError(f"{index}: the shard {shard!r} is not a plain file name.")
        if not (index.parent / shard).is_file():
            raise InputError(f"{index.parent / shard}: missing, though {index.name} lists it; fetch this file too.")
        shards[shard] = _open_file(index.parent / shard)
    tensors = {}
    for name, shard in weight_map.items():
        if name not in shards[shard]:
            raise InputError(f"{index.parent / shard}: holds no tensor {name!r}, though {index.name} says so.")
        tensors[name] = shards[shard][name]
    return tensors


def _open_file(path: Path) -> dict[str, Callable[[], Tensor]]:
    if path.suffix == ".safetensors":
        try:
            file = safe_open(path, framework="pt")
            return {name: partial(file.get_tensor, name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise InputError(f"{path}: not a readable safetensors file ({error}); fetch it again.") from None
    state = plain_tensors(read_torch_file(path), path)
    return {name: partial(state.__getitem__, name) for name in state}
