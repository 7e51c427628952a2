"""The exceptions for what a person can correct."""

import contextlib
from collections.abc import Iterator

from minibert.shown import shown

_MOST = 2000  # characters of a message
_NEXT = "\n  "  # before an entry of a list; a line break in what is quoted can look no different, and stays indented


class InputError(ValueError):
    """Something given from outside (a file, a checkpoint, a setting) cannot be used.

    The message is one or two plain sentences that name the file, line or setting and say what to do next. What it
    quotes from files is made safe to show (:func:`~minibert.shown.shown`). The command line prints it as it is and
    exits with status 2. A list may follow, each entry on an indented line of its own.
    """

    def __init__(self, message: str) -> None:
        lines = message[: 2 * _MOST].split(_NEXT) if _NEXT in message else [message]
        super().__init__(_NEXT.join(shown(line, _MOST) for line in lines))


class Diverged(InputError):
    """A run whose loss is no number any more; another seed or a lower rate may go well."""


class WriteError(InputError):
    """A file that cannot be written, as on a full disk."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether Python or PyTorch (which need not be imported) ran out of memory.

    Besides its own exception, PyTorch raises AcceleratorError where a kernel finds out, and RuntimeError on a CPU and
    from CUDA's libraries.
    """
    if type(error).__name__ in ("MemoryError", "OutOfMemoryError"):
        return True
    message = str(error)
    return isinstance(error, RuntimeError) and any(sign in message for sign in _OUT_OF_MEMORY)


@contextlib.contextmanager
def out_of_memory_explained() -> Iterator[None]:
    """Raises InputError in place of what Python or PyTorch raise in the block when memory runs out."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        advice = "lower --max-length, set micro_batch_size in a settings file, or stop other programs."
        raise InputError(f"out of memory; {advice} {error}".rstrip()) from None


_OUT_OF_MEMORY = ("can't allocate memory", "out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
