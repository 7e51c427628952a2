"""The loop: what a step adds up, what decays, which epoch is best, and that a seed settles everything."""

import dataclasses
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from conftest import FAMILIES, scramble
from torch import Tensor, nn
from training_runs import CPU, Item, collate, examples, loss, ragged_items, tiny_model, weights

from minibert import TokenClassifier
from minibert.errors import InputError
from minibert.training import (
    Callbacks,
    Examples,
    LabelledBatch,
    Metric,
    Trainer,
    TrainingSettings,
    autocast,
    check_finite,
    choose_device,
    choose_precision,
    collapse_warning,
    predict,
)
from minibert.training.data import Plan, shuffled
from minibert.training.optimizer import build_optimizer, linear_schedule
from minibert.training.settings import check_settings, setting


def train(
    model: TokenClassifier,
    items: list[Item] | None = None,
    *,
    loss: Callable[[nn.Module, LabelledBatch], Tensor] = loss,
    **settings: Any,
) -> list[Mapping[str, Any]]:
    """Runs the loop on ragged items and gives every record."""
    records: list[Mapping[str, Any]] = []
    given: dict[str, Any] = {"epochs": 2, "batch_size": 8, "lr": 1e-3, "precision": "fp32", **settings}
    Trainer(
        model=model, data=examples(items or ragged_items()), loss=loss, evaluate=lambda: {"figure": 0.0},
        metric=Metric("figure"), settings=TrainingSettings(**given), device=CPU,
        callbacks=Callbacks(on_record=records.append),
    ).fit()  # fmt: skip
    return records


def test_micro_batches_make_the_same_step() -> None:
    whole, parts = tiny_model().double(), tiny_model().double()
    train(whole, batch_size=8)
    train(parts, batch_size=8, micro_batch_size=3)
    torch.testing.assert_close(weights(parts), weights(whole), rtol=0, atol=1e-9)


def test_a_step_is_what_plain_pytorch_makes_of_it() -> None:
    """Two full-batch epochs against a loop written out with PyTorch's own unfused AdamW."""
    items = ragged_items(6)
    ours, plain = tiny_model().double(), tiny_model().double()
    train(ours, items, batch_size=6, warmup_ratio=0.0, weight_decay=0.1, max_grad_norm=0.5, head_lr=1e-2)
    groups = []
    for name, parameter in plain.named_parameters():
        rate = 1e-2 if name.startswith("classifier") else 1e-3
        decay = 0.0 if parameter.ndim == 1 else 0.1
        groups.append({"params": [parameter], "lr": rate, "weight_decay": decay})
    optimizer = torch.optim.AdamW(groups, fused=False, foreach=False)
    batch = collate(items)
    for factor in (1.0, 0.5):
        for group in optimizer.param_groups:
            group["lr"] = factor * (1e-2 if group["lr"] > 2e-3 else 1e-3)
        optimizer.zero_grad()
        F.cross_entropy(plain(batch.inputs), batch.targets).backward()
        norm = torch.sqrt(sum((p.grad**2).sum() for p in plain.parameters() if p.grad is not None))
        for parameter in plain.parameters():
            if parameter.grad is not None:
                parameter.grad *= min(1.0, 0.5 / (float(norm) + 1e-6))
        optimizer.step()
    torch.testing.assert_close(weights(ours), weights(plain), rtol=0, atol=1e-9)


def test_biases_and_norms_do_not_decay_and_the_head_has_its_rate() -> None:
    model = tiny_model()
    optimizer = build_optimizer(model, lr=1.0, head_lr=2.0, weight_decay=0.3, device=CPU)
    found = {id(p): (group["lr"], group["weight_decay"]) for group in optimizer.param_groups for p in group["params"]}
    assert len(found) == len(list(model.parameters()))
    for name, parameter in model.named_parameters():
        expected = (2.0 if name.startswith("classifier") else 1.0, 0.0 if parameter.ndim == 1 else 0.3)
        assert found[id(parameter)] == expected, name


def test_the_rate_rises_and_falls_in_straight_lines() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = linear_schedule(optimizer, num_steps=10, warmup_ratio=0.4)
    rates = []
    for _ in range(10):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    assert rates == pytest.approx([1 / 5, 2 / 5, 3 / 5, 4 / 5, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6])
    assert schedule.get_last_lr()[0] == pytest.approx(0)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_seed_settles_every_bit(precision: str) -> None:
    first, again, other = (tiny_model(0.2) for _ in range(3))
    train(first, precision=precision, seed=5)
    train(again, precision=precision, seed=5)
    train(other, precision=precision, seed=6)
    assert torch.equal(weights(first), weights(again))
    assert not torch.equal(weights(first), weights(other))


