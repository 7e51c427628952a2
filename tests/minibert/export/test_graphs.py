"""The two graphs compute what the model does, for every family and head, before any file is written."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
import torch
from conftest import ALL_FAMILIES, largest_difference, scramble, tiny_config

from minibert import (
    CrfTokenClassifier,
    Encoder,
    MeanSequenceClassifier,
    MultipleChoiceClassifier,
    PretrainingModel,
    SequenceClassifier,
    SpanClassifier,
    TokenClassifier,
)
from minibert.attention import attention_backend
from minibert.checkpoint import Pretrained
from minibert.errors import InputError
from minibert.export.graphs import Graph, PackedGraph, PaddedGraph, random_batch
from minibert.export.inputs import packed_inputs, two_grids

HEADS: tuple[type[Pretrained], ...] = (
    TokenClassifier,
    CrfTokenClassifier,
    SequenceClassifier,
    MeanSequenceClassifier,
    MultipleChoiceClassifier,
    SpanClassifier,
    PretrainingModel,
)
LENGTHS = ((7, 20, 1, 12), (1,))


def scrambled(model_class: type[Pretrained], family: str) -> Pretrained:
    model = model_class(tiny_config(family, num_hidden_layers=2)).eval()
    scramble(model.encoder)  # type: ignore[arg-type]
    return model


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("model_class", HEADS)
@pytest.mark.parametrize("family", ALL_FAMILIES)
@torch.no_grad()
def test_both_graphs_equal_the_formula(family: str, model_class: type[Pretrained], lengths: Sequence[int]) -> None:
    """Attention sequence by sequence is the reference."""
    model = scrambled(model_class, family)
    batch = random_batch(lengths, model.config)
    for graph in (PaddedGraph(model), PackedGraph(model)):
        with attention_backend("plain"):
            expected = graph.expected(batch)
        found = graph.real(graph(**graph.inputs(batch)), batch)
        assert len(found) == len(graph.output_names)
        for right, value in zip(expected, found, strict=True):
            assert largest_difference(value, right) <= 1e-5


@pytest.mark.parametrize("model_class", [TokenClassifier, SequenceClassifier, MeanSequenceClassifier])
@torch.no_grad()
def test_padding_changes_nothing_on_either_side(model_class: type[Pretrained]) -> None:
    graph = PaddedGraph(scrambled(model_class, "roberta"))
    batch = random_batch((9, 4), graph.model.config)
    inputs = graph.inputs(batch)
    moved = {name: values.roll(5, 1) for name, values in inputs.items()}
    moved = {name: torch.stack([inputs[name][0], values[1]]) for name, values in moved.items()}
    inputs["input_ids"][1, 4:] = torch.arange(5)  # what stands at padding
    (expected,) = graph.real(graph(**inputs), batch)
    (found,) = graph(**moved)
    found = found[moved["attention_mask"].bool()] if model_class is TokenClassifier else found
    assert largest_difference(found, expected) <= 1e-6


@torch.no_grad()
def test_a_row_that_is_all_padding_is_no_nan() -> None:
    graph = PaddedGraph(scrambled(TokenClassifier, "bert"))
    inputs = graph.inputs(random_batch((3, 3), graph.model.config))
    inputs["attention_mask"][1] = 0
    assert graph(**inputs)[0].isfinite().all()


def test_types_are_inputs_where_a_model_has_several() -> None:
    for family, has in (("bert", True), ("roberta", False), ("distilbert", False)):
        for graph in (PaddedGraph, PackedGraph):
            shapes = graph(TokenClassifier(tiny_config(family))).dynamic_shapes()
            assert ("token_type_ids" in shapes) == has


def test_only_masked_words_are_asked_for() -> None:
    graph = PackedGraph(scrambled(PretrainingModel, "bert"))
    batch = random_batch((4, 6), graph.model.config)
    positions = torch.tensor([8, 2])
    with torch.no_grad():
        (found,) = graph(**packed_inputs(batch, positions))
        assert largest_difference(found, graph.expected(batch)[0][positions]) <= 1e-5


@pytest.mark.parametrize("graph", [PaddedGraph, PackedGraph])
def test_a_model_without_a_head_that_answers_is_refused(graph: type[Graph]) -> None:
    with pytest.raises(InputError, match="Encoder: has no head"):
        graph(Encoder(tiny_config("bert")))


@pytest.mark.parametrize("lengths", [(3,), (5, 5, 5), (40, 200, 60, 40, 90, 12, 130), (5, 70, 1, 33, 8, 69, 2, 130)])
def test_two_grids_hold_every_token_once_at_the_lowest_cost(lengths: tuple[int, ...]) -> None:
    """By trying every cut, longest first."""
    grids = two_grids(lengths)
    order = sorted(lengths, reverse=True)
    cuts = [[0, cut, len(order)] for cut in range(1, len(order) + 1)]
    costs = [sum((end - start) * order[start] ** 2 for start, end in pairwise(cut) if end > start) for cut in cuts]
    scores = sum(grid.shape[0] * grid.shape[1] ** 2 for grid in grids if (grid >= 0).any())
    assert scores == min(costs)
    tokens = np.concatenate([grid.ravel() for grid in grids])
    assert sorted(tokens[tokens >= 0].tolist()) == list(range(sum(lengths)))
    assert grids[0].shape[1] == max(lengths)
    starts = np.cumsum([0, *lengths])
    for row in (row[row >= 0] for grid in grids for row in grid if row[0] >= 0):
        sequence = int(np.searchsorted(starts, row[0]))
        assert row.tolist() == list(range(starts[sequence], starts[sequence + 1]))
