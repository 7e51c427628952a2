"""Averaged weights, adversarial embeddings, R-Drop and layer-wise rates: each does what its formula says."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from training_runs import CPU, collate, loss, ragged_items, tiny_model, weights

from minibert import TokenClassifier
from minibert.errors import InputError
from minibert.training import Callbacks, Examples, LabelledBatch, Metric, Trainer, TrainingSettings, class_divergence
from minibert.training.optimizer import build_optimizer


def train(
    model: TokenClassifier,
    *,
    loss: Callable[[nn.Module, LabelledBatch], Tensor] = loss,
    on_evaluate: Callable[[], None] = lambda: None,
    on_best: Callable[[], None] = lambda: None,
    **settings: Any,
) -> None:
    given = {"epochs": 1, "batch_size": 8, "lr": 1e-2, "precision": "fp32", "warmup_ratio": 0.0, **settings}

    def evaluate() -> dict[str, float]:
        on_evaluate()
        return {"figure": 0.0}

    Trainer(
        model=model, data=Examples(ragged_items(8), collate), loss=loss, evaluate=evaluate, metric=Metric("figure"),
        device=CPU, settings=TrainingSettings(**given), divergence=class_divergence,
        callbacks=Callbacks(on_best=on_best),
    ).fit()  # fmt: skip


def plain_step(model: nn.Module, gradients: Sequence[Tensor]) -> None:
    """The first AdamW step at a rate of 1e-2, with clipping to 1 and decay of matrices alone, written out.

    Bias correction makes the first step ``g / (|g| + eps)``.
    """
    norm = torch.sqrt(sum((gradient**2).sum() for gradient in gradients))
    for parameter, gradient in zip(model.parameters(), gradients, strict=True):
        clipped = gradient * min(1.0, 1.0 / (float(norm) + 1e-6))
        parameter.data *= 1 - 1e-2 * (0.01 if parameter.ndim > 1 else 0.0)
        parameter.data -= 1e-2 * clipped / (clipped.abs() + 1e-8)


def gradients_of(model: nn.Module, value: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(value, list(model.parameters())))


def test_the_moving_average_is_evaluated_and_saved_but_not_trained() -> None:
    """Against the recurrence, from the weights before each step and at the end."""
    model = tiny_model()
    course: list[Tensor] = []
    evaluated: list[Tensor] = []
    saved: list[Tensor] = []

    def watched(module: nn.Module, batch: LabelledBatch) -> Tensor:
        course.append(weights(module).double().clone())
        return loss(module, batch)

    train(
        model, loss=watched, epochs=3, batch_size=2, ema=0.3,
        on_evaluate=lambda: evaluated.append(weights(model).double().clone()),
        on_best=lambda: saved.append(weights(model).double().clone()),
    )  # fmt: skip
    course.append(weights(model).double())
    average, expected = course[0], []
    for step, after in enumerate(course[1:], start=1):
        decay = min(0.3, (1 + step) / (10 + step))
        average = decay * average + (1 - decay) * after
        if step % 4 == 0:
            expected.append(average)
    torch.testing.assert_close(torch.stack(evaluated), torch.stack(expected), rtol=0, atol=1e-6)
    assert torch.equal(saved[0], evaluated[0])
    assert (evaluated[2] - course[-1]).abs().max() > 1e-4

    plain = tiny_model()
    train(plain, epochs=3, batch_size=2)
    assert torch.equal(weights(plain), weights(model))


@pytest.mark.parametrize("micro_batch_size", [8, 3])
def test_fgm_adds_the_gradient_at_adversarial_embeddings(micro_batch_size: int) -> None:
    """The gradient is that of the clean pass and of one with embeddings moved along the whole step's gradient."""
    ours, plain = tiny_model().double(), tiny_model().double()
    train(ours, fgm=0.7, micro_batch_size=micro_batch_size)
    batch = collate(ragged_items(8))
    table = plain.encoder.embeddings.word_embeddings.weight
    clean = gradients_of(plain, loss(plain, batch) / batch.num_targets)
    gradient = next(g for p, g in zip(plain.parameters(), clean, strict=True) if p is table)
    kept = table.detach().clone()
    table.data += 0.7 * gradient / gradient.norm()
    with torch.no_grad():
        assert loss(plain, batch) > loss(tiny_model().double(), batch)
    moved = gradients_of(plain, loss(plain, batch) / batch.num_targets)
    table.data = kept
    plain_step(plain, [first + second for first, second in zip(clean, moved, strict=True)])
    torch.testing.assert_close(weights(ours), weights(plain), rtol=0, atol=1e-6)