def test_every_example_is_seen_once_an_epoch_in_another_order() -> None:
    seen: list[list[int]] = [[]]
    items = [([i], [i % 2]) for i in range(5, 25)]

    def watching(batch_items: Sequence[Item]) -> LabelledBatch:
        seen[-1] += [ids[0] for ids, _ in batch_items]
        return collate(batch_items)

    def next_epoch() -> dict[str, float]:
        seen.append([])
        return {"figure": 0.0}

    Trainer(
        model=tiny_model(), data=Examples(items, watching), loss=loss, evaluate=next_epoch, metric=Metric("figure"),
        settings=TrainingSettings(epochs=2, batch_size=7), device=CPU,
    ).fit()  # fmt: skip
    first, second, _ = seen
    assert sorted(first) == sorted(second) == list(range(5, 25))
    assert first != second


@pytest.mark.parametrize("budget", [1, 7, 30, 10_000])
def test_steps_of_so_many_tokens(budget: int) -> None:
    """Each example once an epoch, in the shuffled order; no step above the budget, unless it is one example; and no
    step has room for the next one's first."""
    lengths = [len(ids) for ids, _ in ragged_items(50)]
    plan = Plan(num_examples=50, seed=3, batch_tokens=budget, lengths=lengths)
    for epoch in (1, 2):
        steps = plan.steps(epoch)
        assert [index for step in steps for index in step] == shuffled(50, 3, epoch)
        totals = [sum(lengths[index] for index in step) for step in steps]
        for step, total in zip(steps, totals, strict=True):
            assert total <= budget or len(step) == 1
        for total, after in zip(totals, steps[1:], strict=False):
            assert total + lengths[after[0]] > budget
    assert plan.sizes(2) == [len(step) for epoch in (1, 2) for step in plan.steps(epoch)]


def test_a_run_of_steps_of_so_many_tokens() -> None:
    """Their number is known from the start: the rate rises over the first tenth, and falls to 0 in the end."""
    items = ragged_items()
    lengths = [len(ids) for ids, _ in items]
    steps = Plan(num_examples=len(items), seed=42, batch_tokens=20, lengths=lengths).sizes(2)
    seen: list[int] = []

    def watched(model: nn.Module, batch: LabelledBatch) -> Tensor:
        seen.append(batch.inputs.num_tokens)
        return loss(model, batch)

    whole, parts = tiny_model().double(), tiny_model().double()
    train(whole, loss=watched, batch_size=None, batch_tokens=20)
    assert len(seen) == len(steps)
    assert max(seen) <= 20
    assert sum(seen) == 2 * sum(lengths)
    train(parts, batch_size=None, batch_tokens=20, micro_batch_size=2)
    torch.testing.assert_close(weights(parts), weights(whole), rtol=0, atol=1e-9)


def test_the_schedule_ends_with_the_last_step(monkeypatch: pytest.MonkeyPatch) -> None:
    rates: list[float] = []
    step = torch.optim.AdamW.step

    def noted(self: torch.optim.AdamW, *arguments: Any) -> Any:
        rates.append(self.param_groups[0]["lr"])
        return step(self, *arguments)

    monkeypatch.setattr(torch.optim.AdamW, "step", noted)
    train(tiny_model(), batch_size=None, batch_tokens=20, lr=1.0, warmup_ratio=0.0)
    assert rates == pytest.approx([1 - done / len(rates) for done in range(len(rates))])


def test_steps_are_of_sequences_or_of_tokens() -> None:
    assert TrainingSettings().batch_size == 32
    assert TrainingSettings(batch_tokens=100).batch_size is None
    with pytest.raises(InputError, match="--batch-tokens: cannot be combined with --batch-size"):
        TrainingSettings(batch_tokens=100, batch_size=32)


def test_the_time_left_falls_to_nothing() -> None:
    left = [record["seconds_left"] for record in train(tiny_model(), epochs=3) if "train_loss" in record]
    assert left[-1] == 0
    assert all(value >= 0 for value in left)


