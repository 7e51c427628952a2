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


def chunks(inputs: Iterable[Given]) -> Iterator[list[Given]]:
    """Cuts a stream into lists of at most 2,048 inputs and about a million characters.

    Raises:
        InputError: an input cannot be read; those before it have been yielded.
    """
    chunk: list[Given] = []
    size = 0
    unreadable = None
    try:
        for given in inputs:
            chunk.append(given)
            size += sum(len(value) for value in given.fields.values() if isinstance(value, (str, list)))
            if len(chunk) == _CHUNK or size >= _CHUNK_CHARACTERS:
                yield chunk
                chunk, size = [], 0
    except InputError as error:
        unreadable = error
    if chunk:
        yield chunk
    if unreadable is not None:
        raise unreadable
