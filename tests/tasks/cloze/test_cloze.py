"""Labels by filling a gap: scores beside transformers', what is cut, what is drawn, and runs by the command."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import BAD, FAMILIES, GOOD, TOKENIZERS, rows, scramble, tiny_config, write
from hypothesis import given
from hypothesis import strategies as st

from minibert import SequenceClassifier, Tokenizer
from minibert.errors import InputError
from tasks import registry
from tasks.classification.data import LabelledText
from tasks.cloze.few_shot import draw
from tasks.cloze.settings import ClozeSettings
from tasks.cloze.task import ClozeModel, ClozeTask, prompt
from tasks.data import Split
from tasks.run.evaluate import evaluate

LINES = [
    *(f"a {word} thing . It was {word}." for word in GOOD + BAD),
    "News: good or bad, yes no",
    "這家店很好。這家店很差，不是好的。",
]
TEMPLATE = "{text} It was [MASK]."
WORDS = ("1=great,lovely", "0=awful")


def tokenizer_for(family: str) -> Tokenizer:
    return Tokenizer.train([LINES * 3], model_type=family, vocab_size=400, running_text=True)


def checkpoint(family: str, folder: Path, **changes: Any) -> str:
    tokenizer = tokenizer_for(family)
    shape = {"max_position_embeddings": 66, "vocab_size": tokenizer.vocab_size, "pad_token_id": tokenizer.pad_token_id}
    model = ClozeModel(tiny_config(family, **shape, **changes))
    scramble(model)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def probabilities(weights: str, template: str, words: tuple[str, ...], texts: list[str]) -> np.ndarray[Any, Any]:
    """``(texts, labels)``, labels in alphabetical order."""
    task = ClozeTask(ClozeSettings(template=template, words=words))
    model = ClozeModel.from_pretrained(weights)
    model.config = model.config.with_labels(dict(enumerate(task.settings.verbaliser())))
    items = [LabelledText(text, None, None, 1) for text in texts]
    encoded = task.encode(items, Tokenizer.from_pretrained(weights), model.config)
    return np.array([output.mean for output in evaluate(task, model, items, encoded, precision="fp32").outputs])


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{text} It was [MASK].", {"a": ["great", "lovely", "fine"], "b": ["awful"], "c": ["poor", "dull"]}),
        ("News: <mask> or {text}, yes", {"a": ["good"], "b": ["bad"]}),
        ("{text}，很[MASK]。", {"a": ["好"], "b": ["差"]}),
        ("[MASK] thing: {text}", {"a": ["great"], "b": ["a"]}),
    ],
)
@pytest.mark.parametrize("family", FAMILIES)
def test_scores_are_those_of_transformers(
    family: str, template: str, words: dict[str, list[str]], tmp_path: Path
) -> None:
    """The mask stands where completed sentences differ, and a label's score is the mean logit of its words."""
    transformers = pytest.importorskip("transformers", reason="transformers is the oracle of this test")
    weights = checkpoint(family, tmp_path)
    texts = ["這家店 a lovely thing", "no", "It was dull. It was fine, yes"]
    given_words = tuple(f"{label}={','.join(of_label)}" for label, of_label in words.items())
    ours = probabilities(weights, template, given_words, texts)

    theirs = transformers.AutoModelForMaskedLM.from_pretrained(weights).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(weights)
    for text, row in zip(texts, ours, strict=True):
        sentences = {
            word: template.replace("{text}", text).replace("[MASK]", word).replace("<mask>", word)
            for of_label in words.values()
            for word in of_label
        }
        ids = {word: torch.tensor(tokenizer(sentence)["input_ids"]) for word, sentence in sentences.items()}
        one, other = list(ids.values())[:2]
        [place] = (one != other).nonzero().flatten().tolist()
        masked = one.clone()
        masked[place] = tokenizer.mask_token_id
        with torch.inference_mode():
            logits = theirs(masked[None]).logits[0, place]
        scores = [sum(logits[ids[word][place]] for word in of_label) / len(of_label) for of_label in words.values()]
        assert row == pytest.approx(torch.tensor(scores).softmax(-1).numpy(), abs=1e-5)
        assert np.ptp(row) > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bert-base-chinese", "bert-base-uncased", "roberta-base", "albert-base"])
