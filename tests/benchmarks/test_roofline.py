"""The estimate of a step's time on a GPU: what operators move, and that both contenders come to a row."""

import json
import subprocess
import sys
from typing import Any

import pytest
from conftest import ENVIRONMENT, ROOT

pytest.importorskip("transformers", reason="transformers is the peer whose step is estimated")

# PyTorch must be imported after the fake device, so in a process of its own. Bytes by hand: of fp32 numbers 4 each.
BYTES = """
from fake_cuda.guard import load_guard
load_guard()
import json
import torch
from fake_cuda.device import fake_cuda
from benchmarks.roofline.cost import Costs, Device
with fake_cuda():
    x, y, w, table = (torch.empty(shape, device="cuda") for shape in ((10, 4), (10, 4), (4, 6), (1000, 4)))
    rows = torch.zeros(5, dtype=torch.int64, device="cuda")
    found = {}
    for name, work in {
        "product": lambda: x @ w,
        "sum": lambda: x + y,
        "sum in place": lambda: x.add_(y),
        "sum with one row": lambda: x + y[:1].expand(10, 4),
        "view": lambda: x.t(),
        "rows": lambda: torch.nn.functional.embedding(rows, table),
        "list": lambda: torch._foreach_mul_([x, y], 2.0),
    }.items():
        with Costs(Device(bandwidth=1.0, shortest_kernel=0.0), attended=0.0) as costs:
            work()
        found[name] = sum(costs.seconds.values())
print(json.dumps(found))
"""


def last_line(*arguments: str) -> Any:
    environment = {**ENVIRONMENT, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    done = subprocess.run([sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True)
    if "Unavailable" in done.stderr:
        pytest.skip("CUDA cannot be traced here")
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_operators_move_what_they_read_and_write() -> None:
    assert last_line("-c", BYTES) == {
        "product": 4 * (40 + 24 + 60),
        "sum": 4 * (40 + 40 + 40),
        "sum in place": 4 * (40 + 40 + 40),
        "sum with one row": 4 * (40 + 4 + 40),
        "view": 0,
        "rows": 8 * 5 + 4 * (20 + 20),
        "list": 4 * 2 * (40 + 40),
    }


@pytest.mark.slow
def test_all_contenders_come_to_a_row() -> None:
    steps = last_line("-m", "benchmarks.roofline", "--size", "trial")["steps"]
    assert len(steps) == 6
    for batch in ("32 sentences", "16,384 tokens"):
        names = ("minibert", "minibert, graphs", "transformers-sdpa")
        ours, graphs, theirs = (steps[f"{batch}, {name}"] for name in names)
        assert ours["tokens"] == graphs["tokens"] == theirs["tokens"]
        assert 0 < ours["launches"] < theirs["launches"]
        if batch == "32 sentences":
            assert graphs["launches"] < ours["launches"] / 2
            assert ours["gpu_seconds"] < graphs["gpu_seconds"]  # for the rounded number of tokens
        assert 0 < ours["gpu_seconds"] < theirs["gpu_seconds"]
