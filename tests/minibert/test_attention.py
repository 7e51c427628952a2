"""Attention stays within each sequence, whichever back-end computes it."""

import pytest
import torch
from conftest import CPU_BACKENDS, FAMILIES, largest_difference, ragged_ids, ragged_types, scramble, tiny_config
from torch import Tensor

from minibert import Encoder, PackedBatch, pack
from minibert.attention import attend, attention_backend, choose_backend

LENGTHS = (5, 1, 17, 8, 2)
UNLIKE_LENGTHS = (5, 70, 1, 33, 8, 69, 2, 130)  # in several groups of like lengths


def random_qkv(num_tokens: int, dtype: torch.dtype, heads: int = 4, width: int = 16) -> list[Tensor]:
    return [torch.randn(num_tokens, heads, width, dtype=dtype, requires_grad=True) for _ in range(3)]


def run(
    backend: str, qkv: list[Tensor], batch: PackedBatch, cotangent: Tensor, dropout: float = 0.0
) -> tuple[Tensor, ...]:
    """The output of a back-end and the gradients of query, key and value."""
    with attention_backend(backend):
        output = attend(torch.stack(qkv, 1), batch, dropout)
    return (output.detach(), *torch.autograd.grad(output, qkv, cotangent))


def masked_softmax_attention(qkv: list[Tensor], lengths: tuple[int, ...]) -> Tensor:
    """The whole pack as one sequence with a block-diagonal mask: an oracle that shares no code with the library."""
    query, key, value = (x.detach().transpose(0, 1) for x in qkv)
    owner = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))
    scores = query @ key.transpose(1, 2) * query.shape[-1] ** -0.5
    scores = scores.masked_fill(owner[:, None] != owner[None, :], float("-inf"))
    return (scores.softmax(-1) @ value).transpose(0, 1)


@pytest.mark.parametrize("lengths", [LENGTHS, UNLIKE_LENGTHS, (23,)])
@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_attention_is_a_block_diagonal_softmax(backend: str, lengths: tuple[int, ...]) -> None:
    batch = pack(ragged_ids(lengths, 50))
    qkv = random_qkv(batch.num_tokens, torch.float64)
    with attention_backend(backend):
        output = attend(torch.stack(qkv, 1), batch)
    assert largest_difference(output, masked_softmax_attention(qkv, lengths)) <= 1e-12


@pytest.mark.parametrize("lengths", [LENGTHS, UNLIKE_LENGTHS, (23,)])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize("backend", [name for name in CPU_BACKENDS if name != "plain"])
def test_backends_equal_plain_in_values_and_gradients(
    backend: str, dtype: torch.dtype, tolerance: float, lengths: tuple[int, ...]
) -> None:
    batch = pack(ragged_ids(lengths, 50))
    qkv = random_qkv(batch.num_tokens, dtype)
    cotangent = torch.randn(batch.num_tokens, 4, 16, dtype=dtype)
    for ours, plain in zip(run(backend, qkv, batch, cotangent), run("plain", qkv, batch, cotangent), strict=True):
        assert largest_difference(ours, plain) <= tolerance


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_nan_stays_in_its_sequence(backend: str, first: bool) -> None:
    """Its neighbours are longer or shorter."""
    lengths = (6, 11, 9, 4)
    batch = pack(ragged_ids(lengths, 50))
    qkv = torch.randn(batch.num_tokens, 3, 4, 16)
    spoilt = qkv.clone()
    batch.unpack(spoilt)[0 if first else 1].fill_(float("nan"))
    with attention_backend(backend):
        before, after = batch.unpack(attend(qkv, batch)), batch.unpack(attend(spoilt, batch))
    for number, (one, other) in enumerate(zip(before, after, strict=True)):
        if number == (0 if first else 1):
            assert other.isnan().all()
        else:
            assert largest_difference(one, other) <= 1e-6


