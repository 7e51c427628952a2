"""Fast ways to answer equal the plain one: packed weights in half precision, and rows that nothing needs left out."""

from typing import Any

import pytest
import torch
from conftest import (
    CPU_BACKENDS,
    FAMILIES,
    largest_difference,
    padded,
    ragged_ids,
    scramble,
    tiny_config,
    tiny_settings,
)
from torch import Tensor, nn

from minibert import (
    CrfTokenClassifier,
    Encoder,
    PretrainingModel,
    SequenceClassifier,
    TokenClassifier,
    cpu_linear,
    inference,
    pack,
)
from minibert.attention import attention_backend
from minibert.cpu_linear import MklLinear, OneDnnLinear
from minibert.encoder import EncoderOutput
from minibert.errors import InputError
from minibert.inference import for_inference

LENGTHS = (6, 20, 1, 11)


@pytest.fixture(params=["oneDNN", "MKL", "PyTorch"])
def _library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What multiplies: here as on another CPU."""
    monkeypatch.setattr(
        torch.backends.cpu, "get_cpu_capability", lambda: "AVX2" if request.param == "MKL" else "AVX512"
    )
    if request.param == "MKL" and not cpu_linear.can_use_mkl():
        pytest.skip("this PyTorch has no packed linear maps of MKL")
    if request.param == "PyTorch":
        monkeypatch.setattr(cpu_linear, "can_use_onednn", lambda dtype: False)
    elif not cpu_linear.can_use_onednn(torch.bfloat16):
        pytest.skip("this PyTorch or this CPU has no packed linear maps in bf16")


def packed_maps(model: nn.Module) -> list[nn.Module]:
    return [part for part in model.modules() if isinstance(part, (OneDnnLinear, MklLinear))]


# -- half precision --------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.usefixtures("_library")
@pytest.mark.parametrize("activation", ["gelu", "gelu_new", "gelu_pytorch_tanh", "relu", "silu", "tanh"])
@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_bf16_errs_at_most_three_times_as_far_as_transformers_in_bf16(
    family: str, activation: str, tmp_path: Any
) -> None:
    """flash-attention's rule: both errors are against fp32."""
    transformers = pytest.importorskip("transformers", reason="transformers is the oracle of this test")
    settings = tiny_settings(family, hidden_act=activation)
    config = transformers.AutoConfig.for_model(**settings)
    theirs = getattr(transformers, family.capitalize() + "Model")._from_config(config, attn_implementation="eager")
    scramble(theirs)
    theirs.eval().save_pretrained(tmp_path)
    rows = ragged_ids(LENGTHS * 4, 90)
    mask = padded([[1] * len(row) for row in rows], 0)

    def their_states() -> Tensor:
        output: Tensor = theirs(input_ids=padded(rows, config.pad_token_id), attention_mask=mask).last_hidden_state
        return output[mask.bool()]

    exact = their_states()
    ours = for_inference(Encoder.from_pretrained(tmp_path), torch.bfloat16)(pack(rows)).last_hidden_state
    theirs.bfloat16()
    assert ours.dtype == torch.bfloat16
    assert 0 < largest_difference(ours, exact) <= 3 * largest_difference(their_states(), exact)


@pytest.mark.usefixtures("_library")
@pytest.mark.parametrize("head", [TokenClassifier, SequenceClassifier, PretrainingModel, CrfTokenClassifier])
@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_every_head_answers_nearly_as_in_fp32(family: str, head: Any) -> None:
    model = head(tiny_config(family)).eval()
    scramble(model.encoder)
    batch = pack(ragged_ids(LENGTHS, 90))
    exact, ours = model(batch), for_inference(model, torch.bfloat16)(batch)
    for right, output in zip(exact, ours, strict=True) if isinstance(exact, tuple) else [(exact, ours)]:
        assert (right is None) == (output is None)
        if right is not None:
            assert 0 < (output - right).norm() < 0.03 * right.norm()


def test_the_model_itself_stays_as_it_was() -> None:
    model = TokenClassifier(tiny_config("bert")).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    ready = for_inference(model, torch.bfloat16)
    for parameter in ready.parameters():
        assert not parameter.requires_grad
        parameter.data.zero_()
    assert model.training
    assert not ready.training
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    model(pack([[3, 4]])).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_no_random_numbers_are_drawn() -> None:
    """A resumed run makes its first copy where the original had made one already; draws would make them differ."""
    cpu_linear.can_use_onednn.cache_clear()
    model = TokenClassifier(tiny_config("bert"))
    before = torch.get_rng_state()
    for_inference(model, torch.bfloat16)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.usefixtures("_library")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_model_that_is_ready_is_not_copied_again(dtype: torch.dtype) -> None:
    model = CrfTokenClassifier(tiny_config("bert"))
    ready = for_inference(model, dtype)
    assert (ready is model) is (dtype == torch.float32 and cpu_linear.layer_class(dtype) is None)
    assert for_inference(ready, dtype) is ready


