"""Questions with choices, from the files people have.

Formats, recognised by content: a table with a header, whose choices stand in numbered columns (SWAG's ``ending0`` to
``ending3``) or in one column as a list; JSON objects, one a line or in an array, with ``context``, ``question``,
``choices`` and ``label``; and what :mod:`tasks.read.choices` takes apart.
:mod:`tasks.read` reads the file, whatever its container. A folder is read file by file, as RACE has an article in each.
"""

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from string import ascii_lowercase
from typing import Any, NamedTuple

from minibert.errors import InputError
from tasks.data import Split
from tasks.multiple_choice.labels import NUMBER, Labelled, Labels, labels_of, place_of
from tasks.read import tables
from tasks.read.cells import parsed_list
from tasks.read.choices import named, questions
from tasks.read.folders import is_hidden
from tasks.read.notes import Notes
from tasks.read.records import DEFAULT, ReadOptions, Record, Source, open_source

# Usual names of fields, in lower case; an earlier one wins over a later one.
_CONTEXTS = ("context", "article", "passage", "premise", "sent1", "ctx_a")
_QUESTIONS = ("question", "query", "sent2", "ctx_b", "question_stem", "sentence", "goal")
_CHOICES = ("choices", "options", "endings", "choice")
_ANSWERS = ("answers",)  # the choices, where nothing else has any
_LABELS = ("label", "answer_idx", "answer", "answerkey", "correct", "cop")
_IDS = ("id", "example_id")
# Columns with one choice each: ending0, choice_1, option A, but not choices; or letters alone; or as in CosmosQA and
# SIQA, PIQA, MedMCQA.
_NUMBERED = [
    re.compile(r"(?:ending|choice|option)[ _-]?([0-9]{1,6}|[a-r])"),
    re.compile("([a-j])"),
    re.compile("answer[ _-]?([0-9]{1,6}|[a-j])"),
    re.compile("sol([0-9])"),
    re.compile("op([a-e])"),
]
# A gap, as in RACE: a run of underscores, but not those inside a name such as max_length.
_GAP = re.compile(r"(?<![A-Za-z0-9_])_+(?![A-Za-z0-9_])")
_SUFFIXES = (".txt", ".json", ".jsonl", ".ndjson", ".csv", ".tsv")  # of the files in a folder
_NO_LABEL = (None, "", -1, "-1")  # as test files without answers have it


class Question(NamedTuple):
    """A question with its choices.

    Attributes:
        context: the text that it is about; empty for none.
        question: what is asked, or the beginning of what the choices end; empty for none.
        choices: at least two.
        label: the place of the right choice, from 0; None if unknown.
        line: where it starts in its file.
        id: as in the file; empty for none.
        where: the file in a folder, line and id, for people.
    """

    context: str
    question: str
    choices: tuple[str, ...]
    label: int | None
    line: int
    id: str = ""
    where: str = ""

    def with_choice(self, choice: str) -> str:
        """The second segment of a choice's sequence: the question with the choice in place of a gap (``_``), else
        behind it; the choice alone where the question is the first segment, for want of a context."""
        if not self.context:
            return choice
        if _GAP.search(self.question):
            return _GAP.sub(lambda _: choice, self.question)
        return f"{self.question} {choice}".strip()


def is_header(names: Sequence[str]) -> bool:
    """Whether the columns of a table are those of questions with choices."""
    return bool(_marks(names) or tables.find(names, (*_CHOICES, *_ANSWERS)))