def test_examples_may_differ_by_epoch_and_batches_know_their_steps_targets() -> None:
    seen: list[tuple[int, int, float | None]] = []
    epochs: list[int] = []

    def at_epoch(item: Item, epoch: int) -> Item:
        epochs.append(epoch)
        return item

    def noting(model: nn.Module, batch: LabelledBatch) -> Tensor:
        seen.append((batch.inputs.num_sequences, batch.num_targets, batch.targets_per_sequence))
        return loss(model, batch)

    Trainer(
        model=tiny_model(), data=Examples(ragged_items(7), collate, at_epoch), loss=noting,
        evaluate=lambda: {"figure": 0.0}, metric=Metric("figure"), device=CPU,
        settings=TrainingSettings(epochs=3, batch_size=7, micro_batch_size=3, precision="fp32"),
    ).fit()  # fmt: skip
    assert epochs == [1] * 7 + [2] * 7 + [3] * 7
    for step in (seen[:3], seen[3:6], seen[6:]):
        targets = sum(count for _, count, _ in step)
        assert [(size, ratio) for size, _, ratio in step] == [(3, targets / 7), (3, targets / 7), (1, targets / 7)]


def test_it_learns() -> None:
    records = train(tiny_model(), epochs=30, lr=3e-3)
    losses = [record["train_loss"] for record in records if "train_loss" in record]
    assert losses[0] > 0.5
    assert losses[-1] < 0.1


def test_the_reported_loss_is_the_mean_over_targets() -> None:
    model = tiny_model()
    items = ragged_items()
    batch = collate(items)
    with torch.no_grad():
        expected = float(F.cross_entropy(model(batch.inputs), batch.targets))
    records = train(model, items, epochs=1, batch_size=5, lr=1e-12)
    assert records[-1]["train_loss"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("higher", "figures", "best"),
    [
        (True, [0.1, 0.3, 0.2, 0.3], [0, 1]),
        (False, [0.5, 0.7, 0.4], [0, 2]),
        (True, [math.nan, 0.0, math.nan, 0.1], [1, 3]),
    ],
)
def test_the_best_epoch_has_a_direction_and_is_never_nan(higher: bool, figures: list[float], best: list[int]) -> None:
    saved: list[int] = []
    epoch = iter(range(len(figures)))
    now = [-1]

    def evaluate() -> dict[str, float]:
        now[0] = next(epoch)
        return {"figure": figures[now[0]]}

    history = Trainer(
        model=tiny_model(), data=Examples(ragged_items(2), collate), loss=loss, evaluate=evaluate,
        metric=Metric("figure", higher_is_better=higher), settings=TrainingSettings(epochs=len(figures)), device=CPU,
        callbacks=Callbacks(on_best=lambda: saved.append(now[0])),
    ).fit()  # fmt: skip
    assert saved == best
    assert [index for index, record in enumerate(history) if record["best"]] == best


def test_a_loss_that_is_no_number_stops_the_run() -> None:
    model = tiny_model()
    with torch.no_grad():
        model.classifier.bias[0] = math.nan
    with pytest.raises(InputError, match=r"the training loss at step 1, epoch 1, is nan.* Lower --lr"):
        train(model)


def with_lines(items: Sequence[Item]) -> LabelledBatch:
    """A batch whose examples stand in the lines of their first ids."""
    return dataclasses.replace(collate(items), lines=tuple(ids[0] for ids, _ in items))


@pytest.mark.parametrize("bad", ["loss", "gradient"])
def test_what_is_no_number_is_named_by_the_steps_lines(bad: str) -> None:
    """The second step's examples, in micro-batches; with a loss that is a number and a gradient that is none, too."""
    items = [([i], [i % 2]) for i in range(5, 25)]
    seen: list[int] = []

    def failing(model: nn.Module, batch: LabelledBatch) -> Tensor:
        seen.extend(batch.lines)
        value = loss(model, batch)
        if len(seen) <= 10:
            return value
        if bad == "loss":
            return value * math.inf
        return value + (value - value.detach()) ** 0.5  # 0, with an infinite slope

    with pytest.raises(InputError) as caught:
        Trainer(
            model=tiny_model(), data=Examples(items, with_lines), loss=failing, evaluate=dict, metric=Metric("figure"),
            settings=TrainingSettings(batch_size=6, micro_batch_size=4, precision="fp32"), device=CPU,
        ).fit()  # fmt: skip
    lines = ", ".join(map(str, sorted(seen[6:12])))
    what = {"loss": "training loss", "gradient": "gradient's norm"}[bad]
    assert f"the {what} at step 2, epoch 1, is " in str(caught.value)
    assert f"It comes from the examples at lines {lines}." in str(caught.value)


