"""Scores of n-grams of tokens beside an encoder's: what a linear model knows of a text."""

from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minibert.traced import Batch

BUCKETS = 32_749
"""The largest prime below 2^15: so many rows tell the n-grams of some ten thousand texts apart well enough."""

Numbers = TypeVar("Numbers", Tensor, Any)


class NgramScores(nn.Module):
    """A linear model on a sequence's tokens and pairs of neighbours, as the wide part of Cheng et al. 2016, "Wide &
    Deep Learning for Recommender Systems".

    The n-grams share ``buckets`` rows by a hash of their ids (Weinberger et al. 2009). Each counts as often as it
    occurs, by its inverse document frequency, over the root of the sum of these frequencies' squares. Training leaves
    the parameters as they are: they are fitted once the encoder is trained (:mod:`tasks.classification.ngrams`).

    Attributes:
        weight: ``(buckets, K)``, the scores of each label, times the frequency.
        frequency: ``(buckets,)``, the inverse document frequency.
        bias: ``(K,)``.
        log_weight: ``(1,)``, the logarithm of what the encoder's logits are multiplied by.
    """

    def __init__(self, buckets: int, num_labels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(buckets, num_labels), requires_grad=False)
        self.frequency = nn.Parameter(torch.zeros(buckets), requires_grad=False)
        self.bias = nn.Parameter(torch.zeros(num_labels), requires_grad=False)
        self.log_weight = nn.Parameter(torch.zeros(1), requires_grad=False)

    def clear(self) -> None:
        """Makes all scores 0 and leaves logits as they are, as it is before the fit."""
        for parameter in self.parameters():
            parameter.data.zero_()

    def forward(self, logits: Tensor, batch: Batch) -> Tensor:
        """Logits and scores, ``(B, K)``; in training the logits alone, as no scores are fitted yet."""
        return logits if self.training else logits * self.log_weight.exp() + self.scores(batch)

    def scores(self, batch: Batch) -> Tensor:
        """The scores of each sequence, ``(B, K)`` in fp32."""
        ids, positions, buckets = batch.input_ids, batch.position_ids, self.weight.shape[0]
        follows = positions.roll(-1) == positions + 1  # the next token is of the same sequence
        rows = unigram_rows(ids, buckets), bigram_rows(ids, ids.roll(-1), buckets)
        weights = [F.embedding(of, self.weight) for of in rows]  # (T, K) each
        squares = [F.embedding(of, self.frequency[:, None]).square() for of in rows]  # (T, 1) each
        scores, squared_length = (
            batch.sum(own + torch.where(follows[:, None], pair, 0.0)) for own, pair in (weights, squares)
        )
        return scores / squared_length.sqrt().clamp(min=1e-9) + self.bias


def unigram_rows(ids: Numbers, buckets: int) -> Numbers:
    """The rows of tokens, of a tensor or an array of int64."""
    return ids * 40_503 % buckets


def bigram_rows(first: Numbers, second: Numbers, buckets: int) -> Numbers:
    """The rows of pairs of tokens."""
    return (first * 1_000_003 + second * 7_919 + 12_345) % buckets