def test_the_mask_stands_for_a_word_in_official_tokenizers_too(name: str) -> None:
    if not (TOKENIZERS / name).is_dir():
        pytest.skip(f"{TOKENIZERS / name} is absent")
    tokenizer = Tokenizer.from_pretrained(TOKENIZERS / name)
    for template in ("{text} It was [MASK].", "(<mask>) {text}", "[MASK]: {text}", "They said: [MASK], {text}!"):
        ids, start, end = prompt(template, "Nice food, good place", "great", tokenizer)
        completed = template.replace("{text}", "Nice food, good place").replace("[MASK]", "great")
        expected = tokenizer.convert_ids_to_tokens(tokenizer.encode(completed.replace("<mask>", "great")).ids)
        [place] = [i for i, token in enumerate(expected) if token.endswith("great")]
        expected[place] = tokenizer.special_tokens["mask"]
        assert tokenizer.convert_ids_to_tokens(ids) == expected
        assert tokenizer.decode(ids[start:end]).strip().lower() == "nice food, good place"


def test_other_words_give_other_answers(tmp_path: Path) -> None:
    weights = checkpoint("bert", tmp_path)
    texts = ["a fine thing", "bad news", "這家店很差"]
    one = probabilities(weights, TEMPLATE, ("a=great", "b=awful"), texts)
    swapped = probabilities(weights, TEMPLATE, ("a=awful", "b=great"), texts)
    other = probabilities(weights, TEMPLATE, ("a=poor", "b=dull"), texts)
    np.testing.assert_allclose(one, swapped[:, ::-1], rtol=1e-5)
    assert abs(one - other).min() > 1e-3
    assert abs(one - probabilities(weights, "{text} yes, [MASK].", ("a=great", "b=awful"), texts)).max() > 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("template", ["{text} It was [MASK].", "bad [MASK] {text} yes"])
@given(count=st.integers(0, 30), max_length=st.integers(11, 24))
def test_texts_are_cut_and_templates_never(template: str, family: str, count: int, max_length: int) -> None:
    tokenizer = tokenizer_for(family)
    config = tiny_config(family, vocab_size=tokenizer.vocab_size, max_position_embeddings=64)
    task = ClozeTask(ClozeSettings(template=template, words=WORDS, max_length=max_length))
    text = " ".join(["a", *["thing"] * count])
    encoded = task.encode([LabelledText(text, None, "1", 1)], tokenizer, config.with_labels({0: "0", 1: "1"}))
    ids = encoded.examples[0].ids.tolist()
    whole = len(tokenizer.encode(template.replace("{text}", text).replace("[MASK]", "great")).ids) + 2
    assert len(ids) == min(max_length, whole)
    assert (encoded.notes["cut_texts"], encoded.notes["cut_tokens"]) == (whole > max_length, max(0, whole - max_length))
    kept = max(0, count - max(0, whole - max_length))
    completed = template.replace("{text}", " ".join(["a", *["thing"] * kept])).replace("[MASK]", "great")
    [great] = tokenizer.encode(" great").ids
    expected = tokenizer.with_special_tokens(tokenizer.encode(completed).ids)[0]
    assert ids == [tokenizer.mask_token_id if index == great else index for index in expected]


def test_a_mask_in_the_text_is_no_second_gap(tmp_path: Path) -> None:
    weights = checkpoint("albert", tmp_path)
    batch_of_two = probabilities(weights, TEMPLATE, WORDS, ["a [MASK] thing", "yes"])
    assert batch_of_two[1] == pytest.approx(probabilities(weights, TEMPLATE, WORDS, ["yes"])[0], abs=1e-6)
    assert batch_of_two[0] == pytest.approx(probabilities(weights, TEMPLATE, WORDS, ["a [UNK] thing"])[0], abs=1e-6)


