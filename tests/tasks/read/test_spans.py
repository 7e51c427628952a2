"""Named entities from the exports of annotation tools, with what is repaired, left out and refused."""

import json
from pathlib import Path
from typing import Any

import pytest
from exports import entities, write

from minibert.errors import InputError
from tasks.ner.data import read_ner
from tasks.read.records import ReadOptions
from tasks.read.spans import text_of
from tasks.read.stream import records

TEXT = "Mia Poe saw Lima."
SPANS = [(0, 7, "PER"), (12, 16, "LOC")]
FOUND = [("Mia Poe", "PER"), ("Lima", "LOC")]
WORDS = ["Mia", "Poe", "saw", "Lima", "."]
VALUES = [{"start": s, "end": e, "text": TEXT[s:e], "labels": [t]} for s, e, t in SPANS]
RESULT = [{"id": "x", "from_name": "label", "to_name": "text", "type": "labels", "value": value} for value in VALUES]


def quoted(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"'


EXPORTS: dict[str, Any] = {
    "doccano.jsonl": {"id": 1, "text": TEXT, "label": SPANS},
    "doccano_old.jsonl": {"id": 1, "data": TEXT, "labels": SPANS},
    "doccano_relations.jsonl": {
        "id": 1, "text": TEXT, "relations": [], "other": "a note", "discontinuous": "no",
        "entities": [{"id": n, "label": t, "start_offset": s, "end_offset": e} for n, (s, e, t) in enumerate(SPANS)],
    },
    "doccano_content.json": [{"content": TEXT, "annotations": [
        {"label": t, "start_offset": s, "end_offset": e, "user": 1} for s, e, t in SPANS]}],
    "label_studio.json": [{"id": 1, "data": {"text": TEXT}, "annotations": [{"id": 2, "result": RESULT}], "meta": {}}],
    "label_studio_old.json": [{"data": {"text": TEXT}, "completions": [{"result": RESULT}]}],
    "label_studio_min.json": [{"text": TEXT, "label": VALUES, "annotator": 1}],
    "label_studio_named.json": [{"text": TEXT, "my_names": VALUES, "annotator": 1}],
    "label_studio.csv": f"text,id,my_names,annotator\n{TEXT},1,{quoted(json.dumps(VALUES))},1\n",
    "label_studio.conll": "-DOCSTART- -X- O\n" + "".join(
        f"{w} -X- _ {t}\n" for w, t in zip(WORDS, ["B-PER", "I-PER", "O", "B-LOC", "O"], strict=True)),
    "prodigy.jsonl": {"text": TEXT, "_task_hash": 1, "tokens": [{"text": w, "id": n} for n, w in enumerate(WORDS)],
                      "spans": [{"start": s, "end": e, "label": t, "token_start": 0} for s, e, t in SPANS],
                      "answer": "accept"},
    "spacy.json": [[TEXT, {"entities": SPANS}]],
    "spacy.jsonl": json.dumps([TEXT, {"entities": SPANS}]),
    "spacy_web.json": {"classes": ["PER", "LOC"], "annotations": [[TEXT, {"entities": SPANS}]]},
    "spacy_web_types.json": {"classes": ["PER"], "annotations": [[TEXT, {"entities": SPANS}]]},
    "lighttag.json": {"content": TEXT, "annotations": [{"start": s, "end": e, "tag": t} for s, e, t in SPANS]},
    "chars.json": {"chars": WORDS, "tags": ["B-PER", "I-PER", "O", "B-LOC", "O"]},
    "gliner.json": [{"tokenized_text": WORDS, "ner": [[3, 3, "LOC"], [0, 1, "PER"]]}],
    "cluener.jsonl": {"text": TEXT, "label": {"PER": {"Mia Poe": [[0, 6]]}, "LOC": {"Lima": [[12, 15]]}}},
    "paddle.tsv": "text_a\tlabel\n" + "\x02".join(WORDS) + "\t" + "\x02".join(["B-PER", "I-PER", "O", "B-LOC", "O"]),
    "paddle_uie.jsonl": "\n".join(json.dumps({"content": TEXT, "prompt": t, "result_list": [
        {"text": TEXT[s:e], "start": s, "end": e}]}) for s, e, t in SPANS),
    "text_list.json": [{"text": WORDS, "labels": ["B-PER", "I-PER", "O", "B-LOC", "O"]}],
    "capitals.jsonl": {"Tokens": WORDS, "NER": ["B-PER", "I-PER", "O", "B-LOC", "O"]},
    "datasets.jsonl": {"tokens": WORDS, "ner_tags": [1, 2, 0, 3, 0]},
    # CMeEE has the text of a span in the field that elsewhere is its type, and the last character's place.
    "cmeee.json": [{"text": TEXT, "entities": [
        {"start_idx": s, "end_idx": e - 1, "type": t, "entity": TEXT[s:e]} for s, e, t in SPANS]}],
    "two_fields.jsonl": {"text": TEXT, "entities": [
        {"start": s, "end": e, "entity": TEXT[s:e], "entity_type": t} for s, e, t in SPANS]},
    "pipeline.jsonl": {"text": TEXT, "entities": [
        {"start": s, "end": e, "entity": t, "word": TEXT[s:e]} for s, e, t in SPANS]},
    # An array in a cell, as pandas writes it.
    "numpy.csv": "tokens,tags\n\"['Mia' 'Poe' \"\"saw\"\" 'Lima'\n '.']\",['B-PER' 'I-PER' 'O' 'B-LOC' 'O']\n",
    "numpy_numbers.csv": "tokens,ner_tags\n['Mia' 'Poe' 'saw' 'Lima' '.'],[1 2 0 3 0]\n",
    # spaCy's Doc.to_json, whose tokens have a place and a tag, too.
    "doc.jsonl": {"text": TEXT, "ents": [{"start": s, "end": e, "label": t} for s, e, t in SPANS],
                  "tokens": [{"id": 0, "start": 0, "end": 3, "tag": "NNP"}]},
    "dataturks.json": {"content": TEXT, "extras": None, "annotation": [
        {"label": [t], "points": [{"start": s, "end": e - 1, "text": TEXT[s:e]}]} for s, e, t in SPANS]},
    # Of Stockmark's Japanese articles.
    "places.json": [{"text": TEXT, "entities": [{"name": TEXT[s:e], "span": [s, e], "type": t} for s, e, t in SPANS]}],
    "nested_values.jsonl": {"text": TEXT, "spans": [{"value": value} for value in VALUES]},
}  # fmt: skip
NAMES = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")


@pytest.mark.parametrize("name", EXPORTS)
def test_every_export_gives_the_same_entities(tmp_path: Path, name: str) -> None:
    split = read_ner(write(tmp_path, name, EXPORTS[name]), "auto", ReadOptions(label_names=NAMES))
    assert entities(split) == [FOUND]
    assert split.notes["rows"] == 1 + (name == "paddle_uie.jsonl")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({**EXPORTS["prodigy.jsonl"], "answer": "reject"}, "rows with the answer reject"),
        ({**EXPORTS["prodigy.jsonl"], "answer": "ignore"}, "rows with the answer ignore"),
        (
            {"data": {"text": TEXT}, "annotations": [{"result": RESULT, "was_cancelled": True}]},
            "cancelled annotations",
        ),
    ],
)
def test_what_the_annotator_rejected_is_left_out_and_counted(tmp_path: Path, row: Any, reason: str) -> None:
    split = read_ner(write(tmp_path, "a.json", [row, EXPORTS["prodigy.jsonl"], row]))
    assert len(split.items) == 1
    assert split.notes["left_out"] == {reason: 2}
    assert any(f"2 {reason}" in line for line in split.understood)


