"""Vectors of texts: those of sentence-transformers and of transformers' hidden states, as arrays and as JSON lines."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from conftest import ALL_FAMILIES, ROOT, local_minilm, scramble, tiny_config, write
from tiny_runs import TEXTS, WORDS, make_run

from minibert import Encoder, Tokenizer
from minibert.errors import InputError
from tasks import registry
from tasks.embed import Embedder, load
from tasks.embed.output import NpyFile
from tasks.predict import chunks

SENTENCES = ["Ann left.", "", "The weather in Rome is nice today.", "我们在那里住了三年。", "word " * 300, "Ann left."]
MEAN = {"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}
FIRST = {"word_embedding_dimension": 24, "pooling_mode_cls_token": True}
LAST = {"pooling_mode_lasttoken": True}


def make_encoder(folder: Path, family: str = "bert", **changes: Any) -> Path:
    """An encoder that was not trained, without a pooler."""
    tokenizer = Tokenizer.train([WORDS] * 2, model_type=family, vocab_size=400)
    config = tiny_config(
        family,
        vocab_size=tokenizer.vocab_size,
        pad_token_id=tokenizer.pad_token_id,
        max_position_embeddings=40,
        **changes,
    )
    model = Encoder(config, add_pooling_layer=False)
    scramble(model)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder, config=config)
    return folder


def make_sentence_transformer(folder: Path, pooling: dict[str, Any], *more: str, length: int | None = None) -> Path:
    """The same as sentence-transformers lays it out, with ``more`` modules behind the pooling."""
    make_encoder(folder)
    modules = [{"path": "", "type": "a.Transformer"}, {"path": "1_Pooling", "type": "a.Pooling"}]
    modules += [{"path": f"{2 + number}_{kind}", "type": f"a.{kind}"} for number, kind in enumerate(more)]
    (folder / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling), encoding="utf-8")
    if length is not None:
        (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": length}), encoding="utf-8")
    return folder


def expected(folder: Path, texts: list[str], pooling: str, *, normalize: bool, length: int) -> npt.NDArray[np.float32]:
    """By transformers, one text at a time."""
    transformers = pytest.importorskip("transformers", reason="transformers is the oracle of this test")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    rows = []
    with torch.no_grad():
        for text in texts:
            states = model(**tokenizer(text, truncation=True, max_length=length, return_tensors="pt"))[0][0]
            row = states.mean(0) if pooling == "mean" else states[0]
            rows.append(row / row.norm() if normalize else row)
    return torch.stack(rows).numpy()


def read_lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize(
    ("family", "pooling"), [*((family, "mean") for family in ALL_FAMILIES), ("bert", "first"), ("roberta", "first")]
)
def test_vectors_are_those_of_transformers_states(family: str, pooling: str, tmp_path: Path) -> None:
    folder = make_encoder(tmp_path, family)
    embed = load(str(folder), pooling=pooling, normalize=pooling == "first", device="cpu")
    texts = [*TEXTS[:9], "Ann " * 60]
    found = embed(texts)
    assert found.dtype == np.float32
    assert found.shape == (10, embed.width)
    assert found == pytest.approx(
        expected(folder, texts, pooling, normalize=pooling == "first", length=embed.settings.max_length or 0), abs=1e-5
    )
    assert embed.notes["cut_texts"] == 1


@pytest.mark.slow
def test_minilm_is_that_of_sentence_transformers(tmp_path: Path) -> None:
    """Or of transformers with the mean and the length that its folder names."""
    folder = local_minilm()
    found = load(str(folder), device="cpu")(SENTENCES)
    try:
        # An optional package, which takes seconds to import.
        from sentence_transformers import SentenceTransformer
    except ImportError:
        oracle = expected(folder, SENTENCES, "mean", normalize=True, length=256)
    else:
        oracle = SentenceTransformer(str(folder), device="cpu").encode(SENTENCES)
    assert found == pytest.approx(oracle, abs=1e-5)


@pytest.mark.parametrize(
    ("pooling", "more", "length", "settings"),
    [
        (MEAN, ["Normalize"], 7, ("mean", True, 7)),
        (FIRST, [], None, ("first", False, 40)),
        ({"pooling_mode": "cls"}, ["Normalize"], 512, ("first", True, 40)),
    ],
)
def test_a_folder_of_sentence_transformers_says_how(
    pooling: dict[str, Any], more: list[str], length: int | None, settings: tuple[str, bool, int], tmp_path: Path
) -> None:
    folder = make_sentence_transformer(tmp_path, pooling, *more, length=length)
    embed = load(str(folder), device="cpu")
    assert (embed.settings.pooling, embed.settings.normalize, embed.settings.max_length) == settings
    assert embed(TEXTS[:9]) == pytest.approx(
        expected(folder, TEXTS[:9], settings[0], normalize=settings[1], length=settings[2]), abs=1e-5
    )
    assert not load(str(folder), device="cpu", normalize=False).settings.normalize


def test_the_length_of_newer_folders_is_the_tokenizers(tmp_path: Path) -> None:
    folder = make_sentence_transformer(tmp_path, MEAN)
    settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    for length, read in ((9, 9), (10**30, 40), (1, 1)):
        (folder / "tokenizer_config.json").write_text(json.dumps({**settings, "model_max_length": length}))
        embed = load(str(folder), device="cpu")
        assert embed.settings.max_length == read
    assert np.array_equal(embed("Ann saw Bob"), embed(""))  # the special tokens alone


def test_texts_are_changed_as_the_folder_says(tmp_path: Path) -> None:
    """Into lower case, and with its default prompt, as sentence-transformers does (6.2: base/modules/transformer.py and
    base/model.py)."""
    folder = make_sentence_transformer(tmp_path, MEAN)
    texts = ["Ann SAW Bob", "ann saw bob", "ÄNN"]
    plain = load(str(folder), device="cpu")(texts)
    assert not np.allclose(plain[0], plain[1])
    (folder / "sentence_bert_config.json").write_text('{"do_lower_case": true}', encoding="utf-8")
    prompts = {"prompts": {"query": "To: ", "other": "Bob "}, "default_prompt_name": "query"}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(prompts), encoding="utf-8")
    oracle = expected(folder, [f"to: {text.lower()}" for text in texts], "mean", normalize=False, length=40)
    assert load(str(folder), device="cpu")(texts) == pytest.approx(oracle, abs=1e-5)
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({**MEAN, "include_prompt": False}), encoding="utf-8")
    with pytest.raises(InputError, match="names a pooling without the prompt, which minibert does not have"):
        load(str(folder), device="cpu")
    prompts["default_prompt_name"] = "query\n2"
    (folder / "config_sentence_transformers.json").write_text(json.dumps(prompts), encoding="utf-8")
    with pytest.raises(InputError, match=r"config_sentence_transformers.json: has no prompt called 'query\\n2'"):
        load(str(folder), device="cpu")


@pytest.mark.parametrize(
    ("pooling", "more", "named"),
    [(MEAN, ["Dense", "Normalize"], "Dense"), (LAST, [], "lasttoken"), ({**MEAN, **LAST}, [], "of several kinds")],
)
def test_vectors_that_would_be_others_are_refused_unless_asked_for(
    pooling: dict[str, Any], more: list[str], named: str, tmp_path: Path
) -> None:
    folder = make_sentence_transformer(tmp_path, pooling, *more)
    with pytest.raises(InputError, match=rf"modules\.json: names .*{named}, which minibert does not have; give --pool"):
        load(str(folder), device="cpu")
    assert load(str(folder), device="cpu", pooling="mean")("Ann").shape == (24,)


@pytest.mark.parametrize("name", ["ner", "classification", "fill_mask"])
def test_runs_and_checkpoints_with_heads_have_vectors(name: str, tmp_path: Path) -> None:
    run = make_run(tmp_path, name)
    if name != "ner":  # whose tokenizer has the form for words
        assert load(run, device="cpu")(TEXTS[:9]) == pytest.approx(
            expected(tmp_path, TEXTS[:9], "mean", normalize=False, length=40), abs=1e-5
        )
    assert load(run, device="cpu")("Ann").shape == (24,)


@pytest.mark.parametrize("options", [[], ["--kind", "multi"]])
def test_a_run_that_is_calibrated_has_vectors(options: list[str], tmp_path: Path, narrow_models: None) -> None:
    data = write(tmp_path / "train.jsonl", [{"text": f"a b {i}", "label": "ab"[i % 2]} for i in range(24)])
    small = ["--weights", "random", "--epochs", "1", "--precision", "fp32", "--out", str(tmp_path / "run"), *options]
    run = registry.run("classification", ["--train", data, *small])
    assert json.loads((run / "task.json").read_text(encoding="utf-8"))["calibration"]
    assert load(str(run), device="cpu")("a b").any()


def test_one_text_several_and_a_stream_have_the_same_vectors(tmp_path: Path) -> None:
    embed = load(str(make_encoder(tmp_path)), device="cpu", text_column="Body")
    several = embed([{"body": text, "text": "x"} for text in TEXTS])
    assert several.shape == (60, 24)
    assert embed({"BODY": TEXTS[3]}) == pytest.approx(several[3], abs=1e-6)
    assert embed(TEXTS[3]) == pytest.approx(several[3], abs=1e-6)
    assert np.stack(list(embed.stream(iter(TEXTS)))) == pytest.approx(several, abs=1e-6)
    assert embed([]).shape == (0, 24)
    with pytest.raises(InputError, match="input 2: has no --text-column Body"):
        embed(["a", {"text": "b"}])


def test_the_array_and_the_lines_of_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over several chunks; a field of the input called vector does not stand in the way."""
    monkeypatch.setattr(chunks, "_CHUNK", 7)
    folder = str(make_encoder(tmp_path / "model"))
    texts, out = tmp_path / "texts.jsonl", tmp_path / "vectors.npy"
    rows = [{"id": number, "vector": [0.0] * 24, "body": text} for number, text in enumerate(TEXTS)]
    texts.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    options = ["--text-column", "body", "--device", "cpu", "--normalize"]
    registry.run("embed", [folder, str(texts), "--out", str(out), *options])
    said = capsys.readouterr().err
    assert "24 numbers a text, the mean of all tokens, of length 1; at most 40 tokens of a text are read" in said
    assert "60 inputs in " in said
    found = np.load(out, mmap_mode="r")
    assert (found.dtype, found.shape) == (np.float32, (60, 24))
    assert found == pytest.approx(load(folder, device="cpu", normalize=True)(TEXTS), abs=1e-6)
    assert np.linalg.norm(found, axis=1) == pytest.approx(np.ones(60), abs=1e-6)
    registry.run("embed", [folder, str(texts), *options])
    lines = read_lines(capsys.readouterr().out)
    assert [(line["id"], line["body"], line["input_vector"]) for line in lines] == [
        (number, text, [0.0] * 24) for number, text in enumerate(TEXTS)
    ]
    assert np.array([line["vector"] for line in lines]) == pytest.approx(found, abs=1e-6)


