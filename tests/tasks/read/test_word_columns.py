"""A word a line: what separates, which columns count, comments, and tags in other forms."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minibert.errors import InputError
from tasks.ner import data
from tasks.ner.data import read_ner
from tasks.ner.tag_forms import usual_form
from tasks.read.records import ReadOptions

SENTENCE = [("Mia", "B-PER"), ("Poe", "I-PER"), ("saw", "O"), ("Lima", "B-LOC")]
FOUND = [(0, 2, "PER"), (3, 4, "LOC")]

FORMS = {
    "B_PER": ("B_PER I_PER O B_LOC", ("PER", "LOC")),
    "PER-B": ("PER-B PER-I O LOC-B", ("PER", "LOC")),
    "PER_B": ("PER_B PER_I O LOC_B", ("PER", "LOC")),
    "BILOU": ("B-PER L-PER O U-LOC", ("PER", "LOC")),
    "BMEWO": ("B-PER E-PER O W-LOC", ("PER", "LOC")),
    "BILOU and suffix": ("PER-B PER-L O LOC-U", ("PER", "LOC")),
    "lower": ("b-per i-per o b-loc", ("per", "loc")),
    "lower with O": ("b-per i-per O b-loc", ("per", "loc")),
    "bare": ("B I O B", ("ENTITY", "ENTITY")),
    "bare BIOES": ("B E O S", ("ENTITY", "ENTITY")),
    "hyphens": ("B-PER-x I-PER-x O B-LOC", ("PER-x", "LOC")),
}


def write(folder: Path, content: str, name: str = "a.txt") -> str:
    path = folder / name
    path.write_text(content, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("form", FORMS)
def test_tags_of_every_form_are_read(tmp_path: Path, form: str) -> None:
    tags, types = FORMS[form]
    rows = zip((word for word, _ in SENTENCE), tags.split(), strict=True)
    split = read_ner(write(tmp_path, "".join(f"{word} {tag}\n" for word, tag in rows)))
    (sentence,) = split.items
    assert [tuple(entity) for entity in sentence.entities] == [(0, 2, types[0]), (3, 4, types[1])]
    assert sentence.num_repaired == 0
    assert ("repaired" in split.notes) == (form != "hyphens")


@pytest.mark.parametrize("prefix", ["", "I-"])
def test_types_alone_make_neighbours_one_entity(prefix: str, tmp_path: Path) -> None:
    """As Few-NERD and Stanford's tagger write them; the prefix I- says no more."""
    types = ["person-actor", "person-actor", "o", "LOC", "LOC", "ORG", "O", "person-actor"]
    path = write(tmp_path, "".join(f"word {'' if type_ in 'Oo' else prefix}{type_}\n" for type_ in types))
    (sentence,) = read_ner(path, "io").items
    found = [(0, 2, "person-actor"), (3, 5, "LOC"), (5, 6, "ORG"), (7, 8, "person-actor")]
    assert [tuple(entity) for entity in sentence.entities] == found
    assert sentence.num_repaired == 0
    if prefix:
        mixed = write(tmp_path, f"word {types[0]}\nword I-LOC\n")
        with pytest.raises(InputError, match=r"line 2: 'I-LOC' begins like .*'person-actor' in line 1 has none"):
            read_ner(mixed, "io")
    else:
        with pytest.raises(InputError, match=r"unknown tag 'person-actor'.*alone, --scheme io makes neighbours"):
            read_ner(path)


CONLL_2012 = """
#begin document (bc/x); part 000
bc/x 0 0 # NNP (TOP* - - - A (WORK_OF_ART* * -
bc/x 0 1 Poe NNP * - - - A *) (ARG0*) (0
bc/x 0 2 saw VBD * see 01 1 A * (V*) -

bc/x 0 0 Lima NNP (TOP*) - - - - (GPE) -
bc/x 0 1 . . *) - - - - * -

#end document
"""


def test_conll_2012_has_entities_in_brackets(tmp_path: Path) -> None:
    """The number of columns varies by sentence, with its predicates."""
    split = read_ner(write(tmp_path, CONLL_2012, "a.v4_gold_conll"))
    assert [item.words for item in split.items] == [["#", "Poe", "saw"], ["Lima", "."]]
    assert [[tuple(entity) for entity in item.entities] for item in split.items] == [
        [(0, 2, "WORK_OF_ART")],
        [(0, 1, "GPE")],
    ]
    assert (split.notes["format"], split.notes["rows"]) == ("CoNLL-2012", 2)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (" *) (ARG0*)", " * (ARG0*)", "line 5: the sentence ends inside a WORK_OF_ART; close its bracket"),
        (" * (V*)", " *) (V*)", r"line 5: '\*\)' does not open, continue or close one entity"),
        (" *) (ARG0*)", " (PERSON) (ARG0*)", r"line 4: '\(PERSON\)' does not open"),
        ("(GPE) -", "", "line 7: 10 columns; CoNLL-2012 has an entity's brackets in column 11"),
    ],
)
def test_brackets_that_do_not_pair_are_refused(old: str, new: str, message: str, tmp_path: Path) -> None:
    path = write(tmp_path, CONLL_2012.replace(old, new))
    with pytest.raises(InputError, match=message):
        read_ner(path)
    split = read_ner(path, options=ReadOptions(skip_invalid=True))
    assert (len(split.items), split.notes["left_out"]) == (1, {"invalid rows": 1})


