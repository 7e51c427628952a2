"""Multiple choice: transformers' scores and losses for every family, and questions that differ in their choices."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ALL_FAMILIES, largest_difference, scramble, tiny_config, write
from torch import Tensor

from minibert import MultipleChoiceClassifier, Tokenizer
from minibert.formats.conversion import convert
from minibert.formats.source import open_source
from minibert.training import class_divergence
from tasks import registry
from tasks.multiple_choice.data import Question
from tasks.multiple_choice.settings import MultipleChoiceSettings
from tasks.multiple_choice.task import MultipleChoiceTask
from tasks.run.evaluate import evaluate
from tasks.run.splits import read_splits

SWAG = [
    Question("Ann fills a kettle.", "She", ("swims.", "makes tea, slowly and with care.", "digs.", "sings."), 1, 1),
    Question("Bob sits down on the old chair in the hall.", "He", ("stands up.", "flies.", "melts.", "is wet."), 0, 2),
    Question("它下雨了。", "路", ("是干的。", "很湿。", "在唱歌。", "没有了。"), 1, 3),
]
UNEVEN = [*SWAG, Question("", "Ice is", ("hot", "cold"), 1, 4), Question("It _ .", "", ("a", "b", "c"), 2, 5)]
TASK = MultipleChoiceTask(MultipleChoiceSettings())


def model_of(family: str, folder: Path) -> tuple[MultipleChoiceClassifier, Tokenizer]:
    """A tiny random model and a tokenizer, also saved in ``folder``."""
    texts = [text for item in UNEVEN for text in TASK.texts(item)]
    tokenizer = Tokenizer.train([texts], model_type=family, vocab_size=300, running_text=True)
    sizes = {"vocab_size": tokenizer.vocab_size, "pad_token_id": tokenizer.pad_token_id}
    model = MultipleChoiceClassifier(tiny_config(family, **sizes, max_position_embeddings=70)).eval()
    scramble(model)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder, config=model.config)
    return model, tokenizer


def scores(model: MultipleChoiceClassifier, tokenizer: Tokenizer, items: list[Question]) -> tuple[Any, Tensor]:
    batch = TASK.collate(TASK.encode(items, tokenizer, model.config).examples)
    return batch, batch.output_of(model)


@pytest.mark.slow
@pytest.mark.parametrize("family", ALL_FAMILIES)
def test_scores_losses_and_gradients_are_transformers(family: str, tmp_path: Path) -> None:
    """Theirs tokenises and pads as run_swag does: the context once for each choice, behind it question and choice."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    model, tokenizer = model_of(family, tmp_path)
    theirs = transformers.AutoModelForMultipleChoice.from_pretrained(tmp_path).eval()
    assert type(theirs).__name__.endswith("ForMultipleChoice")
    firsts = [item.context for item in SWAG for _ in item.choices]
    seconds = [f"{item.question} {choice}" for item in SWAG for choice in item.choices]
    padded = transformers.AutoTokenizer.from_pretrained(tmp_path)(firsts, seconds, padding=True, return_tensors="pt")
    inputs = {name: value.view(len(SWAG), 4, -1) for name, value in padded.items()}
    expected = theirs(**inputs, labels=torch.tensor([item.label for item in SWAG]))
    batch, output = scores(model, tokenizer, SWAG)
    assert batch.inputs.num_tokens == int(padded["attention_mask"].sum()), "nothing is padded"
    losses = TASK.losses(model, output, batch)
    assert largest_difference(batch.by_example(output), expected.logits) <= 1e-5
    assert largest_difference(losses.mean(), expected.loss) <= 1e-5
    losses.mean().backward()
    expected.loss.backward()
    ours = model.encoder.embeddings.word_embeddings.weight.grad
    assert ours is not None
    assert largest_difference(ours, theirs.get_input_embeddings().weight.grad) <= 1e-5
    theirs.save_pretrained(tmp_path / "theirs")
    converted = convert(open_source(tmp_path / "theirs"), tmp_path / "out")
    assert converted.architecture == type(theirs).__name__
    again = MultipleChoiceClassifier.from_pretrained(tmp_path / "out")
    assert torch.equal(batch.output_of(again), output)


@pytest.fixture
def tiny(tmp_path: Path) -> tuple[MultipleChoiceClassifier, Tokenizer]:
    return model_of("bert", tmp_path)


def test_questions_with_other_numbers_of_choices_do_not_touch_each_other(
    tiny: tuple[MultipleChoiceClassifier, Tokenizer],
) -> None:
    model, tokenizer = tiny
    batch, output = scores(model, tokenizer, UNEVEN)
    assert output.shape == (4 + 4 + 4 + 2 + 3,)
    assert (batch.num_targets, batch.lines) == (5, (1, 2, 3, 4, 5))
    losses = TASK.losses(model, output, batch)
    decoded = TASK.decode(model, output.detach(), batch, TASK.encode(UNEVEN, tokenizer, model.config).examples)
    for item, loss, probabilities in zip(UNEVEN, losses, decoded, strict=True):
        alone, of_item = scores(model, tokenizer, [item])
        assert alone.inputs.num_sequences == len(item.choices)
        expected = of_item.softmax(0)
        assert torch.tensor(probabilities) == pytest.approx(expected.detach(), abs=1e-6)
        assert loss.item() == pytest.approx(-expected[item.label].log().item(), abs=1e-5)