def test_texts_that_are_cut_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts = tmp_path / "texts.txt"
    texts.write_text("Ann saw Bob\n" + "Ann " * 50 + "\nzebra", encoding="utf-8")
    folder = make_sentence_transformer(tmp_path / "model", MEAN, length=9)
    registry.run("embed", [str(folder), str(texts), "--device", "cpu", "--out", str(tmp_path / "a.npy")])
    said = capsys.readouterr().err
    assert "at most 9 tokens of a text are read" in said
    assert "; 1 cut texts; 43 cut tokens; 1 unknown tokens" in said


def test_a_bad_input_leaves_the_old_file_or_has_a_row_without_numbers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, texts, out = make_encoder(tmp_path / "model"), tmp_path / "texts.jsonl", tmp_path / "a.npy"
    out.write_text("old")
    bad = {"txt": "b", "vector": [1.0] * 24}
    texts.write_text("\n".join(map(json.dumps, [{"text": "Ann"}, bad, {"text": "Bob"}])), encoding="utf-8")
    given = [str(folder), str(texts), "--device", "cpu"]
    with pytest.raises(InputError, match="line 2: no column"):
        registry.run("embed", [*given, "--out", str(out)])
    assert out.read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npy", "model", "texts.jsonl"]
    registry.run("embed", [*given, "--out", str(out), "--on-error", "skip"])
    assert np.isnan(np.load(out)).all(1).tolist() == [False, True, False]
    capsys.readouterr()
    registry.run("embed", [*given, "--on-error", "skip"])
    lines = read_lines(capsys.readouterr().out)
    assert ["error" in line for line in lines] == [False, True, False]
    assert lines[1]["vector"] == [1.0] * 24


