"""Models with a CRF: their folders, and the heads that they take from others."""

from pathlib import Path

import pytest
import torch
from conftest import FAMILIES, largest_difference, padded, ragged_ids, read_checkpoint, scramble, tiny_config

from minibert import CrfTokenClassifier, Encoder, SequenceClassifier, TokenClassifier, pack
from minibert.checkpoint import open_checkpoint
from minibert.errors import InputError
from minibert.families import BERT
from minibert.formats.huggingface import head_of

LABELS = dict(enumerate(["I-LOC", "O", "B-PER", "B-LOC", "I-PER"]))


def tagger(family: str = "bert") -> CrfTokenClassifier:
    """A model with no parameter at its starting value."""
    model = CrfTokenClassifier(tiny_config(family, id2label=LABELS))
    scramble(model.encoder)
    scramble(model.classifier)
    with torch.no_grad():
        for parameter in model.crf.parameters():
            parameter.normal_()
    return model.eval()


def same_values(ours: torch.nn.Module, theirs: torch.nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True))


CRF_NAMES = {"crf.transitions", "crf.start", "crf.end"}
CLASSIFIER_NAMES = {"classifier.weight", "classifier.bias"}


def test_a_new_model_has_a_crf_without_preferences() -> None:
    model = CrfTokenClassifier(tiny_config("bert", id2label=LABELS))
    assert all(not parameter.any() for parameter in model.crf.parameters())
    assert 0 < model.classifier.weight.std() < 0.05


@pytest.mark.parametrize("family", FAMILIES)
def test_a_folder_gives_the_same_model_back(family: str, tmp_path: Path) -> None:
    model = tagger(family)
    model.save_pretrained(tmp_path)
    tensors, settings = read_checkpoint(tmp_path)
    assert settings["architectures"] == [f"{family.capitalize()}CrfForTokenClassification"]
    assert {name for name in tensors if not name.startswith(f"{family}.")} == CRF_NAMES | CLASSIFIER_NAMES
    assert {name for name in model.state_dict() if name.startswith("crf.")} == CRF_NAMES

    loaded, report = open_checkpoint(tmp_path).load(CrfTokenClassifier, labels=LABELS)
    assert not report.newly_initialised
    assert not report.ignored
    assert same_values(loaded, model)
    # What BIO forbids is in no file, and known all the same: nothing but `inside` speaks for these tags.
    inside = torch.tensor([[20.0, 0.0, 0.0, 0.0, 0.0]] * 3)
    assert loaded.crf.viterbi(inside, (3,)) == [[3, 0, 0]]
    rows = ragged_ids((5, 9), model.config.vocab_size)
    emissions = loaded(pack(rows))
    assert emissions.shape == (14, 5)
    assert torch.equal(emissions, model(pack(rows)))


