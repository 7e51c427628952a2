"""Labels for words: windows, and the losses of both heads."""

import contextlib
import itertools
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import tokenizers
import torch
from conftest import tiny_config
from hypothesis import given, settings
from hypothesis import strategies as st
from ner_files import TRAIN
from tokenizers import models, pre_tokenizers

from minibert import CrfTokenClassifier, TokenClassifier, Tokenizer
from minibert.errors import InputError
from minibert.training.state import require_same_fingerprint
from tasks.data import Split
from tasks.ner import task as ner
from tasks.ner.data import Sentence, bio_tags
from tasks.ner.tags import Entity
from tasks.ner.word_labels import Window


@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=6),
    max_length=st.integers(4, 16),
    overlap=st.integers(0, 8),
)
@settings(deadline=None, max_examples=60)
def test_every_word_is_a_target_exactly_once_and_in_order(lengths: list[int], max_length: int, overlap: int) -> None:
    """Long sentences too: all gold is trained on and scored, whatever the windows."""
    words = ["Ann", "Rome", "York", "unseen-word"]
    sentences = [
        Sentence([words[(i * 7 + n) % 4] for i in range(n)], [Entity(i, i + 1, "X") for i in range(0, n, 3)], 1)
        for n in lengths
    ]
    tokenizer = Tokenizer.train([text.split() for text, _ in TRAIN], model_type="bert", vocab_size=60)
    label2id = {"O": 0, "B-X": 1, "I-X": 2}
    config = tiny_config("bert").with_labels({index: label for label, index in label2id.items()})
    task = ner.NerTask(ner.NerSettings(max_length=max_length, overlap=overlap))
    encoded = task.encode(sentences, tokenizer, config)
    assert all(3 <= len(window.ids) <= max_length for window in encoded.examples)
    assert sum(encoded.counts) == len(encoded.examples)
    targets = [int(target) for window in encoded.examples for target in window.targets if target >= 0]
    assert targets == [label2id[tag] for sentence in sentences for tag in bio_tags(sentence)]
    for window in encoded.examples:
        assert (window.ids[0], window.ids[-1]) == (tokenizer.cls_token_id, tokenizer.sep_token_id)
        assert (window.targets[[0, -1]] < 0).all()


@pytest.mark.parametrize("max_length", [5, 6, 9, 40])
def test_windows_begin_with_a_words_space_and_label_its_text(max_length: int, tmp_path: Path) -> None:
    """A SentencePiece vocabulary in which a digit is the space before it and itself."""
    specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    vocab = [*((token, 0.0) for token in specials), *((token, -3.0) for token in ["▁", "▁the", "北", "7", "8"])]
    backend = tokenizers.Tokenizer(models.Unigram(vocab, unk_id=3))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.add_special_tokens(specials)
    backend.save(str(tmp_path / "tokenizer.json"))
    tokenizer = Tokenizer.from_pretrained(tmp_path)
    tokens_of = {"the": ["▁the"], "北": ["北"], "78": ["▁", "7", "8"], "8": ["▁", "8"]}
    words = ["北", "8", "the", "78", "78", "北", "8", "8", "the", "北", "北", "78"]
    config = tiny_config("bert").with_labels({0: "O", 1: "B-X", 2: "I-X"})
    task = ner.NerTask(ner.NerSettings(max_length=max_length, overlap=2))
    encoded = task.encode([Sentence(words, [Entity(0, 12, "X")], 1)], tokenizer, config)
    labelled = []
    for window in encoded.examples:
        tokens = tokenizer.convert_ids_to_tokens(window.ids)
        labelled += [token for token, target in zip(tokens, window.targets, strict=True) if target >= 0]
        rest = tokens[1:-1]
        while rest:  # whole words, from the first token to the last
            word = next(word for word, pieces in tokens_of.items() if rest[: len(pieces)] == pieces)
            del rest[: len(tokens_of[word])]
    assert labelled == [next(token for token in tokens_of[word] if token != "▁") for word in words]


def test_the_crf_loss_is_the_likelihood_of_the_kept_words() -> None:
    """A window's context words and special tokens carry no tag, and play no part."""
    torch.manual_seed(0)
    labels = {0: "O", 1: "B-X", 2: "I-X"}
    model = CrfTokenClassifier(tiny_config("bert").with_labels(labels)).eval()
    task = ner.NerTask(ner.NerSettings(head="crf"))
    kept = [[1, 2, 0], [2], [0, 1]]
    windows = [
        Window(np.arange(5, 5 + len(tags) + 3, dtype=np.int32), np.array([-100, *tags, -100, -100], np.int16), 1)
        for tags in kept
    ]
    batch = task.collate(windows)
    logits = torch.randn(batch.inputs.num_tokens, 3)
    emissions = torch.cat(
        [part[1 : 1 + len(tags)] for part, tags in zip(batch.inputs.unpack(logits), kept, strict=True)]
    )
    expected = -model.crf.log_likelihood(emissions, torch.tensor([t for tags in kept for t in tags]), (3, 1, 2))
    torch.testing.assert_close(task.losses(model, logits, batch), expected)