def test_the_header_has_room_for_any_number_of_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    for count in (0, 1, 12_345):
        with open(path, "wb") as file:
            array = NpyFile(file, 2)
            for _ in range(count):
                array.write(0, [{"vector": np.array([1.5, -2.5], np.float32)}])
            array.close()
        assert np.load(path).tolist() == [[1.5, -2.5]] * count


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--out", "a.json"], "--out a.json: must end in .npy"),
        (["--out", "none/a.npy"], "there is no folder"),
        (["--batch-tokens", "0"], "--batch-tokens 0: must be 1 or more"),
        (["--encoding", "utf-9"], "--encoding utf-9"),
    ],
)
def test_what_cannot_be_used_is_refused_before_a_model_is_loaded(
    options: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message):
        registry.run("embed", ["no/such/model", "texts.txt", *options])
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(InputError, match="standard input is closed"):
        registry.run("embed", ["no/such/model"])


def test_python_refuses_as_the_command_does(tmp_path: Path) -> None:
    folder = str(make_encoder(tmp_path))
    with pytest.raises(InputError, match="--pooling max: use one of mean, first"):
        load(folder, pooling="max")
    with pytest.raises(InputError, match="--batch-tokens 0"):
        load(folder, batch_tokens=0)


def test_the_readme_shows_what_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "tasks" / "embed" / "README.md").read_text(encoding="utf-8")
    example = page.partition("```python\n")[2].partition("```")[0]
    make_sentence_transformer(tmp_path / "MODEL", MEAN, "Normalize")
    (tmp_path / "texts.txt").write_text("Ann\nBob\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(example, names)
    assert isinstance(names["embed"], Embedder)
    assert names["vectors"].shape == (2, 24)
