"""Files in other encodings: what a person is shown, and what --encoding reads."""

import bz2
import codecs
import gzip
import io
import lzma
import sys
import tarfile
from pathlib import Path

import pytest

from minibert.errors import InputError
from minibert.shown import shown
from tasks.classification.data import TextOptions, read_texts
from tasks.ner.data import read_ner
from tasks.pretraining.corpus import read_corpus
from tasks.read.records import ReadOptions
from tasks.read.stream import records
from tasks.settings import check_encoding

# In each of them, the line could also be read in another encoding that decodes, as something else.
LINES = {
    "big5": "停車費怎麼繳",
    "shift_jis": "映画はよかった",
    "gb18030": "今天下午开会",
    "cp1252": "café à la crème",
    "utf-16": "今天 café",
    "cp950": "碁盤",  # in Windows' Big5 alone
    "cp932": "①番",
}


@pytest.mark.parametrize("encoding", LINES)
def test_the_message_shows_the_line_in_each_encoding_and_the_option_reads_it(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(f"text,label\nplain,a\n{LINES[encoding]},b\n".encode(encoding))
    with pytest.raises(InputError) as caught:
        read_texts(str(path), TextOptions())
    listed = [line.split(maxsplit=2) for line in str(caught.value).split("\n  ")[1:-1]]
    by_name = {name: text for option, name, text in listed if option == "--encoding"}
    assert by_name[encoding] == f"{LINES[encoding]},b"
    assert len(by_name) > 1 or "give --encoding with the name of its encoding" in str(caught.value)
    others = {} if encoding == "utf-16" else by_name  # as one byte a character, it has no columns
    for name, text in others.items():  # what the message promises is what the option gives
        read = read_texts(str(path), TextOptions(read=ReadOptions(encoding=name)))
        assert shown(f"{read.items[-1].text},{read.items[-1].label}") == text


def test_the_same_encoding_for_every_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("請 O\n問 B-X\n".encode("big5"))
    options = ReadOptions(encoding="big5")
    assert read_ner(str(path), "auto", options).items[0].words == ["請", "問"]
    assert read_corpus([str(path)], encoding="big5").items[0].paragraphs[0] == "請 O"
    assert [record.fields["text"] for record in records(str(path), "text", options)] == ["請 O", "問 B-X"]
    wide = tmp_path / "b.txt"
    wide.write_bytes(codecs.BOM_UTF16_LE + "請問\r\n是\n".encode("utf-16-le"))
    assert [r.fields["text"] for r in records(str(wide), "auto", ReadOptions(encoding="utf-16"))] == ["請問", "是"]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("請問\n".encode("big5"))))
    assert [r.fields["text"] for r in records("-", "auto", options)] == ["請問"]


def test_a_wrong_encoding_is_named_by_line(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"text,label\na,b\n\xff\xfe,c")
    for encoding, message in (("big5", "line 3: byte 15 .0xff. is not big5"), ("utf-16", "is not utf-16")):
        with pytest.raises(InputError, match=message):
            read_texts(str(path), TextOptions(read=ReadOptions(encoding=encoding)))
        with pytest.raises(InputError, match=f"not {encoding}"):
            list(records(str(path), "auto", ReadOptions(encoding=encoding)))


def test_control_characters_of_a_file_do_not_reach_the_terminal(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"caf\xe9 \x1b[31m" + b"x" * 500 + b"\n")
    with pytest.raises(InputError) as caught:
        read_corpus([str(path)])
    assert "\x1b" not in str(caught.value)
    assert r"café \u001b[31mxxx" in str(caught.value)
    assert max(map(len, str(caught.value).split("\n"))) < 300


@pytest.mark.parametrize("name", ["nonsense", "base64", "rot13", "", "a\0b"])
def test_only_encodings_of_text(name: str) -> None:
    with pytest.raises(InputError, match="not an encoding that Python knows"):
        check_encoding(name)


