"""Initial weights for pre-training from counts of the corpus, instead of random ones.

A small model takes long to learn what can be counted in a minute. Initialised here:

- word embeddings: the leading singular vectors of the words' positive pointwise mutual information (Levy and Goldberg
  2014), in all dimensions but a few;
- position embeddings: sines and cosines (Vaswani et al. 2017, section 3.5) in those few;
- queries and keys of some heads: rotations of the positions, so that the first two layers attend to the token itself,
  its neighbours, and theirs (relative positions as rotations: Su et al. 2021);
- values and outputs of attention: random orthogonal maps, which preserve what is attended to (Saxe et al. 2014);
- the language head's bias: the logarithms of the words' frequencies.

All of these are trained further.
"""

import math
from collections.abc import Callable, Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from minibert import PretrainingModel
from minibert.encoder import Layer

Parts = Callable[[], Iterable[NDArray[np.integer]]]
"""Gives the ids of a corpus, part by part, as often as it is called."""

MOST_WORDS = 12_000  # the most frequent ones are counted; each pair takes 4 bytes, several times over
WINDOW = 5
MOST_POSITION_WIDTH = 32
WORD_SCALE, POSITION_SCALE = 0.04, 0.02  # root mean square; LayerNorm follows their sum
FREQUENCIES = (2.0, 0.02)  # radians a token, fastest and slowest
# Relative positions that the first heads of the first layers attend to; the other heads stay random.
OFFSETS = ((-1, 1, 0), (-2, 2))
SHARPNESS = 2.0
GAIN = 0.8


def init_from_cooccurrences(model: PretrainingModel, parts: Parts, seed: int) -> None:
    """Initialises the weights listed above; leaves the others.

    Args:
        model: of any family.
        parts: gives the tokens of the corpus, with separators.
        seed: of random choices.
    """
    generator = torch.Generator().manual_seed(seed)
    embeddings = model.encoder.embeddings
    words, positions = embeddings.word_embeddings.weight, embeddings.position_embeddings.weight
    width, head_width = words.shape[1], model.config.hidden_size // model.config.num_attention_heads
    position_width = min(MOST_POSITION_WIDTH, head_width, width // 2) // 2 * 2
    basis = _orthogonal(width, generator)
    position_basis, word_basis = basis[:position_width], basis[position_width:]  # (P, E), (E - P, E)
    fastest, slowest = FREQUENCIES
    turns = torch.logspace(math.log10(fastest), math.log10(slowest), position_width // 2)  # (P / 2,)
    frequencies = np.zeros(len(words), np.int64)
    for part in parts():
        frequencies += np.bincount(part, minlength=len(words))
    frequent = np.argsort(-frequencies, kind="stable")[: min(MOST_WORDS, np.count_nonzero(frequencies))]
    ranks = np.full(len(words), len(frequent))
    ranks[frequent] = np.arange(len(frequent))
    with torch.no_grad():
        counts = cooccurrences(lambda: (ranks[part] for part in parts()), len(frequent))
        vectors = word_vectors(counts, len(word_basis), generator)
        words[frequent] = vectors @ word_basis[: vectors.shape[1]] * (WORD_SCALE * width**0.5)
        waves = _rotate(torch.tensor([1.0, 0.0]).repeat(len(turns)), torch.arange(len(positions))[:, None] * turns)
        positions.copy_(waves / len(turns) ** 0.5 @ position_basis * (POSITION_SCALE * width**0.5))
        logarithms = torch.from_numpy(frequencies + 1).float().log()
        model.mlm.bias.copy_(logarithms - logarithms.mean())
        if isinstance(embeddings.projection, nn.Linear):
            nn.init.orthogonal_(embeddings.projection.weight, generator=generator)
            position_basis = position_basis @ embeddings.projection.weight.T  # (P, C)
        for number, layer in enumerate(dict.fromkeys(model.encoder.layers())):
            _pass_on(layer, generator)
            if number < len(OFFSETS):
                _look(layer, OFFSETS[number], position_basis, turns)


def cooccurrences(parts: Parts, num_words: int) -> Tensor:
    """How often two words occur within 5 tokens of each other, weighted by 1 / distance: ``(V, V)``.

    Args:
        parts: gives the ids; those of at least ``num_words`` are other words.
        num_words: V.
    """
    counts = np.zeros(num_words * num_words, dtype=np.float32)
    for distance in range(1, WINDOW + 1):
        at_distance = np.zeros(len(counts), dtype=np.uint32)
        before = np.empty(0, np.int64)
        for part in parts():
            ids = np.concatenate([before, part])
            first, second = ids[:-distance], ids[distance:]
            np.add.at(at_distance, (first * num_words + second)[(first < num_words) & (second < num_words)], 1)
            before = ids[-distance:]
        counts += (at_distance / distance).astype(np.float32)
    one_way = torch.from_numpy(counts).view(num_words, num_words)
    return one_way + one_way.T


def word_vectors(counts: Tensor, width: int, generator: torch.Generator) -> Tensor:
    """Unit vectors ``(V, width)``, or narrower for fewer words, from counts ``(V, V)``.

    The truncated singular value decomposition of the positive pointwise mutual information, with contexts' counts to
    the power of 0.75 and singular values to that of 0.5 (Levy, Goldberg and Dagan 2015).
    """
    contexts = counts.sum(0) ** 0.75
    expected = counts.sum(1, keepdim=True) * (contexts / contexts.sum())
    information = (counts / expected.clamp(min=1e-12)).log_().clamp_(min=0)
    with torch.random.fork_rng(devices=()):  # svd_lowrank draws from the global generator
        torch.manual_seed(generator.initial_seed())
        left, values, _ = torch.svd_lowrank(information, q=min(width + 16, len(counts)), niter=3)
    vectors = left[:, :width] * values[:width] ** 0.5
    return nn.functional.normalize(vectors - vectors.mean(0), dim=1)


def _orthogonal(size: int, generator: torch.Generator) -> Tensor:
    return nn.init.orthogonal_(torch.empty(size, size), generator=generator)


def _rotate(pairs: Tensor, angles: Tensor) -> Tensor:
    """Rotates pairs of coordinates ``(..., P)`` by angles ``(..., P / 2)``."""
    x, y = pairs.unflatten(-1, (-1, 2)).unbind(-1)
    cos, sin = angles.cos(), angles.sin()
    return torch.stack([x * cos - y * sin, x * sin + y * cos], -1).flatten(-2)


def _pass_on(layer: Layer, generator: torch.Generator) -> None:
    attention = layer.attention
    for weight in (attention.qkv.weight.chunk(3)[2], attention.output.weight):
        weight.copy_(GAIN * _orthogonal(len(weight), generator))


def _look(layer: Layer, offsets: tuple[int, ...], position_basis: Tensor, turns: Tensor) -> None:
    """Adds rotated positions to the queries and keys of heads, so that positions an offset apart match best."""
    attention = layer.attention
    queries, keys, _ = attention.qkv.weight.unflatten(0, (3, attention.num_heads, -1))  # (H, D, C) each
    for offset, query, key in zip(offsets, queries, keys, strict=False):
        query[: len(position_basis)] += SHARPNESS * _rotate(position_basis.T, offset * turns).T
        key[: len(position_basis)] += SHARPNESS * position_basis
