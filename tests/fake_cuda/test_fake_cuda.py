"""CUDA without a GPU: training and prediction on tensors that have no values. See ``device.py`` for what that shows.

Cases run in a process of their own, several at a time, since PyTorch must be imported after the fake device.
"""

import functools
import itertools
import json
import subprocess
import sys
from typing import Any

import pytest
from conftest import ENVIRONMENT, FAMILIES, ROOT

HEADS = ("words", "crf", "texts", "numbers", "spans", "choices", "pretraining")
PRECISIONS = ("bf16", "fp16", "fp32")
OPTIONS = (
    "r_drop",
    "several labels",
    "teacher",
    "crf with r_drop",
    "crf with teacher",
    "fgm",
    "ema",
    "token budget",
    "deterministic",
)
SYNCHRONISATIONS = ("DataDependentOutputException", "DynamicOutputShapeException")
# What PyTorch's notes on reproducibility list as never deterministic on CUDA, of what a model might use.
NOT_DETERMINISTIC = {"put_", "bincount", "histc", "kthvalue", "median", "adaptive_avg_pool2d"}
REASONS = {
    "bounds on the host": "cum_seq_q is on cpu",
    "bounds of 64 bits": "cum_seq_q is torch.int64",
    "strided bounds": "cum_seq_q is not contiguous",
    "single precision": "query is torch.float32",
    "strided last dimension": "query has the stride 2 in its last dimension",
    "heads of 12": "query has heads of width 12",
    "heads of 264": "query has heads of width 264",
    "batch on the host": "FakeTensorDeviceMismatchError",
    "rows by a mask": SYNCHRONISATIONS[1],
    "item": SYNCHRONISATIONS[0],
    "length from the device": SYNCHRONISATIONS[0],
    "weights on the host": "FakeTensorDeviceMismatchError",
}
GROUPS = {
    "sample": ["train/words/bert/bf16", "predict/words/bert/bf16"],
    "others": [
        *(f"bug/{name}" for name in REASONS),
        *(f"option/{name}" for name in OPTIONS), "option/checkpointing", "option/micro-batches", "option/old device",
        "option/narrow heads", "option/out of memory", "option/snapshot and restore", "option/base step",
        "option/graphs", "option/graphs with micro-batches",
        "option/crf step",
    ],
    **{
        family: [
            "/".join(names) for names in itertools.product(("train", "predict"), HEADS, (family,), PRECISIONS)
        ]
        for family in FAMILIES
    },
}  # fmt: skip


@functools.cache
def _traced(group: str) -> Any:
    command = [sys.executable, "-m", "fake_cuda", *GROUPS[group]]
    environment = {**ENVIRONMENT, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def traced(group: str, case: str) -> dict[str, Any]:
    """What a case returned, or the error that it raised; skips the test where CUDA cannot be traced."""
    results = _traced(group)
    if reason := results.get("unavailable"):
        pytest.skip(f"CUDA cannot be traced here: {reason}")
    result: dict[str, Any] = results[case]
    return result


def option(name: str) -> dict[str, Any]:
    result = traced("others", f"option/{name}")
    assert "raised" not in result, result
    return result


def assert_on_device(case: str, result: dict[str, Any]) -> None:
    """It went through without a synchronisation, by flash attention in half precision, and its results are there.

    Runs that are deterministic can do all of it.
    """
    assert "raised" not in result, result
    assert result["flash_calls"] == (0 if case.endswith("fp32") else 2)  # layers
    assert result["devices"] == ["cuda:0"]
    assert not NOT_DETERMINISTIC & result["operators"].keys()


@pytest.mark.parametrize("case", GROUPS["sample"])
def test_a_run_and_a_prediction_stay_on_the_device(case: str) -> None:
    result = traced("sample", case)
    assert_on_device(case, result)
    assert result["sent"] == 1  # ids, positions, types, bounds and targets travel together


@pytest.mark.slow
@pytest.mark.parametrize(("family", "case"), [(family, case) for family in FAMILIES for case in GROUPS[family]])
def test_every_head_stays_on_the_device(family: str, case: str) -> None:
    assert_on_device(case, traced(family, case))


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIONS)
def test_options_stay_on_the_device(name: str) -> None:
    assert option(name)["flash_calls"] == (4 if name == "fgm" else 2)


@pytest.mark.slow
def test_soft_targets_travel_with_the_batch() -> None:
    assert option("teacher")["sent"] == 1


@pytest.mark.slow
def test_checkpointing_and_micro_batches_repeat_the_layers() -> None:
    checkpointing, micro_batches = option("checkpointing"), option("micro-batches")
    assert checkpointing["flash_calls"] == micro_batches["flash_calls"] == 4
    assert checkpointing["operators"]["_flash_attention_backward"] == 2
    assert micro_batches["operators"]["_flash_attention_backward"] == 4


@pytest.mark.slow
@pytest.mark.parametrize("name", ["old device", "narrow heads"])
def test_what_flash_attention_does_not_take_is_padded(name: str) -> None:
    result = option(name)
    assert result["flash_calls"] == 0
    assert result["sent"] == 2  # the batch, and where its rows lie in a grid


@pytest.mark.slow
def test_out_of_memory_goes_on_with_half_the_batch() -> None:
    assert option("out of memory")["sizes"] == [4, 2, 2]


@pytest.mark.slow
def test_a_checkpoint_is_copied_to_the_host_and_back() -> None:
    result = option("snapshot and restore")
    assert result["saved"] == ["cpu"]
    assert result["devices"] == result["moments"] == ["cuda:0"]


@pytest.mark.slow
@pytest.mark.parametrize("bug", REASONS)
def test_a_planted_bug_is_caught(bug: str) -> None:
    result = traced("others", f"bug/{bug}")
    assert "raised" in result, "it went through"
    assert REASONS[bug] in f"{result['raised']}: {result['message']}"


@pytest.mark.slow
def test_a_step_of_bert_base_launches_few_kernels() -> None:
    """Of 32 short sentences, in bf16; what launches how many is estimated in ``launches.py``."""
    pytest.importorskip("triton", reason="Triton, which fuses kernels, is not installed")
    result = option("base step")
    assert "slice_backward" not in result["launches"]  # of rows that are all rows
    assert result["total"] <= 455, result["launches"]


@pytest.mark.slow
def test_with_graphs_few_kernels_are_launched_one_by_one() -> None:
    """Graphs hold the forward and the backward pass of BERT-base; nothing in them waits for the host or reads it."""
    result = option("graphs")
    forward, backward = result["recorded"]
    assert forward + backward >= 350
    assert result["launched"] <= 100, result["by operator"]
    assert result["sent"] == 1


@pytest.mark.slow
def test_micro_batches_of_one_bucket_share_its_graphs() -> None:
    assert len(option("graphs with micro-batches")["recorded"]) == 2


@pytest.mark.slow
def test_a_crf_launches_few_kernels_more_than_a_linear_head() -> None:
    """Though its sentences have up to 95 words, one after another."""
    result = option("crf step")
    assert result["total"] <= 300, result["launches"]
