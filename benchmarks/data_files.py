"""Data files of every format that the tasks read, damaged by chance, for :mod:`benchmarks.fuzz`.

A damaged file must be read or refused with one sentence. Where it is read, every row must be an item or counted as left
out, and the number of rows must be that of the file, counted here by other means wherever the damage leaves no doubt.
"""

import contextlib
import copy
import gzip
import io
import json
import random
import zipfile
from collections.abc import Iterator
from itertools import chain, groupby
from pathlib import Path
from typing import Any

from benchmarks.attack.damage import damaged
from minibert.errors import InputError
from tasks.classification.data import TextOptions, read_texts
from tasks.ner.data import read_ner
from tasks.pretraining.corpus import read_corpus
from tasks.read.notes import Notes
from tasks.read.records import ReadOptions
from tasks.read.stream import records
from tasks.span_qa.data import read_span_qa

TEXT = "Mia 🎉 Poe saw Lima, 北京."
SPANS: list[Any] = [[0, 3, "PER"], [14, 18, "LOC"]]
WORDS, TAGS = ["Mia", "saw", "Lima", "北"], ["B-PER", "O", "B-LOC", "O"]
VALUES = [{"start": s, "end": e, "text": TEXT[s:e], "labels": [t]} for s, e, t in SPANS]
CHOICE = {"type": "choices", "value": {"choices": ["good"]}}
ANSWER = {"text": "Mia", "answer_start": 0}
JUNK: list[Any] = [None, True, 0, -1, 2, 10**20, 1.5, float("nan"), "", " ", "x", "[]", "[0, 1]", "{", "\x02",
        '{"a": 1}', "nan", "\n", "\ud83d", "O", "B-", "I-X", "北京", [], {}, [[]], [0, 1], ["a"], [None], {"a": []},
        "9" * 5000, "[" * 5000, {"start": 0, "end": 3, "label": "X"}, "reject", "-"]  # fmt: skip
"""What fields are replaced by."""

