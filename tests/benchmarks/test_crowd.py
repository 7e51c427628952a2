"""A command beside busy processes: what is counted, and that no process is left behind."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ENVIRONMENT

from benchmarks import crowd
from minibert.errors import InputError

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks processes up in /proc")


def state_and_parent(process: int) -> tuple[str, int]:
    try:
        state, parent = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[:2]
    except (FileNotFoundError, ProcessLookupError):
        return "Z", 0
    return state, int(parent)


def is_running(process: int) -> bool:
    return state_and_parent(process)[0] != "Z"


def children(process: int) -> list[int]:
    """The processes that it started and that have not ended."""
    running = filter(is_running, (int(path.name) for path in Path("/proc").glob("[0-9]*")))
    return [number for number in running if state_and_parent(number)[1] == process]


def wait_until(holds: Callable[[], bool]) -> None:
    for _ in range(600):
        if holds():
            return
        time.sleep(0.1)
    pytest.fail("not within a minute")


def python(code: str) -> str:
    return shlex.join([sys.executable, "-c", code])


def test_rounds_start_with_another_load_each_time(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    loads: list[int] = []

    def seconds_of(command: str, environment: dict[str, str], *, limit: float | None = None) -> float:
        assert environment["GOMP_SPINCOUNT"] == "7=7"
        assert limit in (None, 20 * 2.0)
        loads.append(len(set(children(os.getpid())) - before))
        return 2.0 + loads[-1]

    before = set(children(os.getpid()))
    monkeypatch.setattr(crowd, "seconds_of", seconds_of)
    crowd.main(["--busy", "2", "0", "1", "--rounds", "2", "--environment", "GOMP_SPINCOUNT=7=7", "--command", "none"])
    assert loads == [0, *(0, 1, 2), *(1, 2, 0)]
    assert set(children(os.getpid())) == before
    record = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert record["contenders"]["beside 2"] == {"median_seconds": 4.0, "times_alone": 2.0, "seconds": [4.0, 4.0]}


def test_a_command_gets_a_new_folder_and_is_stopped_at_the_limit_with_its_children(tmp_path: Path) -> None:
    note = tmp_path / "note"
    code = f"import os, sys; os.mkdir(sys.argv[1]); open({str(note)!r}, 'w').write(sys.argv[1])"
    crowd.seconds_of(f"{python(code)} {{out}}", os.environ)
    assert not Path(note.read_text()).exists()  # it has been removed

    code = f"import os, time; os.fork(); open(f'{tmp_path}/{{os.getpid()}}', 'w'); time.sleep(600)"
    assert crowd.seconds_of(python(code), os.environ, limit=2.0) == 2.0
    started = [int(path.name) for path in tmp_path.iterdir() if path.name.isdigit()]
    assert len(started) == 2
    wait_until(lambda: not any(map(is_running, started)))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_busy_process_outlives_the_benchmark(number: signal.Signals) -> None:
    options = ["--busy", "0", "2", "--rounds", "100", "--command", python("import time; time.sleep(0.5)")]
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.crowd", *options], env=ENVIRONMENT, stderr=subprocess.DEVNULL
    ) as benchmark:
        wait_until(lambda: len(children(benchmark.pid)) == 3)
        started = children(benchmark.pid)
        benchmark.send_signal(number)
        assert benchmark.wait() in (128 + number, -number)
    wait_until(lambda: not any(map(is_running, started)))


def test_mistakes_are_one_sentence() -> None:
    for options, message in (
        (["--environment", "X"], "--environment X: write NAME=VALUE"),
        (["--busy", "1"], "write 0 for the command alone"),
        (["--command", python("import sys; sys.exit('no data')")], "exits with status 1: no data"),
    ):
        with pytest.raises(InputError, match=message):
            crowd.main(options)
