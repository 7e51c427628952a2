"""A checkpoint of every family is fine-tuned, answers, and is saved under its own class."""

import json
from pathlib import Path

import pytest
from conftest import ALL_FAMILIES, rows, scramble, tiny_config, write

from minibert import Encoder, Tokenizer
from tasks import registry

TEXTS = [str(row["headline"]) for row in rows(24)]
QUICK = ["--epochs", "1", "--lr", "1e-3", "--precision", "fp32"]


@pytest.fixture
def checkpoint(family: str, tmp_path: Path) -> str:
    """A tiny encoder with random weights and a tokenizer, as Hugging Face keeps them."""
    tokenizer = Tokenizer.train([TEXTS], model_type=family, vocab_size=300, running_text=True)
    sizes = {"vocab_size": tokenizer.vocab_size, "pad_token_id": tokenizer.pad_token_id, "num_hidden_layers": 2}
    model = Encoder(tiny_config(family, **sizes))
    scramble(model)
    model.save_pretrained(tmp_path / "weights")
    tokenizer.save_pretrained(tmp_path / "weights")
    return str(tmp_path / "weights")


def saved_class(folder: Path) -> tuple[str, str]:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return config["model_type"], config["architectures"][0]


@pytest.mark.slow
@pytest.mark.parametrize("family", ALL_FAMILIES)
def test_names_and_labels_are_learnt_and_answered(
    family: str, checkpoint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    sentences = [{"tokens": text.split(), "tags": ["O", "B-X", *["O"] * (len(text.split()) - 2)]} for text in TEXTS]
    data = {"ner": write(tmp_path / "ner.jsonl", sentences), "classification": write(tmp_path / "c.jsonl", rows(24))}
    inputs = write(tmp_path / "in.jsonl", [{"text": text} for text in TEXTS[:3]])
    for task, more in (("ner", ["--head", "linear"]), ("classification", ["--no-baseline"])):
        out = registry.run(
            task, ["--weights", checkpoint, "--train", data[task], "--out", str(tmp_path / task), *QUICK, *more]
        )
        model_type, class_ = saved_class(out)
        assert model_type == family
        assert "xlm" not in family or class_.startswith("XLMRoberta")
        _, info = getattr(transformers, class_).from_pretrained(out, output_loading_info=True)
        assert not any(info.values()), info
        encoded = transformers.AutoTokenizer.from_pretrained(out)("a text")
        assert ("token_type_ids" in encoded) == (family in ("bert", "albert", "electra", "ernie"))
        capsys.readouterr()
        registry.run("predict", [str(out), inputs])
        answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert [answer["text"] for answer in answers] == TEXTS[:3]


@pytest.mark.slow
@pytest.mark.parametrize("family", ALL_FAMILIES)
def test_a_small_random_model_needs_no_checkpoint(family: str, tmp_path: Path, narrow_models: None) -> None:
    options = ["--arch", family, "--weights", "random", "--train", write(tmp_path / "c.jsonl", rows(24)), *QUICK]
    out = registry.run("classification", [*options, "--no-baseline", "--out", str(tmp_path / "run")])
    assert saved_class(out)[0] == family