@pytest.mark.parametrize(
    "tags", [["PER", "O"], ["B-PER", "PER-I", "O"], ["B-PER", "Z-PER"], ["NN", "VB"], ["O", "o", "B_X"], ["I", "X"]]
)
def test_tags_that_no_one_form_fits_are_refused(tmp_path: Path, tags: list[str]) -> None:
    assert usual_form(tags) is None
    with pytest.raises(InputError, match=r"line [12]: unknown tag"):
        read_ner(write(tmp_path, "".join(f"word {tag}\n" for tag in tags)))


@given(st.lists(st.text("BIESMLUWObi-_PX", min_size=1, max_size=4), max_size=5))
def test_a_form_gives_every_tag_a_usual_one(tags: list[str]) -> None:
    usual = usual_form(tags)
    if usual is not None:
        for tag in tags:
            assert usual[tag] == "O" or (usual[tag][0] in "BIESM" and usual[tag][1] == "-" and len(usual[tag]) > 2)
            assert tag.upper() == "O" or usual[tag] != "O"  # no entity is lost


def test_a_tab_on_every_line_separates(tmp_path: Path) -> None:
    split = read_ner(write(tmp_path, "New York\tB-LOC\nis \tO\n \tO\n"))
    assert split.items[0].words == ["New York", "is ", " "]
    mixed = read_ner(write(tmp_path, "New\tB-LOC\nYork I-LOC\n"))
    assert mixed.items[0].words == ["New", "York"]


def test_comment_lines_are_passed_over_and_words_with_the_sign_kept(tmp_path: Path) -> None:
    content = "# id 7\tdomain=x\n#tag O\nMia B-PER\n# O\n\n# text = Mia went\n#\nLima B-LOC\n"
    split = read_ner(write(tmp_path, content))
    assert [sentence.words for sentence in split.items] == [["#tag", "Mia", "#"], ["Lima"]]
    assert split.notes["repaired"] == {"comment lines passed over": 3}


def test_the_columns_of_words_and_tags(tmp_path: Path) -> None:
    after = write(tmp_path, "".join(f"{word}\t{tag}\t+\n" for word, tag in SENTENCE))
    with pytest.raises(InputError, match=r"line 1: unknown tag '\+'.* Column 2 has tags: --tag-column 2\."):
        read_ner(after)
    assert [tuple(e) for e in read_ner(after, tag_column="2").items[0].entities] == FOUND
    numbered = write(tmp_path, "".join(f"{n}\t{word}\t{tag}\n" for n, (word, tag) in enumerate(SENTENCE, 1)) * 1)
    split = read_ner(numbered)
    assert split.items[0].words == [word for word, _ in SENTENCE]
    assert split.notes["text_column"] == "2 (the first one numbers the words)"
    assert read_ner(numbered, text_column="1").items[0].words == ["1", "2", "3", "4"]
    for column in ("0", "x", "²", "9" * 20):
        with pytest.raises(InputError, match="give the column's number, from 1"):
            read_ner(after, tag_column=column)
    with pytest.raises(InputError, match="line 1: 3 columns, so there is no column 4"):
        read_ner(after, tag_column="4")


def test_blank_words_and_cells_are_named_as_such(tmp_path: Path) -> None:
    for content, line in (("Mia B-PER\n\t O\n", 2), ("\tO\nMia\tB-PER\n", 1), ("a x O\n x O\n", 2)):
        with pytest.raises(InputError, match=f"line {line}: the word is blank"):
            read_ner(write(tmp_path, content))
    split = read_ner(write(tmp_path, "Mia\tB-PER\t\t\nsaw\tO\t\n"))
    assert split.notes["repaired"] == {"blank cells at the end of a line dropped": 2}


def test_tags_inside_the_text_are_named_as_such(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="line 1: tags inside the text"):
        read_ner(write(tmp_path, "<PER>Mia Poe</PER> saw <LOC>Lima</LOC>.\n"))


def test_a_sentence_with_a_bad_line_is_left_out_as_a_whole(tmp_path: Path) -> None:
    path = write(tmp_path, "Mia B-PER\nPoe\nsaw\n\nLima B-LOC\n\nsaw X-Y\n")
    split = read_ner(path, "bio", ReadOptions(skip_invalid=True))
    assert [sentence.words for sentence in split.items] == [["Lima"]]
    assert (split.notes["rows"], split.notes["left_out"]) == (3, {"invalid rows": 2})