# For each reader: its formats of records, and of text.
RECORDS: dict[str, dict[str, list[Any]]] = {
    "ner": {
        "doccano": [{"id": 1, "text": TEXT, "label": SPANS}, {"id": 2, "text": "Nobody", "label": []}],
        "objects": [{"text": TEXT, "entities": VALUES, "relations": []}],
        "label-studio": [{"data": {"text": TEXT}, "annotations": [{"result": [{"value": v} for v in VALUES]}]}],
        "prodigy": [{"text": TEXT, "tokens": [{"text": "Mia"}], "spans": VALUES, "answer": "accept"}],
        "spacy": [[TEXT, {"entities": SPANS}], ["Nobody", {"entities": []}]],
        "gliner": [{"tokenized_text": WORDS, "ner": [[0, 0, "PER"], [2, 2, "LOC"]]}],
        "cluener": [{"text": TEXT, "label": {"PER": {"Mia": [[0, 2]]}, "LOC": {"Lima": [[14, 17]]}}}],
        "paddle": [{"content": TEXT, "prompt": "PER", "result_list": [{"text": "Mia", "start": 0, "end": 3}]}],
        "datasets": [{"tokens": WORDS, "ner_tags": [1, 0, 2, 0]}, {"tokens": ["a"], "ner_tags": [0]}],
        "tags": [{"tokens": WORDS, "tags": TAGS}, {"words": ["a"], "tags": ["O"]}],
    },
    "classification": {
        "doccano": [{"id": 1, "text": "a", "label": ["good"]}, {"id": 2, "text": "b", "label": ["bad"]}],
        "plain": [{"text": "a", "label": "good"}, {"text": "b", "label": "bad"}, {"text": "c", "label": "bad"}],
        "label-studio": [{"data": {"text": "a"}, "annotations": [{"result": [CHOICE]}]}],
        "prodigy": [{"text": "a", "options": [{"id": "x"}], "accept": ["x"], "answer": "accept", "_task_hash": 1}],
        "spacy": [["a", {"cats": {"good": 1.0, "bad": 0.0}}]],
        "multinli": [{"gold_label": "-", "sentence1": "a", "sentence2": "b"},
                     {"gold_label": "neutral", "sentence1": "a", "sentence2": "b"}],
        "vectors": [{"text": "a", "labels": [1, 0]}, {"text": "b", "labels": [0, 0]}],
        "numbers": [{"text": "a", "score": 1.5}, {"text": "b", "score": 2}],
    },
    "span_qa": {
        "flat": [{"context": "Mia saw Lima.", "question": "Who?", "answer": "Mia"}],
        "datasets": [{"id": "1", "context": "Mia saw Lima.", "question": "Who?",
                      "answers": {"text": ["Mia"], "answer_start": [0]}}],
        "objects": [{"id": 1, "context": "Mia saw Lima.", "question": "Who?", "answers": [ANSWER]}],
        "squad": [{"title": "t", "paragraphs": [{"context": "Mia saw Lima.", "qas": [
            {"id": "1", "question": "Who?", "answers": [ANSWER]},
            {"id": "2", "question": "Why?", "answers": [], "is_impossible": True}]}]}],
        "cmrc": [{"context_id": "C", "context_text": "Mia saw Lima.", "qas": [
            {"query_id": "C1", "query_text": "Who?", "answers": ["Mia", "Mia"]}]}],
    },
}  # fmt: skip
CONLL = "".join(f"{word} {tag}\n" for word, tag in zip(WORDS, TAGS, strict=True))
TEXTS: dict[str, dict[str, str]] = {
    "ner": {
        "a.txt": f"# id 1\n{CONLL}\n#x O\n{CONLL}",
        "b.conll": f"-DOCSTART- -X- O O\n\n{CONLL.replace(' ', ' -X- _ ')}\n{CONLL.replace(' ', ' -X- _ ')}",
        "c.tsv": CONLL.replace(" ", "\t").replace("\n", "\t\n"),
        "d.txt": CONLL.replace("B-", "b_").replace("O", "o"),
        "e.csv": "sentence_id,word,tag\n1,Mia,B-PER\n1,saw,O\n2,Lima,B-LOC\n",
        "f.csv": 'text,tags\nMia saw,B-PER O\n北京,B-LOC I-LOC\n"a ""b""",O O\n',
        "g.tsv": "text_a\tlabel\nM\x02i\tB-PER\x02I-PER\n",
        "h.csv": f'text,label,annotator\n{json.dumps(TEXT)},"{json.dumps(VALUES).replace(chr(34), chr(34) * 2)}",1\n',
    },
    "classification": {
        "a.csv": 'text,label\n"a ""b""\nc",good\nd,bad\n,\ne,nan\n',
        "b.tsv": 'text\tlabel\n"a\nb"\tgood\nc\tbad\n"d\tbad\n',
        "c.csv": "sep=;\ntext;label\na;good\nb;bad\n",
        "d.txt": "66_!_101_!_news_a_!_title_!_x\n67_!_102_!_news_b_!_other_!_\n",
        "e.txt": "text one\t0\ntext two\t1\n",
        "f.txt": "__label__good a b\n__label__bad __label__x c\n",
        "g.csv": "text,x,y\na,0,1\nb,1,0\n",
        "h.csv": 'text,labels\na,"[""x"", ""y""]"\nb,[]\n',
        "i.json": json.dumps({"text": {"0": "a", "1": "b"}, "label": {"0": "x", "1": "y"}}),
        "j.json": json.dumps({"columns": ["text", "label"], "index": [0], "data": [["a", "x"], ["b", "y"]]}),
    },
    "span_qa": {
        "a.csv": "context,question,answer_text,answer_start\nMia saw.,Who?,Mia,0\nMia saw.,Why?,,\n",
        "b.tsv": f"context\tquestion\tanswers\nMia saw.\tWho?\t{json.dumps([ANSWER])}\n",
    },
    "corpus": {
        "a.txt": "One. Two.\nThree.\n\nFour\n",
        "b.txt": " = Title = \n \n Text here . \n \n = = Part = = \n \n More . \n = Other = \n Text\n",
    },
}
FOLDERS = {
    "ner": {
        "a.txt": "Mia saw Lima.\n",
        "a.ann": "T1\tPER 0 3\tMia\nT2\tLOC 8 10;11 12\tLi a\nR1\tx\n",
        "b.txt": "No\n",
    },
    "classification": {"good/1.txt": "a\n", "bad/1.txt": "b\nc\n", "bad/2.txt": "d\n"},
}
READERS = ("ner", "classification", "span_qa", "corpus")


def read_damaged(reader: str, folder: Path, chance: random.Random) -> None:
    """Writes a damaged file, and reads it for the task and for prediction.

    Raises:
        InputError: it is refused.
        AssertionError: a row is lost without a count.
    """
    path, content, number = _written(reader, folder, chance)
    skip = chance.random() < 0.7
    predicted = 0
    with contextlib.suppress(InputError):
        predicted = sum(1 for _ in records(str(path)))
    text = content.decode("utf-8-sig", errors="replace").replace("\r\n", "\n")
    if reader == "corpus":
        _read_corpus(str(path), text, chance)
        return
    notes, items = _read(reader, str(path), skip, chance)
    left_out = sum(notes.left_out.values())
    assert len(items) + left_out == notes.rows, f"{len(items)} items and {left_out} left out of {notes.rows}"
    if number is not None:
        assert notes.rows == number, f"{notes.rows} of {number} rows"
        assert predicted in (0, number), f"{predicted} inputs for prediction of {number} rows"
    elif text:
        _check_lines(text, notes)


