"""What a checkpoint's labels mean where it comes without a run's settings."""

import json
from pathlib import Path

import pytest
from conftest import tiny_config

from minibert import SequenceClassifier, TokenClassifier, Tokenizer
from minibert.errors import InputError
from tasks.ner.data import Sentence
from tasks.predict.loading import load_predictor

WORDS = ["Ann", "went", "to", "Rome", "and", "saw", "Bob", "."]


@pytest.mark.parametrize(
    ("names", "readable"),
    [
        (["O", "B-PER", "I-PER"], True),
        (["S-PER", "O", "B-PER", "E-PER", "I-PER"], True),
        (["LABEL_0", "LABEL_1"], False),
        (["o", "b-per", "i-per"], False),
        (["O", "LOC", "PER"], False),
        (["O", "PER-B", "PER-I"], False),
        (["B-PER", "I-PER"], False),
    ],
)
def test_labels_that_are_no_tags_are_not_read_as_tags(tmp_path: Path, names: list[str], readable: bool) -> None:
    config = tiny_config("bert", vocab_size=80, max_position_embeddings=40).with_labels(dict(enumerate(names)))
    TokenClassifier(config).save_pretrained(tmp_path)
    Tokenizer.train([WORDS] * 2, model_type="bert", vocab_size=80).save_pretrained(tmp_path)
    if readable:
        predictor = load_predictor(str(tmp_path), device="cpu", precision="fp32")
        assert {entity["type"] for entity in predictor.answer([Sentence(WORDS, [], 0)])[0]["entities"]} <= {"PER"}
        return
    with pytest.raises(InputError, match=f"{names[0]}.* are not O and tags such as B-PER"):
        load_predictor(str(tmp_path), device="cpu", precision="fp32")


def test_one_label_means_a_number_where_the_checkpoint_does_not_say(tmp_path: Path) -> None:
    model = SequenceClassifier(tiny_config("bert", vocab_size=80).with_labels({0: "LABEL_0"}))
    model.save_pretrained(tmp_path)
    Tokenizer.train([WORDS], model_type="bert", vocab_size=80).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "vocab_size": 80}))
    predictor = load_predictor(str(tmp_path), device="cpu", precision="fp32")
    assert predictor.task.settings.kind == "regression"
