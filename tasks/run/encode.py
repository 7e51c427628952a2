"""Items to examples: those of a large file are made once, and kept in a store."""

import dataclasses
import hashlib
import inspect
import logging
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from importlib import metadata
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from minibert import EncoderConfig, Tokenizer
from minibert.batch import IntSequence
from minibert.training import distributed
from minibert.training.settings import TrainingSettings
from tasks.data import Encoded
from tasks.read.text_file import file_sha256
from tasks.run.rows import Rows, RowWriter
from tasks.run.store import StoreError, Writer, is_large, stored
from tasks.settings import RunSettings
from tasks.task import Task

logger = logging.getLogger(__name__)

_BLOCK = 5000
"""Items that are encoded at a time."""
_THREADS = 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class EncodedRows(Encoded[Any]):
    """Stored examples, with their lengths known without making them."""

    examples: Rows[Any]

    @cached_property
    def lengths(self) -> npt.NDArray[np.int64]:
        """``(N,)``."""
        return self.examples.lengths

    def take(self, items: IntSequence) -> "EncodedRows":
        """The examples of the items at some indices."""
        counts = np.asarray(self.counts)[np.asarray(items)]
        starts = (np.cumsum(self.counts) - self.counts)[np.asarray(items)]
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        return EncodedRows(examples=self.examples.take(np.repeat(starts, counts) + within), counts=counts)


def encode(
    task: Task[Any, Any, Any], items: Sequence[Any], path: str, tokenizer: Tokenizer, config: EncoderConfig
) -> Encoded[Any]:
    """What ``task.encode`` makes of items: block by block, and stored, if they are from a large file.

    Args:
        task: encodes an item whatever stands beside it, if it says what its examples are.
        items: all, or some of a file.
        path: of the file.
        tokenizer, config: of the model.
    """
    if task.example_class is None or not is_large(path):
        return task.encode(items, tokenizer, config)

    def make(writer: Writer) -> None:
        rows = RowWriter(writer)
        notes: Counter[str] = Counter()

        def encoded(start: int) -> Encoded[Any]:
            return task.encode(items[start : start + _BLOCK], tokenizer, config)

        blocks = tqdm(
            range(0, len(items), _BLOCK), desc="tokens", unit_scale=_BLOCK, unit=" texts", leave=False,
            disable=None if distributed.is_rank0() else True,
        )  # fmt: skip
        for of_block in _ahead(encoded, blocks):
            rows.append(of_block.examples)
            writer.append("counts", np.asarray(of_block.counts, np.int32))
            notes.update(of_block.notes)
        writer.facts["notes"] = notes

    key = {
        **key_of_items(task, items),
        "example": task.example_class._fields,  # type: ignore[attr-defined]  # of a named tuple
        "tokenizer": hashlib.sha256(tokenizer.to_json().encode("utf-8", "surrogatepass")).hexdigest(),
        "tokenizers": metadata.version("tokenizers"),
        "config": config.to_dict(),
    }
    try:
        store = stored(key, make, f"the tokens of {path}")
    except StoreError as error:
        logger.warning("%s Going on in memory.", error)
        return task.encode(items, tokenizer, config)
    rows = Rows.of_store(store, task.example_class)
    return EncodedRows(examples=rows, counts=store.arrays["counts"], notes=Counter(store.facts["notes"]))


def key_of_items(task: Task[Any, Any, Any], items: Iterable[Any]) -> dict[str, Any]:
    """What the examples of items depend on besides the model and its tokenizer, for the key of a store."""
    return {
        "task": [task.name, _code_of(task)],
        "items": _digest(items),
        "settings": _settings(task.settings),
    }


def _code_of(task: Task[Any, Any, Any]) -> list[str]:
    """A hash of each file in which the task's class and those above it are written: a task that is being worked on
    makes other examples tomorrow. What its other modules do is told by the format of stores."""
    files = {inspect.getsourcefile(cls) for cls in type(task).__mro__ if issubclass(cls, Task)}
    return sorted(file_sha256(file) for file in files if file is not None)


def _ahead(function: Callable[[int], Encoded[Any]], arguments: Iterable[int]) -> Iterator[Encoded[Any]]:
    """The function's results in order, some of which are made while others are used: the tokenizer does not need
    Python's lock, and what surrounds it does."""
    waiting: deque[Future[Encoded[Any]]] = deque()
    with ThreadPoolExecutor(_THREADS) as threads:
        for argument in arguments:
            waiting.append(threads.submit(function, argument))
            if len(waiting) > _THREADS:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _settings(settings: RunSettings) -> dict[str, str]:
    """The settings that examples may depend on: neither those of training, nor those that may change in a resumed run,
    such as paths."""
    training = {field.name for field in dataclasses.fields(TrainingSettings)}
    kept = [f.name for f in dataclasses.fields(settings) if f.name not in training and not f.metadata.get("resumable")]
    return {name: repr(getattr(settings, name)) for name in kept}


def _digest(items: Iterable[Any]) -> str:
    """Of all that items contain."""
    if (known := getattr(items, "digest", None)) is not None:
        return str(known)
    digest = hashlib.sha256()
    for item in items:
        digest.update(repr(item).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()
