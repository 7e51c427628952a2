"""Marked text: each character in its place, and what cannot be seen is shown."""

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_pages import Page

from tasks.data import Mark
from tasks.report.markup import marked_text, text

CHARACTERS = st.one_of(
    st.sampled_from("ab <>&\"'中文é\u200b\u200d\u00a0\u3000\ufeff\x00\x07\n\t\ue000\U0001f600\ud800"), st.characters()
)


class Marked(HTMLParser):
    """The characters of a marked text with the kinds that each is marked as, the labels, and gaps as lengths."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.shown: list[tuple[str, frozenset[str]] | int] = []
        self.labels: list[tuple[int, str, str]] = []
        self._kinds: frozenset[str] = frozenset()
        self._skip = False
        self.position = 0
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "br":
            pass
        elif tag == "mark":
            self._kinds = frozenset(given["class"].split())
        elif tag == "i":
            self.labels.append((self.position, given["class"].split()[1], given["data-label"]))
        elif given["class"] == "gap":
            self.shown.append(int(given["title"].split()[0].replace(",", "")))
            self.position += self.shown[-1]  # type: ignore[operator]
        else:
            code = given["title"].split()[0]
            self._add(chr(int(code.removeprefix("U+"), 16)))
            self._skip = True

    def handle_endtag(self, tag: str) -> None:
        self._skip = False
        if tag == "mark":
            self._kinds = frozenset()

    def handle_data(self, data: str) -> None:
        if not self._skip:
            for char in data:
                assert char.isprintable() or char == "\u3000"
                self._add(char)

    def _add(self, char: str) -> None:
        self.shown.append((char, self._kinds))
        self.position += 1


@st.composite
def texts_with_marks(draw: st.DrawFn) -> tuple[str, list[Mark]]:
    """Short or long texts; gold places apart from each other, predicted ones too, and some that are both."""
    value = draw(st.text(CHARACTERS, max_size=60)) * draw(st.sampled_from((1, 1, 1, 20)))
    marks = set()
    for kind in ("gold", "predicted"):
        borders = sorted(draw(st.sets(st.integers(0, len(value)), max_size=8)))
        marks |= {(start, end, kind) for start, end in zip(borders[::2], borders[1::2], strict=False)}
    both = {
        (start, end)
        for start, end, kind in marks
        if (start, end, "gold") in marks and (start, end, "predicted") in marks
    }
    found = {(start, end, "both" if (start, end) in both else kind) for start, end, kind in marks}
    return value, [
        Mark(start=s, end=e, kind=k, label=draw(st.sampled_from(("PER", '"<', "地")))) for s, e, k in sorted(found)
    ]


@pytest.mark.slow
@given(texts_with_marks())
def test_marks_stand_at_their_characters(given_: tuple[str, list[Mark]]) -> None:
    value, marks = given_
    marked = Marked(marked_text(value, marks))
    position = 0
    shown_positions = set()
    for part in marked.shown:
        if isinstance(part, int):
            position += part
            continue
        char, kinds = part
        wanted = {m.kind for m in marks if m.start <= position < m.end}
        assert char == value[position]
        assert kinds == ({"gold", "predicted"} if "both" in wanted else wanted)
        shown_positions.add(position)
        position += 1
    assert position == len(value)
    if len(value) <= 400:
        assert len(shown_positions) == len(value)
    for mark in marks:
        if mark.kind != "both":
            assert {mark.start, mark.end - 1} <= shown_positions
    labels = {(mark.end, mark.kind, mark.label) for mark in marks}
    assert set(marked.labels) <= labels
    assert {label for label in labels if label[0] - 1 in shown_positions} == set(marked.labels)


def test_a_long_text_is_shortened_around_what_is_wrong() -> None:
    value = "".join(chr(0x4E00 + index) for index in range(3000))
    marks = [Mark(start=10, end=12, kind="both", label=""), Mark(start=1500, end=1502, kind="gold", label="")]
    marked = Marked(marked_text(value, marks))
    assert marked.shown[0] == 1440
    assert marked.shown[-1] == 3000 - 1562
    assert len(marked.shown) == 124
    assert Marked(marked_text(value, ())).shown[400:] == [2600]


@pytest.mark.parametrize(
    ("value", "shown"),
    [("a\u200bb", "aU+200Bb"), ("\ufeff", "U+FEFF"), ("a\nb\tc", r"a\nb\tc"), ("\x00", "U+0000"), ("\u202e", "U+202E"),
     ("a\u00a0b", "aU+00A0b"), ("中\u3000文", "中\u3000文"), ("\u3164", "U+3164"), ("\ue123", "U+E123")],
)  # fmt: skip
def test_what_cannot_be_seen_is_shown(value: str, shown: str) -> None:
    assert Page(text(value)).text == shown
