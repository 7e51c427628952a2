"""Pairs of segments whose relation a model predicts: BERT's next sentence and ALBERT's sentence order.

A segment is one or more sentences, as tokens ``start:end`` of a :class:`TokenStream`.
"""

from typing import NamedTuple

import numpy as np

from tasks.pretraining.tokens import TokenStream

Segment = tuple[int, int]
NEXT_SENTENCE, SENTENCE_ORDER = "next_sentence", "sentence_order"


class Pair(NamedTuple):
    """Two segments, and the label: 1 if the second does not follow the first, being from elsewhere or swapped with it.

    The numbers are those of ``next_sentence_label`` and ``sentence_order_label`` in Hugging Face's models.
    """

    first: Segment
    second: Segment
    label: int


def draw_pair(objective: str, stream: TokenStream, chunk: Segment, generator: np.random.Generator) -> Pair:
    """Splits a chunk of two or more sentences into two segments at random, and breaks their relation half the time.

    For the next sentence, the second segment then comes from another document (Devlin et al. 2019, section 3.1); for
    the sentence order, the two are swapped (Lan et al. 2020, section 3.1).
    """
    border = int(generator.choice(stream.sentences_between(chunk[0] + 1, chunk[1])))
    first, second = (chunk[0], border), (border, chunk[1])
    label = int(generator.random() < 0.5)
    if label and objective == SENTENCE_ORDER:
        return Pair(second, first, label)
    return Pair(first, _from_elsewhere(stream, second, generator) if label else second, label)


def _from_elsewhere(stream: TokenStream, segment: Segment, generator: np.random.Generator) -> Segment:
    """Sentences of another document, from a random one on, as long as ``segment`` or a little shorter: a different
    distribution of lengths would give the label away."""
    borders = stream.filled
    own = np.searchsorted(borders, segment[0], side="right") - 1
    other = int(generator.integers(len(borders) - 2))
    document = other + int(other >= own)
    end = int(borders[document + 1])
    start = int(generator.choice(stream.sentences_between(borders[document], end)))
    limit = min(start + segment[1] - segment[0], end)
    whole = stream.sentences_between(start + 1, limit + 1)
    if limit == end or not len(whole):
        return start, limit
    return start, int(whole[-1])
