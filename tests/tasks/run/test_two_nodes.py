"""Two nodes on the loopback interface: the run of one node; and what is left where one of them is killed."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import ENVIRONMENT as ON_ONE_THREAD

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (sys.platform == "linux" and torch.distributed.is_available() and torch.distributed.is_gloo_available()),
        reason="needs Linux, and torch with gloo",
    ),
]
ENVIRONMENT = {**ON_ONE_THREAD, "GLOO_SOCKET_IFNAME": "lo"}


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def start(launcher: list[str], options: list[str]) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "torch.distributed.run", *launcher, "-m", "tasks.classification", *options]
    return subprocess.Popen(
        command, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def start_nodes(options: list[str]) -> "list[subprocess.Popen[str]]":
    port = free_port()
    rendezvous = ["--rdzv-backend", "static", "--master-addr", "127.0.0.1", "--master-port", str(port)]
    return [
        start(["--nnodes", "2", "--nproc-per-node", "1", "--node-rank", str(rank), *rendezvous], options)
        for rank in (0, 1)
    ]


def kill_node(agent: "subprocess.Popen[str]") -> None:
    """Kills an agent and its process, which is in a session of its own."""
    workers = Path(f"/proc/{agent.pid}/task/{agent.pid}/children").read_text(encoding="ascii").split()
    agent.kill()
    for worker in workers:
        os.kill(int(worker), signal.SIGKILL)


def test_a_node_is_killed_and_two_nodes_end_like_one(tmp_path: Path) -> None:
    rows = [{"text": f"{'good' if i % 2 else 'bad'} thing number {i}", "label": str(i % 2)} for i in range(120)]
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    options = ["--train", str(tmp_path / "train.jsonl"), "--weights", "random", "--epochs", "2", "--batch-size", "8"]
    options += ["--precision", "fp32", "--no-baseline", "--save-steps", "2", "--ngrams"]
    one = start(
        ["--nproc-per-node", "2", "--master-port", str(free_port())], [*options, "--out", str(tmp_path / "one")]
    )
    assert one.wait(timeout=300) == 0, one.stderr.read() if one.stderr else ""

    out = tmp_path / "two"
    nodes = start_nodes([*options, "--out", str(out)])
    deadline = time.monotonic() + 200
    while not list(out.glob("checkpoints/step-*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    kill_node(nodes[1])
    _, error = nodes[0].communicate(timeout=200)
    nodes[1].communicate()
    assert nodes[0].returncode != 0
    assert "another process of this run has stopped" in error
    assert "to go on from the newest one, on every node, with its --rdzv options" in error
    assert f"torchrun --nnodes 2 --nproc-per-node 1 -m tasks.classification --train {tmp_path}/train.jsonl" in error
    assert "Error: [" not in error.partition("torch.distributed.elastic")[0]

    for node in start_nodes([*options, "--out", str(out), "--resume"]):
        _, error = node.communicate(timeout=300)
        assert node.returncode == 0, error
    ours, others = ((folder / "model.safetensors").read_bytes() for folder in (out, tmp_path / "one"))
    assert ours == others
