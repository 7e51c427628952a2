"""What pre-training starts from is what can be counted."""

from functools import partial

import numpy as np
import pytest
import torch
from conftest import FAMILIES, largest_difference
from numpy.typing import NDArray

from minibert import EncoderConfig, PretrainingModel, pack
from tasks.pretraining.cooccurrence_init import OFFSETS, cooccurrences, init_from_cooccurrences, word_vectors

WORDS = 130


def corpus(length: int = 3000) -> NDArray[np.int64]:
    """Words 10 to 19 stand between words 20 to 29, 30 to 39 between 40 to 49; the others never occur."""
    random = np.random.default_rng(0)
    pairs = random.integers(0, 10, (length, 2)) + random.choice([[10, 20], [30, 40]], length).repeat(1, axis=0)
    return pairs.reshape(-1)


def test_counts_are_those_of_brute_force() -> None:
    """However the corpus is divided into parts."""
    ids = np.random.default_rng(1).integers(0, 7, 50)
    expected = np.zeros((7, 7))
    for i in range(len(ids)):
        for j in range(len(ids)):
            if 0 < abs(i - j) <= 5:
                expected[ids[i], ids[j]] += 1 / abs(i - j)
    for borders in ([], [20], [1, 2, 3, 30, 30]):
        parts = partial(np.split, ids, borders)
        assert np.allclose(cooccurrences(parts, 7), expected, atol=1e-5)


def test_word_vectors_are_those_of_numpys_decomposition() -> None:
    counts = cooccurrences(lambda: [corpus()], WORDS)
    vectors = word_vectors(counts, 8, torch.Generator().manual_seed(0))

    c = counts.double().numpy()
    with np.errstate(all="ignore"):
        context = c.sum(0) ** 0.75
        information = np.log(c / (c.sum(1, keepdims=True) * context / context.sum()))
    information[~(information > 0)] = 0
    left, values, _ = np.linalg.svd(information)
    expected = left[:, :8] * values[:8] ** 0.5
    expected -= expected.mean(0)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert np.allclose(vectors @ vectors.T, expected @ expected.T, atol=2e-2)


@pytest.mark.parametrize("family", FAMILIES)
def test_heads_look_at_neighbours_and_words_that_are_used_alike_are_alike(family: str) -> None:
    shape = {"hidden_size": 96, "num_attention_heads": 3, "intermediate_size": 8, "num_hidden_layers": 3}
    if family == "albert":
        shape["embedding_size"] = 64
    config = EncoderConfig.from_dict(
        {**shape, "model_type": family, "vocab_size": WORDS, "max_position_embeddings": 66}
    )
    model = PretrainingModel(config).eval()
    untouched = model.encoder.embeddings.word_embeddings.weight[50:].clone()
    init_from_cooccurrences(model, lambda: [corpus()], seed=0)

    embeddings = model.encoder.embeddings
    words = embeddings.word_embeddings.weight.detach()
    assert torch.equal(words[50:], untouched)  # they do not occur
    alike = torch.nn.functional.cosine_similarity(words[:, None], words, dim=-1)
    assert alike[10:20, 10:20].mean() > alike[10:20, 30:40].mean() + 0.5
    assert model.mlm.bias[10:20].min() > model.mlm.bias[50:].max()

    with torch.no_grad():
        x = embeddings(pack([torch.randint(10, 50, (60,)).tolist()]))
        for (layer,), offsets in zip(model.encoder.groups, OFFSETS, strict=False):
            queries, keys, values = layer.attention.qkv(x).view(60, 3, 3, -1).permute(1, 2, 0, 3)
            best = (queries @ keys.mT).argmax(-1)  # (H, 60)
            for head, offset in enumerate(offsets):
                assert (best[head, 4:-4] - torch.arange(4, 56) == offset).float().mean() > 0.9
            # what is looked at arrives with its length
            passed = layer.attention.output(values.transpose(0, 1).reshape(60, -1)) - layer.attention.output.bias
            lengths = passed.norm(dim=1) / x.norm(dim=1)
            assert largest_difference(lengths, torch.full((60,), 0.64)) < 1e-4
