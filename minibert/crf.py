"""A linear-chain conditional random field (CRF): labels scored as whole sequences.

The score of the tags ``y`` of a sequence of n words sums the emission of each tag, the transitions between neighbours,
and a start and an end score (Lample et al. 2016, section 2.2; the model is that of Lafferty et al. 2001)::

    s(y) = start[y_1] + sum_t emissions[t, y_t] + sum_t transitions[y_t, y_t+1] + end[y_n]
    log p(y) = s(y) - log Z,    Z = sum of exp s(y') over all y'

Shapes here: N words in total, B sequences, S words in the longest, K labels.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from minibert.batch import to_device
from minibert.errors import InputError

Lengths = tuple[int, ...]
_MOST_LABELS = 5000


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
        if count > _MOST_LABELS:
            raise InputError(f"a CRF over {count:,} labels: {_MOST_LABELS:,} is the most; use the linear head.")
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
            padded, chosen = _pad(emissions.to(start.dtype), lengths), _pad(tags, lengths)
            mask = _mask(lengths, emissions.device)
            forward, shifts = _forward(padded, mask, start, transitions)

            # Subtracted word by word: in fp32 the difference of two large sums would lose precision.
            emitted = (padded.gather(2, chosen.unsqueeze(2)).squeeze(2) - shifts).sum(0)
            transitioned = torch.where(mask[1:], transitions[chosen[:-1], chosen[1:]], 0.0).sum(0)
            last = chosen.gather(0, mask.sum(0, keepdim=True) - 1).squeeze(0)
            return start[chosen[0]] + emitted + transitioned + end[last] - (forward[-1] + end).logsumexp(1)

    @torch.no_grad()
    def viterbi(self, emissions: Tensor, lengths: Lengths) -> list[list[int]]:
        """The allowed tags with the highest score (Viterbi 1967), for whole sentences.

        Takes emissions ``(N, K)`` and the B lengths; returns the tags of each sequence. Raises ValueError as
        :meth:`log_likelihood` does.
        """
        with torch.autocast(emissions.device.type, enabled=False):
            start, transitions, end = self._scores(emissions, whole_sentences=True)
            padded, mask = _pad(emissions.to(start.dtype), lengths), _mask(lengths, emissions.device)
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
        """The probability of each tag at each word, over all allowed tags of whole sentences (forward-backward:
        Rabiner 1989, section III).

        Takes emissions ``(N, K)`` and the B lengths; returns ``(N, K)``, whose rows sum to 1. Raises ValueError as
        :meth:`log_likelihood` does.
        """
        with torch.autocast(emissions.device.type, enabled=False):
            start, transitions, end = self._scores(emissions, whole_sentences=True)
            padded, mask = _pad(emissions.to(start.dtype), lengths), _mask(lengths, emissions.device)
            forward, _ = _forward(padded, mask, start, transitions)
            after = end.expand_as(padded[0])
            backward = [after]
            for emission, inside in zip(padded[1:].flip(0), mask[1:].unsqueeze(2).flip(0), strict=True):
                score = (transitions + (emission + after).unsqueeze(1)).logsumexp(2)  # by the earlier tag
                after = torch.where(inside, score - score.amax(1, keepdim=True), end)
                backward.append(after)
            probabilities = (forward + torch.stack(backward[::-1])).softmax(2)
            return torch.cat([probabilities[:length, row] for row, length in enumerate(lengths)])

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


def _forward(padded: Tensor, mask: Tensor, start: Tensor, transitions: Tensor) -> tuple[Tensor, Tensor]:
    """The forward recursion (Rabiner 1989, section III), in logarithms.

    Returns:
        ``(S, B, K)``: for each word and tag, the log of the summed exp score of all paths to it, less the shifts so
        far; past the end of a sequence, its last value is repeated.
        ``(S, B)``: the shifts. They keep the largest value of each word at 0, where fp32 is most precise, which the
        gradients of long sentences need.
    """
    score = start + padded[0]
    forward, shifts = [], []
    for position, (emission, inside) in enumerate(zip(padded, mask.unsqueeze(2), strict=True)):
        if position:
            score = torch.where(inside, (score.unsqueeze(1) + transitions.T).logsumexp(2) + emission, score)
        shift = score.detach().amax(1, keepdim=True)
        score = score - shift
        forward.append(score)
        shifts.append(shift)
    return torch.stack(forward), torch.cat(shifts, 1).T


def _pad(values: Tensor, lengths: Lengths) -> Tensor:
    """Sequences end to end ``(N, ...)`` -> time-major ``(S, B, ...)``; 0 past the end of a sequence."""
    if not lengths or min(lengths) < 1:
        raise ValueError(f"lengths {lengths}: there must be at least one sequence, and a word in each.")
    return nn.utils.rnn.pad_sequence(list(values.split(lengths)))


def _mask(lengths: Lengths, device: torch.device) -> Tensor:
    """``(S, B)``: true before the end of each sequence."""
    return torch.arange(max(lengths), device=device).unsqueeze(1) < to_device(torch.tensor(lengths), device)
