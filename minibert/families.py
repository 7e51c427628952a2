"""What sets one family of encoders apart from another, as data: one record each, and nothing else in the library asks
for a family by its name.

To add a family, write its record here (``README.md`` beside this file says how) and run the tests. Names of tensors are
templates: ``{l}`` is every layer, ``{g}`` and ``{k}`` every group and the layers in it, ``{p}`` is ``weight`` and
``bias``; ``name[1/3]`` is the second third of the rows of a tensor of ours, and ``None`` a name that is known and
ignored.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

Rows = Mapping[str, str | None]

WORD_EMBEDDINGS = "embeddings.word_embeddings.weight"


class Summary(NamedTuple):
    """A head's own dense layer over each sequence's first token, in place of the encoder's pooler.

    Attributes:
        activation: behind the dense layer.
        dropout_before: whether dropout stands before the dense layer, too; it always stands behind the activation.
    """

    activation: str
    dropout_before: bool


@dataclass(frozen=True, kw_only=True)
class Family:
    """One family of encoders.

    Attributes:
        name: ``model_type`` in ``config.json``.
        title: the name that people use.
        class_name: what Hugging Face's class names begin with.
        prefix: what stands before the encoder's tensors in a model with a head.
        pattern: a regular expression for tensor names that show this family. Patterns may overlap: of several families
            that suit all names, the one that ``config.json`` names is taken, else the first in :data:`FAMILIES`.
        body: the encoder's tensors, Hugging Face's names -> ours.
        heads: the same for each head, by the ending of Hugging Face's class; our own names of heads where they differ.
        tied: names of tensors that repeat another -> that other name.
        class_endings: heads whose Hugging Face class has another ending than our name -> that ending.
        defaults: what Hugging Face's config class has for fields that a file leaves out, where it is not BERT's value.
        config_names: our name of a config field -> Hugging Face's; None where the file has no such field.
        own_fields: config fields that this family has and BERT has not.
        projection: when a linear map widens the embeddings to the hidden size.
        attention_output_dropout: dropout follows the attention, as it follows the feed-forward.
        positions_after_padding: the first token has position ``pad_token_id + 1``.
        tokenizer: the kind of tokenizer made for a new model.
        summaries: heads that have a dense layer of their own -> that layer.
        head_dropout: heads -> the config field with their dropout rate; None for no dropout.
        language_head_activation: of the masked-word head, where it is not ``hidden_act``.
        pair_objective: the relation of two segments that pre-training teaches.
        pair_dropout: whether the head for pairs has dropout.
        masked_unit: what pre-training masks as a whole.
        examples: checkpoints to recommend.
        bundled: whether a small pre-trained model of it comes with the project.
        small: config fields of a small new model that differ from the common ones.
        lookalikes: families whose checkpoints often turn out to be of this one -> why.
    """

    name: str
    title: str
    class_name: str
    prefix: str
    pattern: str
    body: Rows
    heads: Mapping[str, Rows]
    tied: Mapping[str, str]
    class_endings: Mapping[str, str] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    config_names: Mapping[str, str | None] = field(default_factory=dict)
    own_fields: tuple[str, ...] = ()
    projection: Literal["never", "where narrower", "always"] = "never"
    attention_output_dropout: bool = True
    positions_after_padding: bool = False
    tokenizer: Literal["wordpiece", "byte_level"] = "wordpiece"
    summaries: Mapping[str, Summary] = field(default_factory=dict)
    head_dropout: Mapping[str, str | None] = field(default_factory=dict)
    language_head_activation: str | None = None
    pair_objective: Literal["next_sentence", "sentence_order"] | None = None
    pair_dropout: bool = False
    masked_unit: Literal["token", "ngram"] = "token"
    examples: str
    bundled: bool = False
    small: Mapping[str, Any] = field(default_factory=dict)
    lookalikes: Mapping[str, str] = field(default_factory=dict)

    @property
    def has_pooler(self) -> bool:
        """Whether its encoders have a pooler."""
        return any(target is not None and target.startswith("pooler.") for target in self.body.values())

    def dropout_field(self, head: str) -> str | None:
        """The config field with a head's dropout rate; None where the head has no dropout."""
        usual = None if head == "ForQuestionAnswering" else "classifier_dropout"
        return self.head_dropout.get(head, usual)

    def class_of(self, head: str) -> str:
        """Hugging Face's class for a head."""
        return self.class_name + self.class_endings.get(head, head)


# -- tables that several families share -------------------------------------------------------------------------------