def some_split(counts: dict[str, int]) -> Split[LabelledText]:
    items = [LabelledText(f"{label} {i}", None, label, i + 1) for label, count in counts.items() for i in range(count)]
    return Split(path="file", sha256="", items=items)


def test_each_label_has_its_k_examples_and_smaller_draws_are_parts_of_larger_ones() -> None:
    pool = some_split({"a": 40, "b": 25, "c": 16})
    train, dev = (part.items for part in draw(pool, 8, seed=1))
    for part in (train, dev):
        assert Counter(item.label for item in part) == {"a": 8, "b": 8, "c": 8}
    assert not set(train) & set(dev)
    assert [part.items for part in draw(pool, 8, seed=1)] == [train, dev]
    assert draw(pool, 8, seed=2)[0].items != train
    for smaller, larger in zip(draw(pool, 3, seed=1), (train, dev), strict=True):
        assert set(smaller.items) < set(larger)
    with pytest.raises(InputError, match=r"file: c has 16 examples to draw from, and --shots 9 takes 18 .*give 8 at"):
        draw(pool, 9, seed=1)


@pytest.fixture(autouse=True, scope="module")
def _quickly() -> Iterator[None]:
    """In fewer steps than is right."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tasks.cloze.few_shot._LEAST_STEPS", 120)
        yield


def compare(folder: Path, *more: str) -> Path:
    out = registry.run("cloze", [
        "--weights", str(folder / "weights"), "--train", str(folder / "train.jsonl"), "--template", TEMPLATE,
        "--words", *WORDS, "--shots", "0", "8", "all", "--seeds", "2", "--lr", "1e-3",
        "--precision", "fp32", "--out", str(folder / "out"), *more,
    ])  # fmt: skip
    assert out is not None
    return out


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cloze")
    checkpoint("bert", folder / "weights")
    write(folder / "train.jsonl", rows(120))
    return compare(folder)


@pytest.mark.slow
def test_methods_are_compared_on_the_same_examples_and_learn(compared: Path) -> None:
    comparison = json.loads((compared / "comparison.json").read_text(encoding="utf-8"))
    cells = {(row["shots"], row["method"]): row for row in comparison["rows"]}
    linear = "TF-IDF 1-2-grams + linear SVM"
    methods = ("prompt", "fine-tuning", linear)
    assert list(cells) == [("0", "prompt"), *(("8", m) for m in methods), *(("all", m) for m in methods)]
    assert len(cells["0", "prompt"]["accuracy"]["values"]) == 1
    assert all(len(row["accuracy"]["values"]) == 2 for (shots, _), row in cells.items() if shots != "0")
    assert cells["0", "prompt"]["accuracy"]["mean"] < 0.8  # random weights know nothing
    assert cells["8", "prompt"]["accuracy"]["worst"] > 0.9
    for name in ("8-42", "8-43", "all-42"):
        seen = [
            json.loads((compared / f"{method}-{name}" / "metrics.json").read_text(encoding="utf-8"))["data"]
            for method in methods[:2]
        ]
        assert all(seen[0][part]["sha256"] == seen[1][part]["sha256"] for part in ("train", "dev", "test"))
        few = {"0": 8, "1": 8}
        assert (seen[0]["train"]["labels"] == few) == (name != "all-42")
        assert seen[0]["test"]["also_in_train"] == 0
    assert comparison["test"]["texts"] == 24
    page = (compared / "report.html").read_text(encoding="utf-8")
    for row in comparison["rows"]:
        assert all(f"{value:.4f}" in page for value in (row["accuracy"]["mean"], row["macro_f1"]["mean"]))
        assert all((f"{run}/report.html" in page) == (row["shots"] != "0") for run in row["runs"])


@pytest.mark.slow
def test_epochs_that_are_given_are_obeyed(compared: Path, tmp_path: Path) -> None:
    few = ["--shots", "8", "--seeds", "1", "--epochs", "2", "--out", str(tmp_path / "out")]
    for run in compare(compared.parent, *few).glob("*-8-42"):
        assert len(json.loads((run / "metrics.json").read_text(encoding="utf-8"))["epochs"]) == 2
    for run in compared.glob("*-8-42"):
        assert len(json.loads((run / "metrics.json").read_text(encoding="utf-8"))["epochs"]) == 120 / (16 / 4)


@pytest.mark.slow
def test_its_runs_answer(compared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts = ["a dull thing number 90", "a fine thing number 91"]
    inputs = write(tmp_path / "in.jsonl", [{"headline": text} for text in texts])
    capsys.readouterr()
    for name in ("prompt-8-42", "fine-tuning-8-42"):
        registry.run("predict", [str(compared / name), inputs])
        assert [json.loads(line)["label"] for line in capsys.readouterr().out.splitlines()] == ["0", "1"]
    registry.run("predict", [str(compared / "prompt-0"), inputs])
    shown = [json.loads(line)["probabilities"] for line in capsys.readouterr().out.splitlines()]
    expected = probabilities(str(compared.parent / "weights"), TEMPLATE, WORDS, texts)
    assert np.array([[row["0"], row["1"]] for row in shown]) == pytest.approx(expected, abs=1e-5)
    registry.run("fill_mask", [str(compared / "prompt-8-42"), "[MASK]"])  # it is still a checkpoint of masked words


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (["--train", "other.jsonl"], r"--resume: .*test\.jsonl has other examples than are drawn now"),
        (["--shots", "0", "1"], r"--resume: .*1-42-train\.jsonl has other examples"),
        (["--template", "A [MASK] {text}"], r"--resume: --template changed: was {text} It was"),
        (["--max-length", "12"], "--resume: --max-length changed"),
    ],
)
def test_what_a_comparison_has_is_not_replaced(tmp_path: Path, changed: list[str], message: str) -> None:
    weights = checkpoint("bert", tmp_path / "weights")
    first, other = (write(tmp_path / name, rows(count)) for name, count in (("t.jsonl", 40), ("other.jsonl", 50)))
    options = ["--train", first, "--shots", "0", "--weights", weights, "--template", TEMPLATE, "--words", *WORDS]
    folder = registry.run("cloze", [*options, "--out", str(tmp_path / "out")])
    assert folder is not None
    (folder / "data" / "1-42-train.jsonl").write_text("drawn before", encoding="utf-8")
    assert registry.run("cloze", [*options, "--out", str(folder), "--resume"]) == folder
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*") if path.is_file()}
    changed = [other if each == "other.jsonl" else each for each in changed]
    with pytest.raises(InputError, match=message):
        registry.run("cloze", [*options, *changed, "--out", str(folder), "--resume"])
    assert before == {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in before}


@pytest.mark.slow
def test_whole_runs_are_kept_where_it_goes_on(compared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (compared / "comparison.json").read_text(encoding="utf-8")
    compare(compared.parent, "--resume")
    shown = capsys.readouterr().out
    assert shown.count("the run is already complete") == 8
    assert "accuracy (macro F1) on" in shown
    after = (compared / "comparison.json").read_text(encoding="utf-8")
    assert json.loads(after)["rows"] == json.loads(before)["rows"]


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_a_plain_run_trains_all_it_is_given(family: str, tmp_path: Path) -> None:
    weights = checkpoint(family, tmp_path / "weights")
    out = registry.run("cloze", [
        "--weights", weights, "--train", write(tmp_path / "t.jsonl", rows(80)), "--template", TEMPLATE, "--words",
        *WORDS, "--epochs", "12", "--batch-size", "8", "--lr", "2e-3", "--precision", "fp32", "--no-baseline",
        "--r-drop", "0.1", "--out", str(tmp_path / "run"),
    ])  # fmt: skip
    assert out is not None
    metrics = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["final"]["dev"]["accuracy"] == 1.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--template", "{text} [MASK] [MASK]"], "must hold {text} once, where the text goes, and [MASK] once"),
        (["--template", "[MASK]"], "must hold {text} once"),
        (["--template", ""], "--template '': must hold {text}"),
        (["--words", "1=great"], "--words: needed for each label"),
        (["--words", "1=great", "0"], "--words '0': write it as LABEL=WORD"),
        (["--words", "1=great", "0=poor,"], "--words '0=poor,': write it as LABEL=WORD"),
        (["--words", "1=great", "0=poor", "0=dull"], "--words '0=dull': 0 has words already"),
        (["--words", "1=great", "2=poor"], "--words: none for the label 0 of"),
        (["--words", "1=great", "0=poor", "2=dull"], "--words 2: is not a label of"),
        (
            ["--words", "1=great", "0=greatest"],
            "a gap has room for one token, and this model has more for 'greatest' (great, ##es, ##t); choose",
        ),
        (["--words", "1=great", "0=囍"], "--words 0: '囍' is unknown to this model's vocabulary"),
        (["--words", "1=great", "0=poor,great"], "'great' and 'great' are one token of this model (great)"),
        (["--kind", "multi"], "--kind multi: a gap has one answer"),
        (["--pair-column", "x"], "--pair-column x: a template has room for one text"),
        (["--weights", "random"], "--weights random: only a pre-trained model"),
        (["--shots", "few"], "--shots few: give numbers of examples, 0 or more, or all"),
        (["--shots", "-1"], "--shots -1: give numbers"),
        (["--shots", "0", "40"], "has 20 examples to draw from, and --shots 40 takes 80"),
        (["--shots", "0", "--words", "1=great", "0=囍"], "'囍' is unknown"),
        (["--shots", "0", "--dev", "x"], "--dev: cannot be combined with --shots"),
        (["--max-length", "6"], "--template: has 4 tokens without the text, and the model reads 4"),
    ],
)
def test_bad_options_are_one_sentence_and_leave_nothing(tmp_path: Path, options: list[str], message: str) -> None:
    given_options = {
        "--weights": [checkpoint("bert", tmp_path / "weights")],
        "--train": [write(tmp_path / "t.jsonl", rows(50))],
        "--template": [TEMPLATE],
        "--words": list(WORDS),
        "--out": [str(tmp_path / "run")],
    }
    starts = [i for i, option in enumerate(options) if option.startswith("--")]
    for start, end in zip(starts, [*starts[1:], len(options)], strict=True):
        given_options[options[start]] = options[start + 1 : end]
    with pytest.raises(InputError) as error:
        registry.run("cloze", [part for name, values in given_options.items() for part in (name, *values)])
    assert message in str(error.value)
    assert not (tmp_path / "run").exists()


def test_pairs_and_models_without_a_head_are_refused(tmp_path: Path) -> None:
    weights = checkpoint("bert", tmp_path / "weights")
    pairs = write(tmp_path / "p.jsonl", [{"text": "a", "pair": "b", "label": str(i % 2)} for i in range(40)])
    options = ["--template", TEMPLATE, "--words", *WORDS, "--weights", weights]
    with pytest.raises(InputError, match=r"p\.jsonl: has pairs, .*--text-column"):
        registry.run("cloze", [*options, "--train", pairs])
    config = ClozeModel.from_pretrained(weights).config
    SequenceClassifier(config).save_pretrained(weights)
    with pytest.raises(InputError, match=r"has no trained head for masked words \(mlm\."):
        registry.run("cloze", [*options, "--train", write(tmp_path / "t.jsonl", rows(40))])