def test_dataturks_without_entities_or_labels(tmp_path: Path) -> None:
    points = [{"start": 0, "end": 2, "text": "Mia"}]
    rows = [
        {"content": TEXT, "annotation": None, "extras": None},
        {"content": TEXT, "annotation": [{"label": [], "points": points}]},
    ]
    split = read_ner(write(tmp_path, "a.json", rows))
    assert entities(split) == [[], []]
    assert split.notes["repaired"] == {"spans without a label passed over": 1}
    named = {"content": TEXT, "annotation": "by Bob", "my_spans": [{"start": 0, "end": 7, "label": "PER"}]}
    assert entities(read_ner(write(tmp_path, "c.json", [named]))) == [FOUND[:1]]
    with pytest.raises(InputError, match="text without a list of spans"):
        read_ner(write(tmp_path, "d.json", [{"content": TEXT, "annotation": "[{"}]))
    bad = {"content": TEXT, "annotation": [{"label": ["PER"], "points": [{"start": 0}]}]}
    with pytest.raises(
        InputError, match=r"line 1, \[0\]: the annotation .* has no points, each with a start and an end"
    ):
        read_ner(write(tmp_path, "b.json", [bad]))


def test_of_several_annotations_the_ground_truth_counts(tmp_path: Path) -> None:
    row = {"data": {"text": TEXT}, "annotations": [{"result": []}, {"result": RESULT, "ground_truth": True}]}
    split = read_ner(write(tmp_path, "a.json", [row]))
    assert entities(split) == [FOUND]
    assert split.notes["repaired"] == {"further annotations of one text passed over": 1}


