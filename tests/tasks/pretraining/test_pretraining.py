"""Pre-training: draws that can be repeated, losses and gradients beside transformers', and runs by the command."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import FAMILIES, largest_difference, padded, scramble, tiny_settings
from pretraining_steps import step_losses

from minibert import PretrainingModel, Tokenizer
from minibert.checkpoint import open_checkpoint
from minibert.errors import InputError
from minibert.training import LabelledBatch
from minibert.training.state import require_same_fingerprint
from tasks import registry
from tasks.pretraining import task as pretraining
from tasks.pretraining.chunks import Chunk
from tasks.pretraining.corpus import Document
from tasks.pretraining.settings import PretrainingSettings
from tasks.pretraining.task import PretrainingTask

WORDS = {
    "who": ["Ann", "Bob", "The cat", "小明", "老師"],
    "does": ["sees", "likes", "follows", "看見", "喜歡"],
    "what": ["the river", "a red house", "old books", "白色的房子", "一本書"],
}


def corpus(count: int = 30) -> list[str]:
    """Documents of 6 sentences, two a paragraph, each document with words of its own."""
    lines = []
    for number in range(count):
        places = [((number + i) % 5, (number // 5 + i) % 5, (number * 3 + i) % 5) for i in range(6)]
        sentences = [f"{WORDS['who'][a]} {WORDS['does'][b]} {WORDS['what'][c]}." for a, b, c in places]
        lines += [f"{a} {b}" for a, b in zip(sentences[::2], sentences[1::2], strict=True)] + [""]
    return lines


@pytest.fixture
def path(tmp_path: Path) -> str:
    file = tmp_path / "corpus.txt"
    file.write_text("\n".join(corpus()), encoding="utf-8")
    return str(file)


def task(**settings: Any) -> PretrainingTask:
    return PretrainingTask(PretrainingSettings(corpus=("unread",), **settings))


def model_and_examples(family: str, task: PretrainingTask) -> tuple[PretrainingModel, Sequence[Chunk], Tokenizer]:
    """A tiny model without dropout, of weights that hide nothing, and the corpus as it sees it."""
    paragraphs = [line for line in corpus() if line]
    documents = [Document(tuple(paragraphs[i : i + 3]), "c.txt", i + 1) for i in range(0, len(paragraphs), 3)]
    tokenizer = Tokenizer.train([paragraphs], model_type=family, vocab_size=350, running_text=True)
    rates = ("hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout")
    fields = tiny_settings(
        family, vocab_size=tokenizer.vocab_size, pad_token_id=tokenizer.pad_token_id, max_position_embeddings=42
    )
    config = pretraining.EncoderConfig(**{**fields, **dict.fromkeys(rates, 0.0)})
    model = task.model_class(config)
    scramble(model)
    return model, task.encode(documents, tokenizer, config).examples, tokenizer


def seen(examples: Sequence[Chunk], task: PretrainingTask, epoch: int) -> list[Any]:
    drawn = [task.at_epoch(example, epoch).draw() for example in examples]
    return [(each.ids.tolist(), each.positions.tolist(), each.words.tolist(), each.label) for each in drawn]


@pytest.mark.parametrize("family", FAMILIES)
def test_draws_differ_between_epochs_and_seeds_and_come_again(family: str) -> None:
    dynamic, static, reseeded = task(), task(static_masks=True), task(seed=7)
    _, examples, _ = model_and_examples(family, dynamic)
    first, second = seen(examples, dynamic, 1), seen(examples, dynamic, 2)
    assert sum(a != b for a, b in zip(first, second, strict=True)) > 0.9 * len(first)
    _, again, _ = model_and_examples(family, dynamic)
    assert seen(again[::-1], dynamic, 2) == second[::-1], "in any order, from the settings alone"
    _, others, _ = model_and_examples(family, reseeded)
    assert seen(others, reseeded, 1) != first
    _, fixed, _ = model_and_examples(family, static)
    assert seen(fixed, static, 1) == seen(fixed, static, 2)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_drawn_chunk_unmasked_is_its_text_in_a_frame(family: str) -> None:
    tested = task()
    _, examples, tokenizer = model_and_examples(family, tested)
    for example in examples:
        drawn = tested.at_epoch(example, 3).draw()
        ids = drawn.ids.copy()
        ids[drawn.positions] = drawn.words
        assert len(ids) <= len(example.ids) <= 42 - (family == "roberta") * 2
        if drawn.label == (1 if family == "bert" else None):
            continue
        text = example.objective.stream.ids[example.start : example.end].tolist()
        specials = (tokenizer.cls_token_id, tokenizer.sep_token_id)
        inner = [index for index in ids.tolist() if index not in specials]
        if family == "roberta":
            assert ids.tolist() == [specials[0], *text, specials[1]]
            assert not any(drawn.types)
        else:
            border = drawn.types.index(1)
            assert ids[[0, border - 1, -1]].tolist() == [specials[0], specials[1], specials[1]]
            assert len(inner) == len(ids) - 3
            swapped = [*ids[border:-1].tolist(), *ids[1 : border - 1].tolist()]
            assert text == (swapped if drawn.label else inner)


def their_loss(
    family: str, model: PretrainingModel, batch: LabelledBatch, folder: Path, *, words_alone: bool
) -> tuple[Any, torch.Tensor]:
    transformers = pytest.importorskip("transformers", reason="transformers is the oracle of this test")
    words_alone = words_alone or family == "roberta"
    name = f"{family.capitalize()}For{'MaskedLM' if words_alone else 'PreTraining'}"
    model.save_pretrained(folder)
    theirs = getattr(transformers, name).from_pretrained(folder, attn_implementation="eager").double().train()
    assert batch.positions is not None
    labels = torch.full((batch.inputs.num_tokens,), -100)
    labels[batch.positions] = batch.targets[: batch.num_targets]
    rows = [row.tolist() for row in batch.inputs.unpack(batch.inputs.input_ids)]
    given = {
        "input_ids": padded(rows, model.config.pad_token_id),
        "attention_mask": padded([[1] * len(row) for row in rows], 0),
        "token_type_ids": padded([row.tolist() for row in batch.inputs.unpack(batch.inputs.token_type_ids)], 0),
        "labels": padded([row.tolist() for row in batch.inputs.unpack(labels)], -100),
    }
    pairs = {"bert": "next_sentence_label", "albert": "sentence_order_label"}
    if not words_alone:
        given[pairs[family]] = batch.targets[batch.num_targets :]
        assert len(given[pairs[family]]) == batch.inputs.num_sequences
    return theirs, theirs(**given).loss


@pytest.mark.parametrize(
    ("family", "words_alone"), [*((family, False) for family in FAMILIES), ("bert", True), ("albert", True)]
)
def test_loss_and_gradients_equal_those_of_transformers(family: str, words_alone: bool, tmp_path: Path) -> None:
    """Of one optimizer step, whole and made of micro-batches that differ in their number of targets per pair."""
    tested = task(words_alone=words_alone)
    model, examples, _ = model_and_examples(family, tested)
    chosen = list(examples[:11])
    batch = tested.collate([tested.at_epoch(example, 1) for example in chosen])
    theirs, expected = their_loss(family, model, batch, tmp_path / "start", words_alone=words_alone)
    expected.backward()
    # Their gradients, under our names: the file of a model whose weights they are.
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.copy_(parameter.grad if parameter.grad is not None else torch.zeros_like(parameter))
    theirs.float().save_pretrained(tmp_path / "gradients")
    wanted = dict(open_checkpoint(tmp_path / "gradients").load(PretrainingModel)[0].named_parameters())

    for micro_batch_size, num_losses in ((11, 1), (3, 4)):
        ours = open_checkpoint(tmp_path / "start").load(tested.model_class)[0].double().train()
        losses = step_losses(ours, chosen, tested, micro_batch_size)
        assert len(losses) == num_losses
        assert sum(losses) / batch.num_targets == pytest.approx(expected.item(), rel=1e-6)
        for name, parameter in ours.named_parameters():
            if words_alone and name.startswith(("pair.", "encoder.pooler.")):
                assert parameter.grad is None
                continue
            assert parameter.grad is not None, name
            assert largest_difference(parameter.grad, wanted[name]) <= 1e-5, name


@pytest.mark.parametrize("family", FAMILIES)
def test_words_alone_are_masked_in_running_text(family: str) -> None:
    """Each chunk is the tokens of its place in the stream, in one frame."""
    tested = task(words_alone=True)
    _, examples, tokenizer = model_and_examples(family, tested)
    borders = 0
    for example in examples:
        drawn = tested.at_epoch(example, 2).draw()
        ids = drawn.ids.copy()
        ids[drawn.positions] = drawn.words
        text = example.objective.stream.ids[example.start : example.end].tolist()
        assert ids.tolist() == [tokenizer.cls_token_id, *text, tokenizer.sep_token_id]
        assert drawn.label is None
        assert not any(drawn.types)
        borders += tokenizer.sep_token_id in text
    assert borders > 5, "text of several documents in a chunk"


def test_a_run_of_before_is_resumed_without_words_alone() -> None:
    """Its settings say nothing of it."""
    none, some = (task(words_alone=given).settings.fingerprint() for given in (False, True))
    before = {name: value for name, value in none.items() if name != "--words-alone"}
    require_same_fingerprint(before, none)
    with pytest.raises(InputError, match="--words-alone changed: was None, is now True"):
        require_same_fingerprint(before, some)


@pytest.mark.slow
@pytest.mark.parametrize("with_teacher", [False, True])
def test_words_alone_leave_the_head_for_pairs_as_it_is(path: str, with_teacher: bool, tmp_path: Path) -> None:
    small = ["--corpus", path, "--max-length", "40", "--epochs", "1", "--batch-size", "16"]
    first = registry.run("pretraining", [*small, "--out", str(tmp_path / "first")])
    assert first is not None
    more = ["--teacher", str(first)] if with_teacher else []
    second = registry.run(
        "pretraining", ["--weights", str(first), "--words-alone", *small, *more, "--out", str(tmp_path / "second")]
    )
    assert second is not None
    figures = json.loads((second / "metrics.json").read_text(encoding="utf-8"))["final"]["dev"]
    assert "pair_accuracy" not in figures
    assert ("teacher_distance" in figures) == with_teacher
    before, after = (dict(PretrainingModel.from_pretrained(run).named_parameters()) for run in (first, second))
    for name, values in before.items():
        assert torch.equal(values, after[name]) == name.startswith(("pair.", "encoder.pooler.")), name


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_one_batch_can_be_learnt_by_heart(family: str) -> None:
    tested = task(static_masks=True)
    model, examples, _ = model_and_examples(family, tested)
    batch = tested.collate(examples[:6])
    model = PretrainingModel(model.config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(150):
        loss = tested.losses(model, batch.output_of(model), batch).sum() / batch.num_targets
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.05
    tallies = tested.decode(model, batch.output_of(model), batch, examples[:6])
    figures = tested.compute_metrics([], tested.outputs(model, [], [tallies]))
    assert figures["masked_accuracy"] == 1
    assert figures.get("pair_accuracy", 1) == 1
    assert figures["loss"] < 0.05


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_a_run_resumes_exactly_and_its_model_is_that_of_transformers(path: str, family: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is the oracle of this test")
    (tmp_path / "shape.json").write_text('{"hidden_size": 24, "num_attention_heads": 3, "intermediate_size": 48}')
    options = ["--arch", family, "--corpus", path, "--max-length", "40", "--epochs", "2", "--batch-size", "16"]
    (tmp_path / "keep.toml").write_text("keep_checkpoints = 50\n")
    options += ["--model-config", str(tmp_path / "shape.json"), "--config", str(tmp_path / "keep.toml")]
    options += ["--save-steps", "1"]
    whole = registry.run("pretraining", [*options, "--out", str(tmp_path / "whole")])
    assert whole is not None
    metrics = json.loads((whole / "metrics.json").read_text(encoding="utf-8"))
    figures = metrics["final"]["dev"]
    assert {"loss", "masked_accuracy", "perplexity"} <= figures.keys()
    assert ("pair_accuracy" in figures) == (family != "roberta")

    out = tmp_path / "out"
    shutil.copytree(whole, out)
    steps = sorted(out.glob("checkpoints/step-*"))
    middle = len(steps) // 2 + 1  # in the second epoch
    for later in steps[middle:]:
        shutil.rmtree(later)
    (out / "metrics.json").unlink()
    registry.run("pretraining", [*options, "--out", str(out), "--resume"])
    assert (out / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    assert json.loads((out / "metrics.json").read_text(encoding="utf-8"))["final"] == metrics["final"]

    name = "RobertaForMaskedLM" if family == "roberta" else f"{family.capitalize()}ForPreTraining"
    assert json.loads((whole / "config.json").read_text())["architectures"] == [name]
    theirs, info = getattr(transformers, name).from_pretrained(whole, output_loading_info=True)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    ours, tokenizer = PretrainingModel.from_pretrained(whole), Tokenizer.from_pretrained(whole)
    assert ours.config.hidden_size == 24
    second = None if family == "roberta" else tokenizer.encode("一本書.").ids
    ids, types = tokenizer.with_special_tokens(tokenizer.encode("Ann sees").ids, second)
    assert (
        transformers.AutoTokenizer.from_pretrained(whole)("Ann sees")["input_ids"]
        == (tokenizer.with_special_tokens(tokenizer.encode("Ann sees").ids)[0])
    )
    with torch.no_grad():
        words, _ = ours(pretraining.pack([ids], [types]))
        output = theirs.eval()(input_ids=torch.tensor([ids]), token_type_ids=torch.tensor([types]))
    logits = output.logits if family == "roberta" else output.prediction_logits
    assert largest_difference(words, logits[0]) < 1e-4


@pytest.mark.slow
def test_a_checkpoint_goes_on_with_its_own_tokenizer_and_files_need_not_be_one(path: str, tmp_path: Path) -> None:
    small = ["--max-length", "40", "--epochs", "1", "--batch-size", "16"]
    first = registry.run("pretraining", ["--corpus", path, path, *small, "--out", str(tmp_path / "first")])
    assert first is not None
    second = registry.run("pretraining", [
        "--weights", str(first), "--corpus", path, "--dev", path, "--masking", "word", *small, "--lr", "1e-3",
        "--out", str(tmp_path / "second"),
    ])  # fmt: skip
    assert second is not None
    assert (second / "tokenizer.json").read_bytes() == (first / "tokenizer.json").read_bytes()
    before, after = (json.loads((run / "metrics.json").read_text("utf-8")) for run in (first, second))
    assert before["data"]["train"]["documents"] + before["data"]["dev"]["documents"] == 60
    assert after["epochs"][0]["train_loss"] < before["epochs"][0]["train_loss"]


@pytest.mark.slow
def test_prediction_says_who_answers_instead(path: str, tmp_path: Path) -> None:
    out = str(tmp_path / "run")
    registry.run("pretraining", ["--corpus", path, "--max-length", "40", "--epochs", "1", "--out", out])
    with pytest.raises(InputError, match=r"line 1: holds no \[MASK\] to fill; write it where a word"):
        registry.run("predict", [out, path])


def test_what_cannot_be_used_is_named(path: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--corpus: needed"):
        registry.run("pretraining", [])
    with pytest.raises(InputError, match=r"--train .*: give the files to pre-train on with --corpus"):
        registry.run("pretraining", ["--train", path])
    with pytest.raises(InputError, match="--masking letters: use one of token, word, ngram"):
        registry.run("pretraining", ["--corpus", path, "--masking", "letters"])
    with pytest.raises(InputError, match="--tokenizer: cannot be combined with --weights"):
        registry.run("pretraining", ["--corpus", path, "--weights", "x", "--tokenizer", "y"])
    (tmp_path / "shape.json").write_text('{"hidden_sise": 32}')
    with pytest.raises(InputError, match=r"shape\.json: hidden_sise is not a field of the model; it has .*hidden_size"):
        registry.run("pretraining", ["--corpus", path, "--model-config", str(tmp_path / "shape.json")])
    (tmp_path / "shape.json").write_text('{"hidden_size": 32, "vocab_size": 5}')
    with pytest.raises(InputError, match=r"shape\.json: vocab_size is determined by --arch or the tokenizer"):
        registry.run("pretraining", ["--corpus", path, "--model-config", str(tmp_path / "shape.json")])
    single = tmp_path / "single.txt"
    single.write_text("One document.\nOnly one.\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"single\.txt: too little text"):
        registry.run("pretraining", ["--corpus", path, "--dev", str(single)])
