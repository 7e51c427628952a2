"""What the tests of checkpoints share: a small BERT as Hugging Face saved it, and the model that is read from it."""

from typing import Any

import pytest
from conftest import GOLDEN, read_checkpoint
from tensor_states import Tensors, state_of

from minibert import Encoder


@pytest.fixture
def tensors() -> Tensors:
    return read_checkpoint(GOLDEN / "bert_gelu")[0]


@pytest.fixture
def settings() -> dict[str, Any]:
    return read_checkpoint(GOLDEN / "bert_gelu")[1]


@pytest.fixture
def expected() -> Tensors:
    return state_of(Encoder.from_pretrained(GOLDEN / "bert_gelu"))
