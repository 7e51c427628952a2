"""Threads: their number follows the limit of a container, and what the environment says wins."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import ROOT

from tasks.run.processors import processor_quota, set_up_threads, usable_processors, use_threads


def write_quota(folder: Path, version: int, quota: str) -> None:
    if version == 2:
        (folder / "cpu.max").write_text(f"{quota} 100000\n", encoding="ascii")
        return
    (folder / "cpu").mkdir(exist_ok=True)
    (folder / "cpu" / "cpu.cfs_quota_us").write_text(f"{quota}\n", encoding="ascii")
    (folder / "cpu" / "cpu.cfs_period_us").write_text("100000\n", encoding="ascii")


@pytest.mark.parametrize(("version", "quota", "expected"), [
    (2, "150000", 1.5), (2, "max", None), (2, "a b", None), (1, "400000", 4.0), (1, "-1", None),
])  # fmt: skip
def test_the_quota_of_a_container(version: int, quota: str, expected: float | None, tmp_path: Path) -> None:
    write_quota(tmp_path, version, quota)
    assert processor_quota(tmp_path) == expected


def test_there_is_none_elsewhere(tmp_path: Path) -> None:
    assert processor_quota(tmp_path) is None


def test_threads_are_no_more_than_the_quota(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    for name in ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.setenv(name, "")  # so that it is put back
        monkeypatch.delenv(name)
    set_up_threads(tmp_path)
    assert "OMP_NUM_THREADS" not in os.environ
    assert int(os.environ["GOMP_SPINCOUNT"]) > 0
    write_quota(tmp_path, 2, "250000")
    set_up_threads(tmp_path)
    assert os.environ["OMP_NUM_THREADS"] == "2"


@pytest.mark.parametrize(("quota", "expected"), [("max", 5), ("250000", 2), ("50000", 1), ("900000", 5)])
def test_processes_are_no_more_than_the_quota(
    quota: str, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {*range(5)}, raising=False)
    write_quota(tmp_path, 2, quota)
    assert usable_processors(tmp_path) == expected


def test_what_the_environment_says_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    monkeypatch.setenv("GOMP_SPINCOUNT", "")
    monkeypatch.delenv("GOMP_SPINCOUNT")
    write_quota(tmp_path, 2, "250000")
    set_up_threads(tmp_path)
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "GOMP_SPINCOUNT" not in os.environ


def test_a_command_sets_them_before_torch_is_imported() -> None:
    program = (
        "import os, sys\n"
        "from tasks.run.console import run_main\n"
        "assert 'torch' not in sys.modules\n"
        "run_main(lambda: print(os.environ['GOMP_SPINCOUNT']))\n"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert int(done.stdout) > 0


def test_the_number_of_threads_can_be_given(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMP_NUM_THREADS", "RAYON_NUM_THREADS"):
        monkeypatch.setenv(name, "5")
    before = torch.get_num_threads()
    try:
        use_threads(None)
        assert (torch.get_num_threads(), os.environ["OMP_NUM_THREADS"]) == (before, "5")
        use_threads(3)
        assert (torch.get_num_threads(), os.environ["RAYON_NUM_THREADS"]) == (3, "3")
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("command", ["ner", "predict run", "embed run", "serve run"])
def test_a_number_below_one_is_refused(command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *f"tasks.{command} --threads 0".split()],
        cwd=ROOT, capture_output=True, text=True, encoding="utf-8",
    )  # fmt: skip
    assert (done.returncode, "--threads 0: must be 1 or more." in done.stderr) == (2, True)
