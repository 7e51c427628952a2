"""The texts of a large file, in arrays that are mapped from a store."""

import dataclasses
import hashlib
import json
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import islice
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from minibert.batch import IntSequence
from minibert.errors import InputError
from tasks.classification.cleanups import Cleanup
from tasks.classification.data import LabelledText, TextOptions, read_texts
from tasks.data import Split
from tasks.read.text_file import file_sha256
from tasks.run.store import Store, Writer, release, stored

Array = npt.NDArray[Any]
Indices = npt.NDArray[np.int64]

_BLOCK = 5000
"""Texts that are written, or made again, at a time."""


def stored_texts(
    path: str, options: TextOptions, *, cleanups: Sequence[Cleanup], separator: str | None
) -> tuple[Split[LabelledText], str | None]:
    """What :func:`~tasks.classification.data.read_texts` reads, and the separator between labels, from the store.

    Raises:
        InputError: as there; or the file changed in the meantime.
        StoreError: they cannot be stored.
    """

    def make(writer: Writer) -> None:
        file = read_texts(
            path, options, cleanups=cleanups, separator=separator, collect=lambda items: write_texts(items, writer)
        )
        if file.sha256 != sha256:
            raise InputError(f"{path}: has changed while it was read; start again when it is whole.")
        writer.facts |= {
            "notes": file.notes.to_json(), "understood": file.notes.in_words(), "separator": file.separator
        }  # fmt: skip

    sha256 = file_sha256(path)
    key = {
        "texts": [path, sha256],
        "options": dataclasses.asdict(options),
        "cleanups": [[each.pattern.pattern, each.replacement] for each in cleanups],
        "separator": separator,
    }
    store = stored(key, make, f"the texts of {path}")
    facts = store.facts
    split = Split(
        path=path, sha256=sha256, items=Texts(store), notes=facts["notes"], understood=tuple(facts["understood"])
    )
    return split, facts["separator"]


def text_key(item: LabelledText) -> int:
    """A number of 64 bits, the same for items with the same texts, and for no others but with a chance of one in a
    million among millions."""
    if item.pair is None:
        return _hash(item.text)
    return _hash(f"{len(item.text)} {item.text}{item.pair}", b"pair")


def text_keys(items: Sequence[LabelledText]) -> npt.NDArray[np.uint64]:
    """``(N,)``, the :func:`text_key` of each."""
    return items.keys if isinstance(items, Texts) else np.fromiter(map(text_key, items), np.uint64, len(items))


def _hash(text: str, person: bytes = b"") -> int:
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8, person=person).digest()
    return int.from_bytes(digest, "little")


# -- writing ----------------------------------------------------------------------------------------------------------


def write_texts(items: Iterable[LabelledText], writer: Writer) -> range:
    """Writes texts to a store; returns their indices."""
    items = iter(items)
    codes: dict[Any, int] = {}
    strings = {name: _StringWriter(writer, name) for name in ("text", "pair", "given")}
    total = 0
    while block := list(islice(items, _BLOCK)):
        total += len(block)
        strings["text"].append([item.text for item in block])
        if block[0].pair is not None:
            strings["pair"].append([item.pair or "" for item in block])
        strings["given"].append(["" if item.given is None else json.dumps(item.given) for item in block])
        writer.append("line", np.array([item.line for item in block], np.int64))
        writer.append("key", np.array([text_key(item) for item in block], np.uint64))
        if isinstance(block[0].label, float):
            writer.append("number", np.array([item.label for item in block], np.float64))
        else:
            labels = [codes.setdefault(item.label, len(codes)) for item in block]
            writer.append("label", np.array(labels, np.int32))
    if codes:
        _StringWriter(writer, "name").append([json.dumps(label) for label in codes])
    return range(total)


class _StringWriter:
    """Writes texts, end to end in UTF-8, and where each ends."""

    def __init__(self, writer: Writer, name: str) -> None:
        self._writer = writer
        self._name = name
        self._end = 0

    def append(self, texts: Sequence[str]) -> None:
        encoded = [text.encode("utf-8", "surrogatepass") for text in texts]
        self._writer.append(self._name, np.frombuffer(b"".join(encoded), np.uint8))
        ends = self._end + np.cumsum(array("q", map(len, encoded)), dtype=np.int64)
        self._writer.append(f"{self._name}-ends", ends)
        self._end = int(ends[-1])


# -- reading ----------------------------------------------------------------------------------------------------------