def test_the_divergence_for_r_drop_is_that_of_each_question(
    tiny: tuple[MultipleChoiceClassifier, Tokenizer],
) -> None:
    model, tokenizer = tiny
    batch, _ = scores(model, tokenizer, UNEVEN)
    first = torch.randn(17, dtype=torch.float64, requires_grad=True)
    second = torch.randn(17, dtype=torch.float64)
    assert TASK.divergence(model) is class_divergence
    found = class_divergence(first, second, batch)
    expected = 0.0
    for a, b in zip(first.split(batch.sequences_per_example), second.split(batch.sequences_per_example), strict=True):
        p, q = a.detach().softmax(0), b.softmax(0)
        expected += float(((p * (p / q).log()).sum() + (q * (q / p).log()).sum()) / 2)
    assert found.item() == pytest.approx(expected, rel=1e-5)
    found.backward()
    assert first.grad is not None
    assert first.grad.isfinite().all()


def test_evaluation_keeps_the_order_of_items(tiny: tuple[MultipleChoiceClassifier, Tokenizer]) -> None:
    model, tokenizer = tiny
    items = [*UNEVEN, *SWAG[::-1]]
    found = evaluate(TASK, model, items, TASK.encode(items, tokenizer, model.config), precision="fp32")
    assert [len(output) for output in found.outputs] == [len(item.choices) for item in items]
    for item, output in zip(items, found.outputs, strict=True):
        _, alone = scores(model, tokenizer, [item])
        assert torch.tensor(output) == pytest.approx(alone.softmax(0).detach(), abs=1e-6)


def test_a_long_context_is_cut_and_the_choices_are_kept(tiny: tuple[MultipleChoiceClassifier, Tokenizer]) -> None:
    model, tokenizer = tiny
    task = MultipleChoiceTask(MultipleChoiceSettings(max_length=30))
    item = Question("Ann fills a kettle. " * 9, "She", ("swims.", "digs."), 0, 1)
    encoded = task.encode([item], tokenizer, model.config)
    (example,) = encoded.examples
    assert example.lengths == (30, 30)
    assert encoded.notes["cut_choices"] == 2
    whole = 2 * len(tokenizer.encode(item.context).ids) + sum(
        len(tokenizer.encode(f"She {c}").ids) for c in item.choices
    )
    assert encoded.notes["cut_tokens"] == whole - 2 * (30 - 3)
    for choice, ids in zip(item.choices, (example.ids[:30], example.ids[30:]), strict=True):
        behind = tokenizer.encode(f"She {choice}").ids
        assert ids[-1 - len(behind) : -1].tolist() == behind


ROWS = [
    {
        "context": f"{name} holds a {thing}.",
        "question": f"{name}",
        "choices": [verb for _, verb in others][:: 1 if number % 2 else -1],
        "answer": verb,
    }
    for number, name in enumerate(("Ann", "Bob", "Eve", "Max", "Kim", "Leo"))
    for thing, verb in (("book", "reads it"), ("cup", "drinks it"), ("ball", "throws it"))
    for others in [[("book", "reads it"), ("cup", "drinks it"), ("ball", "throws it")][: 3 - number % 2]]
    if (thing, verb) in others
]


@pytest.mark.slow
def test_a_run_learns_answers_and_is_delivered(
    tmp_path: Path, narrow_models: None, capsys: pytest.CaptureFixture[str]
) -> None:
    train = write(tmp_path / "train.jsonl", ROWS)
    options = ["--weights", "random", "--train", train, "--dev", train, "--batch-size", "4", "--r-drop", "0.5"]
    options += ["--epochs", "2", "--precision", "fp32"]
    run = registry.run("multiple_choice", [*options, "--out", str(tmp_path / "run")])
    metrics = json.loads((run / "metrics.json").read_text("utf-8"))
    records = [json.loads(line) for line in (run / "predictions-dev.jsonl").read_text("utf-8").splitlines()]
    assert [row["choices"][record["gold"]] for row, record in zip(ROWS, records, strict=True)] == [
        row["answer"] for row in ROWS
    ]
    accuracy = sum(record["gold"] == record["predicted"] for record in records) / len(records)
    assert metrics["final"]["dev"]["accuracy"] == accuracy
    low, high = metrics["final"]["dev"]["intervals"]["accuracy"]
    assert low <= accuracy <= high
    assert metrics["data"]["train"]["questions"] == len(ROWS)
    assert json.loads((run / "config.json").read_text("utf-8"))["architectures"] == ["BertForMultipleChoice"]

    capsys.readouterr()
    (run / "task.json").unlink()  # as a checkpoint that another tool has made
    (run / "settings.toml").unlink()
    inputs = [{name: value for name, value in row.items() if name != "answer"} for row in ROWS]
    registry.run("predict", [str(run), write(tmp_path / "in.jsonl", inputs), "--precision", "fp32"])
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    for row, record, answer in zip(ROWS, records, answers, strict=True):
        assert answer["label"] == record["predicted"]
        assert answer["answer"] == row["choices"][record["predicted"]]
        assert answer["probabilities"] == pytest.approx(record["probabilities"], abs=1e-5)
        assert answer["probability"] == max(answer["probabilities"])


def test_questions_about_one_text_stay_on_one_side_of_a_split(tmp_path: Path) -> None:
    rows = [{**ROWS[index], "context": f"text {index // 3}"} for index in range(12)]
    task = MultipleChoiceTask(MultipleChoiceSettings(train=write(tmp_path / "t.jsonl", rows), dev_share=0.3))
    splits = read_splits(task)
    train, dev = ({item.context for item in splits[name].items} for name in ("train", "dev"))
    assert dev
    assert not train & dev


def test_accuracy_near_that_of_guessing_is_said() -> None:
    items = [Question("c", "q", ("a", "b"), 0, line) for line in range(100)]
    assert TASK.warnings(items, {"accuracy": 0.55}) == ["Accuracy 0.5500 is not clearly better than guessing, 0.5000."]
    assert TASK.warnings(items, {"accuracy": 0.7}) == []
