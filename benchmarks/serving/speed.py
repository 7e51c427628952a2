"""Requests a second from many clients, and the time of one text when nobody else asks."""

import contextlib
import json
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.serving.processes import Reply, Server, ask_all, started
from benchmarks.workload import SIZES
from minibert import EncoderConfig, TokenClassifier, Tokenizer
from tasks.predict import load

LABELS = {0: "O", 1: "B-LOC", 2: "B-ORG", 3: "B-PER"}
"""Without I-, so that untrained tags are well-formed, and every rule joins them alike."""
MOST_CHARACTERS = 510
OURS = "minibert"


def write_model(folder: Path, tokenizer: str, size: str) -> None:
    """A BERT for named entities with random weights, large enough for decided tags, which transformers reads too."""
    torch.manual_seed(0)
    ours = Tokenizer.from_pretrained(tokenizer)
    shape: dict[str, Any] = {"model_type": "bert", **SIZES["bert"][size], "vocab_size": ours.vocab_size}
    model = TokenClassifier(EncoderConfig(**shape).with_labels(LABELS))
    with torch.no_grad():
        model.classifier.weight.mul_(50)
    model.save_pretrained(folder)
    ours.save_pretrained(folder, for_words=True)


def make_texts(lengths: Sequence[int], seed: int) -> list[str]:
    """Random Chinese texts of these numbers of characters, cut to what a BERT takes."""
    chance = np.random.default_rng(seed)
    return [
        "".join(map(chr, chance.integers(0x4E00, 0x4E00 + 3000, min(length, MOST_CHARACTERS)))) for length in lengths
    ]


def throughput(run: str, texts: Sequence[str], *, clients: int, rounds: int, batch_sizes: Sequence[int]) -> Any:
    """Requests a second of our server and of the peer with each batch size, in turns, and whether they agree."""
    bodies = [json.dumps({"inputs": text}).encode() for text in texts]
    with contextlib.ExitStack() as stack:
        servers = {OURS: stack.enter_context(started("tasks.serve", run, "--precision", "fp32"))}
        for size in batch_sizes:
            name = f"FastAPI with a pipeline, batches of {size}"
            peer = started("benchmarks.serving.peer", run, "--batch-size", str(size))
            servers[name] = stack.enter_context(peer)
        seconds: dict[str, list[float]] = {name: [] for name in servers}
        replies: dict[str, list[Reply]] = {}
        names = list(servers)
        for number in range(rounds + 1):  # the first warms up
            for name in names[number % len(names) :] + names[: number % len(names)]:
                begun = time.perf_counter()
                replies[name] = ask_all(servers[name].port, bodies[: clients if number == 0 else None], clients)
                if number:
                    seconds[name].append(time.perf_counter() - begun)
    rates = {name: len(texts) / statistics.median(values) for name, values in seconds.items()}
    return {
        "requests_per_second": rates,
        "times_the_best_peer": rates[OURS] / max(rate for name, rate in rates.items() if name != OURS),
        "answers_that_differ": {
            name: sum(not same_entities(a, b) for a, b in zip(replies[OURS], found, strict=True))
            for name, found in replies.items()
            if name != OURS
        },
        "seconds": seconds,
    }


def same_entities(ours: Reply, theirs: Reply) -> bool:
    """Whether two servers mark the same characters alike, with probabilities equal to 1e-4."""

    def of(reply: Reply) -> list[tuple[Any, ...]]:
        return [(each["start"], each["end"], each["entity_group"]) for each in reply.value()]

    return of(ours) == of(theirs) and all(
        abs(a["score"] - b["score"]) <= 1e-4 for a, b in zip(ours.value(), theirs.value(), strict=True)
    )


def alone(run: str, text: str, *, times: int) -> Mapping[str, float]:
    """Milliseconds of one text through the server, and of the model on the same text in the server's own time."""
    with started("tasks.serve", run, "--precision", "fp32") as server:
        whole, inside = one_by_one(server, text, times)
    answer = load(run, precision="fp32")
    answer(text)
    in_python = []
    for _ in range(times):
        begun = time.perf_counter()
        answer(text)
        in_python.append(1000 * (time.perf_counter() - begun))
    return {
        "milliseconds": statistics.median(whole),
        "milliseconds_of_the_model": statistics.median(inside),
        "milliseconds_in_python": statistics.median(in_python),
        "added": statistics.median(a - b for a, b in zip(whole, inside, strict=True)),
    }


def one_by_one(server: Server, text: str, times: int) -> tuple[list[float], list[float]]:
    """Milliseconds of each request, and those that its answer says it took."""
    body = json.dumps(text).encode()
    replies = ask_all(server.port, [body] * (times + 5), 1, path="/answer")[5:]
    return [1000 * (reply.done - reply.sent) for reply in replies], [reply.value()["milliseconds"] for reply in replies]
