"""The command that lists and compares the tensors of checkpoints."""

import json
from pathlib import Path

import pytest
import torch
from conftest import GOLDEN, write_checkpoint
from conversions import values_of

from tools import inspect_weights


@pytest.mark.parametrize("name", ["google_bert", "fairseq_args", "albert"])
def test_inspect_lists_every_tensor(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert inspect_weights.main([str(GOLDEN / name), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    values = values_of(GOLDEN / name)
    assert facts.keys() == values.keys()
    for key, fact in facts.items():
        assert fact["shape"] == list(values[key].shape)
        assert fact["max"] == pytest.approx(values[key].double().max().item())


def test_inspect_flags_nan_and_infinity(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    odd = torch.tensor([1.0, float("nan"), 3.0, float("inf"), -float("inf")])
    write_checkpoint(tmp_path, {"odd": odd, "even": torch.zeros(2, dtype=torch.int64), "none": torch.zeros(0, 3)}, {})
    assert inspect_weights.main([str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[0] == "even"
    assert lines[2].endswith("min 1 max 3 mean 2 std 1 1 NaN! 2 INFINITE!")
    assert lines[3] == "3 tensors, 7 numbers; NaN or infinity in odd"


def test_inspect_compares(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    write_checkpoint(one, {"a": torch.ones(2), "b": torch.ones(2), "c": torch.ones(1), "d": torch.ones(1)}, {})
    write_checkpoint(other, {"a": torch.ones(2), "b": torch.ones(3), "c": torch.zeros(1), "e": torch.ones(1)}, {})
    assert inspect_weights.main([str(one), str(one)]) == 0
    assert capsys.readouterr().out == "4 tensors equal bit by bit\n"
    assert inspect_weights.main([str(one), str(other), "--json"]) == 1
    assert json.loads(capsys.readouterr().out) == {
        "only": [["d"], ["e"]],
        "differing": {"b": "float32 (2,) against float32 (3,)", "c": "by 1 at most"},
        "equal": 1,
    }
    assert inspect_weights.main([str(one), str(tmp_path / "none")]) == 2