def read_choices(path: str, options: ReadOptions = DEFAULT, *, first_number: int | None = None) -> Split[Question]:
    """Reads a file, or a folder of files, of questions with their answers.

    A label is a choice's number, its letter, its own text, or one of the names that the choices have. If all of a file
    are texts of choices, and not all may be something else, none is read as anything else. Where there are numbers, the
    notes say from where they count, and warn if the file does not show it.

    Args:
        path: in any layout that :mod:`tasks.read` knows; a folder is read file by file.
        options: how to read it.
        first_number: of the choices, where labels are numbers: 0 or 1. None to go by the file: 1 if no label is 0 and
            one is the number of choices.

    Raises:
        InputError: something cannot be used; names file and line.
    """
    sources = [_opened(file, options) for file in _files(path)]
    found = [(record, source) for source in sources for record in source.records or () if any(record.fields.values())]
    labels = labels_of(_labelled(record for record, _ in found), first_number)
    items = []
    for record, source in found:
        with source.notes.row(record.line):
            question = _question(record, labels, file="" if source.path == path else os.path.relpath(source.path, path))
            if question.label is None:
                raise record.error(
                    f"has no label; training and scoring need one for each question, in a field named {_any(_LABELS)}. "
                    "python -m tasks.predict answers questions without."
                )
            items.append(question)
    if not items:
        raise InputError(f"{path}: has no questions{' that can be used' if found else ''}.")
    notes = Notes.joined([source.notes for source in sources])
    if labels.are_texts:
        notes.facts["labels"] = "are texts of choices"
    if labels.first_number is not None:
        notes.facts["choices_numbered_from"] = labels.first_number
    if not labels.is_certain:
        notes.warnings.append(
            "labels are numbers, but none is 0 and none the number of its question's choices, which would show from "
            "where they count; read as from 0. If they count from 1, set first_number = 1 in a settings file."
        )
    hashes = "".join(f"{os.path.relpath(source.path, path)} {source.sha256}\n" for source in sources)
    single = len(sources) == 1 and sources[0].path == path
    return Split(
        path=path,
        sha256=sources[0].sha256 if single else hashlib.sha256(hashes.encode()).hexdigest(),
        items=items,
        notes=notes.to_json(),
        understood=notes.in_words(),
    )


def _labelled(records: Iterable[Record]) -> Iterator[Labelled]:
    for record in records:
        with contextlib.suppress(InputError):  # said where the question is made
            choices, names = _choices(record)
            if (text := _label_text(record, choices, names)) is not None:
                yield Labelled(text, choices, names)


def _files(path: str) -> list[str]:
    """The file; or those in a folder and its folders."""
    folder = Path(path)
    if "\0" in path or not folder.is_dir():
        return [path]
    files = [file for file in folder.rglob("*") if file.suffix.lower() in _SUFFIXES and file.is_file()]
    return sorted(str(file) for file in files if not is_hidden(file, folder))


def _opened(path: str, options: ReadOptions) -> Source:
    source = open_source(path, options, is_header=is_header)
    if source.records is None and source.text is not None and any(line.strip() for line in source.text.lines):
        raise source.text.error(
            1,
            "no column has choices; name them ending0, ending1, ... (SWAG) or choice0, choice1, ..., or write a JSON "
            "object for each question: context, question, choices and label.",
        )
    return source


def parse_question(fields: Mapping[str, Any], place: str) -> Question:
    """A question without its label, from the fields of an input.

    Raises:
        InputError: a field is missing or cannot be used; the message begins with ``place``.
    """
    several = list(questions(fields) or [fields])
    if len(several) != 1:
        raise InputError(
            f"{place}: holds {len(several)} questions; give each its own object with context, question and choices."
        )
    unlabelled = {name: value for name, value in several[0].items() if name.lower() not in _LABELS}
    return _question(Record(unlabelled, place), Labels())


# -- fields -> a question ---------------------------------------------------------------------------------------------


def _question(record: Record, labels: Labels, file: str = "") -> Question:
    context, question = (_text(record, names) for names in (_CONTEXTS, _QUESTIONS))
    choices, names = _choices(record)
    if not context and not question:
        raise _missing(record, "a context or a question", (*_CONTEXTS, *_QUESTIONS))
    label, given = _label_text(record, choices, names), _field(record, _IDS)
    id_ = "" if given is None else str(given)
    return Question(
        context=context,
        question=question,
        choices=choices,
        label=None if label is None else place_of(Labelled(label, choices, names), labels, record),
        line=record.line,
        id=id_,
        where=", ".join(filter(None, [file, f"line {record.line}", id_])),
    )


def _label_text(record: Record, choices: Sequence[str], names: Sequence[str]) -> str | None:
    """The label as text, without the point that pandas gives a number where another row has none; None for none."""
    given = _fields(record, _LABELS)
    filled = [value for value in given if isinstance(value, (bool, list, dict)) or value not in _NO_LABEL]
    if not filled:
        return None
    text = _checked(record, "label", filled[0])
    number = NUMBER.fullmatch(text)
    return number[1] if number and text not in (*choices, *names) else text


