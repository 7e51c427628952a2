"""A server on a free port of this machine, for tests."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import uvicorn

from tasks.predict import Answerer
from tasks.serve.app import Service, build_app
from tasks.serve.command import bind
from tasks.serve.limits import Limits


@contextlib.contextmanager
def serving(models: Mapping[str, Answerer], runs: Mapping[str, str], **limits: Any) -> Iterator[str]:
    """A server's URL while the ``with`` block runs."""
    app = build_app(Service(models, runs, Limits(**limits)))
    listener = bind("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    wait_for(lambda: server.started)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)