@pytest.mark.parametrize("head", ["crf", "linear"])
def test_more_types_than_can_be_decoded_are_refused_before_training(head: str) -> None:
    def split(count: int) -> Split[Sentence]:
        sentences = [Sentence(["a"], [Entity(0, 1, f"T{number}")], number) for number in range(count)]
        return Split(path="train.txt", sha256="", items=sentences)

    task = ner.NerTask(ner.NerSettings(head=head))
    assert len(task.labels(split(2499))) == 4999
    with pytest.raises(InputError, match=r"train\.txt: has 2,500 types of entities, more than the 2,499 that can be"):
        task.labels(split(2500))


def test_a_resumed_run_with_another_head_is_told_of_the_head() -> None:
    """Not of ``--head-lr``, whose value followed from it."""
    before = ner.NerSettings(head="linear").fingerprint()
    now = ner.NerSettings(head="crf", head_lr=1e-3).fingerprint()
    with pytest.raises(InputError, match=r"--resume: --head changed: was linear, is now crf"):
        require_same_fingerprint(before, now)


def test_r_drop_compares_the_marginals_of_a_crf() -> None:
    """The mean of the two divergences, summed over the words that count, of each whole window; no gradient is lost."""
    torch.manual_seed(0)
    model = CrfTokenClassifier(tiny_config("bert").with_labels({0: "O", 1: "B-X", 2: "I-X"})).eval()
    for parameter in model.crf.parameters():
        torch.nn.init.normal_(parameter)
    task = ner.NerTask(ner.NerSettings(r_drop=1.0))
    tags = [[-100, 1, 2, -100], [-100, 0, -100], [-100, 2, -100, 0, -100]]
    windows = [Window(np.arange(5, 5 + len(row), dtype=np.int32), np.array(row, np.int16), 1) for row in tags]
    batch = task.collate(windows)
    outputs = [torch.randn(batch.inputs.num_tokens, 3, requires_grad=True) for _ in range(2)]
    divergence = task.divergence(model)
    assert divergence is not None
    found = divergence(*outputs, batch)
    p, q = (
        torch.cat([
            model.crf.log_marginals(part[torch.tensor(row) >= 0], (sum(tag >= 0 for tag in row),))
            for part, row in zip(batch.inputs.unpack(output), tags, strict=True)
        ])
        for output in outputs
    )  # fmt: skip
    kl = torch.nn.functional.kl_div
    expected = (kl(q, p, reduction="sum", log_target=True) + kl(p, q, reduction="sum", log_target=True)) / 2
    torch.testing.assert_close(found, expected)
    found.backward()
    assert all((output.grad.abs().sum(1) > 0).sum() == batch.num_targets for output in outputs)
    twice = torch.cat([output.detach() for output in outputs])  # as R-Drop has it: one pass over each window twice
    of_both = divergence(twice, twice.roll(len(twice) // 2, 0), task.collate([*windows, *windows]))
    torch.testing.assert_close(of_both, 2 * expected)


@pytest.mark.parametrize("device", ["meta", "cuda"])
@pytest.mark.parametrize("head", ["linear", "crf"])
def test_a_loss_waits_for_no_device(head: str, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tensor on the meta device has no values that could be waited for; CUDA says itself when it is."""
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    if device == "meta":  # which autocast does not know
        monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())
    model_class = CrfTokenClassifier if head == "crf" else TokenClassifier
    model = model_class(tiny_config("bert").with_labels({0: "O", 1: "B-X", 2: "I-X"})).to(device)
    task = ner.NerTask(ner.NerSettings(head=head))
    tags = [[-100, 1, 2, -100], [-100, 0, -100], [-100, 2, -100, 0, -100]]
    windows = [Window(np.arange(5, 5 + len(row), dtype=np.int32), np.array(row, np.int16), 1) for row in tags]
    batch = task.collate(windows)
    assert batch.target_counts == (2, 1, 2)
    assert batch.num_targets == 5

    on_device = batch.to(torch.device(device))
    logits = torch.randn(batch.inputs.num_tokens, 3, device=device, requires_grad=True)
    try:
        if device == "cuda":
            torch.cuda.set_sync_debug_mode("error")
        losses = task.losses(model, logits, on_device)
        divergence = task.divergence(model)
        assert divergence is not None
        compared = task.target_logits(model, logits, on_device).sum() + divergence(logits, logits * 2, on_device)
        (losses.sum() + compared).backward()
    finally:
        if device == "cuda":
            torch.cuda.set_sync_debug_mode("default")
    assert losses.shape == (3,)


def test_crf_decoding_reads_a_whole_sentence_across_windows() -> None:
    """Emissions of two windows of one sentence, put end to end, against all legal tag sequences."""
    torch.manual_seed(0)
    model = CrfTokenClassifier(tiny_config("bert").with_labels({0: "O", 1: "B-X", 2: "I-X"})).eval()
    with torch.no_grad():
        for parameter in model.crf.parameters():
            parameter.normal_()
    task = ner.NerTask(ner.NerSettings(head="crf"))
    item = task.parse_input({"tokens": list("abcdef")}, "here")
    emissions = torch.randn(6, 3) * 2
    (tags,) = task.outputs(model, [item], [[emissions[:4], emissions[4:]]])
    scores = {}
    start, move, end = (t.detach().numpy() for t in (model.crf.start, model.crf.transitions, model.crf.end))
    for path in itertools.product(range(3), repeat=6):
        if path[0] == 2 or (0, 2) in itertools.pairwise(path):
            continue
        emitted = sum(float(emissions[i, tag]) for i, tag in enumerate(path))
        scores[path] = start[path[0]] + end[path[-1]] + emitted + sum(move[a, b] for a, b in itertools.pairwise(path))
    best = max(scores, key=lambda path: scores[path])
    assert tags.names == [("O", "B-X", "I-X")[tag] for tag in best]
    weights = {path: np.exp(score) for path, score in scores.items()}
    for place, (tag, probability) in enumerate(zip(best, tags.probabilities, strict=True)):
        share = sum(w for path, w in weights.items() if path[place] == tag) / sum(weights.values())
        assert probability == pytest.approx(share, abs=1e-5)


def is_well_formed(names: Sequence[str], *, closed: bool) -> bool:
    """Whether the tags are a row of O and of whole entities; closed ones end with E or are S."""
    entity = "|".join(rf"B-{t} ([IM]-{t} )*E-{t} |S-{t} " if closed else rf"B-{t} (I-{t} )*" for t in "XY")
    return re.fullmatch(f"(O |{entity})*", " ".join([*names, ""])) is not None


@pytest.mark.parametrize("prefixes", ["BI", "BIES", "BMES"])
def test_without_a_crf_tags_are_the_likeliest_well_formed_ones(prefixes: str) -> None:
    """Against all tag sequences, across two windows; the probabilities are those of each word alone."""
    torch.manual_seed(0)
    labels = ["O", *(f"{prefix}-X" for prefix in prefixes), "B-Y", *(["E-Y"] if "E" in prefixes else ["I-Y"])]
    model = TokenClassifier(tiny_config("bert").with_labels(dict(enumerate(labels)))).eval()
    task = ner.NerTask(ner.NerSettings())
    item = task.parse_input({"tokens": list("abcd")}, "here")
    paths = itertools.product(range(len(labels)), repeat=4)
    legal = [path for path in paths if is_well_formed([labels[tag] for tag in path], closed="E" in prefixes)]
    repaired = 0
    for _ in range(20):
        logits = torch.randn(4, len(labels)) * 2
        (output,) = task.outputs(model, [item], [[logits[:1], logits[1:]]])
        best = max(legal, key=lambda path: float(logits[range(4), path].double().sum()))
        assert output.names == [labels[tag] for tag in best]
        assert output.probabilities == pytest.approx(logits.softmax(1)[range(4), best].tolist())
        repaired += best != tuple(logits.argmax(1).tolist())
    assert repaired > 5


@pytest.mark.parametrize("labels", [["NOUN", "VERB", "B-X", "I-X"], ["O", "I-X", "B-Y", "I-Y"], ["B-X", "I-X", "I-Y"]])
def test_labels_of_no_scheme_are_each_words_likeliest(labels: list[str]) -> None:
    """So are those of IOB1, where an I- may come first."""
    torch.manual_seed(0)
    model = TokenClassifier(tiny_config("bert").with_labels(dict(enumerate(labels)))).eval()
    task = ner.NerTask(ner.NerSettings())
    windows = [Window(np.arange(5, 12, dtype=np.int32), np.array([-100, *[0] * 5, -100], np.int16), 1)]
    batch = task.collate(windows)
    logits = torch.randn(7, len(labels))
    item = task.parse_input({"tokens": list("abcde")}, "here")
    (output,) = task.outputs(model, [item], [task.decode(model, logits, batch, windows)])
    assert output.names == [labels[tag] for tag in logits[1:-1].argmax(1)]
    assert output.probabilities == pytest.approx(logits[1:-1].softmax(1).amax(1).tolist())
