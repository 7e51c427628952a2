"""Answers in a file that grows under another name, ``FILE.partial``, and gets its own at the end.

What a killed process leaves there is gone on with by ``--resume``. Whole chunks are kept, and what is behind them is
computed again, so that every input is answered together with the same others, and to the same bits, as without the
kill. ``FILE.partial.json`` says what the answers were made from; without it, there is nothing to go on with.
"""

import contextlib
import csv
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any

from minibert.errors import InputError
from minibert.files import read_json_object, replace_whole, write_atomically, write_json
from minibert.training.settings import option_name
from tasks.predict.chunks import Chunk
from tasks.read.records import Record
from tasks.run.lock import lock_file
from tasks.run.streams import say

_START = 1 << 20  # bytes of the input that are compared
_MODEL_FILES = (
    "task.json", "settings.toml", "config.json", "tokenizer*", "vocab*", "merges.txt", "spiece.model", "*.safetensors",
    "*.bin", "*.onnx*",
)  # fmt: skip

Numbered = Iterable[tuple[int, Chunk[Record]]]


class PartialFile:
    """The answers to a file, as far as they are written.

    Args:
        out: the file that is to have all of them, or a link to it.
        origin: what they are made from, by names for messages.
        delimiter: between the cells of a table; None for JSON lines.

    Attributes:
        path: where they are until then.
    """

    def __init__(self, out: Path, origin: Mapping[str, Any], *, delimiter: str | None) -> None:
        self._out = out
        self._target = Path(os.path.realpath(out))
        self.path = self._target.with_name(f"{self._target.name}.partial")
        self._origin = dict(origin)
        self._origin_file = self.path.with_name(f"{self.path.name}.json")
        self._delimiter = delimiter
        self._has_chunk = False

    def check(self, *, resume: bool) -> None:
        """Raises InputError where an earlier run has left answers that would be lost, or that are others."""
        if not self._origin_file.exists() or not self._size():
            return
        if not resume:
            raise InputError(
                f"{self.path}: has the answers of an earlier run that did not end; add --resume to go on behind them, "
                "or remove it."
            )
        before = read_json_object(self._origin_file)
        differing = [name for name in {**before, **self._origin} if before.get(name) != self._origin.get(name)]
        if differing:
            raise InputError(
                f"--resume: {self.path} was made with another {', '.join(map(_in_words, differing))}; give the same "
                "again, or remove the file to start again."
            )

    @contextlib.contextmanager
    def growing(self, *, resume: bool) -> Iterator[IO[str]]:
        """The file, open for writing at its end. Behind the block it gets its own name; if the block fails, it stays,
        if there is anything to go on with.

        Raises:
            InputError: of :meth:`check`; or that of the block, or one for a full disk, which say where the answers are.
        """
        file = self._locked()
        try:
            self.check(resume=resume)
        except BaseException:
            file.close()
            raise
        try:
            if not self._origin_file.exists():
                file.truncate(0)
            self._has_chunk = self._size() > 0
            write_atomically(self._origin_file, lambda path: write_json(path, self._origin))
            yield file
            file.close()
            replace_whole(self._target, self.path)
            self._origin_file.unlink(missing_ok=True)
        except BaseException as error:
            with contextlib.suppress(OSError):  # a disk that is full is so again
                file.close()
            left = self._leave(for_its_answers=isinstance(error, InputError))
            if isinstance(error, (InputError, OSError)):
                told = error if isinstance(error, InputError) else f"{self._out}: cannot be written ({error})."
                raise InputError(f"{told} The answers before it are in {self.path}." if left else str(told)) from None
            if left and isinstance(error, KeyboardInterrupt):
                say(f"The answers so far are in {self.path}; --resume goes on behind them.", error=True)
            raise

    def rest(self, numbered: Numbered, file: IO[str]) -> Numbered:
        """The chunks that are not answered in the file, from which it cuts what is behind those that are.

        Args:
            numbered: all chunks.
            file: from :meth:`growing`.
        """
        header = 0 if self._delimiter is None else 1
        rows = sum(1 for _ in self._row_ends()) - header
        done = 0
        numbered = iter(numbered)
        first: list[tuple[int, Chunk[Record]]] = []
        while not first and rows > done and (found := next(numbered, None)) is not None:
            if done + len(found[1]) > rows:
                first = [found]
            else:
                done += len(found[1])
        end = next(islice(self._row_ends(), header + done - 1, None)) if done else 0
        os.ftruncate(file.fileno(), end)
        self._has_chunk = done > 0
        return self._noted(chain(first, numbered))

    def columns(self) -> list[str]:
        """Those of a table that has its header; none for others."""
        if self._delimiter is None:
            return []
        with open(self.path, encoding="utf-8", newline="") as file:
            return next(csv.reader(file, delimiter=self._delimiter), [])

    def _noted(self, numbered: Numbered) -> Numbered:
        for each in numbered:
            yield each
            self._has_chunk = True  # its answers are written before the next one is asked for

    def _row_ends(self) -> Iterator[int]:
        """The bytes up to the end of each whole row. A cell may have line breaks, within quotation marks, which are
        doubled inside of it."""
        end = quotes = 0
        with open(self.path, "rb") as file:
            for line in file:
                end += len(line)
                quotes += line.count(b'"')
                if line.endswith(b"\n") and (self._delimiter is None or quotes % 2 == 0):
                    yield end

    def _locked(self) -> IO[str]:
        """The file, open for this process alone."""
        try:
            # Never through a link that someone else has put there.
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0)
            file = open(os.open(self.path, flags, 0o666), "a", encoding="utf-8", newline="")  # noqa: SIM115
        except OSError as error:
            raise InputError(f"{self.path}: cannot be written ({error.strerror}).") from None
        try:
            lock_file(file.fileno(), self.path)
        except BlockingIOError:
            file.close()
            raise InputError(f"{self.path}: another process is writing it; wait for it to end.") from None
        return file

    def _leave(self, *, for_its_answers: bool) -> bool:
        """Whether the file stays: to be gone on with, if it has a whole chunk; or else for its answers alone."""
        left = self._has_chunk or (for_its_answers and self._size() > 0)
        with contextlib.suppress(OSError):
            if not self._has_chunk:
                self._origin_file.unlink()
            if not left:
                self.path.unlink()
        return left

    def _size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0


def _in_words(name: str) -> str:
    """What is named in an origin: the input, the run, or an option."""
    return name if name in ("input", "run") else option_name(name)


def origin(file: str, run: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """What answers are made from: an input, a run, and options that they depend on, as JSON."""
    return {"input": _input_state(Path(file)), "run": _run_state(Path(run)), **options}


def _input_state(path: Path) -> Any:
    """The size of a file, when it was changed, and how it begins; of anything else only what it is called."""
    if path.is_file():
        with contextlib.suppress(OSError), open(path, "rb") as file:  # said where it is read
            start = hashlib.sha256(file.read(_START)).hexdigest()
            return {"bytes": path.stat().st_size, "changed": path.stat().st_mtime_ns, "sha256_of_start": start}
    return str(path)


def _run_state(path: Path) -> Any:
    """The sizes of a model's files, and when they were changed; a name on the hub as it is."""
    if not path.is_dir():
        return str(path)
    files = sorted({file for pattern in _MODEL_FILES for file in path.glob(pattern)})
    return {file.name: [file.stat().st_size, file.stat().st_mtime_ns] for file in files}
