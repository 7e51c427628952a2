"""A queue for each model, and a thread that answers what waits in it, many texts at a time.

The thread takes what is there, up to a number of tokens, and never waits for more: alone, a text is answered at once;
under load, the texts that came in while a batch was computed are the next batch.
"""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from minibert.errors import InputError, is_out_of_memory
from tasks.predict.answerer import Answer, Answerer, ParsedInput
from tasks.serve.errors import Refusal
from tasks.serve.limits import Limits
from tasks.serve.metrics import Metrics

logger = logging.getLogger(__name__)

_BYTES_PER_TOKEN = 3
"""A Chinese character has three in UTF-8, and an English token about four and a half with its space."""


@dataclass(kw_only=True, eq=False)
class Waiting:
    """An input in the queue.

    Attributes:
        parsed: the input.
        tokens: about as many as it has.
        deadline: in the seconds of ``time.monotonic``, after which no one waits for the answer.
        future: of the event loop that waits.
    """

    parsed: ParsedInput
    tokens: int
    deadline: float
    future: "asyncio.Future[Answer]"

    def is_wanted(self) -> bool:
        return not self.future.done() and time.monotonic() < self.deadline


class BatchQueue:
    """Texts that wait for one model, and the thread that answers them."""

    def __init__(self, name: str, answerer: Answerer, limits: Limits, metrics: Metrics) -> None:
        self.name = name
        self.answerer = answerer
        self._limits = limits
        self._metrics = metrics
        self._waiting: deque[Waiting] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name=f"answers of {name}", daemon=True)
        self._thread.start()

    def __len__(self) -> int:
        """How many texts wait, besides those that are being answered."""
        return len(self._waiting)

    async def answer(self, parsed: Sequence[ParsedInput], deadline: float) -> list[Answer]:
        """The answers to inputs, in order.

        Raises:
            Refusal: too many are waiting, the server stops, the deadline is over, or an input cannot be used.
        """
        loop = asyncio.get_running_loop()
        items = [
            Waiting(parsed=each, tokens=estimate_tokens(each.fields), deadline=deadline, future=loop.create_future())
            for each in parsed
        ]
        self._put(items)
        futures = [item.future for item in items]
        try:
            async with asyncio.timeout_at(loop.time() + deadline - time.monotonic()):
                return [await future for future in futures]
        except TimeoutError:
            self._metrics.count("minibert_expired_total", len(items), model=self.name)
            raise Refusal(
                504, f"no answer within {self._limits.deadline:g} seconds; send fewer texts, or try again later."
            ) from None
        finally:
            for future in futures:
                if future.done() and not future.cancelled():
                    future.exception()  # seen: one of several was raised
                future.cancel()

    def _put(self, items: Sequence[Waiting]) -> None:
        with self._changed:
            if self._closed:
                raise Refusal(503, "the server is stopping; try another, or later.", retry_after=5)
            if len(self._waiting) + len(items) > self._limits.queue:
                raise Refusal(503, f"{len(self._waiting):,} texts are waiting; try again later.", retry_after=1)
            self._waiting.extend(items)
            self._changed.notify()

    def close(self) -> None:
        """Answers what waits, and ends the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._closed:
                    self._changed.wait()
                batch = self._take()
            if not batch and self._closed:
                return
            if batch:
                self._answer(batch)

    def _take(self) -> list[Waiting]:
        """The next texts that someone waits for: as many as fit, and at least one."""
        batch: list[Waiting] = []
        tokens = 0
        while self._waiting:
            item = self._waiting[0]
            if item.is_wanted():
                tokens += item.tokens
                if batch and tokens > self._limits.batch_tokens:
                    break
                batch.append(item)
            self._waiting.popleft()
        return batch

    def _answer(self, batch: Sequence[Waiting]) -> None:
        started = time.perf_counter()
        try:
            answers = self.answerer.answer([item.parsed for item in batch])
        except BaseException as error:  # even a panic of a native extension, which is no Exception, ends no thread
            if len(batch) > 1:  # one of them must not cost the others their answers, nor much time
                middle = len(batch) // 2
                self._answer(batch[:middle])
                self._answer(batch[middle:])
                return
            _settle(batch, [self._refusal_for(error)])
            return
        self._metrics.observe_batch(self.name, len(batch), time.perf_counter() - started)
        _settle(batch, answers)

    def _refusal_for(self, error: BaseException) -> Refusal:
        if isinstance(error, InputError):
            return Refusal(422, str(error))
        if is_out_of_memory(error):
            return Refusal(503, "not enough memory for this text; send a shorter one.", retry_after=5)
        logger.error("%s: an input could not be answered", self.name, exc_info=error)
        return Refusal(500, "the model failed on this input; the server's log says why.")


def _settle(batch: Sequence[Waiting], results: Sequence[Answer | Refusal]) -> None:
    """Hands results to the event loop that waits for them."""

    def settle() -> None:
        for item, result in zip(batch, results, strict=True):
            if item.future.done():
                continue
            if isinstance(result, Refusal):
                item.future.set_exception(result)
            else:
                item.future.set_result(result)

    try:
        batch[0].future.get_loop().call_soon_threadsafe(settle)
    except RuntimeError:  # the loop has ended, and with it whoever waited
        logger.warning("answers came after the server had stopped")


def estimate_tokens(fields: Mapping[str, Any]) -> int:
    """About as many tokens as an input has; the tokenizer itself runs in the batch."""
    texts = [part for value in fields.values() for part in (value if isinstance(value, list) else [value])]
    return 2 + sum(len(text.encode()) for text in texts if isinstance(text, str)) // _BYTES_PER_TOKEN
