"""Live parity with transformers: each family, each head, several activations, and files read by both."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from conftest import (
    ALL_FAMILIES,
    largest_difference,
    local_minilm,
    padded,
    ragged_ids,
    ragged_types,
    scramble,
    tiny_config,
    tiny_settings,
)
from torch import Tensor, nn

from minibert import (
    Encoder,
    EncoderConfig,
    MultipleChoiceClassifier,
    PackedBatch,
    PretrainingModel,
    ReplacedTokenDetector,
    SequenceClassifier,
    SpanClassifier,
    TokenClassifier,
    Tokenizer,
    pack,
)
from minibert import dropout as dropout_module
from minibert.attention import attention_backend
from minibert.checkpoint import Pretrained
from minibert.families import FAMILIES
from minibert.formats.huggingface import name_table
from minibert.formats.names import from_parameters

transformers = pytest.importorskip("transformers", reason="transformers is the oracle of these tests")
transformers.utils.logging.disable_progress_bar()

HEADS: dict[str, type[Pretrained]] = {
    "Model": Encoder,
    "ForTokenClassification": TokenClassifier,
    "ForSequenceClassification": SequenceClassifier,
    "ForMultipleChoice": MultipleChoiceClassifier,
    "ForQuestionAnswering": SpanClassifier,
    "ForPreTraining": PretrainingModel,
    "ForReplacedTokenDetection": ReplacedTokenDetector,
}
WITH_HEADS = [(family, head) for family in ALL_FAMILIES for head in HEADS if head in ("Model", *FAMILIES[family].heads)]
LENGTHS = (6, 20, 1, 11)
TOLERANCES = {torch.float64: 1e-9, torch.float32: 1e-5}
LABELS = {0: "O", 1: "B-LOC", 2: "I-LOC"}


def activations(family: str) -> list[str]:
    """Their own one, and others, so that it shows where one is fixed whatever the config says."""
    return list(dict.fromkeys([EncoderConfig(**tiny_settings(family)).hidden_act, "relu", "gelu_new", "tanh"]))


def their_model(family: str, head: str, **changes: Any) -> nn.Module:
    settings = tiny_config(family, **changes).to_dict()
    if head in ("ForTokenClassification", "ForSequenceClassification"):
        settings["id2label"] = LABELS
        settings["label2id"] = {label: index for index, label in LABELS.items()}
    if head == "ForMultipleChoice":
        settings |= {"id2label": {0: "LABEL_0"}, "label2id": {"LABEL_0": 0}}
    config = transformers.AutoConfig.for_model(**settings)
    model = getattr(transformers, FAMILIES[family].class_of(head))._from_config(config, attn_implementation="eager")
    scramble(model)
    return model.eval()


def their_outputs(
    model: nn.Module, rows: list[list[int]], types: list[list[int]], hidden_states: bool = False
) -> dict[str, Tensor]:
    """What their model gives: by token ``(T, ...)`` at the real tokens, or by sequence ``(B, ...)``."""
    mask = padded([[1] * len(row) for row in rows], 0)
    inputs = {
        "input_ids": padded(rows, model.config.pad_token_id),
        "attention_mask": mask,
        "token_type_ids": padded(types, 0),
    }
    if not getattr(model.config, "type_vocab_size", 0):
        del inputs["token_type_ids"]
    if type(model).__name__.endswith("ForMultipleChoice"):  # all rows are choices of one question
        output = model(**{name: value[None] for name, value in inputs.items()})
        return {"logits": output.logits[0]}
    output = model(**inputs, output_hidden_states=hidden_states)
    if hidden_states:
        return {f"layer {number}": states[mask.bool()] for number, states in enumerate(output.hidden_states)}
    return {
        name: value[mask.bool()] if value.shape[:2] == mask.shape else value
        for name, value in output.items()
        if isinstance(value, Tensor)
    }


def our_outputs(model: nn.Module, batch: PackedBatch) -> dict[str, Tensor]:
    """What our model gives, under the names of theirs."""
    output = model(batch)
    if isinstance(model, Encoder):
        pooled = {} if output.pooler_output is None else {"pooler_output": output.pooler_output}
        return {"last_hidden_state": output.last_hidden_state, **pooled}
    if isinstance(model, SpanClassifier):
        return {"start_logits": output[:, 0], "end_logits": output[:, 1]}
    if isinstance(model, PretrainingModel):
        words, pair = output
        if pair is None:
            return {"logits": words}
        return {"prediction_logits": words, PAIR_LOGITS[model.config.family.pair_objective]: pair}
    return {"logits": output}


PAIR_LOGITS = {"next_sentence": "seq_relationship_logits", "sentence_order": "sop_logits"}


@pytest.mark.slow
@pytest.mark.parametrize(("family", "head"), WITH_HEADS)
@torch.no_grad()
def test_outputs_equal_and_files_go_both_ways(
    family: str, head: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own, *others = activations(family)
    for activation in others:
        theirs = their_model(family, head, hidden_act=activation)
        check_outputs(theirs, read_theirs(theirs, HEADS[head], tmp_path / activation, caplog))
    check_outputs_and_files(their_model(family, head, hidden_act=own), HEADS[head], tmp_path, caplog)


def test_ernie_1_has_no_task_types(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    theirs = their_model("ernie", "ForSequenceClassification", use_task_id=False, hidden_act="relu")
    with torch.no_grad():
        check_outputs_and_files(theirs, SequenceClassifier, tmp_path, caplog)


def read_theirs(
    theirs: Any, model_class: type[Pretrained], folder: Path, caplog: pytest.LogCaptureFixture
) -> Pretrained:
    """Our model from the files that theirs writes."""
    theirs.save_pretrained(folder)
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="minibert"):
        ours = model_class.from_pretrained(folder)
    assert not caplog.records, "every parameter is in the file"
    assert not ours.training
    return ours


def check_outputs(theirs: Any, ours: Pretrained) -> None:
    rows = ragged_ids(LENGTHS, 90)
    types = ragged_types(LENGTHS, ours.config.type_vocab_size)
    for dtype, tolerance in TOLERANCES.items():
        expected = their_outputs(theirs.to(dtype), rows, types)
        computed = our_outputs(ours.to(dtype), pack(rows, types))
        assert computed.keys() == expected.keys()
        for name, value in expected.items():
            assert 0.05 < value.std() < 10, f"{name} is not of order 1"
            assert largest_difference(computed[name], value) <= tolerance, (name, dtype)
    if isinstance(ours, Encoder):
        states = ours.double()(pack(rows, types), output_hidden_states=True).hidden_states
        assert states is not None
        for name, value in their_outputs(theirs.double(), rows, types, hidden_states=True).items():
            assert largest_difference(states[int(name.split()[1])], value) <= 1e-9, name


def check_outputs_and_files(
    theirs: Any, model_class: type[Pretrained], folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ours = read_theirs(theirs, model_class, folder / "theirs", caplog)
    check_outputs(theirs, ours)
    ours.float().save_pretrained(folder / "ours")
    back, info = type(theirs).from_pretrained(folder / "ours", output_loading_info=True)
    assert not any(info.values()), info
    assert back.config.architectures == [type(theirs).__name__]
    assert back.config.id2label == theirs.config.id2label
    before, after = theirs.float().state_dict(), back.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("family", ALL_FAMILIES)
@torch.no_grad()
def test_words_are_scored_at_the_positions_asked_for(family: str, tmp_path: Path) -> None:
    theirs = their_model(family, "ForPreTraining").double()
    theirs.save_pretrained(tmp_path)
    ours = PretrainingModel.from_pretrained(tmp_path).double()
    rows, types = ragged_ids(LENGTHS, 90), [[0] * length for length in LENGTHS]
    positions = torch.tensor([37, 0, 5, 6])
    found = their_outputs(theirs, rows, types)
    logits = found.get("logits", found.get("prediction_logits"))
    assert logits is not None
    assert largest_difference(ours(pack(rows), positions)[0], logits[positions]) <= 1e-9


class DropoutOfFirst(nn.Dropout):
    """Dropout of the first token's values, with the others left as they are: ``(B, S, C)`` -> ``(B, S, C)``."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([super().forward(x[:, :1]), x[:, 1:]], 1)


