"""Learning a teacher's states: which characters they belong to, what is stored of them, the loss, and whole runs."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import FAMILIES, scramble, tiny_config, tiny_settings
from corpus_texts import texts
from pretraining_steps import step_losses

from minibert import Encoder, EncoderConfig, PretrainingModel, Tokenizer, pack
from minibert.errors import InputError
from minibert.training import LabelledBatch
from tasks import registry
from tasks.pretraining import teacher_states
from tasks.pretraining.settings import PretrainingSettings
from tasks.pretraining.task import PretrainingTask
from tasks.pretraining.taught import TaughtModel
from tasks.pretraining.teacher import Floats, Teacher, averaged
from tasks.run.prepare import Prepared, prepare
from tasks.run.start_model import DROPOUT

WIDTH = 24


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIBERT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def corpus(tmp_path: Path) -> str:
    path = tmp_path / "corpus.txt"
    path.write_text("\n\n".join(map("\n".join, texts(70))), encoding="utf-8")
    return str(path)


def make_teacher(folder: Path, corpus: str, *, width: int = 48, algorithm: str = "roberta", positions: int = 34) -> str:
    """An encoder of random weights that are not alike, with a tokenizer and positions of its own."""
    lines = Path(corpus).read_text(encoding="utf-8").split("\n")
    tokenizer = Tokenizer.train([lines], model_type=algorithm, vocab_size=400, running_text=True)
    config = tiny_config(
        algorithm, vocab_size=tokenizer.vocab_size, pad_token_id=tokenizer.pad_token_id, hidden_size=width,
        num_attention_heads=4, intermediate_size=width, max_position_embeddings=positions,
    )  # fmt: skip
    model = Encoder(config)
    scramble(model)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def make_model(folder: Path, corpus: str, family: str = "bert") -> Path:
    """A model of 24 numbers a state, without dropout."""
    lines = Path(corpus).read_text(encoding="utf-8").split("\n")
    tokenizer = Tokenizer.train([lines], model_type=family, vocab_size=300, running_text=True)
    fields = tiny_settings(
        family, vocab_size=tokenizer.vocab_size, pad_token_id=tokenizer.pad_token_id, hidden_size=WIDTH,
        num_attention_heads=3, intermediate_size=48, max_position_embeddings=42,
    )  # fmt: skip
    model = PretrainingModel(EncoderConfig(**{**fields, **dict.fromkeys([*DROPOUT, "classifier_dropout"], 0.0)}))
    scramble(model)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def task(corpus: str, teacher: str, *, family: str = "bert", **settings: Any) -> PretrainingTask:
    weights = Path(teacher).parent / f"model-{family}"
    if not weights.exists():
        make_model(weights, corpus, family)
    given = {"weights": str(weights), "teacher": teacher, "max_length": 40, "precision": "fp32", **settings}
    return PretrainingTask(PretrainingSettings(arch=family, corpus=(corpus,), **given))


# -- characters -------------------------------------------------------------------------------------------------------


def by_characters(states: Floats, given: Sequence[Any], wanted: Sequence[Any]) -> list[Any]:
    """A token's state is the mean over its characters' tokens, counted once for each character that both share."""
    owners: dict[int, list[int]] = {}
    for number, (start, end) in enumerate(given):
        for place in range(start, end):
            owners.setdefault(place, []).append(number)
    found = []
    for start, end in wanted:
        shared = [states[number] for place in range(start, end) for number in owners.get(place, [])]
        found.append(np.mean(shared, axis=0) if shared else np.full(states.shape[1], np.nan))
    return found


def test_states_are_averaged_over_shared_characters() -> None:
    rng = np.random.default_rng(0)
    for _ in range(100):
        spans = []
        for _ in range(2):
            borders = np.sort(rng.choice(30, 2 * rng.integers(0, 7), replace=False)).reshape(-1, 2)
            spans.append(np.concatenate([borders, borders[:1]]))  # tokens of one character share its place
        states = rng.normal(size=(len(spans[0]), 5)).astype(np.float32)
        expected = np.array(by_characters(states, *spans)).reshape(-1, 5)
        np.testing.assert_allclose(averaged(states, *spans), expected, atol=1e-6)


def test_a_teacher_reads_each_text_whole_and_a_long_one_in_parts(corpus: str, tmp_path: Path) -> None:
    teacher = Teacher.load(make_teacher(tmp_path / "teacher", corpus), device="cpu", precision="fp32")
    given = ["小狗 sees", "", "臺北 是 首都 unbelievably", "the river " * 30]
    pieces = [teacher.tokenizer.encode(text) for text in given]
    room = 34 - 2 - 2  # RoBERTa's positions start at 2
    assert len(pieces[-1].ids) > 2 * room
    for (states, places), expected in zip(teacher.states(given), pieces, strict=True):
        assert places.tolist() == [list(each) for each in expected.offsets]
        parts = [expected.ids[start : start + room] for start in range(0, len(expected.ids), room)]
        with torch.no_grad():
            alone = [
                teacher.model.eval()(pack([teacher.tokenizer.with_special_tokens(ids)[0]])).last_hidden_state[1:-1]
                for ids in parts
            ]
        wanted = torch.cat([torch.empty(0, 48), *alone])
        np.testing.assert_allclose(states, wanted.numpy(), atol=1e-5)


# -- what is stored ---------------------------------------------------------------------------------------------------


def stored_rows(prepared: Prepared, part: str = "train") -> tuple[Any, Floats]:
    """The objective of a part of the data, and the stored states of all tokens."""
    objective = prepared.encoded[part].examples[0].objective
    return objective, objective.teacher.take(np.arange(len(objective.stream.ids)))


@pytest.mark.parametrize("family", FAMILIES)
def test_stored_states_are_the_teachers_turned(
    corpus: str, family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In several parts and groups. All axes are kept, so that turning leaves the products of states as they were."""
    monkeypatch.setattr(teacher_states, "_PART", 500)
    monkeypatch.setattr(teacher_states, "_GROUP", 300)
    folder = make_teacher(tmp_path / "teacher", corpus, width=WIDTH, algorithm="bert", positions=200)
    prepared, again = (prepare(task(corpus, folder, family=family)) for _ in range(2))
    teacher = Teacher.load(folder, device="cpu", precision="fp32")
    for part in ("train", "dev"):
        objective, rows = stored_rows(prepared, part)
        assert len(objective.teacher.parts) > 3
        assert objective.teacher.kept == pytest.approx(1, abs=1e-6)
        documents = prepared.splits[part].items
        expected: list[Any] = []
        for paragraphs in documents.texts():
            before = len(expected)
            for paragraph in paragraphs:
                ((states, given),) = teacher.states([paragraph])
                expected += by_characters(states, given.tolist(), prepared.start.tokenizer.encode(paragraph).offsets)
            if family == "roberta" and len(expected) > before:
                expected.append(np.full(WIDTH, np.nan))  # the separator of documents
        # The axes are those of the first paragraphs of up to 300 documents, here of all.
        seen = teacher.states([paragraphs[0] for paragraphs in documents.texts()])
        wanted = np.array(expected) - np.concatenate([states for states, _ in seen]).mean(0)
        unknown = np.isnan(wanted).any(1)
        assert len(wanted) == len(rows)
        assert not rows[unknown].any()
        wanted[unknown] = 0
        some = slice(None, None, 1 + len(rows) // 300)
        products, expected_products = rows @ rows[some].T, wanted @ wanted[some].T
        np.testing.assert_allclose(products, expected_products, atol=2e-3 * np.abs(expected_products).max())
        assert np.array_equal(stored_rows(again, part)[1], rows)


def test_a_cut_keeps_the_axes_of_most_variance(corpus: str, tmp_path: Path) -> None:
    """As scikit-learn's principal components of the same states."""
    from sklearn.decomposition import PCA

    folder = make_teacher(tmp_path / "teacher", corpus, width=32)
    prepared = prepare(task(corpus, folder))
    objective, _ = stored_rows(prepared)
    teacher = Teacher.load(folder, device="cpu", precision="fp32")
    seen = [paragraphs[0] for paragraphs in prepared.splits["train"].items.texts()]
    expected = PCA(WIDTH).fit(np.concatenate([states for states, _ in teacher.states(seen)]))
    assert objective.teacher.kept == pytest.approx(expected.explained_variance_ratio_.sum(), abs=1e-5)
    assert objective.teacher.kept < 0.9999


def test_parts_that_are_stored_are_not_computed_again(
    corpus: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that was stopped goes on with the part that it was at."""
    monkeypatch.setattr(teacher_states, "_PART", 500)
    folder = make_teacher(tmp_path / "teacher", corpus, width=32)
    write, written = teacher_states._write_states, []

    def failing(*given: Any) -> None:
        if len(written) == 3:
            written.append(None)
            raise KeyboardInterrupt
        written.append(given)
        write(*given)

    monkeypatch.setattr(teacher_states, "_write_states", failing)
    with pytest.raises(KeyboardInterrupt):
        prepare(task(corpus, folder))
    objective, rows = stored_rows(prepare(task(corpus, folder)))
    stopped, total = len(written), sum(each is not None for each in written)
    assert total == sum(len(each.examples[0].objective.teacher.parts) for each in
                        prepare(task(corpus, folder)).encoded.values())  # fmt: skip
    assert len(written) == stopped
    assert np.isfinite(rows).all()
    assert len(objective.teacher.parts) > 4


# -- the loss ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_loss_and_gradients_equal_plain_pytorch(corpus: str, family: str, tmp_path: Path) -> None:
    """Of one optimizer step, whole and in micro-batches; beside the loss of the words and pairs alone."""
    folder = make_teacher(tmp_path / "teacher", corpus, width=32)
    taught = task(corpus, folder, family=family, teacher_weight=0.7)
    prepared = prepare(taught)
    examples = list(prepared.encoded["train"].examples[:7])
    batch = taught.collate([taught.at_epoch(example, 1) for example in examples])

    def model() -> TaughtModel:
        assert taught.settings.weights is not None
        return TaughtModel.from_pretrained(taught.settings.weights).double().train()

    def expected(ours: TaughtModel) -> torch.Tensor:
        words, pair, states = batch.output_of(ours)
        alone = PretrainingTask(PretrainingSettings(corpus=("unread",)))
        plain = LabelledBatch(inputs=batch.inputs, targets=batch.targets, num_targets=batch.num_targets,
                              positions=batch.positions)  # fmt: skip
        total = alone.losses(ours, (words, pair), plain).sum() / batch.num_targets
        objective, distances = examples[0].objective, []
        drawn = [taught.at_epoch(example, 1).draw() for example in examples]
        for own, places in zip(batch.inputs.unpack(states), [each.places for each in drawn], strict=True):
            pairs = [(own[k], objective.teacher.take([place])[0]) for k, place in enumerate(places) if place >= 0]
            pairs = [(one, torch.from_numpy(other).double()) for one, other in pairs if other.any()]
            ones, others = torch.stack([one for one, _ in pairs]), torch.stack([other for _, other in pairs])
            cosines = (ones * others).sum(1) / ones.norm(dim=1) / others.norm(dim=1)
            one, other = ones.mean(0), others.mean(0)
            distances.append((1 - cosines).mean() + 1 - one @ other / one.norm() / other.norm())
        return total + 0.7 * torch.stack(distances).mean()

    wanted = model()
    value = expected(wanted)
    value.backward()
    for micro_batch_size in (11, 3):
        ours = model()
        losses = step_losses(ours, examples, taught, micro_batch_size)
        assert sum(losses) / batch.num_targets == pytest.approx(value.item(), rel=1e-5)
        for (name, one), other in zip(ours.named_parameters(), wanted.parameters(), strict=True):
            assert one.grad is not None, name
            torch.testing.assert_close(one.grad, other.grad, rtol=1e-3, atol=1e-6, msg=name)


# -- runs -------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_run_learns_the_states_resumes_exactly_and_leaves_a_plain_model(corpus: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is the oracle of this test")
    folder = make_teacher(tmp_path / "teacher", corpus)
    (tmp_path / "shape.json").write_text('{"hidden_size": 24, "num_attention_heads": 3, "intermediate_size": 48}')
    (tmp_path / "more.toml").write_text("teacher_weight = 5.0\nkeep_checkpoints = 50\n")
    options = ["--corpus", corpus, "--max-length", "40", "--epochs", "4", "--batch-size", "8", "--save-steps", "5"]
    options += ["--model-config", str(tmp_path / "shape.json"), "--config", str(tmp_path / "more.toml"), "--lr", "3e-3"]
    run = registry.run("pretraining", [*options, "--teacher", folder, "--out", str(tmp_path / "run")])
    assert run is not None
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    first, *_, last = metrics["epochs"]
    assert last["train_loss"] < 0.8 * first["train_loss"]
    assert last["teacher_distance"] < first["teacher_distance"]
    assert metrics["data"]["teacher"]["path"] == folder
    figures = metrics["final"]["dev"]
    parts = figures["masked_loss"] + figures["pair_loss"] + 5 * figures["teacher_distance"]
    assert figures["loss"] == pytest.approx(parts, abs=1e-9)

    model = (run / "model.safetensors").read_bytes()
    for later in sorted(run.glob("checkpoints/step-*"))[2:]:
        for file in later.iterdir():
            file.unlink()
        later.rmdir()
    (run / "metrics.json").unlink()
    moved = Path(folder).rename(tmp_path / "moved")
    registry.run("pretraining", [*options, "--teacher", str(moved), "--out", str(run), "--resume"])
    assert (run / "model.safetensors").read_bytes() == model
    _, info = transformers.BertForPreTraining.from_pretrained(run, output_loading_info=True)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert type(PretrainingModel.from_pretrained(run)) is PretrainingModel

    other = make_teacher(tmp_path / "other", corpus, algorithm="bert")
    (run / "metrics.json").unlink()
    with pytest.raises(InputError, match="the teacher file"):
        registry.run("pretraining", [*options, "--teacher", other, "--out", str(run), "--resume"])


def test_a_narrow_teacher_is_refused(corpus: str, tmp_path: Path) -> None:
    folder = make_teacher(tmp_path / "teacher", corpus, width=16)
    with pytest.raises(InputError, match=r"--teacher .*: its states have 16 numbers, fewer than the 24 of the model"):
        prepare(task(corpus, folder))