def _read_corpus(path: str, text: str, chance: random.Random) -> None:
    documents = read_corpus([path], documents=chance.choice(["auto", "lines", "blank", "headings"])).items
    kept = "".join("".join(document.paragraphs) for document in documents)
    assert not text or "".join(kept.split()) == "".join(text.split()), "text is lost"


def _read(reader: str, path: str, skip: bool, chance: random.Random) -> tuple[Notes, list[Any]]:
    names = chance.choice([(), (), (), (), (), ("O", "B-PER", "B-LOC"), ("x", "y")])
    options = ReadOptions(skip_invalid=skip, label_names=names)
    if reader == "ner":
        split = read_ner(path, "auto", options, offsets=chance.choice(["auto", "auto", "utf16", "bytes", "characters"]))
        notes = Notes()
        notes.rows = split.notes["rows"]
        notes.left_out.update(split.notes.get("left_out", {}))
        notes.facts.update(split.notes)
        for item in split.items:
            assert all(0 <= entity.start < entity.end <= len(item.words) for entity in item.entities)
        return notes, list(split.items)
    if reader == "span_qa":
        found = read_span_qa(path, options)
        return found.notes, list(found.questions)
    several = ("x", "y") if chance.random() < 0.1 else ()
    kind = "multi" if several else chance.choice(["single"] * 6 + ["multi"] * 3 + ["regression"])
    layout = chance.choice(["auto", "auto", "label-first"])
    texts = read_texts(path, TextOptions(kind=kind, layout=layout, label_columns=several, read=options))
    for text in texts.items:
        for label in text.label if isinstance(text.label, tuple) else (text.label,):
            assert label is not None
            assert not (isinstance(label, str) and (label[:1] + label[-1:] in ("[]", "{}") or "\n" in label)), label
    return texts.notes, list(texts.items)


def _check_lines(text: str, notes: Notes) -> None:
    """Counts the rows of a file by its lines, where they show them."""
    lines = [line for line in text.split("\n") if line.strip()]
    format = notes.facts["format"]
    if format == "JSON lines" and '"qas"' not in text and '"paragraphs"' not in text:
        assert notes.rows == len(lines), f"{notes.rows} of {len(lines)} lines"
    elif format.startswith("a word a line"):
        borders = ["" if not line.strip() or line.startswith("-DOCSTART-") else line for line in text.split("\n")]
        runs = [[line for line in run if line] for is_run, run in groupby(borders, key=bool) if is_run]
        least = sum(any(not line.startswith("#") for line in run) for run in runs)
        assert least <= notes.rows <= len(runs), f"{notes.rows} of {least} to {len(runs)} sentences"
    elif format.startswith("a table with") and '"' not in text and notes.facts.get("scheme") in (None, "spans"):
        header = 0 if "without a header" in format else 1 + text.lower().startswith("sep=")
        empty = sum(1 for line in text.split("\n") if line and not line.strip())  # rows of blank cells
        assert len(lines) - header <= notes.rows <= len(lines) - header + empty, f"{notes.rows} of {len(lines)} lines"


# -- damage -----------------------------------------------------------------------------------------------------------


def _written(reader: str, folder: Path, chance: random.Random) -> tuple[Path, bytes, int | None]:
    """A damaged file or folder, its content as far as it is known, and the number of its rows where that is certain."""
    for old in sorted(folder.rglob("*"), reverse=True):
        old.rmdir() if old.is_dir() else old.unlink()
    if reader in FOLDERS and chance.random() < 0.05:
        return _folder(FOLDERS[reader], folder, chance), b"", None
    if reader not in RECORDS or chance.random() < 0.45:
        name, text = chance.choice(sorted(TEXTS[reader].items()))
        content = damaged(text.encode(), chance) if chance.random() < 0.5 else _damaged_lines(text, chance).encode()
        return *_packed(folder / name, content, chance), None
    rows = copy.deepcopy(chance.choice(sorted(RECORDS[reader].items()))[1]) * chance.choice((1, 2, 5))
    nested = reader == "span_qa" and isinstance(rows[0], dict) and ("paragraphs" in rows[0] or "qas" in rows[0])
    if chance.random() < 0.35:
        name, content = _contained(rows, chance)
        return *_packed(folder / name, damaged(content, chance), chance), None
    rows = copy.deepcopy(rows)
    for _ in range(chance.choice((1, 1, 2, 4))):
        _damage(rows, chance)
    if not rows:
        rows = [{}]
    name, content = _contained(rows, chance)
    is_certain = not nested and len(rows) > 1 and all(isinstance(row, dict) and not _wraps(row) for row in rows)
    return *_packed(folder / name, content, chance), len(rows) if is_certain else None