_EMBEDDINGS: Rows = {
    WORD_EMBEDDINGS: WORD_EMBEDDINGS,
    "embeddings.position_embeddings.weight": "embeddings.position_embeddings.weight",
    "embeddings.token_type_embeddings.weight": "embeddings.token_type_embeddings.weight",
    "embeddings.LayerNorm.{p}": "embeddings.norm.{p}",
    "embeddings.position_ids": None,  # buffers of older versions: 0, 1, 2, ... and all zeros
    "embeddings.token_type_ids": None,
}
_LAYERS: Rows = {
    "encoder.layer.{l}.attention.self.query.{p}": "groups.{l}.0.attention.qkv.{p}[0/3]",
    "encoder.layer.{l}.attention.self.key.{p}": "groups.{l}.0.attention.qkv.{p}[1/3]",
    "encoder.layer.{l}.attention.self.value.{p}": "groups.{l}.0.attention.qkv.{p}[2/3]",
    "encoder.layer.{l}.attention.output.dense.{p}": "groups.{l}.0.attention.output.{p}",
    "encoder.layer.{l}.attention.output.LayerNorm.{p}": "groups.{l}.0.attention_norm.{p}",
    "encoder.layer.{l}.intermediate.dense.{p}": "groups.{l}.0.feed_forward.intermediate.{p}",
    "encoder.layer.{l}.output.dense.{p}": "groups.{l}.0.feed_forward.output.{p}",
    "encoder.layer.{l}.output.LayerNorm.{p}": "groups.{l}.0.feed_forward_norm.{p}",
}
_BERT_BODY: Rows = {**_EMBEDDINGS, **_LAYERS, "pooler.dense.{p}": "pooler.{p}"}
_CLASSIFIER: Rows = {"classifier.{p}": "classifier.{p}"}
# Where there are any.
_NGRAMS: Rows = {f"ngrams.{name}": f"ngrams.{name}" for name in ("weight", "frequency", "bias", "log_weight")}
_TWO_LAYERS: Rows = {"classifier.dense.{p}": "dense.{p}", "classifier.out_proj.{p}": "classifier.{p}"}
_CLASSIFIERS: Mapping[str, Rows] = {
    "ForTokenClassification": _CLASSIFIER,
    # Before the next one, with which its name ends.
    "MeanForSequenceClassification": {**_CLASSIFIER, **_NGRAMS},
    "ForSequenceClassification": {**_CLASSIFIER, **_NGRAMS},
    "ForMultipleChoice": _CLASSIFIER,
    "ForQuestionAnswering": {"qa_outputs.{p}": "classifier.{p}"},
    "CrfForTokenClassification": {
        **_CLASSIFIER,
        "crf.transitions": "crf.transitions",
        "crf.start": "crf.start",
        "crf.end": "crf.end",
    },
}
OWN_HEADS = {
    "CrfForTokenClassification": "ForTokenClassification",
    "MeanForSequenceClassification": "ForSequenceClassification",
}
"""Heads that no other tool has -> Hugging Face's with the same tensors, which computes something else from them."""
_BERT_HEADS: Mapping[str, Rows] = {
    **_CLASSIFIERS,
    "ForPreTraining": {
        "cls.predictions.transform.dense.{p}": "mlm.dense.{p}",
        "cls.predictions.transform.LayerNorm.{p}": "mlm.norm.{p}",
        "cls.predictions.bias": "mlm.bias",
        "cls.seq_relationship.{p}": "pair.{p}",
    },
}
_BERT_TIED = {"cls.predictions.decoder.weight": WORD_EMBEDDINGS, "cls.predictions.decoder.bias": "cls.predictions.bias"}


# -- the families -----------------------------------------------------------------------------------------------------

BERT = Family(
    name="bert",
    title="BERT",
    class_name="Bert",
    prefix="bert.",
    pattern=r"^(bert|cls)\.",
    body=_BERT_BODY,
    heads=_BERT_HEADS,
    tied=_BERT_TIED,
    pair_objective="next_sentence",
    examples="google-bert/bert-base-chinese or google-bert/bert-base-cased",
    bundled=True,
    lookalikes={"roberta": "most Chinese RoBERTas have BERT's architecture, trained in RoBERTa's way"},
)

