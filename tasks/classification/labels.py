"""Labels as files write them: names, lists, vectors of 0 and 1, numbers.

What looks like syntax is parsed or refused, never learnt as a name.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tasks.read.alike import alike_warning, with_lines
from tasks.read.cells import parsed_list
from tasks.read.notes import Notes
from tasks.read.records import shown
from tasks.settings import AVERAGES

KINDS = ("single", "multi", "regression")
_SEPARATORS = ("\n", "|｜", ";；", ",，", "、")  # between the labels in a cell: each, and its full-width form
_MISSING = ("nan", "none", "na", "null", "n/a", "<na>", "-")

_NUMBER = re.compile(r"[-+]?(\d{1,15}\.?\d{0,20}|\.\d{1,20})([eE][-+]?\d{1,2})?").fullmatch
_PYTHONS_SET = re.compile(r"(frozen)?set\(([\[{(].*[\]})])?\)", re.DOTALL).fullmatch
_LARGEST = 1e15  # whose square, summed over many texts, fp32 can hold

Label = str | tuple[str, ...] | float


class LabelError(ValueError):
    """The problem with a label: what it is, and what it should be."""


@dataclass(frozen=True)
class LabelReader:
    """How the labels of one file are read.

    Attributes:
        kind: one of :data:`KINDS`.
        separator: between the names in a cell; None if no cell has several.
        names: of labels that are whole numbers, from 0.
        is_vector: the labels are vectors of 0 and 1, one for each of ``names``.
        numbers: whether whole numbers are indices of ``names``; None where they might as well be names.
    """

    kind: str
    separator: str | None
    names: Sequence[str]
    is_vector: bool
    numbers: bool | None = True

    def read(self, value: Any, line: int, notes: Notes) -> Label:
        """One label.

        Raises:
            LabelError: it is no label of this kind.
        """
        value = self._without_syntax(value, line, notes)
        if self.kind != "regression":
            whole = _whole(value)
            notes.repair("whole numbers such as 1.0 read as 1", line, whole is not value)
            value = whole
        if self.is_vector:
            value = self._of_vector(value)
        if self.kind == "multi":
            return self._several(value)
        if isinstance(value, list):
            if len(value) != 1:
                advice = "expected one label; --kind multi reads several." if value else "expected one label."
                raise LabelError(f"{_listed(value)}; {advice}")
            notes.repair("lists of one label read as that label", line)
            value = value[0]
        return _number(value) if self.kind == "regression" else self._name(value)

    def one_each(self, values: Iterable[Any]) -> bool:
        """Whether labels that may be several are texts, none of which has a separator."""
        cells = (value for value in values if isinstance(value, str) and value.strip())
        return self.kind == "multi" and self.separator is None and any(map(self.is_plain, cells))

    @staticmethod
    def is_plain(text: str) -> bool:
        """Whether a text is a label as it stands, without syntax that is parsed, and counted."""
        text = text.strip()
        return not _is_bracketed(text) and text[:1] not in ("'", '"')

    def _without_syntax(self, value: Any, line: int, notes: Notes) -> Any:
        """The value of a list or an object that is written as text, without quotation marks around it."""
        if isinstance(value, str):
            text = value.strip()
            if _is_bracketed(text):
                value = parsed_list(text)
                if value is None:
                    raise LabelError(f"{text[:60]!r}, which looks like a list, but cannot be read as one; correct it.")
                notes.repair("lists that are written as text read as lists", line)
            elif len(text) > 2 and text[0] == text[-1] and text[0] in "'\"":
                notes.repair("quotation marks around labels dropped", line)
                value = text[1:-1]
        if isinstance(value, dict):
            value = _of_object(value)
        return value

    def _of_vector(self, value: list[Any]) -> list[str]:
        if not self.names:
            raise LabelError(
                f"{_listed(value)}, a vector of 0 and 1; give the names of its {len(value)} labels with --label-names."
            )
        if len(value) != len(self.names):
            raise LabelError(f"{_listed(value)}, but --label-names has {len(self.names)} names.")
        return [name for name, flag in zip(self.names, value, strict=True) if flag]

    def _several(self, value: Any) -> tuple[str, ...]:
        if isinstance(value, str):
            value = [part for part in self._parts(value) if part.strip()]
        if type(value) is int and self.names:
            value = [value]
        if not isinstance(value, list):
            raise LabelError(f"{shown(value)}; expected a list of labels, or labels with | between them.")
        return tuple(sorted({self._name(part) for part in value}))

    def _parts(self, cell: str) -> list[str]:
        """What stands between the separators of a cell, also those in the other width."""
        if not self.separator:
            return [cell]
        forms = next((forms for forms in _SEPARATORS if self.separator in forms), None)
        return cell.split(self.separator) if forms is None else re.split(f"[{re.escape(forms)}]", cell)

    def _name(self, value: Any) -> str:
        """A label's name: stripped text; JSON's whole numbers, true and false become text."""
        value = _whole(value)
        if isinstance(value, bool):
            return "true" if value else "false"
        if not isinstance(value, (int, str)) or (isinstance(value, str) and not value.strip()):
            said = f"{shown(value)}; expected one label, a text or a whole number."
            if isinstance(value, float):
                said += " python -m tasks.classification --kind regression learns numbers."
            raise LabelError(said)
        text = str(value).strip()
        if self.names and not self.is_vector:
            text = self._from_names(text)
        if text in AVERAGES:
            raise LabelError(f"{text!r}, a name that reports have for an average; rename the label.")
        if "\n" in text or "\r" in text:
            raise LabelError(f"{text[:60]!r}, with a line break inside; --kind multi reads several labels.")
        if _is_bracketed(text):
            raise LabelError(f"{text[:60]!r}, which looks like a list inside a list; correct it.")
        return text

    def _from_names(self, text: str) -> str:
        is_index = text.isascii() and text.isdecimal() and int(text[:9]) < len(self.names)
        if text in self.names and not (is_index and self.numbers):
            if is_index and self.numbers is None and self.names[int(text)] != text:
                raise LabelError(f"{text!r}, a name and also a number of --label-names; give names that are words.")
            return text
        if is_index:
            return self.names[int(text)]
        raise LabelError(f"{text[:60]!r}, which is none of the {len(self.names)} --label-names, nor its number from 0.")


def label_reader(kind: str, values: Sequence[Any], separator: str | None, names: Sequence[str]) -> LabelReader:
    """How a file's labels are read.

    Args:
        kind: one of :data:`KINDS`.
        values: all labels, as the file has them.
        separator: of several names in a cell; None for the one that the cells suggest: a line break, ``|``, ``;``,
            ``,``, their full-width forms, or ``、``.
        names: of labels that are whole numbers.
    """
    lists = [parsed_list(value) if isinstance(value, str) else value for value in values]
    is_vector = (
        all(isinstance(each, list) for each in lists)
        and len({len(each) for each in lists}) == 1
        and len(lists[0]) > 1
        and all(part in (0, 1) and isinstance(part, (int, float)) for each in lists for part in each)
    )
    if kind == "multi" and separator is None:
        cells = [value for value in values if isinstance(value, str) and not _is_bracketed(value.strip())]
        separator = next((mark for mark in "".join(_SEPARATORS) if any(mark in cell for cell in cells)), None)
    return LabelReader(kind, separator, names, is_vector and kind != "regression", _are_numbers(values, lists, names))


def _are_numbers(values: Sequence[Any], lists: Sequence[Any], names: Sequence[str]) -> bool | None:
    """Whether all labels of a file are indices of ``names``; None if all might as well be names. ``lists`` are the
    values, parsed where they are lists."""
    plain = {
        str(_whole(part)).strip()
        for value, listed in zip(values, lists, strict=True)
        if value is not None
        for part in (listed if isinstance(listed, list) else [value])
    }
    are_indices = plain <= {str(number) for number in range(len(names))}
    return None if are_indices and plain <= {*names} else are_indices


class OddLabels:
    """Labels that are likely to be mistakes: such as nan, which pandas writes where there is none, and those that
    differ from others in what people do not see.

    Attributes:
        missing: the lines of the rows whose label looks like a missing value, in order.
    """

    def __init__(self) -> None:
        self.missing: list[int] = []
        self._first: dict[str, int] = {}  # the line where each label is first
        self._missing: dict[str, None] = {}  # those that look like a missing value

    def is_missing(self, label: Label | None, line: int) -> bool:
        """Whether the label of a row looks like a missing value; takes note of the label."""
        if isinstance(label, tuple):
            missing = [self.is_missing(part, line) for part in label]
            return any(missing)
        if not isinstance(label, str):
            return False
        if label not in self._first:
            self._first[label] = line
            if label.lower() in _MISSING:
                self._missing[label] = None
        if label not in self._missing:
            return False
        self.missing.append(line)
        return True

    def warnings(self, *, left_out: bool) -> list[str]:
        """About the labels of a file, of which missing ones may be left out."""
        found = []
        labels = self._first
        if self._missing and not left_out:
            found.append(
                f"{len(self.missing):,} labels look like missing values: {with_lines(self._missing, labels)}; they are "
                "learnt as labels, unless --skip-invalid leaves them out."
            )
        elif {"-1", "0", "1", "2"} <= labels.keys() and all(label.lstrip("-").isdecimal() for label in labels):
            found.append("-1 is learnt as a label; in Hugging Face's data sets it marks rows without one.")
        numbers = labels if all(map(_NUMBER, labels)) else ()
        if fractions := [label for label in numbers if float(label) % 1]:
            found.append(
                f"all labels are numbers, {len(fractions):,} of them with decimals, such as "
                f"{with_lines(fractions[:1], labels)}; each is learnt as a label of its own. python -m "
                "tasks.classification --kind regression learns them as numbers."
            )
        if alike := alike_warning(labels, "labels"):
            found.append(alike)
        return found


def from_columns(fields: Mapping[str, Any], columns: Sequence[str]) -> list[str]:
    """The names of the columns that have 1, or true.

    Raises:
        LabelError: a cell is neither 0 nor 1.
    """
    chosen = []
    for column in columns:
        value = fields.get(column)
        text = value.strip().lower() if isinstance(value, str) else value
        if text in (1, "1", "1.0", "true"):
            chosen.append(column)
        elif text not in (0, "0", "0.0", "false"):
            raise LabelError(f"{shown(value)} in {column}; expected 0 or 1.")
    return chosen


def _of_object(value: Mapping[str, Any]) -> Any:
    """The labels in an object: label-studio's choices, or spaCy's categories with their probabilities."""
    for name in ("choices", "labels"):
        if isinstance(value.get(name), list):
            return value[name]
    if value and all(isinstance(score, (int, float)) for score in value.values()):
        return [name for name, score in value.items() if score >= 0.5]
    raise LabelError(f"an object ({', '.join(list(value)[:5])[:60]}); expected a label or a list of labels.")


def _whole(value: Any) -> Any:
    """A whole number without the point that pandas gives it where another row has none."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _is_bracketed(text: str) -> bool:
    ends = text[:1] + text[-1:]
    if ends == "()":  # a name may be in brackets, too, such as (spam)
        return text[1:2] in ("'", '"') or parsed_list(text) is not None
    return ends in ("[]", "{}") or _PYTHONS_SET(text) is not None


def _listed(value: Sequence[Any]) -> str:
    return repr(list(value))[:60]


def _number(value: Any) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise LabelError(f"{shown(value)}; expected a finite number.")
    if abs(number) > _LARGEST:
        raise LabelError(f"{shown(value)}, too large to be learnt; scale the numbers, best to about -1 to 1.")
    return number
