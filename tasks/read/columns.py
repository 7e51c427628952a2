"""Which columns of a table, or fields of an object, hold the text, the second text of a pair, and the label."""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from minibert.errors import InputError
from minibert.shown import shown
from tasks.read import tables

# Recognised names, in lower case. Names in one row have equal rank, so a file with two of them is ambiguous. Names in
# an earlier row win over a later one: a label over an annotator's score, a text over its title.
_PAIRS = (
    ("text", "text_pair"), ("text", "pair"), ("sentence1", "sentence2"), ("premise", "hypothesis"),
    ("question1", "question2"), ("text1", "text2"), ("text_a", "text_b"), ("question", "sentence"),
    ("sentence_a", "sentence_b"), ("sent1", "sent2"), ("#1 string", "#2 string"),
    ("文本1", "文本2"), ("句子1", "句子2"),
)  # fmt: skip
_TEXTS: Sequence[Sequence[str]] = (
    ("text", "文本"),
    (
        "sentence", "headline", "question", "query", "content", "review", "comment", "tweet", "title", "text_a",
        "body", "utterance", "message", "comment_text", "review_body", "reviewtext",
        "document", "post", "内容", "正文", "句子", "评论", "标题", "问题",
    ),
    ("data",),
    ("utt",),
)  # fmt: skip
_LABELS: Sequence[Sequence[str]] = (
    ("label", "labels", "gold_label", "标签"),
    (
        "class", "category", "target", "sentiment", "intent", "score", "rating", "answer", "department", "topic",
        "cats", "choice", "emotion", "stars", "类别", "分类", "情感", "意图",
    ),
)  # fmt: skip
_YES_NO = "is_"  # is_sarcastic, is_duplicate; looked for behind these
_LAST_LABELS = ("overall", "quality")


TEXT_NAMES = tuple(name for names in _TEXTS for name in names)
LABEL_NAMES = tuple(name for names in (*_LABELS, _LAST_LABELS) for name in names)
PAIR_NAMES = tuple(" and ".join(pair) for pair in _PAIRS)
"""The recognised names, for ``--help``."""


def is_header(cells: Sequence[str]) -> bool:
    """Whether a line has several cells, one of them a usual name for a text column."""
    usual = {*TEXT_NAMES, *(name for pair in _PAIRS for name in pair)} - {"data"}
    return len(cells) > 1 and any(cell.lower() in usual for cell in cells)


def near(given: str, names: Iterable[str]) -> str:
    """``; did you mean NAME?`` where one of the names is like the given one, else nothing."""
    by_lower = {name.lower(): name for name in names}
    found = difflib.get_close_matches(given.lower(), by_lower, n=1)
    return f"; did you mean {by_lower[found[0]]}?" if found else ""


def is_tag(text: str) -> bool:
    """Whether a text is a tag of some scheme: O, or a prefix, a hyphen and a type."""
    return text == "O" or (text[:1] in "BIESM" and text[1:2] == "-" and len(text) > 2)


@dataclass(frozen=True, kw_only=True)
class Columns:
    """The column names of a file, and the wording of messages about them.

    Attributes:
        names: as written in the file.
        place: file and line, with which messages begin.
        advice: what to do if the ``{role}`` column is ambiguous or missing.
        hint: the end of the message if no column is recognised.
    """

    names: Sequence[str]
    place: str
    advice: str = "name it with --{role}-column"
    hint: str = ""

    def roles(
        self, text_column: str | None, pair_column: str | None, label_column: str | None, *, labelled: bool = True
    ) -> dict[str, str]:
        """The names of the columns for ``text``, for ``pair`` if there is one, and for ``label`` if ``labelled``.

        Raises:
            InputError: a column is missing or ambiguous.
        """
        if not labelled:
            return self.texts(text_column, pair_column)
        label = self.given("label", label_column) if label_column else None
        roles = self.texts(text_column, pair_column, besides=label)
        if label in roles.values():
            raise InputError(f"--label-column {label}: is also the text column; name another.")
        rest = [name for name in self.names if name not in roles.values()]
        yes_no = [name.lower() for name in rest if name.lower().startswith(_YES_NO)]
        roles["label"] = label or self._recognised("label", rest, (*_LABELS, yes_no, _LAST_LABELS))
        for name in roles.values():
            if self.names.count(name) > 1:
                raise InputError(f"{self.place}: two columns are called {name}; rename one of them.")
        return roles

    def texts(self, text_column: str | None, pair_column: str | None, besides: str | None = None) -> dict[str, str]:
        """Like :meth:`roles`, without the label; a pair is recognised only if neither column is given."""
        free = [name for name in self.names if name != besides]
        if text_column is None and pair_column is None:
            pairs = [pair for pair in _PAIRS if all(tables.find(free, [name]) for name in pair)]
            if len(pairs) > 1:
                several = " or ".join(" and ".join(pair) for pair in pairs)
                raise InputError(f"{self.place}: the pair may be {several}; choose with --text-column, --pair-column.")
            if pairs:
                text_column, pair_column = pairs[0]
        roles = {"pair": self.given("pair", pair_column)} if pair_column else {}
        rest = [name for name in free if name not in roles.values()]
        text = self.given("text", text_column) if text_column else self._recognised("text", rest, _TEXTS)
        if text in roles.values():
            raise InputError(f"--pair-column {text}: is also the column of the first text; name another.")
        return {"text": text, **roles}

    def given(self, role: str, column: str) -> str:
        """The column that an option names, in upper or lower case; InputError if there is none."""
        found = column if column in self.names else tables.find(self.names, [column.lower()])
        if found is None:
            similar = near(column, self.names) or "."
            raise InputError(
                f"{self.place}: --{role}-column {column} is not among the columns ({self._listed()}){similar}"
            )
        return found

    def _recognised(self, role: str, free: Sequence[str], known: Iterable[Sequence[str]]) -> str:
        for equals in known:
            found = [name for name in free if name.lower() in equals]
            if len(set(found)) > 1:
                raise InputError(
                    f"{self.place}: the {role} may be {' or '.join(found)}; {self.advice.format(role=role)}."
                )
            if found:
                return found[0]
        raise InputError(
            f"{self.place}: no column ({self._listed()}) is recognised as the {role}; "
            f"{self.advice.format(role=role)}{self.hint}."
        )

    def _listed(self) -> str:
        """The names, shortened: what was read as a header may be a line of text."""
        return ", ".join(shown(name, 40) for name in self.names[:20]) + (", ..." if len(self.names) > 20 else "")
