"""The queue of a model, with a model that answers when the test lets it."""

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
from serving import wait_for

from minibert.errors import InputError
from tasks.predict.answerer import ParsedInput
from tasks.serve.batching import BatchQueue, estimate_tokens
from tasks.serve.errors import Refusal
from tasks.serve.limits import Limits
from tasks.serve.metrics import Metrics


class Model:
    """Answers with the text itself; notes which texts came together."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.may_answer = threading.Event()
        self.may_answer.set()

    def answer(self, parsed: list[ParsedInput]) -> list[dict[str, Any]]:
        texts = [each.item for each in parsed]
        self.batches.append(texts)
        assert self.may_answer.wait(60)
        if "bad" in texts:
            raise InputError("bad: cannot be used.")
        if "panic" in texts:
            raise KeyboardInterrupt  # stands for what is no Exception
        return [{"text": text} for text in texts]


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
def start(model: Model) -> Iterator[Callable[..., BatchQueue]]:
    queues = []

    def make(**limits: Any) -> BatchQueue:
        queues.append(BatchQueue("m", model, Limits(**limits), Metrics()))  # type: ignore[arg-type]
        return queues[-1]

    yield make
    model.may_answer.set()
    for queue in queues:
        queue.close()


async def ask(queue: BatchQueue, *texts: str, seconds: float = 30) -> list[str]:
    parsed = [ParsedInput({"text": text}, text) for text in texts]
    return [answer["text"] for answer in await queue.answer(parsed, time.monotonic() + seconds)]


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(work)


def test_what_came_in_meanwhile_is_the_next_batch(model: Model, start: Callable[..., BatchQueue]) -> None:
    queue = start(batch_tokens=10)
    model.may_answer.clear()

    async def work() -> list[list[str]]:
        first = asyncio.create_task(ask(queue, "a"))
        await asyncio.to_thread(wait_for, lambda: model.batches)  # alone: it did not wait for others
        rest = [asyncio.create_task(ask(queue, text)) for text in ("b" * 9, "c" * 9, "d" * 30, "e")]
        await asyncio.to_thread(wait_for, lambda: len(queue) == 4)
        model.may_answer.set()
        return await asyncio.gather(first, *rest)

    assert run(work()) == [["a"], ["b" * 9], ["c" * 9], ["d" * 30], ["e"]]
    assert model.batches == [["a"], ["b" * 9, "c" * 9], ["d" * 30], ["e"]]


def test_one_that_cannot_be_answered_costs_the_others_nothing(
    model: Model, start: Callable[..., BatchQueue], caplog: pytest.LogCaptureFixture
) -> None:
    queue = start()

    async def work() -> list[Any]:
        model.may_answer.clear()
        tasks = [asyncio.create_task(ask(queue, "first"))]
        await asyncio.to_thread(wait_for, lambda: model.batches)
        tasks += [asyncio.create_task(ask(queue, text)) for text in ("a", "bad", "b", "panic")]
        await asyncio.to_thread(wait_for, lambda: len(queue) == 4)
        model.may_answer.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    first, a, bad, b, panic = run(work())
    assert (first, a, b) == (["first"], ["a"], ["b"])
    assert (bad.status, bad.message) == (422, "bad: cannot be used.")
    assert (panic.status, "log" in panic.message) == (500, True)
    assert "could not be answered" in caplog.text
    assert run(ask(queue, "again")) == ["again"]


def test_a_full_queue_says_when_to_come_back(model: Model, start: Callable[..., BatchQueue]) -> None:
    queue = start(queue=3)

    async def work() -> list[Any]:
        model.may_answer.clear()
        first = asyncio.create_task(ask(queue, "a"))
        await asyncio.to_thread(wait_for, lambda: model.batches)
        waiting = asyncio.create_task(ask(queue, "b", "c"))
        await asyncio.to_thread(wait_for, lambda: len(queue) == 2)
        with pytest.raises(Refusal) as full:
            await ask(queue, "d", "e")
        model.may_answer.set()
        return [full.value, await first, await waiting]

    full, first, waiting = run(work())
    assert (full.status, full.retry_after) == (503, 1)
    assert (first, waiting) == (["a"], ["b", "c"])


def test_what_no_one_waits_for_is_not_computed(model: Model, start: Callable[..., BatchQueue]) -> None:
    queue = start()

    async def work() -> Refusal:
        model.may_answer.clear()
        first = asyncio.create_task(ask(queue, "a"))
        await asyncio.to_thread(wait_for, lambda: model.batches)
        late = asyncio.create_task(ask(queue, "late", seconds=0.05))
        left = asyncio.create_task(ask(queue, "left"))
        await asyncio.to_thread(wait_for, lambda: len(queue) == 2)
        left.cancel()
        with pytest.raises(Refusal) as error:
            await late
        model.may_answer.set()
        assert await first == ["a"]
        assert await ask(queue, "b") == ["b"]
        return error.value

    assert run(work()).status == 504
    assert model.batches == [["a"], ["b"]]


def test_a_queue_that_closes_answers_what_it_has_accepted(model: Model, start: Callable[..., BatchQueue]) -> None:
    queue = start()

    async def work() -> list[Any]:
        model.may_answer.clear()
        tasks = [asyncio.create_task(ask(queue, "a"))]
        await asyncio.to_thread(wait_for, lambda: model.batches)
        tasks += [asyncio.create_task(ask(queue, text)) for text in ("b", "c")]
        await asyncio.to_thread(wait_for, lambda: len(queue) == 2)
        closing = asyncio.create_task(asyncio.to_thread(queue.close))
        await asyncio.to_thread(wait_for, lambda: queue._closed)
        with pytest.raises(Refusal) as refused:
            await ask(queue, "late")
        model.may_answer.set()
        await closing
        return [refused.value.status, *await asyncio.gather(*tasks)]

    assert run(work()) == [503, ["a"], ["b"], ["c"]]


def test_tokens_are_estimated_from_all_texts() -> None:
    assert estimate_tokens({"text": "臺北是臺灣的首都"}) == 2 + 8
    assert estimate_tokens({"question": "Who went", "tokens": ["Ann", "went"], "id": 7}) == 2 + (8 + 3 + 4) // 3
