"""BERT and its relatives from scratch in plain PyTorch."""

from typing import TYPE_CHECKING

from minibert.lazy import lazy_attributes

if TYPE_CHECKING:
    from minibert.batch import PackedBatch, pack
    from minibert.config import EncoderConfig
    from minibert.encoder import Encoder
    from minibert.heads import (
        CrfTokenClassifier,
        MeanSequenceClassifier,
        MultipleChoiceClassifier,
        PretrainingModel,
        ReplacedTokenDetector,
        SequenceClassifier,
        SpanClassifier,
        TokenClassifier,
    )
    from minibert.tokenizer.tokenizer import Tokenizer
else:
    __getattr__ = lazy_attributes(
        __name__,
        batch=("PackedBatch", "pack"),
        config=("EncoderConfig",),
        encoder=("Encoder",),
        heads=(
            "CrfTokenClassifier",
            "MeanSequenceClassifier",
            "MultipleChoiceClassifier",
            "PretrainingModel",
            "ReplacedTokenDetector",
            "SequenceClassifier",
            "SpanClassifier",
            "TokenClassifier",
        ),
        tokenizer=("Tokenizer",),
    )

__all__ = [
    "CrfTokenClassifier",
    "Encoder",
    "EncoderConfig",
    "MeanSequenceClassifier",
    "MultipleChoiceClassifier",
    "PackedBatch",
    "PretrainingModel",
    "ReplacedTokenDetector",
    "SequenceClassifier",
    "SpanClassifier",
    "TokenClassifier",
    "Tokenizer",
    "pack",
]
