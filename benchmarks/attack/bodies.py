"""Hostile requests to a server: broken JSON, wrong types, huge texts, no UTF-8, false lengths."""

import asyncio
import functools
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.attack.damage import damaged
from benchmarks.attack.settings import dumped
from benchmarks.attack.values import change, nested, odd_value
from minibert.errors import InputError
from tasks.predict import load
from tasks.serve.app import Service, build_app
from tasks.serve.limits import Limits

_SMALL = str(Path(__file__).parents[2] / "weights" / "bert-tiny")
_PATHS = ("/", "/", "/answer", "/answer", "/models/bert-tiny", "/models/%00", "/answer?model=x", "/health", "//")
_FALSE_LENGTHS = (b"-1", b"x", b"1e9", b"99999999999999999999", b"", b"0x10", b"5, 6")


def _good(chance: random.Random) -> Any:
    text = chance.choice(
        ("Ann [MASK] to Rome.", "王小明[MASK]来了。", "[MASK][MASK]", "", "[MASK]" * 300, "🙂[MASK]\u200d")
    )
    given = chance.choice((text, {"text": text}, {"text": text, "top_k": 3}, [text] * chance.choice((0, 1, 3, 200))))
    return chance.choice((given, {"inputs": given}, {"inputs": given, "parameters": {"top_k": 2, "targets": ["a"]}}))


def body(chance: random.Random) -> bytes:
    """A body: an answerable one, or one with hostile values or damage."""
    how = chance.randrange(11)
    if how == 0:
        return chance.randbytes(chance.choice((0, 1, 5, 3000)))
    if how == 1:
        return chance.choice((b"[", b'{"a":', b"[{}," * 3)) * chance.choice((1, 500, 100_000))
    if how == 2:
        return dumped(nested(chance.choice((60, 70, 900)), chance), chance)
    if how == 3:
        text = chance.choice(("字", "a ", "[MASK]", "\u202e", "\x00", "\U0010ffff"))
        return dumped({"text": text * chance.choice((99_000, 101_000, 400_000))}, chance)
    if how == 4:
        return dumped(odd_value(chance), chance)
    good = _good(chance)
    if how == 5:
        return damaged(dumped(good, chance), chance)
    return dumped(change(good, chance) if how < 8 and isinstance(good, (dict, list)) else good, chance)


def hostile_body(chance: random.Random) -> tuple[bytes, bytes]:
    """The head and the body of a request."""
    content = body(chance)
    method = chance.choice((b"POST",) * 20 + (b"GET", b"PUT", b"DELETE", b"POST\x00", b"X" * 500))
    path = chance.choice(_PATHS).encode()
    length = str(len(content)).encode() if chance.random() < 0.93 else chance.choice(_FALSE_LENGTHS)
    lines = [b"%s %s HTTP/1.1" % (method, path), b"Host: 127.0.0.1", b"Connection: close", b"Content-Length: " + length]
    if chance.random() < 0.1:
        lines.append(chance.choice((
            b"Content-Encoding: gzip", b"Transfer-Encoding: chunked", b"Content-Type: \xff\xfe", b"X: " + b"y" * 70_000,
            b"Expect: 100-continue", b"no colon",
        )))  # fmt: skip
    return b"\r\n".join(lines) + b"\r\n\r\n", content


@functools.cache
def _app(process: int) -> Any:
    """Of this process: threads do not live on in a fork."""
    return build_app(Service({"bert-tiny": load(_SMALL, precision="fp32")}, {"bert-tiny": _SMALL}, Limits(deadline=20)))


def bodies(folder: Path, chance: random.Random) -> Callable[[], object]:
    """A request that is whole, answered by the application without a network."""
    content, path = body(chance), chance.choice(_PATHS)
    place, _, query = path.partition("?")
    scope = {
        "type": "http", "method": "POST", "path": place, "raw_path": place.encode(), "query_string": query.encode(),
        "headers": [(b"content-length", str(len(content)).encode())], "http_version": "1.1", "scheme": "http",
    }  # fmt: skip
    parts = [content[: len(content) // 2], content[len(content) // 2 :]]
    statuses: list[int] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)} if parts else {}

    async def send(message: dict[str, Any]) -> None:
        statuses.extend([message["status"]] if message["type"] == "http.response.start" else [])

    def read() -> None:
        asyncio.run(_app(os.getpid())(scope, receive, send))
        if statuses[0] >= 500:
            raise RuntimeError(f"status {statuses[0]}")
        if statuses[0] >= 400:
            raise InputError(f"status {statuses[0]}")

    return read