def test_a_plain_checkpoint_gives_a_fresh_head(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Encoder(tiny_config("bert")).save_pretrained(tmp_path)
    model, report = open_checkpoint(tmp_path).load(CrfTokenClassifier, labels=LABELS)
    assert set(report.newly_initialised) == CLASSIFIER_NAMES | CRF_NAMES
    assert all(not parameter.any() for parameter in model.crf.parameters())
    assert 0 < model.classifier.weight.std() < 0.05
    assert model.crf.viterbi(torch.eye(5)[[0, 0]], (2,)) == [[3, 0]]
    CrfTokenClassifier.from_pretrained(tmp_path, id2label=LABELS)
    assert "crf.transitions" in caplog.text


@pytest.mark.parametrize("labels", [None, LABELS])
def test_a_token_classifier_gives_its_classifier(labels: dict[int, str] | None, tmp_path: Path) -> None:
    plain = TokenClassifier(tiny_config("bert", id2label=LABELS))
    scramble(plain)
    plain.save_pretrained(tmp_path)
    model, report = open_checkpoint(tmp_path).load(CrfTokenClassifier, labels=labels)
    assert set(report.newly_initialised) == CRF_NAMES
    assert same_values(model.classifier, plain.classifier)
    assert all(not parameter.any() for parameter in model.crf.parameters())


@pytest.mark.parametrize("labels", [None, LABELS])
def test_a_token_classifier_takes_the_classifier_and_reports_the_crf(
    labels: dict[int, str] | None, tmp_path: Path
) -> None:
    model = tagger()
    model.save_pretrained(tmp_path)
    plain, report = open_checkpoint(tmp_path).load(TokenClassifier, labels=labels)
    assert not report.newly_initialised
    assert same_values(plain.classifier, model.classifier)
    assert set(report.ignored) == CRF_NAMES
    assert all("another head" in reason for reason in report.ignored.values())


@pytest.mark.parametrize(
    "labels", [{0: "O", 1: "B-ORG", 2: "I-ORG", 3: "B-PER", 4: "I-PER"}, {0: "O", 1: "B-PER", 2: "I-PER"}]
)
def test_a_crf_with_other_labels_starts_afresh(labels: dict[int, str], tmp_path: Path) -> None:
    tagger().save_pretrained(tmp_path)
    model, report = open_checkpoint(tmp_path).load(CrfTokenClassifier, labels=labels)
    assert set(report.newly_initialised) == set(report.ignored) == CLASSIFIER_NAMES | CRF_NAMES
    assert all("labels" in reason for reason in report.ignored.values())
    assert all(not parameter.any() for parameter in model.crf.parameters())


def test_the_same_labels_in_another_order_are_refused(tmp_path: Path) -> None:
    tagger().save_pretrained(tmp_path)
    with pytest.raises(InputError, match="another order"):
        open_checkpoint(tmp_path).load(CrfTokenClassifier, labels=dict(enumerate(sorted(LABELS.values()))))


def test_heads_of_other_tasks_and_a_crf_share_nothing(tmp_path: Path) -> None:
    tagger().save_pretrained(tmp_path / "crf")
    _, report = open_checkpoint(tmp_path / "crf").load(SequenceClassifier)
    assert set(report.ignored) == CLASSIFIER_NAMES | CRF_NAMES
    assert "BertCrfForTokenClassification" in report.ignored["classifier.weight"]
    SequenceClassifier(tiny_config("bert", id2label=LABELS)).save_pretrained(tmp_path / "sequence")
    _, report = open_checkpoint(tmp_path / "sequence").load(CrfTokenClassifier)
    assert set(report.newly_initialised) == CLASSIFIER_NAMES | CRF_NAMES
    assert "BertForSequenceClassification" in report.ignored["classifier.weight"]


@pytest.mark.parametrize(
    ("names", "architectures", "head"),
    [
        (CLASSIFIER_NAMES | CRF_NAMES, ["BertCrfForTokenClassification"], "CrfForTokenClassification"),
        (CLASSIFIER_NAMES | CRF_NAMES, None, "CrfForTokenClassification"),
        (CLASSIFIER_NAMES, ["BertForTokenClassification"], "ForTokenClassification"),
        (CLASSIFIER_NAMES, None, "ForTokenClassification"),
    ],
)
def test_a_checkpoint_with_a_crf_is_recognised(names: set[str], architectures: list[str] | None, head: str) -> None:
    assert head_of(names, BERT, architectures) == head


@pytest.mark.parametrize("family", FAMILIES)
def test_transformers_reads_the_emissions(family: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is the oracle of this test")
    transformers.utils.logging.disable_progress_bar()
    model = tagger(family)
    model.save_pretrained(tmp_path)
    theirs, info = transformers.AutoModelForTokenClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert set(info["unexpected_keys"]) == CRF_NAMES
    assert not info["missing_keys"]
    assert theirs.config.id2label == LABELS
    rows = ragged_ids((7, 1, 12), model.config.vocab_size)
    mask = padded([[1] * len(row) for row in rows], 0)
    with torch.no_grad():
        ids = padded(rows, theirs.config.pad_token_id)
        expected = theirs.eval()(input_ids=ids, attention_mask=mask).logits[mask.bool()]
        assert 0.1 < expected.std() < 10
        assert largest_difference(model(pack(rows)), expected) <= 1e-5