class Texts(Sequence[LabelledText]):
    """The texts of a store, or some of them, each made when it is asked for."""

    def __init__(self, store: Store, indices: Indices | None = None) -> None:
        self._store = store
        self._indices = indices
        names = self._strings("name", np.arange(len(store.arrays["name-ends"]))) if "name" in store.arrays else []
        self._labels = [tuple(name) if isinstance(name, list) else name for name in map(json.loads, names)]

    def __len__(self) -> int:
        return len(self._store.arrays["line"] if self._indices is None else self._indices)

    @overload
    def __getitem__(self, index: int) -> LabelledText: ...
    @overload
    def __getitem__(self, index: slice) -> list[LabelledText]: ...
    def __getitem__(self, index: int | slice) -> LabelledText | list[LabelledText]:
        chosen = range(len(self))[index]
        if isinstance(chosen, int):
            return self._made([chosen])[0]
        return self._made(chosen)

    def __iter__(self) -> Iterator[LabelledText]:
        for start in range(0, len(self), _BLOCK):
            yield from self[start : start + _BLOCK]
        for mapped in self._store.arrays.values():
            release(mapped)

    def take(self, indices: IntSequence) -> "Texts":
        """The texts at some indices."""
        chosen = np.asarray(indices, np.int64)
        return Texts(self._store, chosen if self._indices is None else self._indices[chosen])

    @cached_property
    def digest(self) -> str:
        """Of all that they contain."""
        digest = hashlib.sha256(self._store.key.encode())
        digest.update(b"all" if self._indices is None else self._indices.tobytes())
        return digest.hexdigest()

    @property
    def keys(self) -> npt.NDArray[np.uint64]:
        """``(N,)``, those of :func:`text_key`."""
        return self._column("key")

    @property
    def labels(self) -> Array:
        """``(N,)``, a number for each label, or the labels that are numbers."""
        return self._column("number" if "number" in self._store.arrays else "label")

    def count_labels(self) -> dict[Any, int]:
        """How often each label occurs that is a text, or several."""
        if not self._labels:
            return {}
        counts = np.bincount(self.labels, minlength=len(self._labels)).tolist()
        return {label: count for label, count in zip(self._labels, counts, strict=True) if count}

    def strata(self) -> Array:
        """``(N,)``, a number for each label that is a text, and -1 for all others."""
        if not self._labels:
            return np.full(len(self), -1)
        of_label = np.array([n if isinstance(label, str) else -1 for n, label in enumerate(self._labels)])
        return of_label[self.labels]

    def count_oddities(self) -> dict[str, int]:
        """Those of :func:`~tasks.classification.data.count_oddities`."""
        order = np.lexsort((self.labels, self.keys))
        keys, labels = self.keys[order], self.labels[order]
        several = len(np.unique(keys[1:][(keys[1:] == keys[:-1]) & (labels[1:] != labels[:-1])]))
        cleaned = np.diff(self._store.arrays["given-ends"], prepend=0) > 0
        if self._indices is not None:
            cleaned = cleaned[self._indices]
        return {"texts_with_several_labels": several, "cleaned_texts": int(cleaned.sum())}

    def _column(self, name: str) -> Array:
        column = self._store.arrays[name]
        return column if self._indices is None else column[self._indices]

    def _made(self, chosen: Sequence[int]) -> list[LabelledText]:
        rows = np.asarray(chosen, np.int64)
        if self._indices is not None:
            rows = self._indices[rows]
        arrays: Mapping[str, Array] = self._store.arrays
        texts = self._strings("text", rows)
        pairs: Sequence[str | None] = self._strings("pair", rows) if "pair" in arrays else [None] * len(rows)
        given = [tuple(json.loads(each)) if each else None for each in self._strings("given", rows)]
        if "number" in arrays:
            labels = arrays["number"][rows].tolist()
        else:
            labels = [self._labels[code] for code in arrays["label"][rows].tolist()]
        lines = arrays["line"][rows].tolist()
        return list(map(LabelledText, texts, pairs, labels, lines, given))

    def _strings(self, name: str, rows: Indices) -> list[str]:
        content, ends = self._store.arrays[name], self._store.arrays[f"{name}-ends"]
        starts = np.where(rows > 0, ends[rows - 1], 0).tolist()
        view = content.data
        return [str(view[a:b], "utf-8", "surrogatepass") for a, b in zip(starts, ends[rows].tolist(), strict=True)]