def test_spans_of_another_text_of_a_task_are_passed_over(tmp_path: Path) -> None:
    """Else the title's Lima would be looked for in the text."""
    title = {"to_name": "title", "type": "labels", "value": {"start": 0, "end": 4, "text": "Lima", "labels": ["ORG"]}}
    task = {"data": {"title": "Lima", "text": TEXT}, "annotations": [{"result": [title, *RESULT]}]}
    only_title = {"data": {"title": "Lima", "text": TEXT}, "annotations": [{"result": [title]}]}
    split = read_ner(write(tmp_path, "a.json", [task, only_title]))
    assert entities(split) == [FOUND, []]
    assert split.notes["repaired"] == {"spans of other texts passed over": 2}
    choice = {"to_name": "text", "type": "choices", "value": {"choices": ["news"]}}
    task["annotations"] = [{"result": [choice, *({**part, "to_name": "view"} for part in RESULT)]}]
    assert entities(read_ner(write(tmp_path, "b.json", [task]))) == [FOUND]
    task["annotations"] = [{"result": [{**title, "to_name": "view"}, *RESULT]}]
    with pytest.raises(InputError, match=r"several texts \(text, view\); remove those not of text"):
        read_ner(write(tmp_path, "c.json", [task]))


def test_an_accepted_row_without_spans_has_no_entities(tmp_path: Path) -> None:
    rows = [{"text": "Nobody came.", "_task_hash": 1, "answer": "accept"}, EXPORTS["prodigy.jsonl"]]
    assert entities(read_ner(write(tmp_path, "a.json", rows))) == [[], FOUND]


def test_tokens_with_tags_are_no_entities(tmp_path: Path) -> None:
    row = {"text": "It rains.", "ents": [], "tokens": [{"id": 0, "start": 0, "end": 2, "tag": "PRP"}]}
    assert entities(read_ner(write(tmp_path, "a.json", [row, EXPORTS["doc.jsonl"]]))) == [[], FOUND]
    row.pop("ents")
    with pytest.raises(InputError, match="text without a list of spans"):
        read_ner(write(tmp_path, "b.json", [row]))


def test_objects_over_several_lines_keep_their_own_annotations(tmp_path: Path) -> None:
    rows = [{"content": "It rains.", "annotations": []}, {"content": TEXT, "annotations": SPANS}]
    path = write(tmp_path, "a.json", "\n".join(json.dumps(row, indent=1) for row in rows))
    assert entities(read_ner(path)) == [[], FOUND]


@pytest.mark.parametrize("name", ["a.json", "a.csv"])
def test_which_of_two_fields_has_the_entities_is_asked(tmp_path: Path, name: str) -> None:
    cell = quoted(json.dumps(VALUES))
    table = f"text,gold,guess,annotator\n{TEXT},{cell},{cell},1\n"
    path = write(tmp_path, name, table if name == "a.csv" else [{"text": TEXT, "gold": VALUES, "guess": VALUES}])
    with pytest.raises(InputError, match="the entities may be in gold or guess; choose with --tag-column"):
        read_ner(path)
    assert entities(read_ner(path, tag_column="gold")) == [FOUND]


def test_a_blank_cell_of_label_studio_has_no_spans(tmp_path: Path) -> None:
    content = EXPORTS["label_studio.csv"] + "Nobody came.,2,,1\n"
    split = read_ner(write(tmp_path, "a.csv", content))
    assert entities(split) == [FOUND, []]
    assert split.notes["repaired"] == {"blank cells read as no spans": 1}


def test_spans_are_trimmed_and_read_once(tmp_path: Path) -> None:
    row = {"text": " Mia Poe saw Lima", "label": [[0, 9, "PER"], [1, 8, "PER"], [1, 8, "PER"]]}
    split = read_ner(write(tmp_path, "a.jsonl", row))
    assert entities(split) == [[("Mia Poe", "PER")]]
    assert split.notes["repaired"] == {"spans trimmed of white space": 1, "duplicate spans read once": 2}