def test_r_drop_adds_the_divergence_of_two_passes() -> None:
    """Two passes are two copies of each sequence in a batch, with the dropout that the run's seed gives them; the order
    of a batch decides it, so the step has one sequence, again and again."""
    item = ragged_items(8)[:1] * 8
    ours, plain = tiny_model(0.3).double(), tiny_model(0.3).double()
    Trainer(
        model=ours, data=Examples(item, collate), loss=loss, evaluate=lambda: {"figure": 0.0}, metric=Metric("figure"),
        device=CPU,
        settings=TrainingSettings(
            epochs=1, batch_size=8, lr=1e-2, precision="fp32", warmup_ratio=0.0, r_drop=2.0, seed=7
        ),
        divergence=class_divergence,
    ).fit()  # fmt: skip
    torch.manual_seed(7)
    batch = collate(item)
    both = plain(collate(item * 2).inputs).chunk(2)
    first, second = (logits[batch.targets >= 0] for logits in both)
    targets = batch.targets[batch.targets >= 0]
    likelihood = (F.cross_entropy(first, targets) + F.cross_entropy(second, targets)) / 2
    p, q = first.log_softmax(-1), second.log_softmax(-1)
    divergence = (
        F.kl_div(p, q, log_target=True, reduction="sum") + F.kl_div(q, p, log_target=True, reduction="sum")
    ) / 2
    assert float(divergence.detach()) > 0.01
    plain_step(plain, gradients_of(plain, likelihood + 2.0 * divergence / batch.num_targets))
    torch.testing.assert_close(weights(ours), weights(plain), rtol=0, atol=1e-5)  # the divergence is taken in fp32


def test_r_drop_without_dropout_changes_nothing() -> None:
    ours, plain = tiny_model(), tiny_model()
    train(ours, r_drop=1.0)
    train(plain)
    torch.testing.assert_close(weights(ours), weights(plain), rtol=0, atol=1e-5)


def test_r_drop_is_refused_where_the_task_has_no_divergence() -> None:
    with pytest.raises(InputError, match=r"^--r-drop: this task has no measure"):
        Trainer(
            model=tiny_model(), data=Examples(ragged_items(8), collate), loss=loss, evaluate=dict,
            metric=Metric("figure"), device=CPU, settings=TrainingSettings(r_drop=1.0),
        ).fit()  # fmt: skip


def test_the_divergence_counts_only_rows_with_a_target() -> None:
    first, second = torch.randn(5, 3), torch.randn(5, 3)
    batch = LabelledBatch(
        inputs=collate(ragged_items(1)).inputs, targets=torch.tensor([0, -100, 2, -100, 1]), num_targets=3
    )
    expected = 0.0
    for row in (0, 2, 4):
        p, q = first[row].softmax(-1).tolist(), second[row].softmax(-1).tolist()
        logs = torch.tensor(p).log() - torch.tensor(q).log()
        expected += sum((a - b) * log for a, b, log in zip(p, q, logs.tolist(), strict=True)) / 2
    assert float(class_divergence(first, second, batch)) == pytest.approx(expected, rel=1e-5)


def test_rates_decay_from_layer_to_layer() -> None:
    """BERT with three layers: the head and the pooler at the full rate, the last layer at half of it, and so on."""
    for family, levels in (
        ("bert", {"groups.0.0": 3, "groups.1.0": 2, "groups.2.0": 1, "embeddings": 4}),
        ("albert", {"groups.0.0": 4, "groups.0.1": 3, "groups.1.0": 2, "groups.1.1": 1, "embeddings": 5}),
    ):
        model = tiny_model(family=family)
        optimizer = build_optimizer(model, lr=1.0, head_lr=3.0, layer_decay=0.5, weight_decay=0.1)
        rates = {id(p): group.lr for group in optimizer.groups for p in group.parameters}
        for name, parameter in model.named_parameters():
            level = next((levels[part] for part in levels if name.startswith(f"encoder.{part}.")), None)
            assert rates[id(parameter)] == (3.0 if level is None else 0.5**level), name
