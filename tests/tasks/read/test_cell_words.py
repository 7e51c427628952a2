"""The words and tags of a sentence in two cells of a table."""

from pathlib import Path

from tasks.ner.data import read_ner


def test_types_in_a_list_may_have_blanks_and_commas_inside(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(
        "tokens,tags\n\"['Mia', 'Poe', 'left']\",\"['B-first name', 'B-name, last', 'O']\"\nIt rains,\"['O', 'O']\"\n"
    )
    first, second = read_ner(str(path)).items
    assert (first.words, first.entities) == (["Mia", "Poe", "left"], [(0, 1, "first name"), (1, 2, "name, last")])
    assert (second.words, second.entities) == (["It", "rains"], [])


def test_tags_in_a_tuple_are_tags(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("tokens,tags\n\"('Mia', 'left')\",\"('B-PER', 'O')\"\n\"('Poe',)\",\"('B-PER',)\"\n")
    first, second = read_ner(str(path)).items
    assert (first.words, first.entities) == (["Mia", "left"], [(0, 1, "PER")])
    assert (second.words, second.entities) == (["Poe"], [(0, 1, "PER")])
