"""Graphs of the encoder: replays over changing batches, on a tape of CPU operators in place of CUDA, against none."""

import contextlib
import copy
import math
from collections.abc import Iterator
from typing import cast

import numpy as np
import pytest
import torch
from conftest import ALL_FAMILIES, largest_difference, ragged_ids, scramble, tiny_config
from tape import TapeRecorder, attention_by_bounds
from torch import Tensor, nn

from minibert import Encoder, PackedBatch, PretrainingModel, SequenceClassifier, attention, graphs, pack
from minibert.checkpoint import Pretrained
from minibert.errors import InputError
from minibert.graphs import Bucket, EncoderGraphs

BATCHES = [(5, 9, 3), (4, 4, 4, 6), (17,), (2, 2, 14), (18, 16, 12, 9), (1,) * 20, (5, 9, 3)]


@pytest.fixture(autouse=True)
def bounds_alone() -> Iterator[None]:
    with attention_by_bounds():
        yield


def gradients(model: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def assert_same_gradients(ours: nn.Module, theirs: nn.Module) -> None:
    found, expected = gradients(ours), gradients(theirs)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert largest_difference(found[name], value) <= 1e-10 * max(1.0, float(value.abs().max())), name


def test_buckets_hold_their_batches_with_little_waste() -> None:
    random = np.random.default_rng(0)
    for _ in range(500):
        batch = pack([[5] * length for length in random.integers(1, 300, random.integers(1, 60))])
        bucket = Bucket.of(batch, batch.first_tokens, longest=512)
        assert batch.num_tokens <= bucket.num_tokens <= max(batch.num_tokens * 1.126, batch.num_tokens + 8)
        fillers = math.ceil((bucket.num_tokens - batch.num_tokens) / bucket.max_seqlen)
        assert bucket.num_sequences >= batch.num_sequences + fillers
        assert batch.max_seqlen <= bucket.max_seqlen <= 512
        assert bucket.num_rows is not None
        assert bucket.num_rows >= batch.num_sequences


@pytest.mark.parametrize("size", [1, 4, 8, 32])
def test_few_buckets_serve_a_long_run(size: int) -> None:
    """Else the same graphs would be recorded again and again."""
    random = np.random.default_rng(0)
    buckets = set()
    for _ in range(3000):
        lengths = np.clip(random.lognormal(3.6, 0.8, size).astype(int), 2, 512)
        batch = PackedBatch(
            input_ids=torch.empty(int(lengths.sum()), dtype=torch.int64), position_ids=torch.empty(0),
            token_type_ids=torch.empty(0), cu_seqlens=torch.empty(0), lengths=tuple(lengths.tolist()),
        )  # fmt: skip
        if batch.num_tokens <= graphs.MOST_TOKENS:
            buckets.add(Bucket.of(batch, batch.cu_seqlens.new_empty(size), longest=512))
    assert len(buckets) <= graphs.MOST_GRAPHS / 2


@pytest.mark.parametrize(
    ("dtype", "heads", "capability", "fits"),
    [
        (torch.bfloat16, 2, (8, 0), True),
        (torch.float16, 4, (9, 0), True),
        (torch.float32, 2, (9, 0), False),
        (torch.float16, 2, (7, 5), False),
        (torch.bfloat16, 16, (9, 0), False),
    ],
)
def test_where_attention_reads_lengths_from_the_host_graphs_are_refused(
    dtype: torch.dtype, heads: int, capability: tuple[int, int], fits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "_forced", None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    monkeypatch.setattr(torch.backends.cuda, "is_flash_attention_available", lambda: True)
    config = tiny_config("bert", hidden_size=64, num_attention_heads=heads)
    with contextlib.nullcontext() if fits else pytest.raises(InputError, match="--cuda-graphs: needs bf16 or fp16"):
        graphs.require_graphs(config, torch.device("cuda"), dtype)


@pytest.mark.parametrize("family", ALL_FAMILIES)
@pytest.mark.parametrize("pools", [False, True])
def test_replays_give_the_outputs_and_gradients_of_each_batch(family: str, pools: bool) -> None:
    """Of batches that differ in number, lengths and contents, of which several share a bucket."""
    encoder = Encoder(tiny_config(family), add_pooling_layer=pools).double().eval()
    scramble(encoder)
    plain = copy.deepcopy(encoder)
    recorder = TapeRecorder()
    replayed = EncoderGraphs(encoder, lambda: recorder)
    for number, lengths in enumerate(BATCHES):
        batch = pack(ragged_ids(lengths, 90, seed=number))
        upstream = torch.randn(batch.num_tokens, encoder.config.hidden_size, dtype=torch.float64)
        outputs = []
        for own in (encoder, plain):
            own.zero_grad()
            with replayed.replaying() if own is encoder else contextlib.nullcontext():
                output = own(batch)
            pooled = 0.0 if output.pooler_output is None else output.pooler_output.sum()
            ((output.last_hidden_state * upstream).sum() + pooled).backward()
            outputs.append(output.last_hidden_state.detach())
        assert largest_difference(*outputs) <= 1e-12
        assert_same_gradients(encoder, plain)
    assert len(recorder.tapes) < 2 * len(BATCHES)


@pytest.mark.parametrize("head", ["texts", "words and pairs"])
def test_heads_read_the_rows_that_they_want(head: str) -> None:
    """And those of masked words give the word embeddings a second gradient."""
    config = tiny_config("albert")
    model: Pretrained = SequenceClassifier(config) if head == "texts" else PretrainingModel(config)
    model.double().eval()
    scramble(model)
    plain = copy.deepcopy(model)
    replayed = EncoderGraphs(cast(Encoder, model.encoder), TapeRecorder)
    for number, lengths in enumerate(BATCHES):
        batch = pack(ragged_ids(lengths, 90, seed=number))
        masked = torch.randint(0, batch.num_tokens, (1 + number,))
        for own in (model, plain):
            own.zero_grad()
            with replayed.replaying() if own is model else contextlib.nullcontext():
                outputs = (own(batch),) if head == "texts" else own(batch, masked)
            torch.stack([output.square().sum() for output in outputs]).sum().backward()
        assert_same_gradients(model, plain)


def test_gradients_add_up_until_they_are_read() -> None:
    encoder = Encoder(tiny_config("bert"), add_pooling_layer=False).double().eval()
    plain = copy.deepcopy(encoder)
    replayed = EncoderGraphs(encoder, TapeRecorder)
    for number in range(3):
        batch = pack(ragged_ids((4, 5), 90, seed=number))
        with replayed.replaying():
            encoder(batch).last_hidden_state.square().sum().backward()
        plain(batch).last_hidden_state.square().sum().backward()
        assert_same_gradients(encoder, plain)


def test_without_gradients_outputs_stay_as_they_are() -> None:
    encoder = Encoder(tiny_config("bert")).eval()
    replayed = EncoderGraphs(encoder, TapeRecorder)
    batches = [pack(ragged_ids((4, 5), 90, seed=seed)) for seed in range(3)]
    with torch.inference_mode(), replayed.replaying():
        outputs = [encoder(batch).last_hidden_state for batch in batches]
    for batch, output in zip(batches, outputs, strict=True):
        with torch.no_grad():
            assert torch.allclose(output, encoder(batch).last_hidden_state, atol=1e-6)


def test_each_replay_drops_others_and_recording_draws_no_random_numbers() -> None:
    encoder = Encoder(tiny_config("bert", hidden_dropout_prob=0.5), add_pooling_layer=False).train()
    batch = pack(ragged_ids((4, 5), 90))

    def outputs(replayed: EncoderGraphs) -> list[Tensor]:
        torch.manual_seed(3)
        with replayed.replaying():
            return [encoder(batch).last_hidden_state.detach().clone() for _ in range(2)]

    replayed = EncoderGraphs(encoder, TapeRecorder)
    first = outputs(replayed)
    assert not torch.equal(*first)
    for again in (outputs(replayed), outputs(EncoderGraphs(encoder, TapeRecorder))):
        assert all(map(torch.equal, first, again))


def test_when_there_are_too_many_recordings_all_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "MOST_GRAPHS", 2)
    encoder, recorder = Encoder(tiny_config("bert")).eval(), TapeRecorder()
    replayed = EncoderGraphs(encoder, lambda: recorder)
    recorded = []
    with torch.no_grad(), replayed.replaying():
        for length in (3, 10, 3, 17, 3, 10):
            encoder(pack([[5] * length]))
            recorded.append(len(recorder.tapes))
    assert recorded == [1, 2, 2, 3, 4, 5]


def test_what_a_backward_pass_needs_is_not_replaced_in_silence() -> None:
    encoder = Encoder(tiny_config("bert")).eval()
    batch = pack([[5, 6]])
    with EncoderGraphs(encoder, TapeRecorder).replaying():
        earlier = encoder(batch).last_hidden_state.sum()
        encoder(batch)
        with pytest.raises(RuntimeError, match="another pass took the place"):
            earlier.backward()
        earlier = encoder(batch).last_hidden_state.sum()
        with torch.no_grad():
            encoder(batch)
        with pytest.raises(RuntimeError, match="another pass took the place"):
            earlier.backward()


def test_large_batches_and_other_outputs_are_computed_as_usual(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "MOST_TOKENS", 16)
    encoder, recorder = Encoder(tiny_config("bert")).train(), TapeRecorder()
    with EncoderGraphs(encoder, lambda: recorder).replaying():
        encoder(pack([[5] * 17]))
        assert encoder(pack([[5] * 3]), output_hidden_states=True).hidden_states is not None
        encoder.activation_checkpointing = True
        encoder(pack([[5] * 3]))
        with pytest.raises(ValueError, match="does not fit"):
            encoder(pack([[5] * 21]))
    assert not recorder.tapes
    encoder.activation_checkpointing = False
    encoder(pack([[5] * 3]))
    assert not recorder.tapes
