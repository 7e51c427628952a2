"""Folders of texts: brat's documents with their annotations, and one folder a class."""

import hashlib
import re
from pathlib import Path
from typing import Any

from minibert.errors import InputError
from tasks.read.text_file import TextFile, decode, read_raw

DISCONTINUOUS, OTHER, MISSING = "brat: discontinuous", "brat: no spans", "brat: no annotations"
"""Fields of a document, which no other file has."""
_TEXTS = (".txt", ".txt.gz")


def read(path: str, encoding: str | None) -> tuple[str, str, list[tuple[dict[str, Any], str]]]:
    """Reads a folder.

    A document of brat has ``text``, ``spans``, and the number of annotations that are no spans (:data:`OTHER`) or not
    one span (:data:`DISCONTINUOUS`); one without an ``.ann`` file has ``text`` and the name of that (:data:`MISSING`);
    one of a class has ``text`` and ``label``.

    Args:
        path: with ``.txt`` files and ``.ann`` files beside them, perhaps in folders; or with a folder of ``.txt`` files
            for each class.
        encoding: of the texts; None for UTF-8.

    Returns:
        What the folder is, in words; the sha256 of its names and contents; the fields of each document, in the order of
        the names, with its place.

    Raises:
        InputError: it is neither, or a file cannot be read.
    """
    folder = Path(path)
    annotated = _collection(folder)
    texts = annotated or _texts(folder)
    folders = [inner for inner in sorted(folder.iterdir()) if inner.is_dir() and not is_hidden(inner, folder)]
    classes = [] if annotated else [inner for inner in folders if _texts(inner)]
    if classes and texts:
        raise InputError(
            f"{texts[0]}: stands beside folders of texts ({', '.join(inner.name for inner in classes[:5])}); move it "
            "away if they are classes, or them if it is a text."
        )
    digest = hashlib.sha256()

    def decoded(file: Path) -> TextFile:
        raw = read_raw(str(file))
        digest.update(f"{file.relative_to(folder)}\n{raw.sha256}\n".encode(errors="surrogateescape"))
        return decode(raw, encoding)

    def content(file: Path) -> str:
        # With the line breaks of the file, since brat's offsets count both characters of a CRLF.
        return "\n".join(decoded(file).raw).removesuffix("\r")

    documents: list[tuple[dict[str, Any], str]] = []
    if texts:
        for file in texts:
            annotations = _annotations(file)
            more = _spans(decoded(annotations)) if annotations.exists() else {MISSING: annotations.name}
            documents.append(({"text": content(file), **more}, str(file)))
        format = "a folder of brat's .txt and .ann files" if annotated else "a folder of texts"
    elif classes:
        for inner in classes:
            documents += [({"text": content(file), "label": inner.name}, str(file)) for file in _texts(inner)]
        format = "a folder for each class"
    else:
        raise InputError(
            f"{path}: a folder without .txt files; expected .txt files, with brat's .ann files beside them, or a "
            "folder of .txt files for each class."
        )
    return format, digest.hexdigest(), documents


def is_hidden(path: Path, folder: Path) -> bool:
    """Whether a file or a folder around it is a program's own: ``.ipynb_checkpoints``, or a Mac's ``._a.txt``.

    Args:
        path: of the file.
        folder: whose own name does not count.
    """
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def _texts(folder: Path) -> list[Path]:
    files = sorted(file for file in folder.iterdir() if file.name.lower().endswith(_TEXTS))
    return [file for file in files if file.is_file() and not is_hidden(file, folder)]


def _collection(folder: Path) -> list[Path]:
    """The texts of a folder and the folders in it, if brat has annotated some; none otherwise."""
    annotations = {file for file in folder.rglob("*.ann") if not is_hidden(file, folder)}
    if not annotations:
        return []  # without looking at all files of a folder for each class
    folders = [folder, *(inner for inner in folder.rglob("*") if inner.is_dir() and not is_hidden(inner, folder))]
    texts = sorted(text for inner in folders for text in _texts(inner))
    alone = annotations.difference(map(_annotations, texts))
    if alone == annotations:
        return []
    if alone:
        first = min(alone)
        raise InputError(f"{first}: stands without its text; put {first.stem}.txt beside it, or move it away.")
    return texts


def _annotations(text: Path) -> Path:
    return text.with_name(text.name.removesuffix(".gz").removesuffix(".txt").removesuffix(".TXT") + ".ann")


def _spans(file: TextFile) -> dict[str, Any]:
    """The spans of an ``.ann`` file, from its lines ``T1<tab>PER 0 7<tab>Ann Lee``."""
    spans = []
    num_discontinuous = num_other = 0
    for number, line in enumerate(file.lines, 1):
        if not line.strip():
            continue
        if not line.startswith("T"):
            num_other += 1
            continue
        name, _, rest = line.partition("\t")
        places, _, text = rest.partition("\t")
        if ";" in places:
            num_discontinuous += 1
        elif found := re.fullmatch(r"(\S+) (\d{1,9}) (\d{1,9})", places.strip()):
            span = {"start": int(found[2]), "end": int(found[3]), "label": found[1]}
            spans.append({**span, "text": text} if text.strip() else span)
        else:
            raise file.error(number, f"{name[:20]!r} is not of the form T1<tab>PER 0 7<tab>text.")
    return {"spans": spans, DISCONTINUOUS: num_discontinuous, OTHER: num_other}