_ALBERT_LAYER = "encoder.albert_layer_groups.{g}.albert_layers.{k}"
ALBERT = Family(
    name="albert",
    title="ALBERT",
    class_name="Albert",
    prefix="albert.",
    pattern=r"^(albert|predictions|sop_classifier)\.|albert_layer_groups|embedding_hidden_mapping_in",
    body={
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
    },
    heads={
        **_CLASSIFIERS,
        "ForPreTraining": {
            "predictions.dense.{p}": "mlm.dense.{p}",
            "predictions.LayerNorm.{p}": "mlm.norm.{p}",
            "predictions.bias": "mlm.bias",
            "sop_classifier.classifier.{p}": "pair.{p}",
        },
    },
    tied={"predictions.decoder.weight": WORD_EMBEDDINGS, "predictions.decoder.bias": "predictions.bias"},
    defaults={
        "hidden_act": "gelu_new", "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
        "classifier_dropout": 0.1, "bos_token_id": 2, "eos_token_id": 3, "embedding_size": 128,
        "num_hidden_groups": 1, "inner_group_num": 1,
    },
    config_names={"classifier_dropout": "classifier_dropout_prob"},
    own_fields=("embedding_size", "num_hidden_groups", "inner_group_num"),
    projection="always",
    pair_objective="sentence_order",
    pair_dropout=True,
    masked_unit="ngram",
    examples="voidful/albert_chinese_base (Chinese) or albert/albert-base-v2 (English)",
    bundled=True,
    small={"hidden_size": 256, "num_attention_heads": 4, "intermediate_size": 1024, "embedding_size": 128},
)  # fmt: skip