def _wraps(row: dict[str, Any]) -> bool:
    return bool({"qas", "paragraphs"} & row.keys())


def _contained(rows: list[Any], chance: random.Random) -> tuple[str, bytes]:
    """Records in one of JSON's containers."""
    ascii_only = chance.random() < 0.5 or any("\\ud83d" in json.dumps(row) for row in rows)

    def dumps(value: Any, **more: Any) -> str:
        return json.dumps(value, ensure_ascii=ascii_only, **more)

    kind = chance.choice(("jsonl", "jsonl", "array", "pretty", "indented", "data"))
    if kind == "jsonl":
        return "a.jsonl", "\n".join(map(dumps, rows)).encode()
    if kind == "pretty":
        return "a.json", "\n".join(dumps(row, indent=2) for row in rows).encode()
    whole = {"version": 1, "data": rows} if kind == "data" else rows
    return "a.json", dumps(whole, indent=1 if kind == "indented" else None).encode()


def _packed(path: Path, content: bytes, chance: random.Random) -> tuple[Path, bytes]:
    """Writes a file, perhaps in an archive; returns its path, and its content unless the archive is damaged, too."""
    draw = chance.random()
    known = b"" if 0.05 <= draw < 0.07 else content
    if draw < 0.05:
        path = path.with_name(path.name + ".gz")
        content = gzip.compress(content)
    elif draw < 0.1:
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr(path.name, content)
        path, content = path.with_suffix(".zip"), packed.getvalue()
        if draw < 0.07:
            content = damaged(content, chance)
    path.write_bytes(content)
    return path, known


def _folder(files: dict[str, str], folder: Path, chance: random.Random) -> Path:
    victim = chance.choice(sorted(files))
    for name, text in files.items():
        content = text.encode()
        if name == victim and (content := damaged(content, chance)) and chance.random() < 0.1:
            continue
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def _damaged_lines(text: str, chance: random.Random) -> str:
    lines = text.split("\n")
    for _ in range(chance.choice((1, 1, 2, 5))):
        at = chance.randrange(len(lines))
        kind = chance.choice(("drop", "repeat", "swap", "insert", "insert", "cut", "blank"))
        if kind == "drop" and len(lines) > 1:
            del lines[at]
        elif kind == "repeat":
            lines[at:at] = [lines[at]] * chance.choice((1, 1, 300))
        elif kind == "swap":
            other = chance.randrange(len(lines))
            lines[at], lines[other] = lines[other], lines[at]
        elif kind == "insert":
            place = chance.randrange(len(lines[at]) + 1)
            piece = chance.choice(
                ["\t", '"', ",", ";", " ", "\\", "[", "{", "'", "\x00", "\u2028", "\r", "#", "# ", "😀"]
            )
            lines[at] = lines[at][:place] + piece + lines[at][place:]
        elif kind == "cut":
            lines[at] = lines[at][: len(lines[at]) // 2]
        else:
            lines[at:at] = ["", " ", "\t"][: chance.randrange(1, 4)]
    return "\n".join(lines)


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every object or list inside a value, with each of its keys."""
    keys = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from _places(value[key])


def _damage(rows: list[Any], chance: random.Random) -> None:
    """Changes a value, removes one, or repeats a row, in place."""
    kind = chance.choice(("value", "value", "value", "remove", "rename", "row", "junk"))
    if kind == "row" and rows:
        rows.insert(chance.randrange(len(rows) + 1), copy.deepcopy(chance.choice(rows)))
        return
    if kind == "junk":
        rows.insert(chance.randrange(len(rows) + 1), copy.deepcopy(chance.choice(JUNK)))
        return
    places = list(chain.from_iterable(_places(row) for row in rows))
    if not places:
        return
    inside, key = chance.choice(places)
    if kind == "value":
        inside[key] = copy.deepcopy(chance.choice(JUNK))
    elif kind == "remove":
        del inside[key]
    elif isinstance(inside, dict):
        inside[chance.choice(["text", "label", "x", "data", "tokens", "answers", "qas"])] = inside.pop(key)
