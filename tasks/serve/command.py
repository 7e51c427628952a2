"""Answers over HTTP: ``python -m tasks.serve RUN [RUN ...]``."""

import argparse
import contextlib
import functools
import socket
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from minibert.errors import InputError
from tasks.run.processors import THREADS_GIVEN, use_threads
from tasks.run.streams import say
from tasks.serve.arguments import parser
from tasks.serve.limits import Limits
from tasks.serve.models import load_models, names

if TYPE_CHECKING:
    from starlette.applications import Starlette


def main(argv: Sequence[str] | None = None) -> None:
    """Serves until SIGTERM or Ctrl-C, then answers what it has accepted, and returns.

    Raises:
        InputError: a run or the address cannot be used.
    """
    options = parser().parse_args(argv)
    use_threads(_threads_of_worker(options))
    called = names(options.runs)
    if twice := [name for name in called if called.count(name) > 1]:
        raise InputError(f"RUN {twice[0]}: is given twice; name each run once.")
    try:
        import starlette  # noqa: F401  # an extra
        import uvicorn
        from uvicorn.config import STARTUP_FAILURE
        from uvicorn.supervisors import Multiprocess
    except ImportError as error:
        raise InputError(f"{error.name} is missing: pip install -e '.[serve]'") from None
    listener = bind(options.host, options.port)
    host, port = listener.getsockname()[:2]
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    config = uvicorn.Config(
        functools.partial(make_app if options.workers == 1 else make_app_of_worker, options),
        factory=True,
        workers=options.workers,
        log_level="info" if options.access_log else "warning",
        access_log=options.access_log,
        server_header=False,
        timeout_graceful_shutdown=int(options.deadline) + 5,
        timeout_worker_healthcheck=60,  # a worker that computes may be slow to say that it lives
    )
    say(f"loading {', '.join(called)}; then at {url}")
    if options.workers > 1:
        supervisor = Multiprocess(config, sockets=[listener])
        supervisor.run()
        if any(worker.exitcode == STARTUP_FAILURE for worker in supervisor.processes):
            sys.exit(2)  # the worker has said why
    else:
        # uvicorn raises the signal again when all is answered.
        with contextlib.suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[listener])


def _threads_of_worker(options: argparse.Namespace) -> int | None:
    """The threads of each process: as given, or else a part of what the machine or its container has; None where one
    process has all of them, or the environment says how many."""
    if options.threads is not None or options.workers == 1 or THREADS_GIVEN:
        return options.threads
    return max(1, torch.get_num_threads() // options.workers)


def make_app(options: argparse.Namespace) -> "Starlette":
    """The application of a process.

    Raises:
        InputError: a run cannot be used.
    """
    from tasks.serve.app import Service, build_app  # needs an extra

    limits = Limits(
        max_body=options.max_body,
        max_text=options.max_text,
        queue=options.queue,
        batch_tokens=options.batch_tokens,
        deadline=options.deadline,
    )
    models = load_models(
        options.runs,
        device=options.device,
        precision=options.precision,
        engine=options.engine,
        cuda_graphs=options.cuda_graphs,
    )
    return build_app(Service(models, dict(zip(models, options.runs, strict=True)), limits))


def make_app_of_worker(options: argparse.Namespace) -> "Starlette":
    """The same in a process of several: what cannot be used ends all of them, and is not tried again."""
    from uvicorn.config import STARTUP_FAILURE  # an extra

    try:
        return make_app(options)
    except InputError as error:
        say(f"error: {error}", error=True)
        sys.exit(STARTUP_FAILURE)


def bind(host: str, port: int) -> socket.socket:
    """A socket at an address, which does not listen yet: clients are not kept waiting while models load.

    Raises:
        InputError: it is taken, or is no address of this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)  # from now on the address is this server's
    except (OSError, UnicodeError) as error:  # UnicodeError: no name of a host
        why = getattr(error, "strerror", None) or error
        raise InputError(f"--host {host} --port {port}: cannot listen there ({why}); give another.") from None
    listener.set_inheritable(True)
    return listener
