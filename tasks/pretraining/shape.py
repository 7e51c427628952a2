"""The shape of a new model: ``--model-config``."""

import dataclasses
from pathlib import Path
from typing import Any

from minibert import EncoderConfig
from minibert.errors import InputError
from minibert.files import read_json_object

_DETERMINED = ("model_type", "vocab_size", "pad_token_id")


def read_shape(path: str) -> dict[str, Any]:
    """The fields of ``config.json`` in which a new model differs from the small one.

    Raises:
        InputError: the file cannot be read, or has other fields.
    """
    shape = read_json_object(Path(path))
    known = {each.name for each in dataclasses.fields(EncoderConfig)}
    if unknown := [name for name in shape if name not in known]:
        raise InputError(f"{path}: {unknown[0]} is not a field of the model; it has {', '.join(sorted(known))}.")
    if determined := [name for name in _DETERMINED if name in shape]:
        raise InputError(f"{path}: {determined[0]} is determined by --arch or the tokenizer; leave it out.")
    return shape
