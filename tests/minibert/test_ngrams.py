"""N-gram scores beside an encoder: counted by hand, in both kinds of graph, and in files."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from conftest import largest_difference, ragged_ids, read_checkpoint, scramble, tiny_config
from torch import Tensor

from minibert import MeanSequenceClassifier, SequenceClassifier, pack
from minibert.batch import from_padded
from minibert.checkpoint import PretrainedClassifier, open_checkpoint
from minibert.config import EncoderConfig
from minibert.errors import InputError
from minibert.export.files import open_onnx, write_onnx
from minibert.export.graphs import PackedGraph, PaddedGraph, random_batch
from minibert.formats.conversion import convert
from minibert.formats.source import open_source
from minibert.ngrams import NgramScores, bigram_rows, unigram_rows
from minibert.traced import PaddedBatch
from tools import convert_weights
from tools.export import parity

LABELS = {0: "bad", 1: "fair", 2: "good"}
BUCKETS = 101
CLASSES = [SequenceClassifier, MeanSequenceClassifier]


def scores(labels: int = 3) -> NgramScores:
    module = NgramScores(BUCKETS, labels)
    with torch.no_grad():
        module.weight.normal_()
        module.frequency.uniform_(1, 5)
        module.bias.normal_()
        module.log_weight.fill_(-0.7)
    return module


def classifier(
    model_class: type[PretrainedClassifier] = SequenceClassifier, family: str = "bert"
) -> PretrainedClassifier:
    model = model_class(tiny_config(family, num_hidden_layers=1, id2label=LABELS, ngram_buckets=BUCKETS))
    for part in (model.encoder, model.classifier):
        scramble(part)  # type: ignore[arg-type]
    model.ngrams = scores()
    return model.eval()


def by_hand(module: NgramScores, sequences: Sequence[Sequence[int]]) -> Tensor:
    found = []
    for ids in sequences:
        rows = [unigram_rows(each, BUCKETS) for each in ids]
        rows += [bigram_rows(one, other, BUCKETS) for one, other in pairwise(ids)]
        length = sum(float(module.frequency[row]) ** 2 for row in rows) ** 0.5
        found.append(sum(module.weight[row] for row in rows) / length + module.bias)
    return torch.stack(found)


@torch.no_grad()
def test_scores_are_those_of_each_sequences_tokens_and_pairs() -> None:
    module = scores()
    sequences = [ids.tolist() for ids in map(torch.as_tensor, ragged_ids((6, 20, 1, 11), 900))]
    assert largest_difference(module.scores(pack(sequences)), by_hand(module, sequences)) <= 1e-5
    width = max(map(len, sequences))
    for left in (False, True):
        rows, mask = torch.full((4, width), 7), torch.zeros(4, width, dtype=torch.long)
        for row, ids in enumerate(sequences):
            place = slice(width - len(ids), None) if left else slice(len(ids))
            rows[row, place], mask[row, place] = torch.tensor(ids), 1
        found = module.scores(PaddedBatch.from_rows(rows, mask, None))
        assert largest_difference(found, by_hand(module, sequences)) <= 1e-5
        assert largest_difference(module.scores(from_padded(rows, mask)), found) <= 1e-5


def test_different_ngrams_of_a_vocabulary_seldom_share_a_row() -> None:
    tokens = torch.arange(12_000)
    assert len(set(unigram_rows(tokens, 32_749).tolist())) == len(tokens)
    first, second = torch.randint(12_000, (2, 3_000), generator=torch.Generator().manual_seed(0))
    rows = bigram_rows(first, second, 32_749)
    assert len(set(rows.tolist())) > 0.94 * len(rows)  # at random: 0.956
    assert not torch.equal(bigram_rows(second, first, 32_749), rows)


@pytest.mark.parametrize("model_class", CLASSES)
@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert"])
@torch.no_grad()
def test_they_are_added_to_the_logits_in_every_graph(family: str, model_class: type[PretrainedClassifier]) -> None:
    model = classifier(model_class, family)
    batch = random_batch((7, 20, 1, 12), model.config)
    found, ngrams = model(batch), model.ngrams
    model.ngrams = None
    assert largest_difference(found, 0.4965853 * model(batch) + ngrams.scores(batch)) <= 1e-5
    model.ngrams = ngrams
    for graph in (PaddedGraph(model), PackedGraph(model)):
        (logits,) = graph.real(graph(**graph.inputs(batch)), batch)
        assert largest_difference(logits, found) <= 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("graph_class", [PaddedGraph, PackedGraph])
def test_onnx_runtime_computes_them(graph_class: type[PaddedGraph] | type[PackedGraph], tmp_path: Path) -> None:
    """Over batches of 1 to 64 sequences of 1 token to the most."""
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name, reason=f"{name} is an extra, which writes or runs ONNX files")
    graph = graph_class(classifier())
    write_onnx(graph, tmp_path / "graph.onnx")
    assert parity(graph, open_onnx(tmp_path / "graph.onnx").run) <= 1e-5


@pytest.mark.parametrize("model_class", CLASSES)
def test_a_folder_gives_the_same_model_back_and_is_converted(
    model_class: type[PretrainedClassifier], tmp_path: Path
) -> None:
    model = classifier(model_class, "roberta")
    model.save_pretrained(tmp_path / "saved")
    tensors, settings = read_checkpoint(tmp_path / "saved")
    assert settings["ngram_buckets"] == BUCKETS
    assert {name for name in tensors if "ngrams" in name} == {
        f"ngrams.{name}" for name in ("weight", "frequency", "bias", "log_weight")
    }
    convert(open_source(tmp_path / "saved"), tmp_path / "converted")
    for name in ("saved", "converted"):
        loaded, report = open_checkpoint(tmp_path / name).load(model_class, labels=LABELS)
        assert not report.newly_initialised
        assert not report.ignored
        assert all(map(torch.equal, loaded.state_dict().values(), model.state_dict().values()))
    source = open_source(tmp_path / "saved")
    for to in ("google", "fairseq"):
        with pytest.raises(InputError, match=rf"saved: has scores of n-grams, for which {to}'s format has no"):
            convert(source, tmp_path / to, to=to)
        assert not (tmp_path / to).exists()


def test_a_model_without_them_has_no_field_and_reads_a_file_with_them(tmp_path: Path) -> None:
    plain = tiny_config("bert", num_hidden_layers=1, id2label=LABELS)
    assert "ngram_buckets" not in plain.to_dict()
    model = classifier()
    model.save_pretrained(tmp_path)
    checkpoint = open_checkpoint(tmp_path)
    other = {0: "no", 1: "yes"}
    renewed, report = checkpoint.load(SequenceClassifier, labels=other)
    assert {"ngrams.weight", "classifier.weight"} <= {*report.newly_initialised}
    assert not renewed.ngrams.weight.any()  # type: ignore[union-attr]
    with torch.no_grad():
        assert renewed(pack([[5, 6], [7]])).isfinite().all()


def test_transformers_reads_the_encoder_and_the_classifier(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is the oracle of this test")
    model = classifier()
    model.save_pretrained(tmp_path)
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    ids = [5, 6, 7, 8]
    batch = pack([ids])
    with torch.no_grad():
        expected = theirs(input_ids=torch.tensor([ids])).logits
        model.ngrams = None
        assert largest_difference(model(batch), expected) <= 1e-5
    source = open_source(tmp_path)
    convert(source, tmp_path / "out")
    assert "hidden states" in convert_weights.verify(source, tmp_path / "out")


@pytest.mark.parametrize("value", [-1, 2.5, True, 10**9])
def test_a_number_of_rows_that_cannot_be_is_refused(value: object) -> None:
    with pytest.raises(InputError, match="ngram_buckets"):
        EncoderConfig.from_dict({**tiny_config("bert").to_dict(), "ngram_buckets": value})
