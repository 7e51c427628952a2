"""Parquet and Arrow, by pyarrow, which is an extra."""

import json
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

from minibert.errors import InputError
from tasks.read.text_file import RawFile

_FORMATS = {b"PAR1": "parquet", b"ARROW1": "Arrow", b"\xff\xff\xff\xff": "Arrow"}
_SUFFIXES = {".parquet": "parquet", ".arrow": "Arrow", ".feather": "Arrow"}


def is_table(file: RawFile) -> bool:
    """Whether a file is parquet or Arrow, by its suffix or its first bytes."""
    return file.suffix in _SUFFIXES or any(file.content.startswith(magic) for magic in _FORMATS)


def format_of(file: RawFile) -> str:
    """``parquet`` or ``Arrow``."""
    by_content = next((name for magic, name in _FORMATS.items() if file.content.startswith(magic)), None)
    return by_content or _SUFFIXES[file.suffix]


def rows(file: RawFile) -> tuple[Iterator[dict[str, Any]], list[str]]:
    """The rows, with label names instead of numbers where the file has them; and these names.

    Raises:
        InputError: pyarrow is not installed, or the file is damaged.
    """
    if find_spec("pyarrow") is None:
        raise InputError(
            f'{file.path}: reading {format_of(file)} needs pyarrow: pip install "minibert[arrow]", or save it as JSON '
            "lines."
        )
    # Imported here because it is an extra, and slow.
    import pyarrow
    import pyarrow.parquet

    reader = pyarrow.BufferReader(file.content)
    try:
        if format_of(file) == "parquet":
            table = pyarrow.parquet.read_table(reader)
        elif file.content.startswith(b"ARROW1"):
            table = pyarrow.ipc.open_file(reader).read_all()
        else:
            table = pyarrow.ipc.open_stream(reader).read_all()
        table.validate(full=True)
        metadata = table.schema.metadata or {}
        listed = table.to_pylist()
    # Damaged files make pyarrow raise errors of many types.
    except Exception as error:
        raise InputError(
            f"{file.path}: not {format_of(file)} that can be read ({str(error)[:80]}); copy it again."
        ) from None
    names = _label_names(metadata.get(b"huggingface", b""))
    every = sorted({name for of_column in names.values() for name in of_column})
    return (_plain_row(row, names) for row in listed), every


def _label_names(metadata: bytes) -> dict[str, list[str]]:
    """The names of the labels of each column, as Hugging Face's datasets keep them in a file."""
    try:
        features = json.loads(metadata)["info"]["features"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    found = {}
    for column, feature in features.items() if isinstance(features, dict) else ():
        while isinstance(feature, (dict, list)):  # a sequence of labels has the names one level further in
            if isinstance(feature, dict) and isinstance(feature.get("names"), list):
                found[column] = [str(name) for name in feature["names"]]
                break
            feature = feature.get("feature") if isinstance(feature, dict) else feature[0] if feature else None
    return found


def _plain_row(row: dict[str, Any], names: dict[str, list[str]]) -> dict[str, Any]:
    return {column: _named(_plain(value), names.get(column)) for column, value in row.items()}


def _named(value: Any, names: list[str] | None) -> Any:
    if names is None:
        return value
    if isinstance(value, list):
        return [_named(part, names) for part in value]
    if type(value) is int and 0 <= value < len(names):
        return names[value]
    return None if value == -1 else value  # -1 marks rows without a label


def _plain(value: Any) -> Any:
    """The same in JSON's types; dates and others as text; null for bytes that are no text, such as images."""
    if isinstance(value, bytes):  # some programs write text without saying that it is UTF-8
        try:
            return value.decode()
        except UnicodeError:
            return None
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, dict):
        return {str(name): _plain(part) for name, part in value.items()}
    return [_plain(part) for part in value] if isinstance(value, (list, tuple)) else str(value)