def largest_effect_of_neighbours(encoder: Encoder, backend: str) -> float:
    """How far a sentence's states and pooler output in packs of several orders are from those of it alone."""
    rows = ragged_ids(LENGTHS, encoder.config.vocab_size)
    types = ragged_types(LENGTHS, encoder.config.type_vocab_size)
    differences = []
    with attention_backend(backend), torch.no_grad():
        alone = [encoder(pack([row], [kind])) for row, kind in zip(rows, types, strict=True)]
        for order in ([0, 1, 2, 3, 4], [4, 2, 0, 3, 1], [2, 2, 1], [1, 3]):
            batch = pack([rows[i] for i in order], [types[i] for i in order])
            packed = encoder(batch)
            states_of_each = batch.unpack(packed.last_hidden_state)
            for i, states, pooled in zip(order, states_of_each, packed.pooler_output, strict=True):
                differences.append(largest_difference(states, alone[i].last_hidden_state))
                differences.append(largest_difference(pooled, alone[i].pooler_output[0]))
    return max(differences)


@pytest.mark.parametrize("backend", CPU_BACKENDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_sentence_alone_equals_itself_in_any_pack_and_any_order(family: str, backend: str) -> None:
    encoder = Encoder(tiny_config(family)).eval()
    assert largest_effect_of_neighbours(encoder, backend) <= 1e-6
    scramble(encoder)
    assert largest_effect_of_neighbours(encoder.double(), backend) <= 1e-12


@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_dropout_keeps_the_expectation_and_draws_anew(backend: str) -> None:
    lengths = (3, 6)
    batch = pack(ragged_ids(lengths, 50))
    qkv = [x.detach() for x in random_qkv(batch.num_tokens, torch.float64, heads=2, width=4)]
    with attention_backend(backend):
        draws = torch.stack([attend(torch.stack(qkv, 1), batch, 0.3) for _ in range(1000)])
        without = attend(torch.stack(qkv, 1), batch)
    assert not torch.equal(draws[0], draws[1])
    standard_error = draws.std(0) / len(draws) ** 0.5
    assert ((draws.mean(0) - without).abs() <= 5 * standard_error).all()
    # A weight w drops with probability p and grows to w / (1 - p): the variance is the sum of w^2 v^2 p / (1 - p).
    query, key, value = qkv
    rows = slice(3, 9)
    weights = torch.einsum("qhd,khd->hqk", query[rows], key[rows]).mul(4**-0.5).softmax(-1)
    variance = torch.einsum("hqk,khd->qhd", weights**2, value[rows] ** 2) * 0.3 / 0.7
    assert torch.allclose(draws[:, rows].var(0), variance, rtol=0.25)


@pytest.mark.parametrize("backend", CPU_BACKENDS)
@pytest.mark.parametrize("kind", ["hidden_dropout_prob", "attention_probs_dropout_prob"])
@pytest.mark.parametrize("family", FAMILIES)
def test_training_draws_and_evaluation_does_not(family: str, kind: str, backend: str) -> None:
    other = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, kind: 0.5}
    encoder = Encoder(tiny_config(family, **other))
    scramble(encoder)
    batch = pack(ragged_ids(LENGTHS, 90))
    with attention_backend(backend), torch.no_grad():
        first, second = (encoder.train()(batch).last_hidden_state for _ in range(2))
        still, again = (encoder.eval()(batch).last_hidden_state for _ in range(2))
    assert not torch.equal(first, second)
    assert torch.equal(still, again)


def test_an_unknown_backend_is_refused_with_the_list() -> None:
    with pytest.raises(ValueError, match=r"plain.*grouped.*padded"), attention_backend("flashy"):
        pass


def test_the_backend_is_restored_after_an_error() -> None:
    batch = pack([[3, 4]])
    qkv = random_qkv(2, torch.float32)
    with pytest.raises(KeyError), attention_backend("varlen"):
        raise KeyError
    attend(torch.stack(qkv, 1), batch)  # varlen would refuse to run here


@pytest.mark.parametrize("family", FAMILIES)
def test_a_sequence_longer_than_the_positions_is_refused(family: str) -> None:
    config = tiny_config(family)
    encoder = Encoder(config).eval()
    assert config.max_length == 20
    encoder(pack([[5] * 20]))
    with pytest.raises(ValueError, match="21 tokens"):
        encoder(pack([[5], [5] * 21]))


needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.mark.parametrize(
    ("device", "backend"),
    [
        ("cpu", "grouped"),
        ("cpu", "padded"),
        pytest.param("cuda", "varlen", marks=needs_cuda),
        pytest.param("cuda", "grouped", marks=needs_cuda),
        pytest.param("cuda", "padded", marks=needs_cuda),
    ],
)
def test_backends_in_bf16_err_at_most_three_times_as_far_as_plain(device: str, backend: str) -> None:
    """flash-attention's rule: our bf16 error against fp32 stays below 3 times that of the plain formula in bf16."""
    lengths = (70, 1, 300, 33)
    batch = pack(ragged_ids(lengths, 50)).to(device)
    exact = [x.detach().to(device).requires_grad_() for x in random_qkv(batch.num_tokens, torch.float32, width=64)]
    half = [x.detach().bfloat16().requires_grad_() for x in exact]
    cotangent = torch.randn_like(exact[0])
    truth = run("plain", exact, batch, cotangent)
    plain = run("plain", half, batch, cotangent.bfloat16())
    ours = run(backend, half, batch, cotangent.bfloat16())
    for right, reference, output in zip(truth, plain, ours, strict=True):
        assert largest_difference(output, right) <= 3 * largest_difference(reference, right)


@needs_cuda
def test_dropout_of_varlen_keeps_the_expectation_and_draws_anew() -> None:
    batch = pack(ragged_ids((3, 6), 50)).to("cuda")
    qkv = torch.stack(random_qkv(batch.num_tokens, torch.float32), 1).detach().cuda().half()
    with attention_backend("varlen"):
        draws = torch.stack([attend(qkv, batch, 0.3) for _ in range(1000)]).float()
        without = attend(qkv, batch).float()
    assert not torch.equal(draws[0], draws[1])
    standard_error = draws.std(0) / len(draws) ** 0.5
    rounding = 2e-3 * qkv.abs().max().item()
    assert ((draws.mean(0) - without).abs() <= 5 * standard_error + rounding).all()


def test_varlen_is_called_as_this_pytorch_has_it() -> None:
    """On the meta device: shapes without values, forwards and backwards, also where there is no GPU."""
    batch = pack([[5] * 3, [5] * 6]).to("meta")
    qkv = torch.empty(9, 3, 2, 64, dtype=torch.bfloat16, device="meta", requires_grad=True)
    with attention_backend("varlen"):
        mixed = attend(qkv, batch, 0.1)
    mixed.sum().backward()
    assert (mixed.shape, mixed.dtype) == ((9, 2, 64), torch.bfloat16)
    assert qkv.grad is not None
    assert qkv.grad.shape == qkv.shape


@pytest.mark.parametrize(
    ("device", "dtype", "width", "capability", "expected"),
    [
        ("cpu", torch.bfloat16, 64, (9, 0), "grouped"),
        ("cuda", torch.bfloat16, 64, (9, 0), "varlen"),
        ("cuda", torch.float16, 64, (8, 0), "varlen"),
        ("cuda", torch.float16, 64, (7, 5), "padded"),
        ("cuda", torch.float32, 64, (9, 0), "padded"),
        ("cuda", torch.bfloat16, 26, (9, 0), "padded"),
        ("cuda", torch.bfloat16, 136, (9, 0), "padded"),
    ],
)
def test_the_backend_is_one_that_the_device_can_run(
    device: str,
    dtype: torch.dtype,
    width: int,
    capability: tuple[int, int],
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Flash attention takes half precision, widths that are multiples of 8, and an A100 or newer."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    monkeypatch.setattr(torch.backends.cuda, "is_flash_attention_available", lambda: True)
    assert choose_backend(torch.device(device), dtype, width) == expected
    monkeypatch.setattr(torch.backends.cuda, "is_flash_attention_available", lambda: False)
    assert choose_backend(torch.device(device), dtype, width) != "varlen"
