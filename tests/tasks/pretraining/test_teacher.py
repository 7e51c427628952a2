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
from tasks.pretraining.taught import TaughtModel, teacher_distances
from tasks.pretraining.teacher import Floats, Reader, Teacher, shared_characters
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


def make_model(folder: Path, corpus: str, family: str = "bert", width: int = WIDTH) -> Path:
    """A model without dropout."""
    lines = Path(corpus).read_text(encoding="utf-8").split("\n")
    tokenizer = Tokenizer.train([lines], model_type=family, vocab_size=300, running_text=True)
    fields = tiny_settings(
        family, vocab_size=tokenizer.vocab_size, pad_token_id=tokenizer.pad_token_id, hidden_size=width,
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


def load(teacher: str) -> Reader:
    return Teacher.find(teacher, device="cpu", precision="fp32").load()


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
            again = rng.integers(1, 3, len(borders))  # tokens of one character share its place
            spans.append(np.repeat(borders, again, axis=0))
        states = rng.normal(size=(len(spans[0]), 5)).astype(np.float32)
        first, counts, weights = shared_characters(*spans)
        assert len(weights) == counts.sum()
        borders = np.cumsum([0, *counts])
        for number, expected in enumerate(by_characters(states, *spans)):
            own = weights[borders[number] : borders[number + 1]]
            found = own @ states[first[number] :][: len(own)] if len(own) else np.full(5, np.nan)
            np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_teacher_reads_each_text_whole_and_a_long_one_in_parts(corpus: str, tmp_path: Path) -> None:
    teacher = load(make_teacher(tmp_path / "teacher", corpus))
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
    """In several parts, groups and slices of long texts, with one set of axes. All are kept, so that products of states
    stay the same."""
    monkeypatch.setattr(teacher_states, "_PART", 500)
    monkeypatch.setattr(teacher_states, "SLICE", 300)
    folder = make_teacher(tmp_path / "teacher", corpus, width=WIDTH, algorithm="bert", positions=200)
    prepared, again = (prepare(task(corpus, folder, family=family)) for _ in range(2))
    assert prepared.described["teacher"]["variance_kept"] == pytest.approx(1, abs=1e-6)
    teacher, tokenizer = load(folder), prepared.start.tokenizer
    mean = seen_states(teacher, prepared).mean(0)
    found, wanted = [], []
    for part in ("train", "dev"):
        objective, rows = stored_rows(prepared, part)
        assert len(objective.teacher.parts) > 3
        for paragraphs in prepared.splits[part].items.texts():
            before = len(wanted)
            for paragraph in paragraphs:
                slices = [paragraph[start : start + 300] for start in range(0, len(paragraph), 300)]
                states, places = zip(*teacher.states(slices), strict=True)
                given = np.concatenate([300 * number + each for number, each in enumerate(places)])
                wanted += by_characters(np.concatenate(states), given.tolist(), tokenizer.encode(paragraph).offsets)
            if family == "roberta" and len(wanted) > before:
                wanted.append(np.full(WIDTH, np.nan))  # the separator of documents
        found += list(rows)
        assert np.array_equal(stored_rows(again, part)[1], rows)
    expected, rows = np.array(wanted) - mean, np.array(found)
    unknown = np.isnan(expected).any(1)
    assert len(expected) == len(rows)
    assert not rows[unknown].any()
    expected[unknown] = 0
    some = slice(None, None, 1 + len(rows) // 300)
    products = expected @ expected[some].T
    np.testing.assert_allclose(rows @ rows[some].T, products, atol=2e-3 * np.abs(products).max())


def seen_states(teacher: Reader, prepared: Prepared) -> Floats:
    """The teacher's states that its axes come from: those of 500 characters of each document, of up to 400."""
    texts = ["\n".join(paragraphs)[:500] for paragraphs in prepared.splits["train"].items.texts()]
    return np.concatenate([states for states, _ in teacher.states(texts)])


def test_a_cut_keeps_the_axes_of_most_variance(corpus: str, tmp_path: Path) -> None:
    """As scikit-learn's principal components of the same states, but for their signs."""
    from sklearn.decomposition import PCA

    folder = make_teacher(tmp_path / "teacher", corpus, width=32, algorithm="bert", positions=200)
    prepared = prepare(task(corpus, folder))
    teacher = load(folder)
    expected = PCA(WIDTH).fit(seen_states(teacher, prepared))
    kept = prepared.described["teacher"]["variance_kept"]
    assert kept == pytest.approx(expected.explained_variance_ratio_.sum(), abs=1e-5)
    assert kept < 0.9999
    first = next(iter(prepared.splits["train"].items.texts()))[0]
    ((states, given),) = teacher.states([first])
    own = by_characters(states, given.tolist(), prepared.start.tokenizer.encode(first).offsets)
    wanted = expected.transform(np.array(own))
    _, rows = stored_rows(prepared)
    np.testing.assert_allclose(np.abs(rows[: len(own)]), np.abs(wanted), atol=5e-3 * np.abs(wanted).max())


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
    _, rows = stored_rows(prepare(task(corpus, folder)))
    stopped, total = len(written), sum(each is not None for each in written)
    assert total == sum(len(each.examples[0].objective.teacher.parts) for each in
                        prepare(task(corpus, folder)).encoded.values())  # fmt: skip
    assert total > 9
    assert len(written) == stopped
    monkeypatch.setenv("MINIBERT_CACHE", str(tmp_path / "other"))
    assert np.array_equal(stored_rows(prepare(task(corpus, folder)))[1], rows)


def test_models_of_other_tokenizers_and_widths_share_what_the_teacher_says(
    corpus: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_teacher(tmp_path / "teacher", corpus, width=32)
    _, rows = stored_rows(prepare(task(corpus, folder, family="bert")))
    monkeypatch.setattr(Reader, "states", None)  # it is not asked again
    _, others = stored_rows(prepare(task(corpus, folder, family="roberta")))
    assert others.any(1).mean() > 0.8  # spaces are tokens of their own to it alone
    wide = make_model(tmp_path / "wide", corpus, width=30)
    _, wider = stored_rows(prepare(task(corpus, folder, weights=str(wide))))
    assert wider.shape == (len(rows), 30)
    assert np.array_equal(wider[:, :WIDTH], rows)


def test_processes_share_the_work(corpus: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second of three begins with parts of its own; where the others have made nothing, it takes theirs, too."""
    monkeypatch.setattr(teacher_states, "_PART", 500)
    folder = make_teacher(tmp_path / "teacher", corpus, width=32)
    expected = stored_rows(prepare(task(corpus, folder)))[1]
    monkeypatch.setenv("MINIBERT_CACHE", str(tmp_path / "other"))
    monkeypatch.setattr("tasks.pretraining.teacher_states.distributed.rank", lambda: 1)
    monkeypatch.setattr("tasks.pretraining.teacher_states.distributed.world_size", lambda: 3)
    made, stored = [], teacher_states.stored
    monkeypatch.setattr(teacher_states, "stored", lambda key, *rest: made.append(key.get("part")) or stored(key, *rest))
    found = prepare(task(corpus, folder))
    parts = [part for part in made if part]
    assert [start for start, _ in parts[:3]] != sorted(start for start, _ in parts)[:3]
    assert np.array_equal(stored_rows(found)[1], expected)


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


def test_a_teacher_that_cannot_teach_is_refused(corpus: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--teacher: is empty"):
        PretrainingSettings(corpus=(corpus,), teacher="")
    narrow = make_teacher(tmp_path / "narrow", corpus, width=16)
    with pytest.raises(InputError, match=r"--teacher .*: its states have 16 numbers, fewer than the 24 of the model"):
        prepare(task(corpus, narrow))
    wide = make_teacher(tmp_path / "wide", corpus, width=32)
    short = tmp_path / "short.txt"
    short.write_text("Ann sees the river.\n\n臺北 是 首都。\n\nAnn sees.", encoding="utf-8")
    with pytest.raises(InputError, match=r"short\.txt: too little text to learn from --teacher .*; give more"):
        prepare(task(str(short), wide, dev=corpus))
    damaged = Encoder.from_pretrained(wide)
    with torch.no_grad():
        for parameter in damaged.parameters():
            parameter.fill_(3e38)
    damaged.save_pretrained(wide)
    with pytest.raises(InputError, match=r"--teacher .*: its states are not finite in fp32"):
        prepare(task(corpus, wide))


def test_a_text_that_changes_while_the_teacher_reads_it_is_refused(
    corpus: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_teacher(tmp_path / "teacher", corpus, width=32)
    write = teacher_states._write_states

    def changing(*given: Any) -> None:
        write(*given)
        with open(corpus, "a", encoding="utf-8") as file:
            file.write("\n\nmore")

    monkeypatch.setattr(teacher_states, "_write_states", changing)
    with pytest.raises(InputError, match=r"corpus\.txt: changes while it is read"):
        prepare(task(corpus, folder))


def test_a_sequence_that_the_teacher_does_not_know_learns_nothing_from_it() -> None:
    batch = LabelledBatch(
        inputs=pack([[1, 2, 3], [1, 2]]), targets=torch.empty(0), num_targets=0,
        soft_targets=torch.randn(2, 8), target_positions=torch.tensor([0, 2]),
    )  # fmt: skip
    states = torch.randn(5, 8, requires_grad=True)
    found = teacher_distances(states, batch)
    assert found[0] > 0
    assert found[1] == 0
    found.sum().backward()
    assert states.grad is not None
    assert states.grad.isfinite().all()
    assert not states.grad[[1, 3, 4]].any()
