"""The server that many people write: FastAPI with a pipeline of transformers, here with a queue that fills batches.

Speaks Hugging Face's protocol for token classification, as ours does: ``python -m benchmarks.serving.peer RUN --port
PORT --batch-size N``.
"""

import argparse
import asyncio
import queue
import threading
from typing import Any

import uvicorn
from fastapi import FastAPI, Request

from benchmarks.reference import transformers

Waiting = tuple[str, "asyncio.Future[Any]", asyncio.AbstractEventLoop]


def main(run: str, port: int, batch_size: int) -> None:
    pipeline = transformers.pipeline("token-classification", model=run, aggregation_strategy="simple", device="cpu")
    waiting: queue.SimpleQueue[Waiting] = queue.SimpleQueue()

    def work() -> None:
        while True:
            batch = [waiting.get()]
            while len(batch) < batch_size and not waiting.empty():
                batch.append(waiting.get())
            found = pipeline([text for text, _, _ in batch], batch_size=batch_size)
            for (_, future, loop), entities in zip(batch, found, strict=True):
                loop.call_soon_threadsafe(future.set_result, entities)

    app = FastAPI()

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/")
    async def infer(request: Request) -> Any:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        waiting.put(((await request.json())["inputs"], future, loop))
        return [{**entity, "score": float(entity["score"])} for entity in await future]

    threading.Thread(target=work, daemon=True).start()
    uvicorn.run(app, port=port, log_level="warning", access_log=False)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("run")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--batch-size", type=int, required=True)
    given = parser.parse_args()
    main(given.run, given.port, given.batch_size)
