"""The command: a process that starts, answers, survives hostile clients, and stops only when all is answered."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from conftest import ROOT
from serving import wait_for
from uvicorn.config import STARTUP_FAILURE

from minibert.errors import InputError
from tasks import registry
from tasks.serve.arguments import check_arguments, parser
from tasks.serve.command import bind, make_app_of_worker


@pytest.fixture
def process(runs: dict[str, str], request: pytest.FixtureRequest) -> Iterator[tuple[subprocess.Popen[str], int]]:
    command = [sys.executable, "-m", "tasks.serve", runs["classification"], "--port", "0", *request.param]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert process.stdout is not None
    found = re.search(r"at http://127\.0\.0\.1:(\d+)", process.stdout.readline())
    assert found
    port = int(found[1])
    wait_for(lambda: process.poll() is not None or is_up(port), 300)
    assert process.poll() is None, process.stderr.read() if process.stderr else ""
    yield process, port
    if process.poll() is None:
        process.kill()
        process.wait()


def is_up(port: int) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{port}/health", timeout=60) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def post(port: int, texts: list[str]) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("POST", "/answer", json.dumps(texts))
    response = connection.getresponse()
    return response.status, json.loads(response.read())


@pytest.mark.slow
@pytest.mark.parametrize("process", [("--deadline", "30")], indirect=True)
def test_it_answers_hostile_clients_and_others_and_stops_when_all_is_answered(
    process: tuple[subprocess.Popen[str], int],
) -> None:
    running, port = process
    head = b"POST /answer HTTP/1.1\r\nHost: a\r\nContent-Length: 40\r\n\r\n"
    open_connections = []
    no_http = b"\x16\x03\x01\x00\xff\xfe"
    for sent in (b"", b"POST /ans", head, head + b'{"text": "Ann', no_http, b"GET / HTTP/9.9\r\n\r\n"):
        for leave in ("stay", "half", "reset"):
            connection = socket.create_connection(("127.0.0.1", port))
            connection.sendall(sent)
            if leave == "half":
                connection.shutdown(socket.SHUT_WR)
            if leave == "reset":
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                connection.close()
            open_connections.append(connection)
    status, answers = post(port, ["Ann", "Bob"])
    assert (status, [answer["text"] for answer in answers]) == (200, ["Ann", "Bob"])

    for connection in open_connections:
        connection.close()

    body = json.dumps(["Ann saw Bob"] * 300).encode()
    whole = [send(port, body) for _ in range(3)]
    begun = send(port, b'"Ann"', sent=0)
    assert is_up(port)  # the server has read what came before
    assert is_up(port)
    running.send_signal(signal.SIGTERM)
    begun.sendall(b'"Ann"')  # accepted before the signal, whole only after it
    assert [answered(connection) for connection in (*whole, begun)] == [300, 300, 300, 1]
    _, errors = running.communicate(timeout=60)
    assert running.returncode == 0
    assert "Traceback" not in errors


def send(port: int, body: bytes, sent: int | None = None) -> socket.socket:
    """A connection with a request on it, of whose body ``sent`` bytes are sent."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=60)
    head = f"POST /answer HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n"
    connection.sendall(head.encode() + body[:sent])
    return connection


def answered(connection: socket.socket) -> int:
    """How many answers came."""
    with connection:
        response = http.client.HTTPResponse(connection)
        response.begin()
        assert response.status == 200
        answers = json.loads(response.read())
    return len(answers) if isinstance(answers, list) else 1


@pytest.mark.slow
@pytest.mark.parametrize("process", [("--workers", "2")], indirect=True)
def test_several_processes_answer_at_one_address(process: tuple[subprocess.Popen[str], int]) -> None:
    running, port = process
    assert [post(port, ["Ann"])[0] for _ in range(6)] == [200] * 6
    running.send_signal(signal.SIGTERM)
    assert running.wait(60) == 0


def test_an_address_that_is_taken_is_one_sentence() -> None:
    with bind("127.0.0.1", 0) as taken:  # which does not listen yet, as while models load
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=rf"--port {port}: cannot listen there \(.*in use\); give another"):
            registry.run("serve", ["run", "--port", str(port)])
    with pytest.raises(InputError, match=r"--host 203\.0\.113\.7 --port 0: cannot listen there"):
        bind("203.0.113.7", 0)
    for host in ("127.0.0..1", "a" * 70):
        with pytest.raises(InputError, match=rf"--host {host} --port 0: cannot listen there \(.*label"):
            bind(host, 0)


def test_a_run_that_is_none_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        registry.run("serve", [str(tmp_path / "none"), "--port", "0"])
    with pytest.raises(InputError, match=r"RUN runs/a: is given twice"):
        registry.run("serve", ["runs/a", "runs/a/", "--port", "0"])


@pytest.mark.parametrize(
    ("given", "environment", "expected"),
    [("--workers 2", "3", "3"), ("--workers 2 --threads 5", "3", "5"), ("--workers 2", None, "1"), ("", None, "2"),
     ("--workers 40", None, "1")],
)  # fmt: skip
def test_workers_share_the_threads_of_a_container(given: str, environment: str | None, expected: str) -> None:
    """Of 64 processors, it may use two. The processes get their number from the environment."""
    program = (
        "import os, sys\n"
        "os.cpu_count = lambda: 64\n"
        "from tasks.run import processors\n"
        "processors.processor_quota = lambda groups: 2.0\n"
        "processors.set_up_threads()\n"
        "from tasks.serve import command\n"
        "def started(host, port): raise SystemExit(os.environ['OMP_NUM_THREADS'])\n"
        "command.bind = started\n"
        "command.main(['run', *sys.argv[1:]])\n"
    )
    variables = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    if environment:
        variables["OMP_NUM_THREADS"] = environment
    done = subprocess.run(
        [sys.executable, "-c", program, *given.split()],
        cwd=ROOT, env=variables, capture_output=True, text=True, encoding="utf-8",
    )  # fmt: skip
    assert done.stderr.strip() == expected


def test_a_worker_that_cannot_start_is_not_tried_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """uvicorn's supervisor ends with this status, and starts a worker that ends with another again."""
    options = parser().parse_args([str(tmp_path / "none"), "--workers", "2"])
    with pytest.raises(SystemExit) as error:
        make_app_of_worker(options)
    assert error.value.code == STARTUP_FAILURE
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert "no such folder" in said


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--port", "70000"),
        ("--workers", "0"),
        ("--deadline", "0"),
        ("--deadline", "nan"),
        ("--deadline", "inf"),
        ("--queue", "-1"),
    ],
)
def test_numbers_out_of_range_are_refused(option: str, value: str) -> None:
    with pytest.raises(InputError, match=f"{option} .*: must be"):
        check_arguments(["run", option, value])