def test_many_lines_are_not_all_listed() -> None:
    with pytest.raises(InputError, match=r"at lines 1, 2, .*, 40, …\. Lower"):
        check_finite(math.nan, "the loss", range(1, 100))


def test_out_of_memory_halves_the_micro_batch_and_makes_the_same_steps(caplog: pytest.LogCaptureFixture) -> None:
    """A device on which 8 sequences fail, 4 the second time, with a gradient already there, and 2 go on to the end."""
    sizes: list[int] = []

    def small_device(model: nn.Module, batch: LabelledBatch) -> Tensor:
        sizes.append(batch.inputs.num_sequences)
        value = loss(model, batch)
        if sizes[-1] == 8 or (sizes.count(4) == 2 and sizes[-1] == 4):
            raise torch.OutOfMemoryError
        return value

    ours, whole = tiny_model().double(), tiny_model().double()
    train(ours, loss=small_device, batch_size=8)
    train(whole, batch_size=8)
    assert sizes[:4] == [8, 4, 4, 2]
    assert set(sizes[3:]) == {2}
    torch.testing.assert_close(weights(ours), weights(whole), rtol=0, atol=1e-9)
    assert [record.getMessage().split(";")[0] for record in caplog.records] == [
        "out of memory with micro-batches of 8 sequences", "out of memory with micro-batches of 4 sequences",
    ]  # fmt: skip


def test_out_of_memory_with_a_single_sequence_is_said() -> None:
    def no_device(model: nn.Module, batch: LabelledBatch) -> Tensor:
        raise torch.OutOfMemoryError

    with pytest.raises(InputError, match="out of memory with micro-batches of 1: give a smaller --max-length or model"):
        train(tiny_model(), loss=no_device)


def test_a_collapsed_run_is_called_so() -> None:
    several = ["A", "B", "C", "A"]
    stuck = collapse_warning(
        train_loss=math.log(3) - 0.01, num_classes=3, predicted=several[1:] + several[:1], gold=several
    )
    assert stuck is not None
    assert re.match(r"the training loss 1\.0886 is still that of guessing, ln 3; such a run has collapsed: try", stuck)
    one = collapse_warning(train_loss=0.3, num_classes=3, predicted=["A"] * 4, gold=several)
    assert one is not None
    assert one.startswith("every prediction is A, though the data hold 3 classes; such a run has collapsed")
    assert collapse_warning(train_loss=0.3, num_classes=3, predicted=several, gold=several) is None
    # A short run's mean loss is high, and yet it may have learnt all.
    assert collapse_warning(train_loss=math.log(3) - 0.01, num_classes=3, predicted=several, gold=several) is None
    assert collapse_warning(train_loss=0.3, num_classes=3, predicted=["A"], gold=["A"]) is None
    assert collapse_warning(train_loss=0.0, num_classes=1, predicted=["A"], gold=["A"]) is None


def test_a_step_without_any_target_changes_no_gradient() -> None:
    items: list[Item] = [([7, 8], [-100, -100]), ([9], [-100])]
    model = tiny_model()
    before = weights(model).clone()
    train(model, items, weight_decay=0.0)
    assert torch.equal(weights(model), before)


def test_early_stopping_ends_after_epochs_without_a_new_best() -> None:
    figures = iter([0.1, 0.3, 0.2, 0.3, 0.9])
    history = Trainer(
        model=tiny_model(), data=Examples(ragged_items(2), collate), loss=loss,
        evaluate=lambda: {"figure": next(figures)}, metric=Metric("figure"),
        settings=TrainingSettings(epochs=5, early_stopping=2), device=CPU,
    ).fit()  # fmt: skip
    assert [record["figure"] for record in history] == [0.1, 0.3, 0.2, 0.3]


