"""Text files as people have them: plain, gzipped or zipped, in any encoding, with LF or CRLF."""

import contextlib
import gzip
import hashlib
import io
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO

from minibert.errors import InputError
from minibert.files import sha256_of
from tasks.read.encodings import advice, codec_name, nul_problem, packed

_SPREADSHEET = "It is a spreadsheet or an archive; export it as CSV in UTF-8."


@dataclass(frozen=True)
class RawFile:
    """A whole file, unpacked.

    Attributes:
        path: as given.
        name: of the file inside an archive, else ``path`` without ``.gz``; its suffix tells the format.
        content: the bytes, unpacked.
        sha256: of the file's bytes, as they are on disk.
    """

    path: str
    name: str
    content: bytes
    sha256: str

    @property
    def suffix(self) -> str:
        """In lower case."""
        return Path(self.name).suffix.lower()


@dataclass(frozen=True)
class TextFile:
    """A whole file, decoded.

    Attributes:
        path, name, sha256: see :class:`RawFile`.
        raw: the lines without their ``\\n``, but with the ``\\r`` of a CRLF, for cells and texts of several lines.
    """

    path: str
    raw: list[str]
    sha256: str
    name: str = ""

    @cached_property
    def lines(self) -> list[str]:
        """Without line breaks; the first one is line 1."""
        return [line.removesuffix("\r") for line in self.raw]

    def error(self, line: int, problem: str) -> InputError:
        """The error for a problem in one line, numbered from 1."""
        return InputError(f"{self.path}, line {line}: {problem}")

    @property
    def suffix(self) -> str:
        """The suffix without ``.gz``, in lower case."""
        return Path(self.name or self.path.removesuffix(".gz")).suffix.lower()


def read_raw(path: str) -> RawFile:
    """Reads and unpacks a file.

    Raises:
        InputError: the file is missing, cannot be read, or is a damaged archive, one of several files, or packed in
            another way.
    """
    with _readable(path):
        raw = Path(path).read_bytes()
    name, content = path.removesuffix(".gz"), raw
    if raw[:2] == b"\x1f\x8b":
        try:
            content = gzip.decompress(raw)
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(f"{path}: damaged gzip file ({error}); copy it again.") from None
    elif raw[:4] == b"PK\x03\x04":
        name, content = _unzip(path, raw)
    if problem := packed(content):
        raise InputError(f"{path}: {problem}")
    return RawFile(path=path, name=name, content=content, sha256=hashlib.sha256(raw).hexdigest())


def _unzip(path: str, raw: bytes) -> tuple[str, bytes]:
    """The name and the content of an archive's only file."""
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            infos = [info for info in archive.infolist() if not info.is_dir() and "__MACOSX/" not in info.filename]
            names = [info.filename for info in infos]
            if "[Content_Types].xml" in names:
                raise InputError(f"{path}: {_SPREADSHEET}")
            if len(infos) != 1:
                listed = ", ".join(name[:40] for name in names[:5])
                raise InputError(
                    f"{path}: an archive of {len(infos)} files ({listed}); unpack it, and name one of them."
                )
            return names[0], archive.read(infos[0])
    except InputError:
        raise
    # Damage, encryption and unknown compression make zipfile raise errors of many types.
    except Exception as error:
        raise InputError(f"{path}: cannot be unpacked ({str(error)[:80]}). {_SPREADSHEET}") from None


def decode(file: RawFile, encoding: str | None) -> TextFile:
    """The lines of a file.

    Args:
        file: to decode.
        encoding: None for UTF-8, with or without a byte-order mark.

    Raises:
        InputError: it is in another encoding (names line and byte, and how the line reads in likely ones), or has a
            carriage return inside a line, or NUL characters as UTF-16 or a binary file has.
    """
    path, content = file.path, file.content
    if file.suffix == ".spacy":
        raise InputError(f"{path}: spaCy's binary format; write its documents as JSON lines with text and entities.")
    try:
        text = content.decode(codec_name(encoding)).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        byte = f"byte {error.start} (0x{content[error.start]:02x})"
        if encoding:
            raise InputError(f"{path}, line {line}: {byte} is not {encoding}; give another --encoding.") from None
        raise InputError(f"{path}, line {line}: {byte} is not UTF-8. {advice(content, error.start)}") from None
    except UnicodeError as error:  # UTF-16 without a byte-order mark
        raise InputError(f"{path}: is not {encoding} ({error}); give another --encoding.") from None
    if problem := nul_problem(text, encoding):
        raise InputError(f"{path}: {problem}")
    # Not str.splitlines, which also splits at characters that occur inside sentences, such as U+2028.
    raw = text.split("\n")
    if raw[-1] == "":
        raw.pop()
    read = TextFile(path=path, raw=raw, sha256=file.sha256, name=file.name)
    if "\r" in text and (odd := next((n for n, line in enumerate(read.lines, 1) if "\r" in line), None)):
        raise read.error(odd, "a carriage return inside the line; end lines with LF or CRLF.")
    return read