def test_excels_tables_and_other_binary_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\xff" * 100)
    with pytest.raises(InputError, match="It is a spreadsheet"):
        read_texts(str(path), TextOptions())


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "gb18030", "utf-8"])
def test_a_mark_of_the_byte_order_is_no_part_of_the_text(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes("\ufefftext,label\n今天,a\n".encode(encoding))
    (item,) = read_texts(str(path), TextOptions(read=ReadOptions(encoding=encoding))).items
    assert (item.text, item.label) == ("今天", "a")
    options = ReadOptions(encoding=encoding)
    assert [record.fields["text"] for record in records(str(path), "csv", options)] == ["今天"]


def tar() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        info = tarfile.TarInfo("a.csv")
        info.size = 9
        archive.addfile(info, io.BytesIO(b"text,a\nb\n"))
    return file.getvalue()


PACKED = {
    "a.csv.bz2": (bz2.compress(b"text,label\na,b\n"), "a bzip2 file"),
    "empty.bz2": (bz2.compress(b""), "a bzip2 file"),
    "a.txt.xz": (lzma.compress(b"text,label\na,b\n"), "an xz file"),
    "a.zst": (b"\x28\xb5\x2f\xfd\x04\x00", "a Zstandard file"),
    "a.7z": (b"7z\xbc\xaf\x27\x1c\x00\x04", "a 7-Zip archive"),
    "a.rar": (b"Rar!\x1a\x07\x01\x00", "a RAR archive"),
    "a.tar": (tar(), "a tar archive"),
    "a.tar.gz": (gzip.compress(tar()), "a tar archive"),
}


@pytest.mark.parametrize("name", PACKED)
def test_files_packed_in_other_ways_are_named_for_what_they_are(tmp_path: Path, name: str) -> None:
    content, kind = PACKED[name]
    path = tmp_path / name
    path.write_bytes(content)
    message = f"{name}: is {kind}; unpack it, and name the text file"
    for encoding in (None, "gb18030"):
        with pytest.raises(InputError, match=message):
            read_texts(str(path), TextOptions(read=ReadOptions(encoding=encoding)))
        with pytest.raises(InputError, match=message):
            list(records(str(path), "auto", ReadOptions(encoding=encoding)))
    with pytest.raises(InputError, match=message):
        read_corpus([str(path)])


def test_words_that_begin_as_packed_files_do_are_text(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("BZh9 is a word\nRar! is one\n", encoding="utf-8")
    assert [record.fields["text"] for record in records(str(path))] == ["BZh9 is a word", "Rar! is one"]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_without_a_mark_is_named(tmp_path: Path, encoding: str) -> None:
    """Of English text it is valid UTF-8, with a NUL beside each letter."""
    path = tmp_path / "a.csv"
    path.write_bytes("text,label\nfine film,good\ndull,bad\n".encode(encoding))
    message = f"has NUL characters, as UTF-16 has; give --encoding {encoding}\\."
    for given in (None, "utf-8", "gb18030"):
        with pytest.raises(InputError, match=message):
            read_texts(str(path), TextOptions(read=ReadOptions(encoding=given)))
        with pytest.raises(InputError, match=message):
            list(records(str(path), "auto", ReadOptions(encoding=given)))
    with pytest.raises(InputError, match=message):
        read_corpus([str(path)])
    options = ReadOptions(encoding=encoding)
    assert [item.label for item in read_texts(str(path), TextOptions(read=options)).items] == ["good", "bad"]
    assert [record.fields["label"] for record in records(str(path), "auto", options)] == ["good", "bad"]


def test_a_binary_file_is_named_and_a_single_nul_is_part_of_its_text(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"\x01\0\0\0\x10\0\0abc\0\0\n" * 3)
    with pytest.raises(InputError, match="NUL characters, as binary files have; export it as text in UTF-8"):
        list(records(str(path)))
    with pytest.raises(InputError, match="NUL characters, as binary files have; export it as text in UTF-8"):
        read_corpus([str(path)])
    path.write_text("one\0two\nand three\n", encoding="utf-8")
    assert [record.fields["text"] for record in records(str(path))] == ["one\0two", "and three"]
    assert read_corpus([str(path)]).items[0].paragraphs == ("one\0two", "and three")
