"""The server's addresses, as an ASGI application."""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from minibert.errors import InputError
from tasks.predict.answerer import Answer, Answerer, ParsedInput
from tasks.serve import huggingface
from tasks.serve.batching import BatchQueue
from tasks.serve.errors import Refusal, too_large
from tasks.serve.limits import Limits, check_size, read_json
from tasks.serve.metrics import Metrics
from tasks.serve.models import describe
from tasks.serve.page import PAGE, PAGE_HEADERS

logger = logging.getLogger(__name__)

Handler = Callable[[Request], Awaitable[Response]]


class Service:
    """The models with their queues, and what each address does.

    Args:
        models: by name; the first is the default.
        runs: the folder of each, or its name on the hub.
        limits: of requests.
    """

    def __init__(self, models: Mapping[str, Answerer], runs: Mapping[str, str], limits: Limits) -> None:
        self.limits = limits
        self.metrics = Metrics()
        self.queues = {name: BatchQueue(name, answerer, limits, self.metrics) for name, answerer in models.items()}
        self._described = [describe(name, runs[name], answerer) for name, answerer in models.items()]

    def close(self) -> None:
        """Answers what waits, and ends the threads."""
        for queue in self.queues.values():
            queue.close()

    async def page(self, request: Request) -> Response:
        return Response(PAGE, media_type="text/html", headers=PAGE_HEADERS)

    async def models(self, request: Request) -> Response:
        """What there is to ask, for the page and for people."""
        return json_response(self._described)

    async def health(self, request: Request) -> Response:
        waiting = {name: {"waiting": len(queue)} for name, queue in self.queues.items()}
        return json_response({"status": "ok", "models": waiting})

    async def show_metrics(self, request: Request) -> Response:
        text = self.metrics.text({name: len(queue) for name, queue in self.queues.items()})
        return Response(text, media_type="text/plain; version=0.0.4")

    async def answer(self, request: Request) -> Response:
        """An input, or a list of them, as :class:`~tasks.predict.Answerer` takes them; its answers in the same form."""
        deadline = time.monotonic() + self.limits.deadline
        queue = self._queue(request.query_params.get("model"))
        given = await read_json(request, self.limits)
        many = isinstance(given, list)
        answers = await self._answers(request, queue, given if many else [given], deadline)
        return json_response(answers if many else answers[0])

    async def infer(self, request: Request) -> Response:
        """Hugging Face's protocol."""
        deadline = time.monotonic() + self.limits.deadline
        queue = self._queue(request.path_params.get("name"))
        predictor = queue.answerer.predictor
        kind = huggingface.kind_of(predictor.task.name)
        body = await read_json(request, self.limits)
        inputs, many, parameters = huggingface.inputs_of(body, kind)
        answers = await self._answers(request, queue, inputs, deadline)
        num_labels = predictor.model.config.num_labels
        return json_response(huggingface.response(answers, kind, many, parameters, num_labels=num_labels))

    def _queue(self, name: str | None) -> BatchQueue:
        if name is None:
            return next(iter(self.queues.values()))
        if name not in self.queues:
            raise Refusal(404, f"there is no model {name[:100]!r}; there are {', '.join(self.queues)}.")
        return self.queues[name]

    async def _answers(self, request: Request, queue: BatchQueue, given: list[Any], deadline: float) -> list[Answer]:
        if len(given) > self.limits.queue:  # before the event loop reads each of them
            raise too_large(f"the request has {len(given):,} inputs", self.limits.queue, "--queue")
        parsed: list[ParsedInput] = []
        for number, each in enumerate(given, 1):
            place = "the input" if len(given) == 1 else f"input {number}"
            check_size(each, self.limits, place)
            try:
                parsed.append(queue.answerer.parse(each, place))
            except InputError as error:
                raise Refusal(422, str(error)) from None
        answering = asyncio.ensure_future(queue.answer(parsed, deadline))
        leaving = asyncio.ensure_future(_until_the_client_leaves(request))
        try:
            await asyncio.wait((answering, leaving), return_when=asyncio.FIRST_COMPLETED)
            if not answering.done():
                raise Refusal(499, "the client has gone.")  # nginx's status for it; no one reads the response
            return await answering
        finally:
            answering.cancel()
            leaving.cancel()


async def _until_the_client_leaves(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def build_app(service: Service) -> Starlette:
    """The application of a service; it ends the service when it stops."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(service.close)

    def post(path: str, handler: Handler, label: str) -> Route:
        return Route(path, _guarded(handler, label, service.metrics), methods=["POST"])

    def get(path: str, handler: Handler) -> Route:
        return Route(path, _guarded(handler, path, service.metrics), methods=["GET"])

    app = Starlette(
        routes=[
            get("/", service.page),
            get("/models", service.models),
            get("/health", service.health),
            get("/metrics", service.show_metrics),
            post("/answer", service.answer, "/answer"),
            post("/", service.infer, "/"),
            post("/models/{name:path}", service.infer, "/models/"),
        ],
        exception_handlers={HTTPException: _no_such_address},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False  # an address with one more is unknown like any other
    return app


def _guarded(handler: Handler, label: str, metrics: Metrics) -> Handler:
    """A handler that is measured, and whose refusals are responses."""

    async def handle(request: Request) -> Response:
        started = time.perf_counter()
        try:
            response = await handler(request)
        except Refusal as refusal:
            response = error_response(refusal)
        except Exception:
            logger.exception("%s: a request could not be handled", label)
            response = error_response(Refusal(500, "the server failed on this request; its log says why."))
        metrics.observe_request(label, response.status_code, time.perf_counter() - started)
        return response

    return handle


def json_response(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    body = json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    return Response(body, status_code=status, media_type="application/json", headers=headers)


def error_response(refusal: Refusal) -> Response:
    headers = None if refusal.retry_after is None else {"Retry-After": str(refusal.retry_after)}
    return json_response({"error": refusal.message}, refusal.status, headers)


async def _no_such_address(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message = "GET /, /models, /health or /metrics; POST /answer, or / and /models/NAME in Hugging Face's protocol."
    return json_response({"error": f"{error.detail}: {message}"}, error.status_code, error.headers)
