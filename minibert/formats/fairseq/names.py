"""The tensor names of fairseq's RoBERTa in all its versions.

Sources: ``fairseq/models/roberta/model.py`` and ``fairseq/modules/transformer_sentence_encoder.py``.
"""

import re

from minibert.config import EncoderConfig
from minibert.families import Rows
from minibert.formats.names import OTHER_HEAD, NameTable, Slot, encoder_prefix, expand, with_prefix

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
ENCODER = "encoder.sentence_encoder."
DECODER = "encoder.lm_head.weight"
_TOKEN_TYPES = "embeddings.token_type_embeddings.weight"


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
        head: the model's head, as in :class:`~minibert.checkpoint.Pretrained`.
        classification_head: fairseq's name for the head that is our classifier.
        other_heads: the names of further classification heads in the file.
        fused: query, key and value are one tensor ``in_proj`` in the file.
    """
    owner = encoder_prefix(head)
    slots: dict[str, Slot] = {}
    ignored = {"encoder.version": "a constant buffer"}
    for name, slot in expand({**_BODY, **(_FUSED if fused else _SPLIT)}, config).items():
        if slot is None:
            ignored[ENCODER + name] = "a constant buffer"
        else:
            slots[ENCODER + name] = with_prefix(owner, slot)
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
        tied={DECODER: f"{ENCODER}embed_tokens.weight"},
        zeros={owner + _TOKEN_TYPES: "not in fairseq: zeros"},
        settings="model.pt's args or cfg",
        canonical=canonical_name,
    )


def _named_head(name: str) -> Rows:
    # A name with braces would be read as a placeholder; fairseq's command line accepts no such names.
    return {f"classification_heads.{name}.{row}": target for row, target in _CLASSIFICATION_HEAD.items()}


def canonical_name(name: str) -> str:
    """A name as fairseq 1.0 spells it: ``encoder.sentence_encoder.`` for ``decoder.sentence_encoder.``, ``encoder.``,
    ``decoder.`` or nothing, and ``layernorm_embedding`` for ``emb_layer_norm``."""
    bare = re.sub(r"^((en|de)coder\.)?(sentence_encoder\.)?", "", name)
    bare = re.sub(r"^emb_layer_norm\.", "layernorm_embedding.", bare)
    if bare.startswith("classification_heads."):
        return bare
    if bare.startswith("lm_head."):
        return f"encoder.{bare}"
    if name in ("encoder.version", "decoder.version"):  # a file may have both this and the sentence encoder's
        return "encoder.version"
    return ENCODER + bare
