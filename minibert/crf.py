"""A linear-chain conditional random field (CRF): labels scored as whole sequences.

The score of the tags ``y`` of a sequence of n words sums the emission of each tag, the transitions between neighbours,
and a start and an end score (Lample et al. 2016, section 2.2; the model is that of Lafferty et al. 2001)::

    s(y) = start[y_1] + sum_t emissions[t, y_t] + sum_t transitions[y_t, y_t+1] + end[y_n]
    log p(y) = s(y) - log Z,    Z = sum of exp s(y') over all y'

Shapes here: N words in total, B sequences, S words in the longest, K labels.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from minibert.batch import all_to_device
from minibert.errors import InputError
from minibert.grids import RowMap, move_rows

Lengths = tuple[int, ...]
MOST_LABELS = 5000
_MOST_IN_TREE = 2**28  # K^3 for each padded word: in fp32, half of them, at most 512 MB, are in memory at a time


class LinearChainCRF(nn.Module):
    """Scores label sequences, for B sequences end to end, as everywhere in this project.

    Only well-formed label sequences have a probability (:func:`tag_constraints`); what may come first and last is
    constrained in whole sentences alone (:meth:`viterbi`, :meth:`marginals`). A new CRF, whose scores are all 0,
    decodes the likeliest well-formed sequence of any log-probabilities.

    Everything is computed in fp32, also under autocast; fp64 emissions stay fp64.

    Args:
        id2label: the labels by index, from 0.

    Raises:
        InputError: there are more than 5,000: time and memory grow with their square.
    """

    forbidden: Tensor
    forbidden_first: Tensor
    forbidden_last: Tensor

    def __init__(self, id2label: Mapping[int, str]) -> None:
        super().__init__()
        count = len(id2label)
        if count > MOST_LABELS:
            raise InputError(f"a CRF over {count:,} labels: {MOST_LABELS:,} is the most; train with fewer.")
        self.transitions = nn.Parameter(torch.zeros(count, count))  # from row to column
        self.start = nn.Parameter(torch.zeros(count))
        self.end = nn.Parameter(torch.zeros(count))

        forbidden, forbidden_first, forbidden_last = tag_constraints(id2label)
        self.register_buffer("forbidden", forbidden, persistent=False)
        self.register_buffer("forbidden_first", forbidden_first, persistent=False)
        self.register_buffer("forbidden_last", forbidden_last, persistent=False)

    def log_likelihood(self, emissions: Tensor, tags: Tensor, lengths: Lengths) -> Tensor:
        """``log p(tags)`` of each sequence, among all sequences with allowed transitions.

        Any label may come first or last, because a window of a long sentence may begin or end inside an entity.

        Args:
            emissions: ``(N, K)``.
            tags: ``(N,)`` int64. With a forbidden transition the result is minus infinity.
            lengths: of the B sequences, on the host.

        Returns:
            ``(B,)``.

        Raises:
            ValueError: there is no sequence, or one is empty.
        """
        with torch.autocast(emissions.device.type, enabled=False):
            start, transitions, end = self._scores(emissions)
            by_tree = _by_tree(emissions.device, lengths, len(start))
            padding = _pad(lengths, emissions.device, to_power_of_two=by_tree)
            padded, chosen = padding.of(emissions.to(start.dtype)), tags[padding.rows.source].view_as(padding.mask)
            gold = _scores_of_words(padded, chosen, padding.mask, start, transitions)
            paths = _paths_by_tree if by_tree else _paths_by_recursion
            gold_left, forward = paths(gold, padded, padding.mask, start, transitions)
            return gold_left + end.index_select(0, chosen[-1]) - (forward + end).logsumexp(1)

    @torch.no_grad()
    def viterbi(self, emissions: Tensor, lengths: Lengths) -> list[list[int]]:
        """The allowed tags with the highest score (Viterbi 1967), for whole sentences.

        Takes emissions ``(N, K)`` and the B lengths; returns the tags of each sequence. Raises ValueError as
        :meth:`log_likelihood` does.
        """
        with torch.autocast(emissions.device.type, enabled=False):
            start, transitions, end = self._scores(emissions, whole_sentences=True)
            padding = _pad(lengths, emissions.device)
            padded, mask = padding.of(emissions.to(start.dtype)), padding.mask
            identity = torch.arange(len(start), device=start.device)
            best, backpointers = start + padded[0], []
            for emission, inside in zip(padded[1:], mask[1:].unsqueeze(2), strict=True):
                score, before = (best.unsqueeze(1) + transitions.T).max(2)  # (B, K) each, by the later tag
                score = score + emission
                best = torch.where(inside, score - score.amax(1, keepdim=True), best)
                backpointers.append(torch.where(inside, before, identity))
            path = [(best + end).argmax(1, keepdim=True)]
            for before in reversed(backpointers):
                path.append(before.gather(1, path[-1]))
            rows = torch.cat(path[::-1], 1).tolist()  # all at once, since it waits for the device
            return [row[:length] for row, length in zip(rows, lengths, strict=True)]

    @torch.no_grad()
    def marginals(self, emissions: Tensor, lengths: Lengths) -> Tensor:
        """The probability of each tag at each word, over all allowed tags of whole sentences.

        Takes emissions ``(N, K)`` and the B lengths; returns ``(N, K)``, whose rows sum to 1. Raises ValueError as
        :meth:`log_likelihood` does.
        """
        return self._scores_at_words(emissions, lengths, whole_sentences=True).softmax(1)

    def log_marginals(self, emissions: Tensor, lengths: Lengths) -> Tensor:
        """The logarithms of the marginals among all sequences that :meth:`log_likelihood` knows, with gradients, in the
        same shapes; they are finite. What a distribution over a word's tags is compared with (as the posteriors of
        Wang et al. 2020, *Structure-Level Knowledge Distillation For Multilingual Sequence Labeling*).
        """
        return self._scores_at_words(emissions, lengths, whole_sentences=False).log_softmax(1)

    def _scores_at_words(self, emissions: Tensor, lengths: Lengths, *, whole_sentences: bool) -> Tensor:
        """For each word and tag, the logarithm of the summed exp score of all sequences with it, less a number of the
        word's (forward-backward: Rabiner 1989, section III): ``(N, K)``.

        Both directions at once, ``(2, B, K)``, since a step's kernels take less time than their launch. With gradients,
        ``(2, B, K, K)`` of each step is kept.
        """
        with torch.autocast(emissions.device.type, enabled=False):
            start, transitions, end = self._scores(emissions, whole_sentences=whole_sentences)
            padding = _pad(lengths, emissions.device)
            padded, mask = padding.of(emissions.to(start.dtype)), padding.mask
            outside = torch.stack([start, end]).unsqueeze(1)
            moves = torch.stack([transitions.T, transitions]).unsqueeze(1)  # from a neighbour's tag (column)
            inside = torch.stack([torch.ones_like(mask), mask.flip(0)], 1).unsqueeze(3)
            state = outside.expand(2, *padded.shape[1:])
            states = [state]
            for emission, here in zip(torch.stack([padded, padded.flip(0)], 1)[:-1], inside[:-1], strict=True):
                score = ((state + emission).unsqueeze(2) + moves).logsumexp(3)
                state = torch.where(here, score - score.detach().amax(2, keepdim=True), outside)
                states.append(state)
            before, after = torch.stack(states).unbind(1)
            scores = before + padded + after.flip(0)
            return scores.flatten(0, 1).index_select(0, padding.rows.target)

    def _scores(self, emissions: Tensor, *, whole_sentences: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        """start, transitions and end in the type to compute in; minus infinity if forbidden."""
        dtype = torch.promote_types(emissions.dtype, torch.float32)
        start, end = self.start.to(dtype), self.end.to(dtype)
        if whole_sentences:
            start = start.masked_fill(self.forbidden_first, -torch.inf)
            end = end.masked_fill(self.forbidden_last, -torch.inf)
        return start, self.transitions.to(dtype).masked_fill(self.forbidden, -torch.inf), end


def tag_constraints(id2label: Mapping[int, str]) -> tuple[Tensor, Tensor, Tensor]:
    """What a tag scheme forbids, for BIO and, if there is a label ``O``, for BIOES and BMES.

    If ``B-X`` is a label, ``I-X``, ``M-X`` and ``E-X`` follow only ``B-X``, ``I-X`` or ``M-X``. If ``E-X`` is one as
    well, these three are followed by ``I-X``, ``M-X`` or ``E-X``. All other labels are unconstrained.

    Returns:
        ``(K, K)``: the later label (column) must not follow the earlier one (row).
        ``(K,)``: the label must not come first in a sentence.
        ``(K,)``: the label must not come last.
    """
    count = len(id2label)
    # On the CPU even if a model is built on the meta device, which has no values.
    forbidden = torch.zeros(count, count, dtype=torch.bool, device="cpu")
    first, last = (torch.zeros(count, dtype=torch.bool, device="cpu") for _ in range(2))
    index_of = {label: index for index, label in id2label.items()}
    for begin in [label for label in index_of if label.startswith("B-")]:
        unclosed = [index_of[label] for prefix in "BIM" if (label := prefix + begin[1:]) in index_of]
        inside = [index_of[label] for prefix in "IME" if (label := prefix + begin[1:]) in index_of]
        others = [index for index in range(count) if index not in unclosed]
        for index in inside:
            forbidden[others, index] = True
            first[index] = True
        if f"E{begin[1:]}" in index_of and "O" in index_of:
            others = [index for index in range(count) if index not in inside]
            for index in unclosed:
                forbidden[index, others] = True
                last[index] = True
    return forbidden, first, last


def _by_tree(device: torch.device, lengths: Lengths, num_labels: int) -> bool:
    """Whether to sum over all paths by a tree: on CUDA, where each of the recursion's S steps waits for some 20 kernels
    that take less time than their launch. The tree computes K times as much, which a CPU has no time for, and needs the
    memory for it.
    """
    words = len(lengths) * _power_of_two(max(lengths, default=1))
    return device.type == "cuda" and words * num_labels**3 <= _MOST_IN_TREE


def _scores_of_words(padded: Tensor, tags: Tensor, mask: Tensor, start: Tensor, transitions: Tensor) -> Tensor:
    """What each word adds to the score of the path ``tags (S, B)``, but for ``end``: ``(S, B)``, 0 past the end."""
    emitted = padded.gather(2, tags.unsqueeze(2)).squeeze(2)
    pairs = (tags[:-1] * len(start) + tags[1:]).flatten()
    moved = transitions.flatten().index_select(0, pairs).view_as(tags[1:])
    return emitted + torch.cat([start.index_select(0, tags[0]).unsqueeze(0), moved.where(mask[1:], 0.0)])


def _paths_by_recursion(
    gold: Tensor, padded: Tensor, mask: Tensor, start: Tensor, transitions: Tensor
) -> tuple[Tensor, Tensor]:
    """One path, of which each word's score is given, ``(S, B)``, and all paths, less the same shifts: ``(B,)``, and
    ``(B, K)`` by the last tag.

    The forward recursion (Rabiner 1989, section III), in logarithms; past the end of a sequence the score stays. The
    shifts keep the largest value of each word at 0, where fp32 is most precise, which the gradients of long sentences
    need.
    """
    score, shifts = start + padded[0], []
    for position, (emission, inside) in enumerate(zip(padded, mask.unsqueeze(2), strict=True)):
        if position:
            score = torch.where(inside, (score.unsqueeze(1) + transitions.T).logsumexp(2) + emission, score)
        shift = score.detach().amax(1, keepdim=True)
        score = score - shift
        shifts.append(shift)
    # Word by word: in fp32 the difference of two large sums would lose precision.
    return (gold - torch.cat(shifts, 1).T).sum(0), score


def _paths_by_tree(
    gold: Tensor, padded: Tensor, mask: Tensor, start: Tensor, transitions: Tensor
) -> tuple[Tensor, Tensor]:
    """Like :func:`_paths_by_recursion`, for S that is a power of two, in log S steps.

    A word is a matrix ``(K, K)`` of the scores of its tag (column) after another (row), and the paths through two
    words are the product of their matrices in the log semiring, where sums are logsumexp and products are sums
    (Särkkä and García-Fernández 2021; Rush 2020). All neighbours are multiplied at once, then all pairs, and so on.
    """
    words, labels = padded.shape[0], len(start)
    moves = torch.cat([start.expand(1, labels, labels), transitions.expand(words - 1, labels, labels)])
    identity = torch.eye(labels, dtype=padded.dtype, device=padded.device).log()
    matrices = (moves.unsqueeze(1) + padded.unsqueeze(2)).where(mask[:, :, None, None], identity)  # (S, B, K, K)
    while len(matrices) > 1:
        matrices, shifts = _ProductOfPairs.apply(matrices)
        gold = gold.unflatten(0, (-1, 2)).sum(1) - shifts
    return gold.squeeze(0), matrices[0, :, 0]  # all rows are equal, since those of the first word are


class _ProductOfPairs(torch.autograd.Function):
    """Products of neighbours in the log semiring: ``(2n, B, K, K)`` -> ``(n, B, K, K)``, whose largest value is shifted
    to 0, where fp32 is most precise, and the shifts ``(n, B)``.

    By matrix products of the exponentials, small terms would vanish that are all there is to a sum. PyTorch's logsumexp
    would keep ``(n, B, K, K, K)`` for its backward pass, in which sums that are minus infinity become NaN.
    """

    @staticmethod
    def forward(ctx: Any, matrices: Tensor) -> tuple[Tensor, Tensor]:
        terms = _terms_of_pairs(matrices)
        largest = _finite(terms.amax(3))
        sums = terms.sub_(largest.unsqueeze(3)).exp_().sum(3).log_().add_(largest)
        ctx.save_for_backward(matrices, sums)
        shifts = sums.amax((2, 3))
        ctx.mark_non_differentiable(shifts)
        return sums - shifts[:, :, None, None], shifts

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, _: Tensor) -> Tensor:
        matrices, sums = ctx.saved_tensors
        shares = _terms_of_pairs(matrices).sub_(_finite(sums).unsqueeze(3)).exp_().mul_(gradient.unsqueeze(3))
        return torch.stack([shares.sum(4), shares.sum(2)], 1).view_as(matrices)


def _terms_of_pairs(matrices: Tensor) -> Tensor:
    """``(2n, B, K, K)`` -> ``(n, B, K, K, K)``: by the first tag, the one in the middle and the last."""
    first, second = matrices.unflatten(0, (-1, 2)).unbind(1)
    return first.unsqueeze(4) + second.unsqueeze(2)


def _finite(x: Tensor) -> Tensor:
    """With the lowest number for minus infinity, which could not be subtracted from itself."""
    return x.clamp(min=torch.finfo(x.dtype).min)


class _Padding(NamedTuple):
    """Sequences end to end ``(N, ...)`` as a time-major grid: ``rows`` moves them to ``(S B, ...)``, where each ends
    in copies of its last word, and ``mask (S, B)`` is false there.
    """

    rows: RowMap
    mask: Tensor

    def of(self, values: Tensor) -> Tensor:
        """``(N, K)`` -> ``(S, B, K)``; 0 past the end of a sequence."""
        return move_rows(values, self.rows).view(*self.mask.shape, -1).where(self.mask.unsqueeze(2), 0.0)


def _pad(lengths: Lengths, device: torch.device, *, to_power_of_two: bool = False) -> _Padding:
    if not lengths or min(lengths) < 1:
        raise ValueError(f"lengths {lengths}: there must be at least one sequence, and a word in each.")
    ends = np.cumsum(lengths)
    words = np.arange(_power_of_two(max(lengths)) if to_power_of_two else max(lengths))[:, None]
    source = ends - lengths + np.minimum(words, np.array(lengths) - 1)  # (S, B)
    mask = words < lengths
    sequence, word = np.nonzero(mask.T)
    arrays = {"source": source.ravel(), "target": word * len(lengths) + sequence, "mask": mask}
    sent = all_to_device({name: torch.from_numpy(array) for name, array in arrays.items()}, device)
    return _Padding(RowMap(source=sent["source"], target=sent["target"], unused=sent["source"][:0]), sent["mask"])


def _power_of_two(number: int) -> int:
    """The lowest that is not below ``number``."""
    return 1 << (number - 1).bit_length()