ROBERTA = Family(
    name="roberta",
    title="RoBERTa",
    class_name="Roberta",
    prefix="roberta.",
    pattern=r"^(roberta|lm_head)\.",
    body=_BERT_BODY,
    heads={
        **_CLASSIFIERS,
        "ForSequenceClassification": {**_NGRAMS, **_TWO_LAYERS},
        "ForPreTraining": {
            "lm_head.dense.{p}": "mlm.dense.{p}",
            "lm_head.layer_norm.{p}": "mlm.norm.{p}",
            "lm_head.bias": "mlm.bias",
        },
    },
    tied={"lm_head.decoder.weight": WORD_EMBEDDINGS, "lm_head.decoder.bias": "lm_head.bias"},
    class_endings={"ForPreTraining": "ForMaskedLM"},
    defaults={"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2},
    positions_after_padding=True,
    tokenizer="byte_level",
    summaries={"ForSequenceClassification": Summary("tanh", dropout_before=True)},
    head_dropout={"ForMultipleChoice": "hidden_dropout_prob"},
    language_head_activation="gelu",  # the erf form whatever hidden_act says (RobertaLMHead in its reference code)
    examples="FacebookAI/roberta-base (English)",
    bundled=True,
    small={"max_position_embeddings": 258, "type_vocab_size": 1},
)

ELECTRA = Family(
    name="electra",
    title="ELECTRA",
    class_name="Electra",
    prefix="electra.",
    pattern=r"^(electra|(discriminator|generator)_predictions|generator_lm_head)\.|^embeddings_project\.",
    body={**_EMBEDDINGS, **_LAYERS, "embeddings_project.{p}": "embeddings.projection.{p}"},
    heads={
        **_CLASSIFIERS,
        "ForSequenceClassification": {**_NGRAMS, **_TWO_LAYERS},
        "ForMultipleChoice": {**_CLASSIFIER, "sequence_summary.summary.{p}": "dense.{p}"},
        "ForPreTraining": {
            "generator_predictions.dense.{p}": "mlm.dense.{p}",
            "generator_predictions.LayerNorm.{p}": "mlm.norm.{p}",
            "generator_lm_head.bias": "mlm.bias",
        },
        "ForReplacedTokenDetection": {
            "discriminator_predictions.dense.{p}": "dense.{p}",
            "discriminator_predictions.dense_prediction.{p}": "classifier.{p}",
        },
    },
    tied={"generator_lm_head.weight": WORD_EMBEDDINGS},
    class_endings={"ForPreTraining": "ForMaskedLM", "ForReplacedTokenDetection": "ForPreTraining"},
    defaults={"embedding_size": 128},
    own_fields=("embedding_size", "summary_last_dropout"),
    projection="where narrower",
    summaries={
        "ForSequenceClassification": Summary("gelu", dropout_before=True),
        "ForMultipleChoice": Summary("gelu", dropout_before=False),
    },
    head_dropout={"ForMultipleChoice": "summary_last_dropout"},
    language_head_activation="gelu",
    examples="hfl/chinese-electra-180g-base-discriminator or google/electra-base-discriminator",
)

DISTILBERT = Family(
    name="distilbert", title="DistilBERT", class_name="DistilBert", prefix="distilbert.",
    pattern=r"^(distilbert|pre_classifier|vocab_(transform|layer_norm|projector))\.|^transformer\.layer\.\d",
    body={
        **{name: target for name, target in _EMBEDDINGS.items() if "token_type" not in name},
        "transformer.layer.{l}.attention.q_lin.{p}": "groups.{l}.0.attention.qkv.{p}[0/3]",
        "transformer.layer.{l}.attention.k_lin.{p}": "groups.{l}.0.attention.qkv.{p}[1/3]",
        "transformer.layer.{l}.attention.v_lin.{p}": "groups.{l}.0.attention.qkv.{p}[2/3]",
        "transformer.layer.{l}.attention.out_lin.{p}": "groups.{l}.0.attention.output.{p}",
        "transformer.layer.{l}.sa_layer_norm.{p}": "groups.{l}.0.attention_norm.{p}",
        "transformer.layer.{l}.ffn.lin1.{p}": "groups.{l}.0.feed_forward.intermediate.{p}",
        "transformer.layer.{l}.ffn.lin2.{p}": "groups.{l}.0.feed_forward.output.{p}",
        "transformer.layer.{l}.output_layer_norm.{p}": "groups.{l}.0.feed_forward_norm.{p}",
    },
    heads={
        **_CLASSIFIERS,
        "ForSequenceClassification": {**_NGRAMS, **_CLASSIFIER, "pre_classifier.{p}": "dense.{p}"},
        "ForMultipleChoice": {**_CLASSIFIER, "pre_classifier.{p}": "dense.{p}"},
        "ForPreTraining": {
            "vocab_transform.{p}": "mlm.dense.{p}", "vocab_layer_norm.{p}": "mlm.norm.{p}",
            "vocab_projector.bias": "mlm.bias",
        },
    },
    tied={"vocab_projector.weight": WORD_EMBEDDINGS},
    class_endings={"ForPreTraining": "ForMaskedLM"},
    defaults={"type_vocab_size": 0, "classifier_dropout": 0.2},
    config_names={
        "hidden_size": "dim", "num_hidden_layers": "n_layers", "num_attention_heads": "n_heads",
        "intermediate_size": "hidden_dim", "hidden_act": "activation", "hidden_dropout_prob": "dropout",
        "attention_probs_dropout_prob": "attention_dropout", "classifier_dropout": "seq_classif_dropout",
        "type_vocab_size": None, "layer_norm_eps": None,
    },
    own_fields=("qa_dropout",), attention_output_dropout=False,
    summaries=dict.fromkeys(("ForSequenceClassification", "ForMultipleChoice"), Summary("relu", dropout_before=False)),
    head_dropout={"ForTokenClassification": "hidden_dropout_prob", "ForQuestionAnswering": "qa_dropout"},
    examples="distilbert/distilbert-base-uncased (English) or distilbert/distilbert-base-multilingual-cased",
)  # fmt: skip

XLM_ROBERTA = replace(
    ROBERTA,
    name="xlm-roberta",
    title="XLM-RoBERTa",
    class_name="XLMRoberta",
    examples="FacebookAI/xlm-roberta-base (about 100 languages)",
    bundled=False,
)

CAMEMBERT = replace(
    ROBERTA,
    name="camembert",
    title="CamemBERT",
    class_name="Camembert",
    examples="almanach/camembert-base (French)",
    bundled=False,
)

ERNIE = replace(
    BERT,
    name="ernie",
    title="ERNIE",
    class_name="Ernie",
    prefix="ernie.",
    pattern=r"^(ernie|cls)\.|^embeddings\.task_type_embeddings\.",
    body={**_BERT_BODY, "embeddings.task_type_embeddings.weight": "embeddings.task_type_embeddings.weight"},
    own_fields=("use_task_id", "task_type_vocab_size"),
    examples="nghuyong/ernie-3.0-base-zh or nghuyong/ernie-1.0-base-zh (Chinese)",
    bundled=False,
    lookalikes={},
)

FAMILIES: Mapping[str, Family] = {
    family.name: family for family in (BERT, ALBERT, ROBERTA, ELECTRA, DISTILBERT, XLM_ROBERTA, CAMEMBERT, ERNIE)
}
"""All families, by ``model_type``."""


def family_of_old_config(values: Mapping[str, Any]) -> Family:
    """The family of a ``config.json`` of 2019, which does not name one: shared layers mean ALBERT, a single token type
    RoBERTa."""
    if "num_hidden_groups" in values:
        return ALBERT
    return ROBERTA if values.get("type_vocab_size") == 1 else BERT
