"""BERT, ALBERT and RoBERTa from scratch in plain PyTorch."""

from minibert.batch import PackedBatch, pack
from minibert.config import EncoderConfig
from minibert.encoder import Encoder
from minibert.heads import CrfTokenClassifier, PretrainingModel, SequenceClassifier, SpanClassifier, TokenClassifier
from minibert.tokenizer import Tokenizer

__all__ = [
    "CrfTokenClassifier",
    "Encoder",
    "EncoderConfig",
    "PackedBatch",
    "PretrainingModel",
    "SequenceClassifier",
    "SpanClassifier",
    "TokenClassifier",
    "Tokenizer",
    "pack",
]
