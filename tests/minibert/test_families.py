"""A family is a record: nothing else asks for one by its name, and the records agree with Hugging Face's classes."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT
from safetensors.torch import save_file
from torch import zeros

from minibert import EncoderConfig
from minibert.checkpoint import open_checkpoint
from minibert.errors import InputError
from minibert.families import FAMILIES, OWN_HEADS, Family

RECORDS = {
    name for name, value in vars(__import__("minibert.families", fromlist=["x"])).items() if type(value) is Family
}


def asked_for(tree: ast.AST) -> Iterator[ast.AST]:
    """The places where code decides by a family: compares with its name or record, or looks it up in a table."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            yield from ast.walk(node)
        elif isinstance(node, ast.Dict):
            yield from (key for key in node.keys if key is not None)
        elif isinstance(node, ast.MatchValue):
            yield node.value
        elif isinstance(node, ast.Subscript):
            yield node.slice


@pytest.mark.parametrize("package", ["minibert", "tasks"])
def test_no_other_file_decides_by_a_family(package: str) -> None:
    assert {"BERT", "ALBERT", "ROBERTA"} <= RECORDS
    found = []
    for path in sorted((ROOT / package).rglob("*.py")):
        if path == ROOT / "minibert" / "families.py":
            continue
        for node in asked_for(ast.parse(path.read_text(encoding="utf-8"))):
            name = node.value if isinstance(node, ast.Constant) else node.id if isinstance(node, ast.Name) else None
            if isinstance(name, str) and (name in FAMILIES or name in RECORDS):
                found.append(f"{path.relative_to(ROOT)}, line {getattr(node, 'lineno', '?')}: {name}")
    assert found == []


@pytest.mark.parametrize(
    "source", ["x.model_type == 'bert'", "{'albert': 1}[x]", "x.family is ROBERTA", "x in ('bert',)"]
)
def test_that_test_finds_such_places(source: str) -> None:
    names = [getattr(node, "value", None) or getattr(node, "id", None) for node in asked_for(ast.parse(source))]
    assert any(name in FAMILIES or name in RECORDS for name in names if isinstance(name, str))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_head_is_a_class_of_hugging_face(family: str) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    record = FAMILIES[family]
    for head in ("Model", *record.heads):
        if head not in OWN_HEADS:
            assert hasattr(transformers, record.class_of(head)), record.class_of(head)
    assert transformers.CONFIG_MAPPING[family]().model_type == family


@pytest.mark.parametrize("family", FAMILIES)
def test_defaults_are_those_of_hugging_face(family: str) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    theirs = transformers.CONFIG_MAPPING[family]()
    names = FAMILIES[family].config_names
    sizes = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    ours = EncoderConfig(model_type=family, **{name: getattr(theirs, names.get(name) or name) for name in sizes})
    shape = ("embedding_size", "num_hidden_groups", "inner_group_num")
    rates = ("hidden_act", "hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout", "qa_dropout")
    others = (
        "pad_token_id",
        "bos_token_id",
        "eos_token_id",
        "max_position_embeddings",
        "type_vocab_size",
        "use_task_id",
    )
    checked = 0
    for name in (*shape, *rates, *others, "type_vocab_size"):
        foreign = names.get(name, name)
        if foreign is not None and hasattr(theirs, foreign):
            checked += 1
            assert getattr(ours, name) == getattr(theirs, foreign), name
    assert checked >= 8


def test_a_model_of_another_kind_is_refused_by_name(tmp_path: Path) -> None:
    save_file({"transformer.h.0.attn.weight": zeros(2, 2)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text('{"model_type": "gpt2", "n_embd": 2}')
    with pytest.raises(InputError, match=r"config\.json: model_type 'gpt2' is another kind of model"):
        open_checkpoint(tmp_path)
