"""Sizes that a file claims: refused before anything is made from them."""

import json
import struct
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import scramble, tiny_config

from minibert import CrfTokenClassifier, TokenClassifier
from minibert.checkpoint import open_checkpoint
from minibert.errors import InputError
from minibert.formats.source import open_source

LABELS = {str(index): f"label {index}" for index in range(90_000)}
CHANGES: dict[str, dict[str, Any]] = {
    "a million layers": {"num_hidden_layers": 1_000_000},
    "as many layers as allowed": {"num_hidden_layers": 1000},
    "a billion labels": {"num_labels": 1_000_000_000, "id2label": None},
    "many labels": {"id2label": LABELS, "architectures": ["BertModel"]},
    "wide": {"hidden_size": 65_536, "intermediate_size": 1_000_000},
    "a vocabulary of ten million": {"vocab_size": 10_000_000},
    "a million positions": {"max_position_embeddings": 1_000_000},
    "many token types": {"type_vocab_size": 10**9},
    "a number without end": {"layer_norm_eps": 10**400},
    "a size without end": {"hidden_size": 10**400},
    "a rate without end": {"hidden_dropout_prob": 10**4000},
    "inner layers": {"model_type": "albert", "inner_group_num": 100, "num_hidden_groups": 3},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    model = TokenClassifier(tiny_config("bert"))
    scramble(model)
    model.save_pretrained(tmp_path)
    return tmp_path


def change(folder: Path, changes: dict[str, Any]) -> None:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, **changes}), encoding="utf-8")


def convert_all(folder: Path) -> None:
    for read in open_source(folder).readers.values():
        read()


@pytest.mark.parametrize("name", CHANGES)
def test_sizes_are_refused_before_memory_is_taken(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    change(folder, CHANGES[name])
    monkeypatch.setattr(torch.nn.Module, "_apply", lambda *_, **__: pytest.fail("memory was taken"))
    started = time.process_time()
    with pytest.raises(InputError) as error:
        open_checkpoint(folder).load(CrfTokenClassifier)
    assert len(str(error.value)) < 1000
    if name != "many labels":  # the converter copies no head that is not there
        with pytest.raises(InputError):
            convert_all(folder)
    assert time.process_time() - started < 5  # below a second on an idle machine


def test_memory_is_taken_where_that_is_looked_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above would see it."""
    monkeypatch.setattr(torch.nn.Module, "_apply", lambda *_, **__: pytest.fail("memory was taken"))
    with pytest.raises(pytest.fail.Exception, match="memory was taken"):
        open_checkpoint(folder).load(TokenClassifier)


def test_the_most_of_each_size_is_still_a_model(folder: Path) -> None:
    change(folder, {"id2label": {str(index): f"label {index}" for index in range(2000)}})
    model, _ = open_checkpoint(folder).load(TokenClassifier, labels={0: "a", 1: "b"})
    assert model.config.num_labels == 2


def test_layers_are_compared_with_the_tensors_first(folder: Path) -> None:
    change(folder, CHANGES["as many layers as allowed"])
    with pytest.raises(InputError, match=r"describes [\d,]+ layers, but the weights are \d+ tensors"):
        open_checkpoint(folder)


def test_layers_that_share_their_weights_have_a_bound(tmp_path: Path) -> None:
    """No tensor says how often an ALBERT's layer is computed."""
    TokenClassifier(tiny_config("albert")).save_pretrained(tmp_path)
    change(tmp_path, {"num_hidden_layers": 1_000_000})
    with pytest.raises(InputError, match="no encoder has more than 1,000"):
        open_checkpoint(tmp_path)


def header(names: int) -> bytes:
    entry = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    return json.dumps({f"bert.encoder.layer.{number}.weight": entry for number in range(names)}).encode()


@pytest.mark.parametrize("names", [25_000, 200_000])
def test_too_many_names_are_refused_at_once(names: int, folder: Path) -> None:
    text = header(names)
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text)
    started = time.process_time()
    with pytest.raises(InputError, match=r"has 25,000 tensors|a header of [\d,]+ bytes"):
        open_checkpoint(folder)
    assert time.process_time() - started < 5  # under the old limit, 15 seconds and more