def read_text(path: str, encoding: str | None = None) -> TextFile:
    """Reads a text file; see :func:`read_raw` and :func:`decode`."""
    return decode(read_raw(path), encoding)


def stream_lines(path: str, encoding: str | None = None) -> Iterator[str]:
    """The lines of a text file, as :func:`read_text` gives them, without holding all of them. An archive is read whole.

    Raises:
        InputError: see :func:`read_raw` and :func:`decode`.
    """
    given = 0
    with contextlib.suppress(InputError, UnicodeError), opened(path, path) as file:
        start = file.peek(512)  # type: ignore[attr-defined]  # both kinds of file can peek
        if not start.startswith(b"PK\x03\x04") and not packed(start):
            with io.TextIOWrapper(file, codec_name(encoding), newline="\n") as text:
                for line in text:
                    bare = line.removesuffix("\n").removesuffix("\r")
                    bare = bare if given else bare.removeprefix("\ufeff")
                    if "\r" in bare or "\0" in bare:
                        break
                    yield bare
                    given += 1
                else:
                    return
    # Only the whole file tells what is wrong with it, and where.
    yield from read_text(path, encoding).lines[given:]


def file_sha256(path: str) -> str:
    """The sha256 of a file, as it is on disk.

    Raises:
        InputError: it cannot be read, or only once (a pipe).
    """
    if Path(path).exists() and not Path(path).is_file():
        raise InputError(f"{path}: is not a regular file, but is read more than once; save it as a file.")
    with _readable(path):
        return sha256_of(Path(path))


@contextlib.contextmanager
def _readable(path: str) -> Iterator[None]:
    """Raises InputError for what goes wrong with a file in the block."""
    try:
        yield
    except FileNotFoundError:
        raise InputError(f"{path}: no such file.") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}).") from None
    except ValueError as error:  # a null character, which a settings file can contain
        raise InputError(f"{path!r}: not a file name ({error}).") from None


def read_start(path: str, encoding: str | None = None) -> TextFile | None:
    """The lines of a file up to the second that is not blank, without a checksum; None where they cannot be read, which
    :func:`read_text` explains, or only once (a pipe)."""
    try:
        if not Path(path).is_file():
            return None
        raw = []
        with opened(path, path) as file, io.TextIOWrapper(file, codec_name(encoding), newline="\n") as text:
            for line in text:
                raw.append(line.removesuffix("\n"))
                if sum(bool(line.strip()) for line in raw) == 2:
                    break
    except (InputError, OSError, EOFError, zlib.error, ValueError):
        return None
    start = TextFile(path=path, raw=raw, sha256="")
    odd = any("\r" in line or "\0" in line for line in start.lines)
    return None if odd or (raw and raw[0].startswith("PK\x03\x04")) else start


@contextlib.contextmanager
def opened(path: str, name: str) -> Iterator[IO[bytes]]:
    """A file for reading as a stream, unzipped if it is a gzip file.

    Raises:
        InputError: it cannot be read, now or later within the block; begins with ``name``.
    """
    try:
        with open(path, "rb") as file:
            is_gzip = path.endswith(".gz") or file.peek(2)[:2] == b"\x1f\x8b"
            with gzip.open(file) if is_gzip else contextlib.nullcontext(file) as unzipped:
                yield unzipped  # type: ignore[misc]  # a GzipFile reads bytes
    except FileNotFoundError:
        raise InputError(f"{name}: no such file.") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{name}: damaged gzip file ({error}); copy it again.") from None
    except OSError as error:
        raise InputError(f"{name}: cannot be read ({error.strerror or error}).") from None
