"""Hugging Face's files: the spellings of tensor names, and which files are read or refused."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import write_checkpoint
from safetensors.torch import save_file
from tensor_states import Tensors, assert_same, state_of

from minibert import Encoder
from minibert.checkpoint import open_checkpoint
from minibert.errors import InputError

# -- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rename",
    [
        lambda name: f"bert.{name}",
        lambda name: name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"),
        lambda name: "bert." + name.replace("LayerNorm.weight", "LayerNorm.gamma"),
    ],
    ids=["prefixed", "gamma and beta", "both"],
)
def test_spellings_of_one_checkpoint_are_one_model(
    rename: Callable[[str], str], tensors: Tensors, settings: dict[str, Any], expected: Tensors, tmp_path: Path
) -> None:
    write_checkpoint(tmp_path, {rename(name): tensor for name, tensor in tensors.items()}, settings)
    model, report = open_checkpoint(tmp_path).load(Encoder)
    assert_same(state_of(model), expected)
    assert sorted(report.loaded) == sorted(rename(name) for name in tensors)
    assert not report.newly_initialised
    assert not report.ignored


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("pooler.dense.bias", "pooler.dense.beta"),
        ("encoder.layer.0.output.dense.weight", "encoder.layer.0.output.dense.gamma"),
        ("embeddings.LayerNorm.weight", "embeddings.LayerNorm.gamma.weight"),
        ("embeddings.LayerNorm.weight", "embeddings.MyLayerNorm.gamma"),
    ],
)
def test_gamma_and_beta_are_known_at_the_end_of_a_norm_only(
    right: str, wrong: str, tensors: Tensors, settings: dict[str, Any], tmp_path: Path
) -> None:
    tensors[wrong] = tensors.pop(right)
    write_checkpoint(tmp_path, tensors, settings)
    with pytest.raises(InputError, match=f"unexpected tensors for .*: {wrong};"):
        Encoder.from_pretrained(tmp_path)


@pytest.mark.parametrize("prefix", ["", "bert."])
def test_constant_buffers_are_listed_and_not_read(
    prefix: str, tensors: Tensors, settings: dict[str, Any], expected: Tensors, tmp_path: Path
) -> None:
    buffer = f"{prefix}embeddings.position_ids"
    body = {prefix + name: tensor for name, tensor in tensors.items()}
    write_checkpoint(tmp_path, {**body, buffer: torch.arange(16)[None]}, settings)
    model, report = open_checkpoint(tmp_path).load(Encoder)
    assert_same(state_of(model), expected)
    assert list(report.ignored) == [buffer]
    assert buffer in str(report)


@pytest.mark.parametrize(
    ("double", "original"),
    [
        ("bert.pooler.dense.bias", "pooler.dense.bias"),
        ("embeddings.LayerNorm.gamma", "embeddings.LayerNorm.weight"),
    ],
)
def test_two_names_for_one_tensor_are_refused(
    double: str, original: str, tensors: Tensors, settings: dict[str, Any], tmp_path: Path
) -> None:
    write_checkpoint(tmp_path, {**tensors, double: tensors[original] + 1}, settings)
    with pytest.raises(InputError) as error:
        Encoder.from_pretrained(tmp_path)
    assert f"'{double}'" in str(error.value)
    assert f"'{original}'" in str(error.value)


# -- files ------------------------------------------------------------------------------------------------------------


def write_bin(folder: Path, content: object, settings: dict[str, Any]) -> Path:
    write_checkpoint(folder, {}, settings)
    (folder / "model.safetensors").unlink()
    torch.save(content, folder / "pytorch_model.bin")
    return folder


def write_shards(folder: Path, tensors: Tensors, settings: dict[str, Any], ending: str) -> list[Path]:
    """Two shards with an index; returns the shards."""
    write_checkpoint(folder, {}, settings)
    (folder / "model.safetensors").unlink()
    stem = ending.split(".")[0]
    suffix = ending.split(".")[1]
    names = sorted(tensors)
    shards = [folder / f"{stem}-0000{number}-of-00002.{suffix}" for number in (1, 2)]
    weight_map = {}
    for shard, part in zip(shards, (names[::2], names[1::2]), strict=True):
        content = {name: tensors[name] for name in part}
        if suffix == "safetensors":
            save_file(content, shard)
        else:
            torch.save(content, shard)
        weight_map |= dict.fromkeys(part, shard.name)
    (folder / f"{ending}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return shards


def test_a_bin_file_is_read(tensors: Tensors, settings: dict[str, Any], expected: Tensors, tmp_path: Path) -> None:
    write_bin(tmp_path, tensors, settings)
    assert_same(state_of(Encoder.from_pretrained(tmp_path)), expected)


@pytest.mark.parametrize("ending", ["model.safetensors", "pytorch_model.bin"])
def test_shards_are_read_by_their_index(
    ending: str, tensors: Tensors, settings: dict[str, Any], expected: Tensors, tmp_path: Path
) -> None:
    shards = write_shards(tmp_path, tensors, settings, ending)
    assert_same(state_of(Encoder.from_pretrained(tmp_path)), expected)
    shards[1].unlink()
    with pytest.raises(InputError, match=shards[1].name):
        Encoder.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("weight_map", "message"),
    [
        (None, "weight_map"),
        ({"pooler.dense.bias": "../model.safetensors"}, "plain file name"),
        ({"nowhere": "model-00001-of-00002.safetensors"}, "nowhere"),
    ],
)
def test_a_wrong_index_is_refused(
    weight_map: object, message: str, tensors: Tensors, settings: dict[str, Any], tmp_path: Path
) -> None:
    write_shards(tmp_path, tensors, settings, "model.safetensors")
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(InputError, match=message):
        Encoder.from_pretrained(tmp_path)


class RunsCodeWhenRead:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, str]]:
        return open, (str(self.path), "w")


@pytest.mark.parametrize("legacy", [False, True])
def test_a_bin_file_that_would_run_code_is_refused_and_does_not_run(
    legacy: bool, tensors: Tensors, settings: dict[str, Any], tmp_path: Path
) -> None:
    trap = tmp_path / "code-ran"
    folder = tmp_path / "model"
    write_bin(folder, {**tensors, "extra": RunsCodeWhenRead(trap)}, settings)
    if legacy:
        (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"extra": RunsCodeWhenRead(trap)}, protocol=2))
    with pytest.raises(InputError, match=r"pytorch_model\.bin"):
        Encoder.from_pretrained(folder)
    assert not trap.exists()


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}, {"model": {"pooler.dense.bias": [1.0]}}])
def test_a_bin_file_of_something_else_is_refused(content: object, settings: dict[str, Any], tmp_path: Path) -> None:
    write_bin(tmp_path, content, settings)
    with pytest.raises(InputError, match="dictionary of tensors"):
        Encoder.from_pretrained(tmp_path)


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
@pytest.mark.parametrize("left", [0, 5, 1000, -7])
def test_a_truncated_file_is_named(
    name: str, left: int, tensors: Tensors, settings: dict[str, Any], tmp_path: Path
) -> None:
    if name == "pytorch_model.bin":
        write_bin(tmp_path, tensors, settings)
    else:
        write_checkpoint(tmp_path, tensors, settings)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[:left])
    with pytest.raises(InputError, match=name):
        Encoder.from_pretrained(tmp_path)


@pytest.mark.parametrize("absent", ["config.json", "model.safetensors"])
def test_a_folder_without_config_or_weights_is_refused(
    absent: str, tensors: Tensors, settings: dict[str, Any], tmp_path: Path
) -> None:
    write_checkpoint(tmp_path, tensors, settings)
    (tmp_path / absent).unlink()
    with pytest.raises(InputError, match=absent) as error:
        Encoder.from_pretrained(tmp_path)
    assert str(tmp_path) in str(error.value)


def test_a_setting_that_is_refused_comes_with_the_name_of_its_file(
    tensors: Tensors, settings: dict[str, Any], tmp_path: Path
) -> None:
    write_checkpoint(tmp_path, tensors, {**settings, "hidden_act": "mish"})
    with pytest.raises(InputError, match="mish") as error:
        Encoder.from_pretrained(tmp_path)
    assert str(tmp_path / "config.json") in str(error.value)
