"""What the tests of fairseq's checkpoints share: the reference files, and changed copies of them."""

import argparse
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from conftest import GOLDEN, largest_difference
from safetensors.torch import load_file
from torch import Tensor

from minibert import PretrainingModel, SequenceClassifier
from minibert.batch import PackedBatch, from_padded
from minibert.checkpoint import Pretrained
from minibert.formats.fairseq.checkpoint import open_fairseq_checkpoint
from minibert.loading import LoadReport, build_model

ARGS = GOLDEN / "fairseq_args"
CFG = GOLDEN / "fairseq_cfg"
TOLERANCES = {torch.float64: 1e-9, torch.float32: 1e-5}
ZEROS = "encoder.embeddings.token_type_embeddings.weight"

LAYER = "decoder.sentence_encoder.layers.1."  # of fairseq_args

Content = dict[str, Any]


def load(
    model_class: type[Pretrained], path: Path, classification_head: str | None = None
) -> tuple[Pretrained, LoadReport]:
    checkpoint = open_fairseq_checkpoint(path)
    table = checkpoint.table(model_class.head, classification_head)
    return build_model(model_class, table, checkpoint.tensors, checkpoint.path)


def content_of(folder: Path) -> Content:
    """What a model.pt holds, read without minibert."""
    with torch.serialization.safe_globals([argparse.Namespace]):
        return torch.load(folder / "model.pt", weights_only=True)


def saved(content: object, folder: Path, **options: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(content, folder / "model.pt", **options)
    return folder


def renamed(content: Content, change: Callable[[str], str]) -> Content:
    return {**content, "model": {change(name): tensor for name, tensor in content["model"].items()}}


def golden_batch(folder: Path) -> tuple[PackedBatch, dict[str, Tensor]]:
    reference = load_file(folder / "reference.safetensors")
    return from_padded(reference["input_ids"], reference["attention_mask"]), reference


def assert_equals_reference(path: Path, reference_folder: Path, dtype: torch.dtype = torch.float32) -> None:
    batch, reference = golden_batch(reference_folder)
    with torch.no_grad():
        words, _ = load(PretrainingModel, path)[0].to(dtype)(batch)
    assert largest_difference(words, reference["words"]) <= TOLERANCES[dtype]
    if reference_folder == CFG:
        with torch.no_grad():
            classes = load(SequenceClassifier, path)[0].to(dtype)(batch)
        assert largest_difference(classes, reference["classes"]) <= TOLERANCES[dtype]


def as_bytes(content: object, **options: Any) -> bytes:
    packed = io.BytesIO()
    torch.save(content, packed, **options)
    return packed.getvalue()
