"""What is looked at before a file is read whole: its first row, and the file of the labels' names."""

from pathlib import Path

import pytest

from minibert.errors import InputError
from tasks.classification.settings import ClassificationSettings
from tasks.classification.task import ClassificationTask
from tasks.read.records import ReadOptions, read_options
from tasks.run.options import parse


@pytest.mark.parametrize(
    ("name", "content", "more"),
    [
        ("a.csv", 'text,label\n"line 0\nmore",a\nb,c\n', []),
        ("a.tsv", 'text\tlabel\n"line 0\nmore"\ta\nb\tc\n', []),
        ("a.csv", "text,label\none,two,three\nb,c\nd,e\n", ["--skip-invalid"]),
        ("a.jsonl", '[1]\n{"text": "b", "label": "c"}\n{"text": "d", "label": "e"}\n', ["--skip-invalid"]),
    ],
)
def test_the_first_row_may_have_a_line_break_or_be_left_out(
    name: str, content: str, more: list[str], tmp_path: Path
) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    settings = parse(ClassificationSettings, ["--train", str(tmp_path / name), *more], task="classification").settings
    settings.check_files()
    assert len(ClassificationTask(settings).read(str(tmp_path / name)).items) == 2


def with_names(tmp_path: Path, names: bytes, encoding: str | None = None) -> ReadOptions:
    (tmp_path / "names.txt").write_bytes(names)
    return read_options(ClassificationSettings(encoding=encoding), [str(tmp_path / "names.txt")])


@pytest.mark.parametrize("encoding", ["big5", "utf-8"])
def test_the_file_of_names_has_the_encoding_of_the_data_or_utf_8(encoding: str, tmp_path: Path) -> None:
    assert with_names(tmp_path, "好\n壞\n\n".encode(encoding), "big5").label_names == ["好", "壞"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (b"neg\n\npos\n", r"names\.txt, line 2: is blank, but each line names a number"),
        (b"neg\npos\nneg\n", "--label-names: .*neg.* is there twice; give each number a name of its own"),
    ],
)
def test_a_number_without_a_name_of_its_own_is_refused(names: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        with_names(tmp_path, names)
