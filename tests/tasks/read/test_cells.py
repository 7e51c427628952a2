"""Lists and objects in cells: JSON's notation, Python's and NumPy's, and nothing that would be run."""

from typing import Any

import pytest

from tasks.read.cells import parsed_list


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ('["a", null]', ["a", None]),
        (" ['a', None] ", ["a", None]),
        ("['a' 'b c']", ["a", "b c"]),
        ("('a', 'b')", ["a", "b"]),
        ("[(0, 3, 'PER'), ()]", [[0, 3, "PER"], []]),
        ("{'text': array(['a', \"it's\"],\n      dtype=object)}", {"text": ["a", "it's"]}),
        ("{'start': array([], dtype=int32), 'end': array([[1.], [2.]])}", {"start": [], "end": [[1.0], [2.0]]}),
    ],
)
def test_lists_are_read_in_each_notation(cell: str, value: Any) -> None:
    assert parsed_list(cell) == value


@pytest.mark.parametrize(
    "cell",
    [
        "(a)",
        "('a')",
        "(1)",
        "{'a'}",
        "set()",
        "a",
        "['a'",
        "[a]",
        "{[1]: 2}",
        "[array(print('a'))]",
        "[array([print('a')])]",
        "[np.array([1])]",
        "[list([1])]",
    ],
)
def test_all_else_is_none(cell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert parsed_list(cell) is None
    assert capsys.readouterr().out == ""