@pytest.mark.usefixtures("_library")
@pytest.mark.parametrize("activation", ["gelu", "gelu_new", "relu", "silu"])
@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_a_packed_model_in_fp32_gives_the_same_to_rounding(family: str, activation: str) -> None:
    model = TokenClassifier(tiny_config(family, hidden_act=activation)).eval()
    scramble(model)
    batch = pack(ragged_ids(LENGTHS * 4, 90))
    ready = for_inference(model, torch.float32)
    assert bool(packed_maps(ready)) is (cpu_linear.layer_class(torch.float32) is not None)
    torch.testing.assert_close(ready(batch), model(batch), rtol=0, atol=1e-5)


def test_a_crf_keeps_its_weights() -> None:
    model = CrfTokenClassifier(tiny_config("bert"))
    for parameter in model.crf.parameters():
        nn.init.normal_(parameter)
    ready = for_inference(model, torch.bfloat16)
    for ours, theirs in zip(ready.crf.parameters(), model.crf.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_alberts_layers_stay_shared() -> None:
    if not cpu_linear.can_use_onednn(torch.bfloat16):
        pytest.skip("this PyTorch or this CPU has no packed linear maps in bf16")
    model = Encoder(tiny_config("albert", num_hidden_layers=12, num_hidden_groups=1, inner_group_num=1))
    linears = [part for part in model.modules() if isinstance(part, nn.Linear)]
    ready = for_inference(model, torch.bfloat16)
    assert len(packed_maps(ready)) == len(linears) == 6  # four of the one layer, the projection and the pooler


def test_without_packed_maps_in_pytorch_the_linear_maps_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: Any) -> Tensor:
        raise RuntimeError("no such function")

    monkeypatch.setattr(OneDnnLinear, "__call__", missing)
    untried = cpu_linear.can_use_onednn.__wrapped__
    monkeypatch.setattr(cpu_linear, "can_use_onednn", untried)  # not what an earlier test has found
    ready = for_inference(Encoder(tiny_config("bert")), torch.bfloat16)
    assert not packed_maps(ready)
    assert ready(pack([[3, 4]])).last_hidden_state.dtype == torch.bfloat16


needs_int8 = pytest.mark.skipif(
    not cpu_linear.can_quantize(), reason="this PyTorch or this CPU has no linear maps in 8 bits"
)


# -- 8 bits ----------------------------------------------------------------------------------------------------------


@needs_int8
@pytest.mark.parametrize("activation", ["gelu", "gelu_new", "relu", "silu"])
@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_a_model_in_8_bits_gives_nearly_the_same(family: str, activation: str) -> None:
    model = TokenClassifier(tiny_config(family, hidden_act=activation)).eval()
    scramble(model)
    batch = pack(ragged_ids(LENGTHS * 4, 90))
    exact = model(batch)
    ready = for_inference(model, torch.float32, int8=True)
    assert not any(isinstance(part, nn.Linear) for layer in ready.encoder.layers() for part in layer.modules())
    assert 0 < float((ready(batch) - exact).norm() / exact.norm()) < 0.05
    assert for_inference(ready, torch.float32) is ready


@needs_int8
@pytest.mark.parametrize("value", [torch.inf, torch.nan, -1e38])
@pytest.mark.parametrize("name", ["encoder.embeddings.norm.bias", "encoder.groups.0.0.feed_forward.output.weight"])
def test_damaged_weights_are_reported_in_8_bits(name: str, value: float) -> None:
    model = TokenClassifier(tiny_config("bert")).eval()
    model.get_parameter(name).data.view(-1)[1] = value
    with pytest.raises(InputError, match="above 1,000 or no number"):
        for_inference(model, torch.float32, int8=True)


def test_8_bits_are_refused_where_they_cannot_be_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "can_quantize", lambda: False)
    with pytest.raises(InputError, match="--precision int8: needs a CPU"):
        for_inference(Encoder(tiny_config("bert")), torch.float32, int8=True)


# -- rows ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("backend", CPU_BACKENDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_rows_equal_those_of_the_full_computation_in_values_and_gradients(
    family: str, backend: str, checkpointing: bool
) -> None:
    rates = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    encoder = Encoder(tiny_config(family, **rates), add_pooling_layer=False).double().train()
    encoder.activation_checkpointing = checkpointing
    scramble(encoder)
    batch = pack(ragged_ids(LENGTHS, 90))
    rows = torch.tensor([37, 0, 26, 5, 5])  # the last, the first, a sequence of one, and one twice
    cotangent = torch.randn(5, 24, dtype=torch.float64)

    def values_and_gradients(states: Tensor) -> list[Tensor]:
        return [states.detach(), *torch.autograd.grad(states, tuple(encoder.parameters()), cotangent)]

    with attention_backend(backend):
        full = values_and_gradients(encoder(batch).last_hidden_state[rows])
        ours = values_and_gradients(encoder(batch, rows=rows).last_hidden_state)
    for right, value in zip(full, ours, strict=True):
        assert largest_difference(value, right) <= 1e-12