def test_the_text_is_in_the_column_that_is_named(tmp_path: Path) -> None:
    row = {"text": "not this one", "Blurb": TEXT, "marks": SPANS}
    path = write(tmp_path, "a.jsonl", row)
    assert entities(read_ner(path, text_column="blurb", tag_column="marks")) == [FOUND]
    with pytest.raises(InputError, match=r"line 1: has no --text-column blurp; did you mean Blurb\?"):
        read_ner(path, text_column="blurp")
    with pytest.raises(InputError, match=r"line 1: has no --tag-column mark; did you mean marks\?"):
        read_ner(path, text_column="blurb", tag_column="mark")
    table = write(tmp_path, "b.csv", "blurb,marks\nMia saw,B-PER O\n")
    assert entities(read_ner(table, text_column="blurb", tag_column="marks")) == [[("Mia", "PER")]]


def test_a_field_is_found_in_upper_or_lower_case(tmp_path: Path) -> None:
    row = {"Tokens": ["Ann", "Bo"], "NER": ["B-PER", "O"], "other": 1}
    path = write(tmp_path, "a.jsonl", row)
    for text, tags in ((None, None), ("tokens", "ner")):
        assert entities(read_ner(path, text_column=text, tag_column=tags)) == [[("Ann", "PER")]]
    with pytest.raises(InputError, match=r"line 1: has no --tag-column ners; did you mean NER\?"):
        read_ner(path, tag_column="ners")
    assert text_of(row, None) == ["Ann", "Bo"]


def test_texts_with_spans_and_tokens_are_read_where_the_text_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", {"text": TEXT, "tokens": WORDS, "spans": VALUES})
    assert entities(read_ner(path, text_column="text")) == [FOUND]


def test_pairs_a_line_are_records_each(tmp_path: Path) -> None:
    rows = [[TEXT, {"entities": SPANS}], ["Nobody.", {"entities": []}]]
    path = write(tmp_path, "a.jsonl", "\n".join(map(json.dumps, rows)))
    assert entities(read_ner(path)) == [FOUND, []]
    assert [record.fields["text"] for record in records(path)] == [TEXT, "Nobody."]


BAD: dict[str, tuple[Any, str]] = {
    "unlabelled.jsonl": ({"text": TEXT}, "text without a list of spans"),
    "task.json": ([{"data": {"text": TEXT}, "annotations": [], "predictions": []}], "a task without an annotation"),
    "labels.jsonl": ({"text": TEXT, "label": [{"start": 0, "end": 3, "labels": ["A", "B"]}]}, "has 2 labels"),
    "ids.jsonl": ({"text": TEXT, "label": [[0, 3, 7]]}, "the labels of the spans are numbers; .*--label-names"),
    "tags.jsonl": ({"tokens": WORDS, "ner_tags": [0, 0, 0, 0, 1]}, "the tags are numbers; .*--label-names"),
    "tokens.jsonl": ({"tokens": WORDS}, "has tokens without tags in one of the fields tags, .* --tag-column"),
    "both.jsonl": ({"text": TEXT, "tokens": WORDS, "spans": VALUES}, "tokens without tags .* --text-column text"),
    "cluener.jsonl": ({"text": TEXT, "label": {"A": {"Mia": 3}}}, "A of 'Mia' is 3, not a list"),
    "cluener2.jsonl": ({"text": TEXT, "label": {"A": {"Mia": [[0]]}}}, r"is a list, not \[start, last\]"),
    "word_spans.jsonl": ({"tokens": WORDS, "labels": [[0, 2, "PER"]]}, "labels has spans of words, but does not show"),
    "gliner.jsonl": ({"tokenized_text": WORDS, "ner": [[0, 9, "A"]]}, "0 to 9 is outside the 5 tokens"),
    "gliner2.jsonl": ({"tokenized_text": WORDS, "ner": [[0, 2, "A"], [2, 3, "B"]]}, "overlaps another"),
    "backwards.jsonl": ({"text": TEXT, "label": [[3, 0, "A"]]}, "the span 3:0 does not end behind its start"),
    "own.jsonl": ({"text": TEXT, "label": [{"start": 0, "end": 3, "label": "A", "text": "Zoe"}]}, "has the text 'Zoe'"),
}


