"""How many inputs of a stream are answered together."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol, TypeVar

from minibert.errors import InputError

_CHUNK = 2048  # inputs
_CHUNK_CHARACTERS = 1_000_000


class HasFields(Protocol):
    """An input: whatever has fields by name."""

    @property
    def fields(self) -> Mapping[str, Any]: ...


Given = TypeVar("Given", bound=HasFields)


class Chunk(list[Given]):
    """Inputs that are answered together: at most 2,048, and about a million characters."""

    def __init__(self) -> None:
        super().__init__()
        self._characters = 0

    def append(self, given: Given) -> None:
        super().append(given)
        self._characters += sum(len(value) for value in given.fields.values() if isinstance(value, (str, list)))

    @property
    def is_full(self) -> bool:
        return len(self) >= _CHUNK or self._characters >= _CHUNK_CHARACTERS


def chunks(inputs: Iterable[Given]) -> Iterator[Chunk[Given]]:
    """Cuts a stream into full chunks, and a last one.

    Raises:
        InputError: an input cannot be read; those before it have been yielded.
    """
    chunk: Chunk[Given] = Chunk()
    unreadable = None
    try:
        for given in inputs:
            chunk.append(given)
            if chunk.is_full:
                yield chunk
                chunk = Chunk()
    except InputError as error:
        unreadable = error
    if chunk:
        yield chunk
    if unreadable is not None:
        raise unreadable