@pytest.mark.parametrize("family", FAMILIES)
def test_activation_checkpointing_changes_no_bit_and_keeps_less(family: str) -> None:
    """With dropout; what autograd keeps is counted for one pass."""
    ends, kept = [], []
    for on in (True, False):
        model = tiny_model(0.2, family, num_hidden_layers=6)
        train(model, activation_checkpointing=on)
        assert model.encoder.activation_checkpointing is False
        ends.append(weights(model))
        model.train().encoder.activation_checkpointing = on
        sizes: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda x, sizes=sizes: sizes.append(x.nbytes), lambda _: None):
            model(collate(ragged_items()).inputs)
        kept.append(sum(sizes))
    assert torch.equal(ends[0], ends[1])
    assert kept[0] < kept[1] / 2


def test_deterministic_algorithms_are_used_in_the_run_alone_and_their_cost_is_recorded() -> None:
    used: list[bool] = []

    def watched(model: nn.Module, batch: LabelledBatch) -> Tensor:
        used.append(torch.are_deterministic_algorithms_enabled())
        return loss(model, batch)

    measured, plain = tiny_model(0.2), tiny_model(0.2)
    records = train(measured, loss=watched, epochs=1, deterministic=True)
    assert records[0]["deterministic_slowdown"] > 0
    assert all(used[-3:])
    assert not torch.are_deterministic_algorithms_enabled()
    train(plain, epochs=1)
    assert torch.equal(weights(measured), weights(plain))  # measuring leaves no trace, and a CPU knows one way only


def test_albert_sums_the_gradients_of_its_shared_layer_in_fp32() -> None:
    """Twelve uses in bf16, against a model of twelve layers with the same weights, whose gradients are added in fp64.

    Cast at each use, the sum is wrong by 6e-9 of its norm; cast once, as autocast does by itself, by 3e-3.
    """
    sizes = {"num_hidden_layers": 12, "inner_group_num": 1}
    shared = tiny_model(family="albert", num_hidden_groups=1, **sizes)
    scramble(shared)
    layers = tiny_model(family="albert", num_hidden_groups=12, **sizes)
    layers.load_state_dict(shared.state_dict(), strict=False)
    for group in layers.encoder.groups:
        group.load_state_dict(shared.encoder.groups[0].state_dict())
    batch = collate(ragged_items(40))

    def gradients(model: nn.Module, context: torch.autocast) -> dict[str, Tensor]:
        model.zero_grad()
        with context:
            value = loss(model, batch)
        value.backward()
        return {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}

    apart = gradients(layers, autocast(CPU, "bf16"))
    errors: dict[str, list[float]] = {"each": [], "once": []}
    for way, context in (("each", autocast(CPU, "bf16")), ("once", torch.autocast("cpu", torch.bfloat16))):
        together = gradients(shared, context)
        for name in ("attention.qkv", "attention.output", "feed_forward.intermediate", "feed_forward.output"):
            parts = [apart[f"encoder.groups.{group}.0.{name}.weight"].double() for group in range(12)]
            exact = torch.stack(parts).sum(0)
            ours = together[f"encoder.groups.0.0.{name}.weight"]
            assert ours.dtype == torch.float32
            errors[way].append(float((ours - exact).norm() / exact.norm()))
    assert max(errors["each"]) < 1e-6, errors
    assert min(errors["once"]) > 1e-3, errors


def test_norms_and_softmax_are_computed_in_fp32() -> None:
    """Their results are the exact ones, rounded once: half a unit in the last of bf16's 8 bits."""
    x = torch.randn(50, 64, dtype=torch.bfloat16) * 3 + 20
    norm = nn.LayerNorm(64)
    with autocast(CPU, "bf16"), torch.no_grad():
        ours = norm(x)
        probabilities = (x / 4).softmax(-1)
    exact = F.layer_norm(x.double(), (64,))
    torch.testing.assert_close(ours.double(), exact, rtol=2**-8, atol=1e-6)
    torch.testing.assert_close(probabilities.double(), (x / 4).double().softmax(-1), rtol=2**-8, atol=1e-6)


def test_a_metric_that_never_was_a_number_stops_the_run() -> None:
    with pytest.raises(InputError, match="no epoch has a figure for figure"):
        Trainer(
            model=tiny_model(), data=Examples(ragged_items(2), collate), loss=loss, metric=Metric("figure"),
            evaluate=lambda: {"figure": math.nan}, settings=TrainingSettings(epochs=2), device=CPU,
        ).fit()  # fmt: skip


