"""HTML from text: everything that is not markup is escaped, and invisible characters are made visible."""

import html
import unicodedata
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

from tasks.data import Mark

# Hangul fillers and joiners that count as letters but are invisible.
_INVISIBLE_LETTERS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0")
_ESCAPES = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}
_SHORT = 400  # characters; a text of this length or less is shown whole
_AROUND = 60  # characters to show on each side of a mark in a longer text


class Html(str):
    """Markup; every other string is text."""

    __slots__ = ()


def element(name: str, *children: str, **attributes: str | None) -> Html:
    """``element("td", "a < b", class_="x")`` -> ``<td class="x">a &lt; b</td>``; attributes that are None are left out.

    Underscores in attribute names become hyphens; a trailing one is dropped.
    """
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Html(f"<{name}{given}>{join(children)}</{name}>")


def join(parts: Iterable[str]) -> Html:
    """Texts and markup, one after the other."""
    return Html("".join(part if isinstance(part, Html) else text(part) for part in parts))


def text(value: str) -> Html:
    """Escaped text in which control, zero-width and other invisible characters are shown as their codes."""
    return Html("".join(_stand_in(char) if _is_unseen(char) else html.escape(char) for char in value))


def verbatim(value: str) -> Html:
    """Escaped and otherwise unchanged, to be copied."""
    return Html(html.escape(value))


def _is_unseen(char: str) -> bool:
    return (not char.isprintable() and char != "\u3000") or char in _INVISIBLE_LETTERS


def _stand_in(char: str) -> str:
    """``U+200B``, or ``\\n`` and a new line, with the character's name as its title."""
    code = f"U+{ord(char):04X}"
    title = f"{code} {unicodedata.name(char, '')}".strip()
    shown = f'<span class="unseen" title="{title}">{_ESCAPES.get(char, code)}</span>'
    return f"{shown}<br>" if char == "\n" else shown


def number(value: Any) -> str:
    """Counts with separators, other numbers with four digits, nothing for None."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def table(
    head: Sequence[str], body: Iterable[Html], *, label: str, foot: Iterable[Html] = (), long: bool = False
) -> Html:
    """A table with one line of column names; wide ones scroll sideways, ``long`` ones also downwards.

    Args:
        head: the column names; the first column names the rows.
        body: rows, as from :func:`row`.
        label: what the table shows, for screen readers.
        foot: rows of totals or averages.
        long: whether the rows scroll.
    """
    parts = [element("thead", row(*(element("th", name, scope="col") for name in head))), element("tbody", *body)]
    if foot := list(foot):
        parts.append(element("tfoot", *foot))
    class_ = "scroll long" if long else "scroll"
    # What scrolls must be reachable by keyboard.
    return element("div", element("table", *parts), class_=class_, tabindex="0", role="region", aria_label=label)


def row(*cells: Html, class_: str | None = None) -> Html:
    return element("tr", *cells, class_=class_)


def named_row(name: str, *values: str, class_: str | None = None) -> Html:
    """A row whose first cell names it."""
    return row(element("th", name, scope="row"), *(element("td", value) for value in values), class_=class_)


def marked_text(value: str, marks: Sequence[Mark]) -> Html:
    """A text with its gold and predicted spans marked; a long one is shortened to what surrounds them.

    Each stretch between two borders is one ``<mark>`` whose classes say what it is part of, so overlapping marks need
    no overlapping elements. Labels and gaps are attributes shown by the style sheet: the text of the result is
    ``value``, except for the codes of invisible characters and what was left out.
    """
    marks = [mark for mark in marks if mark.start < mark.end]
    kept = _kept(value, marks)
    borders = {0, len(value)}.union(*((part.start, part.stop) for part in kept), *((m.start, m.end) for m in marks))
    shown = {start for part in kept for start in part}
    parts = []
    skipped = 0
    for start, end in pairwise(sorted(border for border in borders if 0 <= border <= len(value))):
        if start not in shown:
            skipped += end - start
            continue
        if skipped:
            parts.append(_gap(skipped))
            skipped = 0
        parts.append(_stretch(value[start:end], [m for m in marks if m.start <= start and end <= m.end]))
        parts.extend(_label(mark) for mark in marks if mark.end == end)
    if skipped:
        parts.append(_gap(skipped))
    return join(parts)


def _kept(value: str, marks: Sequence[Mark]) -> list[range]:
    """The characters to show: all of a short text; of a long one those near errors, or its beginning."""
    if len(value) <= _SHORT:
        return [range(len(value))]
    wrong = [mark for mark in marks if mark.kind != "both"] or marks
    borders = [border for mark in wrong for border in (mark.start, mark.end)]
    if not borders:
        return [range(_SHORT)]
    return [range(max(0, border - _AROUND), min(len(value), border + _AROUND)) for border in borders]


def _gap(characters: int) -> Html:
    return element("span", class_="gap", title=f"{characters:,} characters left out")


def _stretch(value: str, marks: Sequence[Mark]) -> Html:
    if not marks:
        return text(value)
    kinds = {kind for mark in marks for kind in (("gold", "predicted") if mark.kind == "both" else (mark.kind,))}
    title = ", ".join(f"{'gold and predicted' if m.kind == 'both' else m.kind} {m.label}".strip() for m in marks)
    return element("mark", value, class_=" ".join(sorted(kinds)), title=title)


def _label(mark: Mark) -> Html:
    return element("i", class_=f"label {mark.kind}", data_label=mark.label) if mark.label else Html()
