"""MONPA, a trained Traditional Chinese ALBERT with a CRF that is not ours, against its own code.

Set ``MINIBERT_MONPA`` to the folder ``monpa`` of an unpacked ``pip download --no-deps monpa==0.3.3`` (CC BY-NC-SA 4.0,
so it stays outside). Its code needs ``six``.
"""

import importlib
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ROOT, write

from minibert import TokenClassifier, Tokenizer, pack
from minibert.formats.conversion import convert
from minibert.formats.source import open_source
from tasks import registry

PLACE = os.environ.get("MINIBERT_MONPA")
CRF = "crf_layer.start_transitions, crf_layer.end_transitions, crf_layer.transitions"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(PLACE is None, reason="MINIBERT_MONPA does not name an unpacked MONPA"),
]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MONPA's files under the usual names."""
    source, folder = Path(str(PLACE)), tmp_path_factory.mktemp("monpa")
    shutil.copy(source / "model" / "monpa_model_8000.pt", folder / "pytorch_model.bin")
    shutil.copy(source / "vocab_monpa.vocab", folder / "vocab.txt")
    settings = json.loads((source / "albert_config" / "albert_config_mo.json").read_text("utf-8"))
    (folder / "config.json").write_text(json.dumps({**settings, "model_type": "albert"}), "utf-8")
    return folder


@pytest.fixture(scope="module")
def theirs() -> Any:
    """MONPA's own model, with its CRF."""
    pytest.importorskip("six", reason="MONPA's code needs six")
    sys.path.insert(0, str(Path(str(PLACE)).parent))
    try:
        monpa = importlib.import_module(Path(str(PLACE)).name)
        monpa.initialize()
    finally:
        sys.path.pop(0)
    return monpa._model.eval()


def sentences(count: int) -> list[str]:
    """Traditional and Simplified Chinese sentences of the bundled sample."""
    text = (ROOT / "tasks" / "samples" / "ner" / "train.txt").read_text("utf-8")
    blocks = text.strip().split("\n\n")[:count]
    return ["".join(line.split(" ")[0] for line in block.split("\n")) for block in blocks]


@torch.no_grad()
def test_its_tags_are_those_of_its_own_code_when_converted(checkpoint: Path, theirs: Any, tmp_path: Path) -> None:
    report = convert(open_source(checkpoint), tmp_path / "out")
    assert report.architecture == "AlbertForTokenClassification"
    assert [name for name, why in report.ignored.items() if "no head" in why] == CRF.split(", ")
    ours, tokenizer = TokenClassifier.from_pretrained(tmp_path / "out"), Tokenizer.from_pretrained(tmp_path / "out")
    texts = sentences(100)
    assert len(texts) == 100
    ids = [tokenizer.with_special_tokens(tokenizer.encode(text).ids)[0] for text in texts]
    batch = pack(ids)
    for sequence, emissions in zip(ids, batch.unpack(ours(batch)), strict=True):
        one = torch.tensor([sequence])
        (expected,) = theirs(one, torch.ones_like(one), torch.zeros_like(one))[0]
        (found,) = theirs.crf_layer.decode(emissions[None], torch.ones_like(one, dtype=torch.bool))
        assert found == expected
        assert len(set(found)) > 3


def test_names_are_learnt_from_its_encoder(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"tokens": list(text[:4]), "tags": ["B-PER", "I-PER", "O", "O"]} for text in sentences(8)]
    train = write(tmp_path / "ner.jsonl", rows)
    options = ["--weights", str(checkpoint), "--train", train, "--dev", train, "--epochs", "1", "--precision", "fp32"]
    run = registry.run("ner", [*options, "--out", str(tmp_path / "run")])
    assert f"left out, as no head of minibert has it: {CRF}" in capsys.readouterr().out
    registry.run("predict", [str(run), write(tmp_path / "in.jsonl", [{"text": sentences(1)[0]}])])
    assert json.loads(capsys.readouterr().out)["text"] == sentences(1)[0]