def test_dropout_acts_in_training_and_never_in_evaluation() -> None:
    """Also in the epoch behind an evaluation, and from a model that was loaded in evaluation mode."""
    model = tiny_model(0.5).eval()
    items = ragged_items(4)
    data = Examples(items, collate)
    evaluated: list[Tensor] = []

    def evaluate() -> dict[str, float]:
        for _ in range(2):
            outputs = predict(model, data.batches(range(4), 4), precision="fp32", device=CPU)
            evaluated.append(torch.cat([logits for _, logits in outputs]))
        return {"figure": 0.0}

    history = Trainer(
        model=model, data=data, loss=loss, evaluate=evaluate, metric=Metric("figure"),
        settings=TrainingSettings(epochs=3, batch_size=4, lr=1e-12, precision="fp32"), device=CPU,
    ).fit()  # fmt: skip
    assert all(torch.equal(output, evaluated[0]) for output in evaluated)
    assert len({record["train_loss"] for record in history}) == 3


def test_evaluation_runs_in_the_precision_asked_for() -> None:
    model, data = tiny_model(), Examples(ragged_items(4), collate)
    types = {
        precision: next(predict(model, data.batches(range(4), 4), precision=precision, device=CPU))[1].dtype
        for precision in ("fp32", "bf16")
    }
    assert types == {"fp32": torch.float32, "bf16": torch.bfloat16}


@pytest.mark.parametrize(
    ("name", "value"),
    [("epochs", 0), ("batch_size", 0), ("batch_tokens", 0), ("lr", 0.0), ("warmup_ratio", 1.5), ("precision", "fp8"),
     ("seed", -1), ("micro_batch_size", 0), ("layer_decay", 0.0), ("layer_decay", 1.1), ("early_stopping", 0),
     ("ema", 1.0), ("fgm", 0.0), ("r_drop", -1.0), ("save_steps", 0), ("save_minutes", 0.0), ("keep_checkpoints", 1),
     ("max_grad_norm", 0.0), ("weight_decay", -0.1), ("head_lr", math.nan), ("lr", math.inf)],
)  # fmt: skip
def test_settings_out_of_range_are_refused_by_the_options_name(name: str, value: Any) -> None:
    with pytest.raises(InputError, match=f"^--{name.replace('_', '-')} "):
        TrainingSettings(**{name: value})


@pytest.mark.parametrize(
    ("limits", "accepted", "refused", "advice"),
    [
        ({"at_least": 1}, [1, 9], [0, -1], "must be 1 or more"),
        ({"above": 0}, [1e-9, 5.0], [0.0, math.nan, math.inf], "must be a number above 0"),
        ({"above": 0, "infinity": True}, [math.inf], [0.0, math.nan], "must be a number above 0"),
        ({"at_most": 5}, [5, -1], [6], "must be 5 or less"),
        ({"below": 5}, [4.9], [5.0], "must be a number below 5"),
        ({"at_least": 0, "at_most": 1}, [0.0, 1.0], [-0.1, 1.1], "must be from 0 to 1"),
        ({"above": 0, "below": 1}, [0.5], [0.0, 1.0], "must be between 0 and 1"),
        ({"at_least": 0, "below": 1}, [0.0], [1.0], "must be from 0 to below 1"),
        ({"above": 0, "at_most": 1}, [1.0], [0.0], "must be above 0 and at most 1"),
        ({}, [-3.5], [math.nan, -math.inf], "must be a finite number"),
        ({"choices": ("a", "b")}, ["a", "b"], ["c"], "use one of a, b"),
    ],
)
def test_a_field_declares_what_it_accepts(
    limits: dict[str, Any], accepted: list[Any], refused: list[Any], advice: str
) -> None:
    settings_class = dataclasses.make_dataclass("Settings", [("a_b", Any, setting(None, "help", **limits))])
    for value in (None, *accepted):
        check_settings(settings_class(value))
    for value in refused:
        with pytest.raises(InputError, match=f"^--a-b {value}: {advice}\\.$"):
            check_settings(settings_class(value))


def test_devices_and_precisions_that_are_not_there() -> None:
    with pytest.raises(InputError, match="fp16 needs a CUDA device"):
        choose_precision("fp16", CPU)
    with pytest.raises(InputError, match="not a device"):
        choose_device("gpu0")
    with pytest.raises(InputError, match="no such CUDA device"):
        choose_device("cuda:99")
    assert choose_precision("auto", CPU) in ("fp32", "bf16")
