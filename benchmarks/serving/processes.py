"""Servers in processes of their own, and clients that keep a connection each and ask again when they are answered."""

import contextlib
import http.client
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minibert.errors import InputError
from tasks.serve.command import bind

_PATIENCE = 300.0


@dataclass(frozen=True)
class Server:
    """A server that listens on ``port`` of this machine."""

    process: subprocess.Popen[bytes]
    port: int

    def memory(self) -> int:
        """Bytes of its resident memory."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii").splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


@contextlib.contextmanager
def started(module: str, run: str, *arguments: str) -> Iterator[Server]:
    """A server while the ``with`` block runs; it listens when the block begins.

    Raises:
        InputError: it does not start.
    """
    with bind("127.0.0.1", 0) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", module, run, "--port", str(port), *arguments]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        end = time.monotonic() + _PATIENCE
        while not _is_up(port):
            if process.poll() is not None or time.monotonic() > end:
                raise InputError(f"{module} did not start; it says above why.")
            time.sleep(0.1)
        yield Server(process, port)
    finally:
        process.terminate()
        process.wait()


def _is_up(port: int) -> bool:
    with contextlib.suppress(OSError, http.client.HTTPException):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    return False


@dataclass
class Reply:
    """What became of a request: times in seconds of ``time.perf_counter``; ``status`` 0 if no answer came."""

    sent: float
    done: float
    status: int
    body: bytes

    def value(self) -> Any:
        return json.loads(self.body)


def ask_all(port: int, bodies: Sequence[bytes], clients: int, *, path: str = "/") -> list[Reply]:
    """Sends every body from the first client that is free; the replies in the order of the bodies."""
    replies: list[Reply | None] = [None] * len(bodies)
    numbers = iter(range(len(bodies)))
    lock = threading.Lock()

    def client() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE)
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            replies[number] = _ask(connection, path, bodies[number])

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [reply for reply in replies if reply is not None]


def _ask(connection: http.client.HTTPConnection, path: str, body: bytes) -> Reply:
    sent = time.perf_counter()
    status, answer = 0, b""
    try:
        connection.request("POST", path, body, {"Content-Type": "application/json"})
        sent = time.perf_counter()
        response = connection.getresponse()
        status, answer = response.status, response.read()
    except (OSError, http.client.HTTPException):
        connection.close()  # it is opened again at the next request
    return Reply(sent, time.perf_counter(), status, answer)
