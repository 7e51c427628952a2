"""A model that learns a teacher's states: what it returns, what a batch asks of it, and how far it is from them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from minibert import PretrainingModel
from minibert.heads import WordsModel
from minibert.traced import Batch
from minibert.training import LabelledBatch, state_distance
from tasks.pretraining.teacher_states import TeacherStates


class TaughtModel(PretrainingModel):
    """A :class:`~minibert.PretrainingModel` that also returns its states, for a teacher's.

    ``forward(batch, positions)`` returns the words' and the pair's logits and the last hidden states ``(T, C)``.
    """

    def forward(self, batch: Batch, positions: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:  # type: ignore[override]
        states = self.encoder(batch).last_hidden_state
        return *self.scores(states[positions], states[batch.first_tokens]), states


class TaughtWordsModel(TaughtModel, WordsModel):  # type: ignore[misc]  # forward is TaughtModel's
    """A :class:`TaughtModel` without pairs."""


def model_class(*, words_alone: bool, taught: bool) -> type[PretrainingModel]:
    """What is trained: words alone, or pairs, too, where the family has them; with a teacher or without."""
    if words_alone:
        return TaughtWordsModel if taught else WordsModel
    return TaughtModel if taught else PretrainingModel


def taught(teacher: TeacherStates, places: Sequence[npt.NDArray[np.int64]]) -> dict[str, Any]:
    """The fields of a batch that say what its tokens learn from a teacher.

    Args:
        teacher: with states.
        places: of the tokens of each sequence in the stream; -1 for those that are not in it.
    """
    all_ = np.concatenate(places)
    tokens = np.flatnonzero(all_ >= 0)
    states = teacher.take(all_[tokens])
    known = states.any(1)
    return {
        "soft_targets": torch.from_numpy(states[known]),
        "target_positions": torch.from_numpy(tokens[known]),
    }


def teacher_distances(states: Tensor, batch: LabelledBatch) -> Tensor:
    """How far each sequence is from its teacher: the mean over tokens of the distance of their states, and the distance
    of the means of the states, ``(B,)``; 0 where the teacher has none.

    Args:
        states: ``(T, C)``, the model's.
        batch: with what :func:`taught` gave.
    """
    assert batch.soft_targets is not None
    assert batch.target_positions is not None
    sequence = torch.bucketize(batch.target_positions, batch.inputs.cu_seqlens[1:], right=True)
    own = states[batch.target_positions].float()

    def sums(values: Tensor) -> Tensor:
        return values.new_zeros(batch.inputs.num_sequences, *values.shape[1:]).index_add(0, sequence, values)

    counts = sums(torch.ones_like(own[:, 0]))
    of_tokens = sums(state_distance(own, batch.soft_targets)) / counts.clamp(min=1)
    of_means = state_distance(sums(own), sums(batch.soft_targets))  # a mean has the direction of the sum
    return of_tokens + of_means * (counts > 0)
