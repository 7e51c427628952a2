"""TensorFlow's checkpoints: files that it wrote, and files that it reads."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from bundle_files import bytes_of
from conftest import GOLDEN
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from minibert.errors import InputError
from minibert.formats.google.tensor_bundle import TensorBundle, write_bundle

LISTS = sorted(path for path in GOLDEN.glob("*/*.json") if path.with_suffix(".index").exists())
DTYPES = (
    torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int8, torch.int16, torch.int32, torch.int64,
    torch.uint8, torch.bool,
)  # fmt: skip
UNREADABLE = ("string", "complex64")


# ---- What TensorFlow wrote


@pytest.mark.parametrize("path", LISTS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_checkpoint_of_tensorflow_reads_as_tensorflow_reads_it(path: Path) -> None:
    variables = json.loads(path.read_text(encoding="utf-8"))["variables"]
    bundle = TensorBundle(path.with_suffix(""))
    assert bundle.names() == list(variables)
    read = 0
    for name, facts in variables.items():
        entry = bundle.entry(name)
        assert list(entry.shape) == facts["shape"]
        assert entry.dtype == facts["dtype"]
        if entry.dtype not in UNREADABLE and not entry.sliced:
            tensor = bundle.read(name)
            assert tensor.shape == entry.shape
            assert str(tensor.dtype) == f"torch.{entry.dtype}"
            assert hashlib.sha256(bytes_of(tensor)).hexdigest() == facts["sha256"]
            read += 1
    assert read >= 1


def test_the_checkpoints_are_there_and_cover_what_they_should() -> None:
    assert len(LISTS) == 9
    types = TensorBundle(GOLDEN / "bundles" / "types")
    found = {types.entry(name).dtype for name in types.names()}
    assert {str(dtype).removeprefix("torch.") for dtype in DTYPES} <= found
    shards = TensorBundle(GOLDEN / "bundles" / "shards")
    assert {shards.entry(name).shard for name in shards.names()} == {0, 1, 2}


@pytest.mark.parametrize(
    ("bundle", "name", "reason"),
    [
        ("types", "string", "type string"),
        ("types", "complex64", "type complex64"),
        ("types", "no such name", "has no tensor 'no such name'"),
        ("sliced", "table", "stored in slices"),
    ],
)
def test_what_cannot_be_read_is_listed_and_refused_by_name(bundle: str, name: str, reason: str) -> None:
    opened = TensorBundle(GOLDEN / "bundles" / bundle)
    with pytest.raises(InputError, match=reason):
        opened.read(name)


def test_a_tensor_that_was_read_is_a_copy(tmp_path: Path) -> None:
    write_bundle(tmp_path / "model.ckpt", {"a": torch.ones(3)})
    bundle = TensorBundle(tmp_path / "model.ckpt")
    bundle.read("a").zero_()
    assert bundle.read("a").tolist() == [1, 1, 1]


# ---- What we write


@st.composite
def tensors(draw: st.DrawFn) -> dict[str, Tensor]:
    names = draw(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1), unique=True))
    made = {}
    for name in names:
        shape = draw(st.lists(st.integers(0, 4), max_size=4))
        values = torch.randint(0, 2 if (dtype := draw(st.sampled_from(DTYPES))) == torch.bool else 128, shape)
        made[name] = values.to(dtype)
    return made


@pytest.mark.slow
@settings(max_examples=40)
@given(tensors())
def test_what_is_written_is_read_back(tmp_path_factory: pytest.TempPathFactory, written: dict[str, Tensor]) -> None:
    prefix = tmp_path_factory.mktemp("bundle") / "model.ckpt"
    write_bundle(prefix, written)
    bundle = TensorBundle(prefix)
    assert bundle.names() == sorted(written, key=str.encode)
    for name, tensor in written.items():
        read = bundle.read(name)
        assert read.dtype == tensor.dtype
        assert torch.equal(read, tensor)
    assert sorted(path.name for path in prefix.parent.iterdir()) == [
        "model.ckpt.data-00000-of-00001",
        "model.ckpt.index",
    ]


def test_transposed_tensors_and_parameters_are_written_by_value(tmp_path: Path) -> None:
    written = {"t": torch.arange(6.0).view(2, 3).T, "p": torch.nn.Parameter(torch.ones(2))}
    write_bundle(tmp_path / "model.ckpt", written)
    bundle = TensorBundle(tmp_path / "model.ckpt")
    assert torch.equal(bundle.read("t"), written["t"])
    assert torch.equal(bundle.read("p"), written["p"].detach())


@pytest.mark.parametrize(
    "written", [{"a": torch.ones(1, dtype=torch.complex64)}, {"": torch.ones(1)}, {"\0a": torch.ones(1)}]
)
def test_what_the_format_cannot_hold_is_not_written(written: dict[str, Tensor], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be"):
        write_bundle(tmp_path / "model.ckpt", written)
    assert not list(tmp_path.iterdir())


def test_tensorflow_reads_what_is_written(tmp_path: Path) -> None:
    tf = pytest.importorskip("tensorflow", reason="TensorFlow is the oracle of this test")
    names = [f"{dtype}/x" for dtype in DTYPES]
    written = {name: torch.randint(0, 2, (3, 4)).to(dtype) for name, dtype in zip(names, DTYPES, strict=True)}
    written |= {"scalar": torch.tensor(2.5), "empty": torch.zeros(0, 3), "Ümläut": torch.randn(70000)}
    written |= {f"many/{i}/kernel": torch.full((1,), float(i)) for i in range(5000)}
    write_bundle(tmp_path / "model.ckpt", written)
    reader = tf.train.load_checkpoint(str(tmp_path / "model.ckpt"))
    assert reader.get_variable_to_shape_map() == {name: list(tensor.shape) for name, tensor in written.items()}
    for name, tensor in written.items():
        assert reader.get_variable_to_dtype_map()[name].name == str(tensor.dtype).removeprefix("torch.")
        assert np.asarray(reader.get_tensor(name)).tobytes() == bytes_of(tensor)


def test_an_index_of_several_blocks_of_tensorflow_is_read(tmp_path: Path) -> None:
    tf = pytest.importorskip("tensorflow", reason="TensorFlow writes this file")
    names = [f"layer_{i}/kernel" for i in range(9000)]
    tf.raw_ops.SaveV2(
        prefix=str(tmp_path / "model.ckpt"), tensor_names=names, shape_and_slices=[""] * len(names),
        tensors=[tf.constant([i, -i]) for i in range(len(names))],
    )  # fmt: skip
    bundle = TensorBundle(tmp_path / "model.ckpt")
    assert (tmp_path / "model.ckpt.index").stat().st_size > 262144  # the size of a block
    assert bundle.names() == sorted(names)
    assert all(bundle.read(name).tolist() == [i, -i] for i, name in enumerate(names))