@torch.no_grad()
def test_rows_cut_only_the_last_layer_short() -> None:
    encoder = Encoder(tiny_config("bert")).eval()
    batch = pack(ragged_ids(LENGTHS, 90))
    rows = torch.tensor([3, 30])
    full, ours = encoder(batch, output_hidden_states=True), encoder(batch, rows=rows, output_hidden_states=True)
    assert ours.pooler_output is None
    assert [len(states) for states in ours.hidden_states] == [38, 38, 38, 2]
    for right, states in zip(full.hidden_states[:-1], ours.hidden_states[:-1], strict=True):
        assert torch.equal(states, right)
    assert torch.equal(ours.hidden_states[-1], ours.last_hidden_state)


@pytest.mark.parametrize("family", FAMILIES)
def test_heads_that_need_few_rows_give_the_same_as_from_all(family: str) -> None:
    """Written out from the encoder's full output, in evaluation mode."""
    batch = pack(ragged_ids(LENGTHS, 90))
    firsts, positions = torch.tensor([0, 6, 26, 27]), torch.tensor([1, 8, 28])
    classifier = SequenceClassifier(tiny_config(family)).double().eval()
    model = PretrainingModel(tiny_config(family)).double().eval()
    scramble(classifier)
    scramble(model)
    output = classifier.encoder(batch)
    read = output.pooler_output
    if classifier.dense is not None:
        read = classifier.dense(output.last_hidden_state[firsts]).tanh()
    assert largest_difference(classifier(batch), classifier.classifier(read)) <= 1e-12
    (all_words, all_pairs), (words, pairs) = model(batch), model(batch, positions)
    assert largest_difference(words, all_words[positions]) <= 1e-12
    assert (pairs is None) == (all_pairs is None) == (family == "roberta")
    if pairs is not None:
        assert largest_difference(pairs, all_pairs) <= 1e-12
        assert largest_difference(pairs, model.pair(model.encoder(batch).pooler_output)) <= 1e-12


# -- few numbers of rows ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("head", [Encoder, TokenClassifier, SequenceClassifier, PretrainingModel])
@torch.inference_mode()
def test_linear_maps_meet_few_numbers_of_rows_and_outputs_are_the_same(
    head: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    if not cpu_linear.can_use_onednn(torch.float32):
        pytest.skip("this PyTorch has no packed linear maps")
    model = head(tiny_config("bert")).eval()
    scramble(model)
    ready = for_inference(model, torch.float32)
    seen = set()
    compute = torch.ops.mkldnn._linear_pointwise

    def watched(x: Tensor, *rest: Any) -> Tensor:
        seen.add(len(x))
        output: Tensor = compute(x, *rest)
        return output

    monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", watched)
    for count in range(1, 150, 7):
        batch = pack(ragged_ids([1 + (number * count) % 20 for number in range(count)], 90))
        for right, output in zip(outputs_of(model(batch)), outputs_of(ready(batch)), strict=True):
            torch.testing.assert_close(output, right, rtol=0, atol=2e-5)
    assert seen
    assert all(cpu_linear.rounded_up(count) == count for count in seen)


def outputs_of(output: Any) -> list[Tensor]:
    if isinstance(output, EncoderOutput):
        output = (output.last_hidden_state, output.pooler_output)
    return [part for part in (output if isinstance(output, tuple) else (output,)) if part is not None]


@torch.inference_mode()
def test_all_hidden_states_are_those_of_the_batch() -> None:
    model = Encoder(tiny_config("bert")).eval()
    batch = pack(ragged_ids([20, 20, 3], 90))
    right, output = (each(batch, output_hidden_states=True) for each in (model, for_inference(model, torch.float32)))
    for state, expected in zip(output.hidden_states, right.hidden_states, strict=True):
        torch.testing.assert_close(state, expected, rtol=0, atol=2e-5)


@torch.inference_mode()
def test_rows_that_are_asked_for_are_those_of_the_batch() -> None:
    """Also where they and the first tokens are more than the batch has tokens."""
    model = PretrainingModel(tiny_config("bert")).eval()
    scramble(model)
    batch = pack(ragged_ids([20, 17, 3], 90))
    positions = torch.arange(batch.num_tokens)
    words, pairs = for_inference(model, torch.float32)(batch, positions)
    expected_words, expected_pairs = model(batch, positions)
    torch.testing.assert_close(words, expected_words, rtol=0, atol=2e-5)
    torch.testing.assert_close(pairs, expected_pairs, rtol=0, atol=2e-5)
