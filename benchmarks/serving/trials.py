"""What must not happen: lost or wrong answers, growing memory, requests that a stop forgets, and harm by a client."""

import contextlib
import json
import random
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.attack.bodies import hostile_body
from benchmarks.serving.processes import Reply, Server, ask_all, started
from tasks.predict import load

_REFUSALS = ("503", "504")  # the queue is full, or the deadline over
_TOLERANCE = 1e-6 + 1e-9  # answers are rounded to six decimals


def endurance(run: str, texts: Sequence[str], *, requests: int, clients: int) -> Mapping[str, Any]:
    """Many requests: how many answers were lost or differ from those in Python, and by how much memory grew after the
    first tenth."""
    expected = [without_time(answer) for answer in load(run, precision="fp32")(list(texts))]
    chance = random.Random(0)
    chosen = [chance.randrange(len(texts)) for _ in range(requests)]
    bodies = [json.dumps(text).encode() for text in texts]
    lost = wrong = 0
    memory = []
    with started("tasks.serve", run, "--precision", "fp32") as server:
        for part in range(10):
            numbers = chosen[part * requests // 10 : (part + 1) * requests // 10]
            for number, reply in zip(
                numbers, ask_all(server.port, [bodies[n] for n in numbers], clients, path="/answer"), strict=True
            ):
                lost += reply.status != 200
                wrong += reply.status == 200 and not close(without_time(reply.value()), expected[number])
            memory.append(server.memory())
    return {
        "requests": requests,
        "lost": lost,
        "wrong": wrong,
        "memory_growth": memory[-1] / memory[0] - 1,
        "memory_mb": [round(each / 1e6, 1) for each in memory],
    }


def without_time(answer: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in answer.items() if name != "milliseconds"}


def close(value: Any, expected: Any) -> bool:
    """Equal, with numbers equal to 1e-6."""
    if isinstance(value, float):
        return abs(value - expected) <= _TOLERANCE
    if isinstance(value, dict):
        return value.keys() == expected.keys() and all(close(value[name], expected[name]) for name in value)
    if isinstance(value, list):
        return len(value) == len(expected) and all(map(close, value, expected))
    return bool(value == expected)


def stops(run: str, texts: Sequence[str], *, times: int, clients: int) -> Mapping[str, int]:
    """SIGTERM under load, several times: the requests that were sent whole before it, and those without an answer."""
    bodies = [json.dumps(text).encode() for text in texts]
    sent = unanswered = 0
    for number in range(times):
        with started("tasks.serve", run, "--precision", "fp32") as server:
            replies: list[Reply] = []
            asking = threading.Thread(
                target=lambda server=server, replies=replies: replies.extend(
                    ask_all(server.port, bodies, clients, path="/answer")
                )
            )
            asking.start()
            time.sleep(1 + 0.37 * number)
            stopped = time.perf_counter()
            server.process.send_signal(signal.SIGTERM)
            server.process.wait()
            asking.join()
        open_then = [reply for reply in replies if reply.sent < stopped < reply.done]
        sent += len(open_then)
        unanswered += sum(reply.status != 200 for reply in open_then)
    return {"stops": times, "open_requests": sent, "unanswered": unanswered}


def hostile(run: str, *, number: int, clients: int, seed: int) -> Mapping[str, Any]:
    """Hostile bodies from many clients, while one asks what it should: statuses, and the answers of the one."""
    statuses: Counter[str] = Counter()
    good: Counter[int] = Counter()
    with started("tasks.serve", run, "--precision", "fp32", "--deadline", "5") as server:
        ended = threading.Event()

        def ask_well() -> None:
            while not ended.is_set():
                good[ask_all(server.port, [b'"Ann [MASK] to Rome."'], 1, path="/answer")[0].status] += 1

        asking = threading.Thread(target=ask_well)
        asking.start()
        numbers = iter(range(number))
        lock = threading.Lock()

        def attack() -> None:
            while True:
                with lock:
                    chosen = next(numbers, None)
                if chosen is None:
                    return
                outcome = send_hostile(server, random.Random(f"{seed} {chosen}"))
                with lock:
                    statuses[outcome] += 1

        threads = [threading.Thread(target=attack) for _ in range(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        ended.set()
        asking.join()
        alive = server.process.poll() is None
    return {
        "bodies": number,
        "statuses": dict(sorted(statuses.items())),
        "server_errors": sum(
            count for status, count in statuses.items() if status.startswith("5") and status not in _REFUSALS
        ),
        "alive": alive,
        "others_answered": good[200],
        "others_refused": sum(good.values()) - good[200],
    }


def send_hostile(server: Server, chance: random.Random) -> str:
    """One hostile request: the status of its answer, or how it ended without one."""
    head, body = hostile_body(chance)
    with contextlib.closing(socket.create_connection(("127.0.0.1", server.port), timeout=30)) as connection:
        try:
            connection.sendall(head)
            _send_somehow(connection, body, chance)
            first = connection.recv(65536)
        except TimeoutError:
            return "no answer"
        except OSError:
            return "closed"
    return first.split(b" ")[1].decode("ascii", "replace") if first.startswith(b"HTTP/") else "closed"


def _send_somehow(connection: socket.socket, body: bytes, chance: random.Random) -> None:
    """At once, in pieces, only half of it, or with an end of the connection in between."""
    how = chance.choice(("whole",) * 6 + ("pieces", "half-closed", "reset"))
    if how == "whole":
        connection.sendall(body)
    elif how == "pieces":
        for start in range(0, min(len(body), 60), 20):
            connection.sendall(body[start : start + 20])
            time.sleep(0.01)
        connection.sendall(body[60:])
    else:
        connection.sendall(body[: len(body) // 2])
        connection.shutdown(socket.SHUT_WR)
        if how == "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            connection.close()
