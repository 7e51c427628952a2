"""The encoder against reference values of Hugging Face's models (golden/make_golden.py); needs no transformers."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from conftest import CPU_BACKENDS, GOLDEN, largest_difference
from safetensors.torch import load_file
from torch import Tensor

from minibert import Encoder
from minibert.attention import attention_backend
from minibert.batch import from_padded
from minibert.formats.huggingface import name_table
from minibert.formats.names import from_parameters

NAMES = ("bert_gelu", "bert_relu", "albert", "roberta")
TOLERANCES = {torch.float64: 1e-9, torch.float32: 1e-5}


@dataclass
class Computed:
    hidden_states: Tensor
    pooler_output: Tensor
    gradients: dict[str, Tensor]


def compute(encoder: Encoder, reference: dict[str, Tensor], backend: str) -> Computed:
    """What the encoder makes of the reference's batch and cotangents, under Hugging Face's names."""
    batch = from_padded(reference["input_ids"], reference["attention_mask"], reference["token_type_ids"])
    outputs = ("last_hidden_state", "pooler_output")
    with attention_backend(backend):
        output = encoder(batch, output_hidden_states=True)
        torch.autograd.backward(
            [getattr(output, name) for name in outputs],
            [reference[f"cotangent.{name}"].to(output.last_hidden_state.dtype) for name in outputs],
        )
    assert torch.equal(output.hidden_states[-1], output.last_hidden_state)
    gradients = {name: parameter.grad for name, parameter in encoder.named_parameters()}
    return Computed(
        torch.stack(output.hidden_states).detach(),
        output.pooler_output.detach(),
        name_table(encoder.config, encoder.head).export(from_parameters(gradients)),
    )


def assert_equals_reference(computed: Computed, reference: dict[str, Tensor], tolerance: float) -> None:
    assert largest_difference(computed.hidden_states, reference["hidden_states"]) <= tolerance
    assert largest_difference(computed.pooler_output, reference["pooler_output"]) <= tolerance
    theirs = {
        name.removeprefix("gradient."): value for name, value in reference.items() if name.startswith("gradient.")
    }
    assert computed.gradients.keys() == theirs.keys()
    for name, gradient in theirs.items():
        # A constant added to all scores of a row leaves softmax as it is: the key's bias has a gradient of 0, and its
        # error is measured by the query's.
        size = theirs[name.replace("key.bias", "query.bias")].norm().item()
        assert (computed.gradients[name].double() - gradient).norm().item() <= tolerance * size, name


def reference_of(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "reference.safetensors")


@pytest.mark.parametrize("backend", CPU_BACKENDS)
@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("name", NAMES)
def test_hidden_states_pooler_and_gradients_equal_the_reference(name: str, dtype: torch.dtype, backend: str) -> None:
    encoder = Encoder.from_pretrained(GOLDEN / name).to(dtype)
    reference = reference_of(GOLDEN / name)
    assert_equals_reference(compute(encoder, reference, backend), reference, TOLERANCES[dtype])


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize(
    "parameter",
    ["attention.qkv.weight", "attention.output.bias", "feed_forward.intermediate.weight", "feed_forward_norm.weight"],
)
@pytest.mark.parametrize("name", NAMES)
def test_the_comparison_sees_one_weight_that_is_slightly_off(name: str, parameter: str, dtype: torch.dtype) -> None:
    encoder = Encoder.from_pretrained(GOLDEN / name).to(dtype)
    reference = reference_of(GOLDEN / name)
    with torch.no_grad():
        encoder.get_parameter(f"groups.1.0.{parameter}").view(-1)[5] += 1e-3
    with pytest.raises(AssertionError):
        assert_equals_reference(compute(encoder, reference, "grouped"), reference, TOLERANCES[dtype])