@pytest.mark.parametrize("type_", ["B-LOC", "I-person", "S-LOC", "O"])
def test_tags_are_no_types_of_spans(tmp_path: Path, type_: str) -> None:
    span = {"entity": type_, "word": "Lima", "start": 12, "end": 16, "score": 0.9}
    with pytest.raises(InputError, match=f"line 1: '{type_}', given as the type of an entity, .*entity_group"):
        read_ner(write(tmp_path, "a.jsonl", {"text": TEXT, "entities": [span]}))
    assert entities(read_ner(write(tmp_path, "b.jsonl", {"text": TEXT, "entities": [{**span, "entity": "E-mail"}]})))


def test_a_type_beside_others_may_look_like_a_tag(tmp_path: Path) -> None:
    cells = {"text": "A B-cell binds CD20.", "label": [[2, 8, "B-cell"], [15, 19, "protein"]]}
    (found,) = entities(read_ner(write(tmp_path, "a.jsonl", cells)))
    assert [entity[-1] for entity in found] == ["B-cell", "protein"]


@pytest.mark.parametrize("skip", [False, True])
def test_a_file_with_an_empty_span_is_refused_as_a_whole(tmp_path: Path, skip: bool) -> None:
    rows = [EXPORTS["doccano.jsonl"], {"text": "王在北京。", "label": [[0, 0, "PER"], [2, 3, "LOC"]]}]
    path = write(tmp_path, "a.jsonl", "\n".join(map(json.dumps, rows)))
    with pytest.raises(InputError, match=r"line 2: the span 0:0 is empty: .* add 1 to each") as caught:
        read_ner(path, options=ReadOptions(skip_invalid=skip))
    assert "--skip-invalid" not in str(caught.value)


@pytest.mark.parametrize("name", BAD)
def test_rows_that_cannot_be_used_are_refused_or_left_out(tmp_path: Path, name: str) -> None:
    content, message = BAD[name]
    path = write(tmp_path, name, content)
    with pytest.raises(InputError, match=message) as caught:
        read_ner(path)
    assert "--skip-invalid leaves out rows like this one" in str(caught.value)
    rows = content if isinstance(content, list) else [content]
    mixed = write(tmp_path, "mixed.jsonl", "\n".join(map(json.dumps, [*rows, EXPORTS["doccano.jsonl"]])))
    split = read_ner(mixed, "auto", ReadOptions(skip_invalid=True))
    assert entities(split) == [FOUND]
    assert split.notes["left_out"] == {"invalid rows": 1}
    assert any("mixed.jsonl, line 1" in line for line in split.understood)


# -- cells -----------------------------------------------------------------------------------------------------------


def test_a_cell_that_only_looks_like_a_list_is_refused(tmp_path: Path) -> None:
    """Brackets that are words, and characters, stay as they are."""
    cells = {"[Ann, left]": "PER O", "['Ann' left]": "PER O"}
    for number, (text, tags) in enumerate(cells.items()):
        path = write(tmp_path, f"{number}.csv", f'text,tags\n"{text}",{tags}\n')
        with pytest.raises(InputError, match=r"line 2: .* looks like a list, but cannot be read as one"):
            read_ner(path)
    path = write(tmp_path, "blank.csv", 'text,tags\nAnn left,B-PER O\n" ",;\n')
    with pytest.raises(InputError, match="line 3: 0 tags for 0 words"):
        read_ner(path)
    path = write(tmp_path, "a.csv", 'text,tags\n"[ Ann ]",O B-PER O\n[甲],O B-PER O\n')
    assert [item.words for item in read_ner(path).items] == [["[", "Ann", "]"], ["[", "甲", "]"]]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "sentence_id,word,tag\n1,Ann,B-PER\n1,,O\n"),
        ("a.tsv", 'sentence_id\tword\ttag\n1\tAnn\tB-PER\n1\t""\tO\n'),
        ("a.jsonl", '{"tokens": ["Ann", "met"], "tags": ["O", "O"]}\n{"tokens": ["Ann", ""], "tags": ["O", "O"]}'),
    ],
)
def test_empty_words_are_refused_in_tables_and_json(name: str, content: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"line [23]: a word is empty"):
        read_ner(write(tmp_path, name, content))


def test_a_space_among_characters_is_one(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", {"tokens": ["北", " ", "京"], "tags": ["B-LOC", "I-LOC", "I-LOC"]})
    assert read_ner(path).items[0].words == ["北", " ", "京"]
