"""A linear-chain conditional random field: labels that are scored as a whole sequence.

The score of the tags ``y`` of a sequence of n places is the sum of their emissions, of a transition between neighbours,
and of what it costs to begin and to end with them (Lample et al. 2016, section 2.2; the model is that of Lafferty et
al. 2001)::

    s(y) = start[y_1] + sum_t emissions[t, y_t] + sum_t transitions[y_t, y_t+1] + end[y_n]
    log p(y) = s(y) - log Z,    Z = the sum of exp s(y') over all y'

Shapes here: N places in all sequences together, B sequences, S places in the longest, K labels.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from minibert.batch import to_device

Lengths = tuple[int, ...]


class LinearChainCRF(nn.Module):
    """Scores of label sequences, for B sequences that lie end to end, as everywhere in this project.

    Sums over sequences run over the ones that BIO allows: ``I-X`` follows only ``B-X`` or ``I-X``. In whole sentences
    (:meth:`viterbi`, :meth:`marginals`) it does not come first either. An ``I-X`` without a ``B-X`` among the labels is
    free, and so are labels of another kind.

    Everything is computed in fp32, also under autocast; fp64 emissions stay fp64.

    Args:
        id2label: the labels by index, from 0.
    """

    forbidden: Tensor
    forbidden_first: Tensor

    def __init__(self, id2label: Mapping[int, str]) -> None:
        super().__init__()
        count = len(id2label)
        self.transitions = nn.Parameter(torch.zeros(count, count))  # from a row to a column
        self.start = nn.Parameter(torch.zeros(count))
        self.end = nn.Parameter(torch.zeros(count))

        # On the CPU even where the model is built on the meta device, which keeps no values.
        forbidden = torch.zeros(count, count, dtype=torch.bool, device="cpu")
        forbidden_first = torch.zeros(count, dtype=torch.bool, device="cpu")
        index_of = {label: index for index, label in id2label.items()}
        for label, inside in index_of.items():
            begin = index_of.get(f"B-{label[2:]}")
            if label.startswith("I-") and begin is not None:
                forbidden[:, inside] = True
                forbidden[begin, inside] = forbidden[inside, inside] = False
                forbidden_first[inside] = True
        self.register_buffer("forbidden", forbidden, persistent=False)
        self.register_buffer("forbidden_first", forbidden_first, persistent=False)

    def log_likelihood(self, emissions: Tensor, tags: Tensor, lengths: Lengths) -> Tensor:
        """``log p(tags)`` of each sequence, among the tag sequences with allowed transitions.

        Any label may come first, because a piece of a long sentence may begin inside an entity.

        Args:
            emissions: ``(N, K)``.
            tags: ``(N,)`` int64. A forbidden transition among them makes the result minus infinity.
            lengths: of the B sequences, on the host.

        Returns:
            ``(B,)``.

        Raises:
            ValueError: there is no sequence, or one is empty.
        """
        with torch.autocast(emissions.device.type, enabled=False):
            start, transitions, end = self._scores(emissions)
            steps, chosen = _steps(emissions.to(start.dtype), lengths), _steps(tags, lengths)
            real = _real(lengths, emissions.device)
            forward, shifts = _forward(steps, real, start, transitions)

            # Place by place, since two large sums would lose in fp32 what they differ by.
            emitted = (steps.gather(2, chosen.unsqueeze(2)).squeeze(2) - shifts).sum(0)
            moved = torch.where(real[1:], transitions[chosen[:-1], chosen[1:]], 0.0).sum(0)
            last = chosen.gather(0, real.sum(0, keepdim=True) - 1).squeeze(0)
            return start[chosen[0]] + emitted + moved + end[last] - (forward[-1] + end).logsumexp(1)

    @torch.no_grad()
    def viterbi(self, emissions: Tensor, lengths: Lengths) -> list[list[int]]:
        """The allowed tags of the highest score (Viterbi 1967), for whole sentences.

        Takes emissions ``(N, K)`` and the B lengths; returns each sequence's tags. Raises ValueError as
        :meth:`log_likelihood` does.
        """
        with torch.autocast(emissions.device.type, enabled=False):
            start, transitions, end = self._scores(emissions, whole_sentences=True)
            steps, real = _steps(emissions.to(start.dtype), lengths), _real(lengths, emissions.device)
            itself = torch.arange(len(start), device=start.device)
            best, came_from = start + steps[0], []
            for emission, is_real in zip(steps[1:], real[1:].unsqueeze(2), strict=True):
                score, before = (best.unsqueeze(1) + transitions.T).max(2)  # (B, K) each, by the tag that is come to
                score = score + emission
                best = torch.where(is_real, score - score.amax(1, keepdim=True), best)
                came_from.append(torch.where(is_real, before, itself))
            path = [(best + end).argmax(1, keepdim=True)]
            for before in reversed(came_from):
                path.append(before.gather(1, path[-1]))
            rows = torch.cat(path[::-1], 1).tolist()  # once for all, since it waits for the device
            return [row[:length] for row, length in zip(rows, lengths, strict=True)]

    @torch.no_grad()
    def marginals(self, emissions: Tensor, lengths: Lengths) -> Tensor:
        """The probability of each tag at each place, among all allowed tags of whole sentences (forward-backward:
        Rabiner 1989, section III).

        Takes emissions ``(N, K)`` and the B lengths; returns ``(N, K)``, where each row's sum is 1. Raises ValueError
        as :meth:`log_likelihood` does.
        """
        with torch.autocast(emissions.device.type, enabled=False):
            start, transitions, end = self._scores(emissions, whole_sentences=True)
            steps, real = _steps(emissions.to(start.dtype), lengths), _real(lengths, emissions.device)
            forward, _ = _forward(steps, real, start, transitions)
            after = end.expand_as(steps[0])
            backward = [after]
            for emission, is_real in zip(steps[1:].flip(0), real[1:].unsqueeze(2).flip(0), strict=True):
                score = (transitions + (emission + after).unsqueeze(1)).logsumexp(2)  # by the tag that is left
                after = torch.where(is_real, score - score.amax(1, keepdim=True), end)
                backward.append(after)
            probabilities = (forward + torch.stack(backward[::-1])).softmax(2)
            return torch.cat([probabilities[:length, row] for row, length in enumerate(lengths)])

    def _scores(self, emissions: Tensor, *, whole_sentences: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        """start, transitions and end in the type to compute in, minus infinity at what is forbidden."""
        dtype = torch.promote_types(emissions.dtype, torch.float32)
        start = self.start.to(dtype)
        if whole_sentences:
            start = start.masked_fill(self.forbidden_first, -torch.inf)
        return start, self.transitions.to(dtype).masked_fill(self.forbidden, -torch.inf), self.end.to(dtype)


def _forward(steps: Tensor, real: Tensor, start: Tensor, transitions: Tensor) -> tuple[Tensor, Tensor]:
    """The forward recursion (Rabiner 1989, section III), in logarithms.

    Returns:
        ``(S, B, K)``: for each place and tag, the log of the sum of exp score over all ways that lead there, less the
        shifts up to there; past a sequence's end, what stood at its end.
        ``(S, B)``: the shifts. They keep the largest of each place at 0: fp32 is finest there, and in a long sentence
        the gradients need it.
    """
    score = start + steps[0]
    forward, shifts = [], []
    for place, (emission, is_real) in enumerate(zip(steps, real.unsqueeze(2), strict=True)):
        if place:
            score = torch.where(is_real, (score.unsqueeze(1) + transitions.T).logsumexp(2) + emission, score)
        shift = score.detach().amax(1, keepdim=True)
        score = score - shift
        forward.append(score)
        shifts.append(shift)
    return torch.stack(forward), torch.cat(shifts, 1).T


def _steps(values: Tensor, lengths: Lengths) -> Tensor:
    """``(N, ...)``, sequences end to end -> ``(S, B, ...)``, place by place; 0 past a sequence's end."""
    if not lengths or min(lengths) < 1:
        raise ValueError(f"lengths {lengths}: there must be at least one sequence, and a place in each.")
    return nn.utils.rnn.pad_sequence(list(values.split(lengths)))


def _real(lengths: Lengths, device: torch.device) -> Tensor:
    """``(S, B)``: whether a sequence has this place."""
    return torch.arange(max(lengths), device=device).unsqueeze(1) < to_device(torch.tensor(lengths), device)