def _field(record: Record, known: Sequence[str]) -> Any:
    """The first of the known fields that the record has; None if it has none."""
    return next(iter(_fields(record, known)), None)


def _fields(record: Record, known: Sequence[str]) -> list[Any]:
    """The known fields that the record has, in the order of the known ones."""
    written = {name.lower(): value for name, value in record.fields.items()}
    return [written[name] for name in known if name in written]


def _any(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"


def _missing(record: Record, what: str, known: Sequence[str]) -> InputError:
    """The error for a record without a field of the known names, or with blank ones."""
    filled = [repr(name[:40]) for name, value in record.fields.items() if value not in (None, "")]
    return record.error(f"needs {what}, in a field named {_any(known)}; it has {', '.join(filled[:8]) or 'no field'}.")


def _text(record: Record, known: Sequence[str]) -> str:
    value = _field(record, known)
    if value is None:
        return ""
    return _checked(record, tables.find(list(record.fields), known) or known[0], value)


def _checked(record: Record, name: str, value: Any) -> str:
    """A field that must be text, stripped; a number is written as text."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise record.error(f"{name} is {_shown(value)}, not text.")
    if re.search(r"[\ud800-\udfff]", value):
        raise record.error(rf"{name} has an escape \uD800 to \uDFFF that stands alone, which is not a character.")
    return value.strip()


def _choices(record: Record) -> tuple[tuple[str, ...], Sequence[str]]:
    """The choices, and the names that the record gives them, if any."""
    given: Any = _field(record, _CHOICES)
    names: Any = []
    if isinstance(given, str) and (parsed := parsed_list(given)) is not None:
        given = parsed
    if given is None and (columns := _choice_columns(record)):
        given = [record.fields[name] for name in columns]
        while given and given[-1] in (None, ""):  # this question has fewer than others of the table
            given.pop()
    elif given is None and (given := _field(record, _ANSWERS)) is None:
        raise _missing(record, "choices", (*_CHOICES, *_ANSWERS, "choice1, choice2, ..."))
    if (with_names := named(given)) is not None:
        names, given = with_names
        if len({str(name).strip().lower() for name in names}) < len(names):
            raise record.error(
                f"two choices have the same name ({', '.join(map(str, names))[:60]}); give each its own."
            )
    elif isinstance(given, dict):
        raise record.error(
            "choices is an object, but neither of two lists, text and label, of equal length, nor of a text for each "
            "letter."
        )
    if not isinstance(given, list):
        raise record.error(f"choices is {_shown(given)}, not a list.")
    choices = tuple(_checked(record, f"choice {number}", choice) for number, choice in enumerate(given))
    if len(choices) < 2:
        raise record.error(f"has {len(choices)} choices; a question needs two or more.")
    if "" in choices:
        raise record.error(f"choice {choices.index('')} is empty; fill it in, or remove it.")
    return choices, [str(name).strip() for name in names]


def _choice_columns(record: Record) -> list[str]:
    """The columns with one choice each, in the order of their numbers or letters."""
    marks = _marks(record.fields)
    names = sorted(marks, key=lambda name: (len(marks[name]), marks[name]))  # 2 before 10
    counted = [int(marks[name]) if marks[name].isdecimal() else marks[name] for name in names]
    count = len(names)
    if counted not in ([*range(count)], [*range(1, count + 1)], [*ascii_lowercase[:count]]):
        listed = ", ".join(name[:40] for name in names)
        raise record.error(f"has the choices {listed}; give each its own number from 0 or 1, or letter from A.")
    return names


def _marks(names: Collection[str]) -> dict[str, str]:
    """The columns with one choice each, and the number or letter of each."""
    of_kinds = ({name: kind.fullmatch(name.lower()) for name in names} for kind in _NUMBERED)
    marks = ({name: match[1] for name, match in found.items() if match} for found in of_kinds)
    return next(filter(None, marks), {})


def _shown(value: Any) -> str:
    """A value of the wrong type, for a message."""
    if value is None:
        return "missing"
    return json.dumps(value, ensure_ascii=False, default=str)[:60]
