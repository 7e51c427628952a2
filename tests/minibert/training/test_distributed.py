"""Several processes: the same losses, the same evaluation, and a group that loses a member comes back."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ENVIRONMENT, ROOT
from training_runs import ragged_items

from minibert.errors import InputError
from minibert.training import TrainingSettings, distributed
from minibert.training.data import Plan

pytestmark = pytest.mark.skipif(
    not (hasattr(os, "fork") and torch.distributed.is_available() and torch.distributed.is_gloo_available()),
    reason="needs processes that fork, and torch with gloo",
)
WORKER = ROOT / "tests" / "distributed_worker.py"
VARIANTS = ("albert", "bert", "fgm", "r_drop", "checkpointing", "ema", "tokens")


def run(command: list[str]) -> None:
    values = {**ENVIRONMENT, "PYTHONPATH": os.pathsep.join([ENVIRONMENT["PYTHONPATH"], str(WORKER.parent)])}
    done = subprocess.run(command, capture_output=True, text=True, env=values, check=False, timeout=300)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def groups(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the results of groups of 1, 2 and 4 processes."""
    folder = tmp_path_factory.mktemp("groups")
    run([sys.executable, str(WORKER), str(folder)])
    return folder


@pytest.fixture(scope="module")
def results(groups: Path) -> dict[int, Any]:
    return {size: json.loads((groups / f"{size}.json").read_text(encoding="utf-8")) for size in (1, 2, 4)}


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize("variant", VARIANTS)
def test_many_processes_make_the_steps_of_one(results: dict[int, Any], size: int, variant: str) -> None:
    one, many = results[1][variant]["losses"], results[size][variant]["losses"]
    if variant == "tokens":
        lengths = [len(ids) for ids, _ in ragged_items(25)]
        num_steps = len(Plan(num_examples=25, seed=TrainingSettings().seed, batch_tokens=45, lengths=lengths).steps(1))
    else:
        num_steps = 20 if variant == "albert" else 5
    assert len(one) == num_steps
    assert many == pytest.approx(one, rel=1e-5)
    for figure in ("train_loss", "loss"):
        expected, found = ([record[figure] for record in results[n][variant]["history"]] for n in (1, size))
        assert found == pytest.approx(expected, rel=1e-5), figure


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize("variant", VARIANTS)
def test_all_processes_have_the_same_weights(results: dict[int, Any], size: int, variant: str) -> None:
    """At the end, and at each evaluation, where they may be moving averages."""
    result = results[size][variant]
    for norms in [result["norms"], *(record["norms"] for record in result["history"])]:
        assert len(norms) == size
        assert len(set(norms)) == 1


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 4])
def test_an_evaluation_in_shards_is_the_same_to_the_last_bit(results: dict[int, Any], size: int) -> None:
    """With the same weights; each batch is counted once, in order."""
    assert results[size]["untrained"] == results[1]["untrained"]
    counted = [targets for _, _, targets in results[1]["untrained"]["batches"]]
    assert len(counted) == 6
    for record in results[size]["albert"]["history"]:
        assert [targets for _, _, targets in record["batches"]] == counted


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 2, 4])
def test_an_error_in_process_0_is_raised_in_all(results: dict[int, Any], size: int) -> None:
    assert results[size]["refusals"] == [["use auto."] * size, ["[Errno 13] Permission denied: 'f'"] * size]


@pytest.mark.slow
def test_a_group_that_loses_a_process_restarts_and_ends_with_the_same_bits(groups: Path, tmp_path: Path) -> None:
    """The process that died and the others are started again, and go on from the last checkpoint."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    run([*launcher, "--max-restarts", "1", str(WORKER), str(tmp_path)])
    assert (tmp_path / "restarted").read_text(encoding="utf-8") == "True"
    for name in ("weights.safetensors", "history.json"):
        assert (tmp_path / name).read_bytes() == (groups / "uninterrupted" / name).read_bytes()


@pytest.mark.slow
def test_a_signal_to_one_process_stops_all_after_the_same_step(groups: Path, results: dict[int, Any]) -> None:
    said = results[2]["interrupted"]
    assert said[0] == said[1]
    assert re.fullmatch(r"stopped by SIGTERM after step 4; saved to \S+step-00000004", said[0])
    for name in ("weights.safetensors", "history.json"):
        assert (groups / "interrupted" / name).read_bytes() == (groups / "uninterrupted" / name).read_bytes()


def test_a_single_process_exchanges_nothing() -> None:
    with distributed.process_group(torch.device("cpu")) as device:
        assert device == torch.device("cpu")
        assert (distributed.world_size(), distributed.rank(), distributed.is_rank0()) == (1, 0, True)
    assert distributed.all_gather(distributed.shard([1, 2, 3])) == [1, 2, 3]
    assert distributed.all_reduce_sum([1.5, 2]) == [1.5, 2]


def test_one_gpu_for_all_processes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    monkeypatch.setenv("LOCAL_RANK", "1")
    with (
        pytest.raises(InputError, match="--device cuda:0: under torchrun each process takes a GPU of its own"),
        distributed.process_group(torch.device("cuda:0")),
    ):
        pass


def test_each_process_needs_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    monkeypatch.setenv("LOCAL_RANK", "2")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for device, message in (("cuda", "more processes than the 2 GPUs here"), ("cuda:1", "a GPU of its own; use cuda")):
        with pytest.raises(InputError, match=message), distributed.process_group(torch.device(device)):
            pass
