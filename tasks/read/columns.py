"""Which columns of a table, or fields of an object, hold the text, the second text of a pair, and the label."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from minibert.errors import InputError
from tasks.read import tables

# Names that are recognised, in lower case. Those in a row are equals: two of them leave it open which is meant. An
# earlier row goes before a later one: a label before the score of whoever gave it, a text before its title.
_PAIRS = (
    ("text", "text_pair"), ("text", "pair"), ("sentence1", "sentence2"), ("premise", "hypothesis"),
    ("question1", "question2"), ("text1", "text2"), ("text_a", "text_b"), ("question", "sentence"),
)  # fmt: skip
_TEXTS = (
    ("text",),
    ("sentence", "headline", "question", "query", "content", "review", "comment", "tweet", "title", "text_a"),
)
_LABELS = (
    ("label", "labels", "gold_label"),
    ("class", "category", "target", "sentiment", "intent", "score", "rating", "answer", "department"),
)
_YES_NO = "is_"  # is_sarcastic, is_duplicate; looked for last


def is_header(cells: Sequence[str]) -> bool:
    """Whether the cells of a line are several, and one is a usual name of a text's column."""
    usual = {name for names in (*_PAIRS, *_TEXTS) for name in names}
    return len(cells) > 1 and any(cell.lower() in usual for cell in cells)


def is_tag(text: str) -> bool:
    """Whether a text is a tag of any scheme: O, or a prefix, a hyphen and a type."""
    return text == "O" or (text[:1] in "BIESM" and text[1:2] == "-" and len(text) > 2)


@dataclass(frozen=True, kw_only=True)
class Columns:
    """The names in a file, and what its messages say of them.

    Attributes:
        names: as the file writes them.
        place: what messages begin with: file and line.
        advice: what to do where it is open which column is the ``{role}``.
        hint: what ends the message where nothing is recognised.
    """

    names: Sequence[str]
    place: str
    advice: str = "name it with --{role}-column"
    hint: str = ""

    def roles(self, text_column: str | None, pair_column: str | None, label_column: str | None) -> dict[str, str]:
        """The names of the columns for ``text``, for ``pair`` if there is one, and for ``label``.

        Raises:
            InputError: one is not there, or it cannot be told which it is.
        """
        label = self._given("label", label_column) if label_column else None
        roles = self.texts(text_column, pair_column, besides=label)
        if label in roles.values():
            raise InputError(f"--label-column {label}: is the column of the text, too; name another.")
        rest = [name for name in self.names if name not in roles.values()]
        yes_no = [name.lower() for name in rest if name.lower().startswith(_YES_NO)]
        roles["label"] = label or self._recognised("label", rest, (*_LABELS, yes_no))
        for name in roles.values():
            if self.names.count(name) > 1:
                raise InputError(f"{self.place}: two columns are called {name}; rename one of them.")
        return roles

    def texts(self, text_column: str | None, pair_column: str | None, besides: str | None = None) -> dict[str, str]:
        """As :meth:`roles`, for the texts alone; a pair is recognised only where neither column is given."""
        free = [name for name in self.names if name != besides]
        if text_column is None and pair_column is None:
            pairs = [pair for pair in _PAIRS if all(tables.find(free, [name]) for name in pair)]
            if len(pairs) > 1:
                several = " or ".join(" and ".join(pair) for pair in pairs)
                raise InputError(f"{self.place}: the pair may be {several}; choose with --text-column, --pair-column.")
            if pairs:
                text_column, pair_column = pairs[0]
        roles = {"pair": self._given("pair", pair_column)} if pair_column else {}
        rest = [name for name in free if name not in roles.values()]
        text = self._given("text", text_column) if text_column else self._recognised("text", rest, _TEXTS)
        if text in roles.values():
            raise InputError(f"--pair-column {text}: is the column of the first text, too; name another.")
        return {"text": text, **roles}

    def _given(self, role: str, column: str) -> str:
        found = column if column in self.names else tables.find(self.names, [column.lower()])
        if found is None:
            raise InputError(f"{self.place}: --{role}-column {column} is not among the columns ({self._listed()}).")
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
            f"{self.place}: none of the columns ({self._listed()}) is known to hold the {role}; "
            f"{self.advice.format(role=role)}{self.hint}."
        )

    def _listed(self) -> str:
        """Short, also where a first line of text was taken for a header."""
        return ", ".join(name[:40] for name in self.names[:20]) + (", ..." if len(self.names) > 20 else "")
