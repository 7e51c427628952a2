"""Requests' bodies: read in time, no larger than allowed, and JSON as the answers can be JSON."""

import asyncio
import json
import math
from dataclasses import dataclass
from typing import Any, NoReturn

from starlette.requests import ClientDisconnect, Request

from tasks.serve.errors import Refusal, too_large

_DEEPEST = 64


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a request may ask for.

    Attributes:
        max_body: bytes of a body.
        max_text: characters of an input, over all its fields.
        queue: texts that wait for a model; also the most in one request.
        batch_tokens: about as many tokens are computed together.
        deadline: seconds from the first byte of the body to the answer.
    """

    max_body: int = 1_000_000
    max_text: int = 100_000
    queue: int = 1024
    batch_tokens: int = 4096
    deadline: float = 30.0


async def read_json(request: Request, limits: Limits) -> Any:
    """The body of a request.

    Raises:
        Refusal: it is too large, too slow, no JSON, or holds what no answer can.
    """
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Refusal(415, "the body is compressed; send it as it is.")
    body = bytearray()
    try:
        declared = int(request.headers.get("content-length", "0"))
    except ValueError:
        raise Refusal(400, "content-length is no number.") from None
    if declared > limits.max_body:
        raise too_large(f"the body has {declared:,} bytes", limits.max_body, "--max-body")
    try:
        async with asyncio.timeout(limits.deadline):
            async for part in request.stream():
                body += part
                if len(body) > limits.max_body:
                    raise too_large("the body has more bytes", limits.max_body, "--max-body")
    except TimeoutError:
        raise Refusal(408, f"the body did not come within {limits.deadline:g} seconds; send it faster.") from None
    except ClientDisconnect:
        raise Refusal(400, "the connection ended before the body did.") from None
    return parse_json(bytes(body))


def parse_json(body: bytes) -> Any:
    """A body as JSON.

    Raises:
        Refusal: it is none, or holds numbers or characters that no JSON can hold.
    """
    try:
        value = json.loads(body.decode(), parse_constant=_no_number, parse_float=_finite)
    except UnicodeDecodeError as error:
        raise Refusal(400, f"byte {error.start} of the body (0x{body[error.start]:02x}) is not UTF-8.") from None
    except RecursionError:
        raise Refusal(400, "the body is nested too deeply.") from None
    except ValueError as error:
        raise Refusal(400, f"the body is not JSON ({error}).") from None
    _check_depth(value)
    if b"\\ud" in body or b"\\uD" in body:
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise Refusal(400, r"an escape \uD800 to \uDFFF stands alone, which is not a character.") from None
    return value


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:20]} is too large a number")
    return value


def _check_depth(value: Any) -> None:
    """Raises Refusal for values nested so deeply that they might not be written again."""
    level = [value]
    for _ in range(_DEEPEST):
        level = [
            part
            for each in level
            if isinstance(each, (dict, list))
            for part in (each.values() if isinstance(each, dict) else each)
        ]
        if not level:
            return
    raise Refusal(400, f"the body is nested more than {_DEEPEST} deep.")


def check_size(given: Any, limits: Limits, place: str) -> None:
    """Raises Refusal for an input with too many characters."""
    size = text_size(given)
    if size > limits.max_text:
        raise too_large(f"{place} has {size:,} characters", limits.max_text, "--max-text")


def text_size(given: Any) -> int:
    """The characters of an input, over all that its fields hold."""
    if isinstance(given, str):
        return len(given)
    if isinstance(given, dict):
        return sum(len(name) + text_size(value) for name, value in given.items())
    return sum(map(text_size, given)) if isinstance(given, list) else 0
