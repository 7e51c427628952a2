"""Text files as people have them: plain or gzipped, with or without a byte-order mark, LF or CRLF."""

import contextlib
import gzip
import hashlib
import zlib
from dataclasses import dataclass
from pathlib import Path

from minibert.errors import InputError


@dataclass(frozen=True)
class TextFile:
    """A whole file, decoded.

    Attributes:
        path: as given.
        lines: without line breaks; the first one is line 1.
        sha256: of the file's bytes, as they are on disk.
    """

    path: str
    lines: list[str]
    sha256: str

    def error(self, line: int, problem: str) -> InputError:
        """The error for a problem in one line, numbered from 1."""
        return InputError(f"{self.path}, line {line}: {problem}")

    @property
    def suffix(self) -> str:
        """The suffix without ``.gz``, in lower case."""
        return Path(self.path.removesuffix(".gz")).suffix.lower()


def read_text(path: str) -> TextFile:
    """Reads UTF-8 text, gzipped or not.

    Raises:
        InputError: the file is missing, cannot be read, or is not UTF-8 (names line and byte, and a likely encoding).
    """
    try:
        raw = Path(path).read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file.") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}).") from None
    except ValueError as error:  # a null character, which a settings file can contain
        raise InputError(f"{path!r}: not a file name ({error}).") from None
    content = raw
    if raw[:2] == b"\x1f\x8b":
        try:
            content = gzip.decompress(raw)
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(f"{path}: damaged gzip file ({error}); copy it again.") from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        byte = f"byte {error.start} (0x{content[error.start]:02x})"
        raise InputError(f"{path}, line {line}: {byte} is not UTF-8. {encoding_advice(path, content)}") from None
    # Not str.splitlines, which also splits at characters that occur inside sentences, such as U+2028.
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    if lines[-1] == "":
        lines.pop()
    file = TextFile(path=path, lines=lines, sha256=hashlib.sha256(raw).hexdigest())
    if "\r" in text and (odd := next((n for n, line in enumerate(lines, 1) if "\r" in line), None)):
        raise file.error(odd, "a carriage return inside the line; end lines with LF or CRLF.")
    return file


def read_start(path: str) -> TextFile | None:
    """The lines of a file up to the first that is not blank, without a checksum; None where they cannot be read, which
    :func:`read_text` explains, or only once (a pipe)."""
    try:
        if not Path(path).is_file():
            return None
        with open(path, "rb") as file:
            zipped = file.peek(2)[:2] == b"\x1f\x8b"
            with gzip.open(file) if zipped else contextlib.nullcontext(file) as opened:
                lines = []
                for number, raw in enumerate(opened):
                    lines.append(raw.decode("utf-8" if number else "utf-8-sig").removesuffix("\n").removesuffix("\r"))
                    if lines[-1].strip():
                        break
    except (OSError, EOFError, zlib.error, ValueError):
        return None
    return None if any("\r" in line for line in lines) else TextFile(path=path, lines=lines, sha256="")


def encoding_advice(path: str, content: bytes) -> str:
    """What to do with a file that is not UTF-8, judged by its content or by the first line that is not."""
    if content[:4] == b"PK\x03\x04":
        return "It is a spreadsheet or an archive; export it as CSV in UTF-8."
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        encoding = "utf-16"
    else:
        try:
            content.decode("gb18030")
        except UnicodeDecodeError:
            return "Save the file as UTF-8."
        encoding = "gb18030"
    return f"It may be {encoding}: iconv -f {encoding} -t utf-8 {path} > {path}.utf8"
