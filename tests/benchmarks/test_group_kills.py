"""A run of two processes, of which one is killed, ends as without the kill."""

import json
import subprocess
import sys

import pytest
import torch
from conftest import ENVIRONMENT, ROOT


@pytest.mark.slow
@pytest.mark.skipif(
    not (sys.platform == "linux" and torch.distributed.is_available() and torch.distributed.is_gloo_available()),
    reason="needs Linux, and torch with gloo",
)
def test_a_trial_is_bit_identical() -> None:
    command = [sys.executable, "-m", "benchmarks.group_kills", "--trials", "1"]
    done = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert (found["trials"], found["bit_identical"]) == (1, 1)