@pytest.mark.parametrize(("family", "head"), WITH_HEADS)
def test_training_draws_the_same_dropouts(
    family: str, head: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In training mode both draw from one random stream, by PyTorch's dropout: over one sequence, which needs no
    padding, equal outputs mean that every dropout stands in its place with its own rate."""
    monkeypatch.setattr(dropout_module, "drop", F.dropout)
    # Google's ALBERT drops behind the feed-forward too; transformers does not, so there is nothing to compare.
    hidden = 0.0 if family == "albert" else 0.3
    rates = {"attention_probs_dropout_prob": 0.2, "hidden_dropout_prob": hidden, "classifier_dropout": 0.5}
    rates |= {"qa_dropout": 0.4, "summary_last_dropout": 0.6}
    theirs = their_model(family, head, **rates)
    theirs.save_pretrained(tmp_path)
    ours = HEADS[head].from_pretrained(tmp_path).double().train()
    if head in ("ForSequenceClassification", "ForMultipleChoice") and hidden:
        # These heads read first tokens alone, and our last layer draws for no others.
        body: Any = theirs.base_model
        for module in list((body.encoder if hasattr(body, "encoder") else body.transformer).layer[-1].modules()):
            for name, child in module.named_children():
                if isinstance(child, nn.Dropout) and child.p == hidden:
                    setattr(module, name, DropoutOfFirst(hidden))
    rows, types = ragged_ids([9], 90), [[0] * 9]
    torch.manual_seed(1)
    expected = their_outputs(theirs.double().train(), rows, types)
    torch.manual_seed(1)
    with attention_backend("plain"):
        computed = our_outputs(ours, pack(rows))
    for name, value in expected.items():
        assert largest_difference(computed[name], value) <= 1e-9, name


@torch.no_grad()
def test_a_real_checkpoint_gives_the_same_hidden_states() -> None:
    folder = local_minilm()
    theirs = transformers.AutoModel.from_pretrained(folder).eval()
    ours = Encoder.from_pretrained(folder)
    tokenizer = Tokenizer.from_pretrained(folder)
    texts = [
        "A man is eating food.",
        "The quick brown fox jumps over the lazy dog, naïvely unaware of what waits on the other side of the fence.",
        "Yes",
    ]
    encoded = [tokenizer.with_special_tokens(tokenizer.encode(text).ids) for text in texts]
    rows, types = [ids for ids, _ in encoded], [kinds for _, kinds in encoded]
    expected = their_outputs(theirs, rows, types)
    computed = our_outputs(ours, pack(rows, types))
    for name, value in expected.items():
        assert largest_difference(computed[name], value) <= 1e-5, name


@pytest.mark.parametrize(("family", "head"), WITH_HEADS)
def test_gradients_are_those_of_transformers(family: str, head: str, tmp_path: Path) -> None:
    """Of the sum of all outputs, each with a weight of its own, in fp64, under their names."""
    theirs = their_model(family, head)
    theirs.save_pretrained(tmp_path)
    ours = HEADS[head].from_pretrained(tmp_path).double()
    rows, types = ragged_ids(LENGTHS, 90), ragged_types(LENGTHS, ours.config.type_vocab_size)
    weighted(their_outputs(theirs.double(), rows, types)).backward()
    weighted(our_outputs(ours, pack(rows, types))).backward()
    own = {name: value.grad for name, value in ours.named_parameters() if value.grad is not None}
    table = name_table(ours.config, head)
    computed = table.export(from_parameters(own))
    named = {table.tied.get(name, name): value.grad for name, value in theirs.named_parameters()}
    expected = {name: gradient for name, gradient in named.items() if gradient is not None}
    assert {name for name, value in expected.items() if value.any()} <= computed.keys()
    for name, value in computed.items():
        given = expected.get(name, torch.zeros_like(value))
        assert largest_difference(value, given) <= 1e-9 * max(1.0, given.abs().max().item()), name


def weighted(outputs: dict[str, Tensor]) -> Tensor:
    total = torch.zeros((), dtype=torch.float64)
    for name, value in sorted(outputs.items()):
        generator = torch.Generator().manual_seed(len(name))
        total = total + (value * torch.randn(value.shape, generator=generator, dtype=value.dtype)).sum()
    return total
