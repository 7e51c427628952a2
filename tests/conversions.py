"""What the tests of conversions share: the reference checkpoints by format, and a conversion in one call."""

from pathlib import Path
from typing import Any

import torch
from conftest import read_checkpoint, scramble, tiny_config, write_checkpoint
from tensor_states import Tensors

from minibert import Encoder, PretrainingModel, SequenceClassifier, SpanClassifier, TokenClassifier
from minibert.batch import from_padded
from minibert.checkpoint import Pretrained, open_checkpoint, save_model
from minibert.formats.conversion import Report, convert
from minibert.formats.source import open_any_tensors, open_source

GOOGLE = ("google_bert", "google_albert", "google_albert_groups", "google_albert_brightmart")
TF2 = ("tf2_bert", "tf2_bert_encoder")
FAIRSEQ = ("fairseq_args", "fairseq_cfg")
HUGGING_FACE = ("bert_gelu", "bert_relu", "albert", "roberta")
HEADS: tuple[type[Pretrained], ...] = (Encoder, PretrainingModel, TokenClassifier, SequenceClassifier, SpanClassifier)


def converted(source: Path, destination: Path, **options: Any) -> Report:
    to = options.pop("to", "huggingface")
    return convert(open_source(source, **options), destination, to=to)


def assert_same_bits(ours: Tensors, theirs: Tensors) -> None:
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert tensor.dtype == theirs[name].dtype, name
        assert torch.equal(tensor, theirs[name]), name


def values_of(folder: Path) -> Tensors:
    return {name: read() for name, read in open_any_tensors(folder).items()}


def digests(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def computed(folder: Path, reference: Tensors, model_class: type[Pretrained]) -> Any:
    """What minibert makes of a reference's batch, with the loading report's new parameters."""
    model, report = open_checkpoint(folder).load(model_class)
    assert not [name for name in report.newly_initialised if "pooler" not in name or model_class is Encoder]
    types = reference.get("token_type_ids", torch.zeros_like(reference["input_ids"]))
    with torch.no_grad():
        return model(from_padded(reference["input_ids"], reference["attention_mask"], types))


def scrambled(model_class: type[Pretrained], family: str, folder: Path) -> Path:
    model = model_class(tiny_config(family))
    scramble(model)
    save_model(model, folder)
    return folder


def save_wwm(parent: Path) -> Path:
    """A folder in the manner of chinese-roberta-wwm-ext: BERT throughout, RoBERTa by name."""
    folder = scrambled(PretrainingModel, "bert", parent / "chinese-roberta-wwm-ext")
    tensors, settings = read_checkpoint(folder)
    settings |= {"architectures": ["BertForMaskedLM"], "directionality": "bidi", "pooler_type": "first_token_transform"}
    return write_checkpoint(folder, tensors, settings)
