"""Reads a batch of hostile inputs in a process of its own, which may die, hang or take memory. POSIX only."""

import contextlib
import faulthandler
import logging
import os
import random
import resource
import select
import shutil
import signal
import sys
import time
import traceback
import warnings
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.attack.kinds import KINDS
from benchmarks.attack.weights import MARKER
from minibert.errors import InputError

SECONDS = 5.0  # of the processor's time for an input
MEGABYTES = 500.0  # more than before, for an input
_KILLED_AFTER = 60.0  # seconds without a sign of life
_MOST_MEMORY = 3 << 30  # bytes of address space more than at the start, so that the machine survives
_CALLS = ("os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "pty.spawn")


@dataclass
class Outcome:
    """What came of some inputs: counts by name, the worst figures, and a line for each failure."""

    counts: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    largest: float = 0.0
    failures: list[str] = field(default_factory=list)

    def add(self, other: "Outcome") -> None:
        self.counts.update(other.counts)
        self.slowest, self.largest = max(self.slowest, other.slowest), max(self.largest, other.largest)
        self.failures += other.failures


def run_batch(kind: str, seed: int, first: int, last: int, folder: Path) -> Outcome:
    """Reads the inputs of these numbers; where a process dies, another one goes on behind the input."""
    outcome = Outcome()
    while first < last:
        first = _run_process(kind, seed, first, last, folder, outcome)
    return outcome


def _run_process(kind: str, seed: int, first: int, last: int, folder: Path, outcome: Outcome) -> int:
    """One process; returns the number of the next input."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reader)
            _read_all(kind, seed, first, last, folder, writer)
        finally:
            os._exit(0)
    os.close(writer)
    number, pending = first, ""
    with open(reader, "rb", buffering=0) as results:
        while True:
            if not select.select([results], [], [], _KILLED_AFTER)[0]:
                os.kill(pid, signal.SIGKILL)
            block = results.read(1 << 16)
            if not block:
                break
            *lines, pending = (pending + block.decode()).split("\n")
            for line in lines:
                _count(outcome, f"{kind} seed {seed} number {number}", line)
                number += 1
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if number < last:
        what = "hang" if status == -signal.SIGKILL else "abort"
        outcome.counts.update([what, "inputs"])
        outcome.failures.append(f"{kind} seed {seed} number {number}: {what}, status {status}")
        number += 1
    return number


def _count(outcome: Outcome, name: str, line: str) -> None:
    what, executed, seconds, megabytes, text = line.split("\t", 4)
    outcome.slowest = max(outcome.slowest, float(seconds))
    outcome.largest = max(outcome.largest, float(megabytes))
    found = [what, "inputs"]
    found += ["executed"] * int(executed)
    found += ["slow"] * (float(seconds) > SECONDS) + ["large"] * (float(megabytes) > MEGABYTES)
    outcome.counts.update(found)
    if len(found) > 2 or what in ("traceback", "unmade"):
        outcome.failures.append(f"{name}: {', '.join(found)} {seconds} s {megabytes} MB {text}")


def _read_all(kind: str, seed: int, first: int, last: int, folder: Path, writer: int) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what the libraries print
    faulthandler.disable()
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    called: list[str] = []
    reading = False

    def audit(event: str, arguments: tuple[object, ...]) -> None:
        if reading and (event in _CALLS or (event in ("open", "os.mkdir") and MARKER in str(arguments[0]))):
            called.append(event)

    sys.addaudithook(audit)
    resource.setrlimit(resource.RLIMIT_AS, (_memory("VmSize") + _MOST_MEMORY,) * 2)
    place = folder / f"input-{os.getpid()}"
    for number in range(first, last):
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        chance = random.Random(f"{kind} {seed} {number}")
        try:
            read = KINDS[kind].make(place, chance)
        except Exception as error:
            os.write(writer, f"unmade\t0\t0\t0\t{error!r:.200}\n".encode("ascii", "backslashreplace"))
            continue
        called.clear()
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        before, started, reading = _memory("VmRSS"), time.process_time(), True
        what, text = _outcome(read)
        reading = False
        seconds, megabytes = time.process_time() - started, (_memory("VmHWM") - before) / 2**20
        executed = int(bool(called or list(place.glob(f"{MARKER}*"))))
        line = f"{what}\t{executed}\t{seconds:.3f}\t{max(0.0, megabytes):.1f}\t{text}\n"
        os.write(writer, line.encode("ascii", "backslashreplace"))
    shutil.rmtree(place, ignore_errors=True)


def _outcome(read: object) -> tuple[str, str]:
    """``read``, ``refused`` or ``traceback``, and for the last one where it came from."""
    try:
        read()  # type: ignore[operator]
    except InputError as error:
        long = len(str(error)) > 3000
        return ("traceback", "a message of 3,000 characters") if long else ("refused", "")
    except BaseException as error:
        frames = traceback.extract_tb(error.__traceback__)
        own = next((frame for frame in reversed(frames) if "benchmarks" not in frame.filename), frames[-1])
        short = f"{type(error).__name__}: {str(error)[:120]!r} at {Path(own.filename).name}:{own.lineno}"
        return "traceback", short.replace("\t", " ").replace("\n", " ")
    return "read", ""


def _memory(name: str) -> int:
    with open("/proc/self/status", encoding="ascii") as file:
        return 1024 * int(next(line.split()[1] for line in file if line.startswith(name)))