@pytest.mark.parametrize(
    "lines",
    [
        "#\thttp://a.org [2009]\n1\tMia\tB-PER\n2\tsaw\tO\n3\tLima\tB-LOC\n\n#\tb.org [2010]\n1\tYes\tO\n",  # GermEval
        "0 Mia B-PER\n1 saw O\n2 Lima B-LOC\n\n0 Yes O\n",
        "1 Mia B-PER\n2 saw O\n3 Lima B-LOC\n\n4 Yes O\n",
        "# sent_id = 1\n1-2\tMia saw\t_\n1\tMia\tB-PER\n2\tsaw\tO\n2.1\tit\t_\n3\tLima\tB-LOC\n\n1\tYes\tO\n",
    ],
)
def test_a_first_column_that_numbers_the_words_is_not_read_as_them(tmp_path: Path, lines: str) -> None:
    first, second = read_ner(write(tmp_path, lines)).items
    assert (first.words, first.entities) == (["Mia", "saw", "Lima"], [(0, 1, "PER"), (2, 3, "LOC")])
    assert second.words == ["Yes"]


def test_advice_for_rows_that_are_left_out_is_sought_for_those_that_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reads the whole file, which for each of many rows would take hours."""
    searches: list[int] = []
    monkeypatch.setattr(data, "other_tag_column", lambda file, line: searches.append(line) or 2)
    path = write(tmp_path, "Mia B-PER X\n\n" * 50 + "Mia B-PER O\n")
    split = read_ner(path, options=ReadOptions(skip_invalid=True))
    assert split.notes["left_out"] == {"invalid rows": 50}
    assert sum("--tag-column 2" in line for line in split.understood) == len(searches) == 3


def test_words_that_are_all_numbers_are_warned_of(tmp_path: Path) -> None:
    split = read_ner(write(tmp_path, "7 Mia B-PER\n7 saw O\n"))
    assert any("all words are numbers" in line for line in split.understood)
    years = read_ner(write(tmp_path, "In x O\n1998 x B-DATE\n", "b.txt"))
    assert not any("all words are numbers" in line for line in years.understood)


def test_webannos_tables_are_named(tmp_path: Path) -> None:
    path = write(tmp_path, "#FORMAT=WebAnno TSV 3.3\n\n#Text=Mia\n1-1\t0-3\tMia\tPER\n", "a.tsv")
    with pytest.raises(InputError, match="WebAnno's TSV, which is not read; export CoNLL 2002 instead"):
        read_ner(path)


def test_tags_that_are_numbers_get_names(tmp_path: Path) -> None:
    path = write(tmp_path, "Mia 1\nPoe 2\nsaw 0\n")
    with pytest.raises(InputError, match="Where all tags are numbers, --label-names names them"):
        read_ner(path)
    names = ("O", "B-PER", "I-PER")
    assert [tuple(e) for e in read_ner(path, "auto", ReadOptions(label_names=names)).items[0].entities] == [
        (0, 2, "PER")
    ]


def test_a_row_that_repeats_the_header_is_refused(tmp_path: Path) -> None:
    for content in ("word,tag\nMia,B-PER\nWord,Tag\n", "text,tags\nMia,B-PER\ntext,tags\n"):
        with pytest.raises(InputError, match="line 3: repeats the header"):
            read_ner(write(tmp_path, content, "a.csv"))


def test_a_number_beyond_the_names_of_tags_is_refused_in_its_line(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("Ann 1\nx 0\nLee 5\n\nBo 1\n", encoding="utf-8")
    names = ("O", "B-P", "I-P")
    with pytest.raises(InputError, match="line 3: 5 is none of the 3 --label-names, which count from 0"):
        read_ner(str(path), "auto", ReadOptions(label_names=names))
    split = read_ner(str(path), "auto", ReadOptions(label_names=names, skip_invalid=True))
    assert [item.words for item in split.items] == [["Bo"]]


@pytest.mark.parametrize("between", [" ", "\t"])
def test_quotation_marks_that_pandas_doubled_are_words(between: str, tmp_path: Path) -> None:
    """As ``to_csv(sep=" ", header=False, index=False)`` writes them; other marks are as they stand."""
    cells = ['""""', "Mia", '"5"""', '"', '""', '"""', '"Poe"', '""""']
    split = read_ner(write(tmp_path, "".join(f"{cell}{between}O\n" for cell in cells)))
    assert split.items[0].words == ['"', "Mia", '5"', '"', '""', '"""', '"Poe"', '"']
    assert split.notes["repaired"] == {"quoted words without their quotation marks": 3}
