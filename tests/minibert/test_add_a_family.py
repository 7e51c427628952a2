"""The recipe "Add a family" in minibert/README.md works as it is written: its family is added to a copy of the library,
and computes what transformers' BERT computes with the same tensors under their own names."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from safetensors.torch import load_file

transformers = pytest.importorskip("transformers", reason="transformers is the oracle of this test")

THEIRS = {  # the parts of BERT's names -> Acorn's
    "bert.embeddings.word_embeddings": "acorn.embed.words",
    "bert.embeddings.position_embeddings": "acorn.embed.positions",
    "bert.embeddings.LayerNorm": "acorn.embed.norm",
    "bert.encoder.layer.": "acorn.blocks.",
    "attention.self.": "",
    "attention.output.dense": "mix",
    "attention.output.LayerNorm": "mix_norm",
    "intermediate.dense": "up",
    "output.dense": "down",
    "output.LayerNorm": "down_norm",
}
SCRIPT = """
import sys, torch
from minibert import TokenClassifier, pack

model = TokenClassifier.from_pretrained(sys.argv[1]).double()
rows = [[5, 6, 7, 8, 9], [10, 11], [12]]
with torch.no_grad():
    torch.save(model(pack(rows)), sys.argv[2])
model.float().save_pretrained(sys.argv[3])
"""


def recipe() -> str:
    text = (ROOT / "minibert" / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(ACORN = .*?)```", text, flags=re.DOTALL)
    return str(block)


@pytest.mark.slow
def test_the_family_of_the_recipe_is_added_by_its_record_alone(tmp_path: Path) -> None:
    assert len(recipe().splitlines()) <= 40
    shutil.copytree(ROOT / "minibert", tmp_path / "minibert", ignore=shutil.ignore_patterns("__pycache__"))
    path = tmp_path / "minibert" / "families.py"
    source = path.read_text(encoding="utf-8")
    before, found, after = source.partition("FAMILIES: Mapping")
    after, count = re.subn(r"(for family in \([A-Z0-9_, \n]*[A-Z0-9_])", r"\1, ACORN", after, count=1)
    assert found
    assert count == 1
    source = f"{before}{recipe()}\n{found}{after}"
    path.write_text(source, encoding="utf-8")

    sizes = {"vocab_size": 30, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 12}
    config = transformers.BertConfig(hidden_size=8, max_position_embeddings=9, hidden_act="relu", **sizes)
    theirs = transformers.BertForTokenClassification(config).double().eval()
    torch.nn.init.zeros_(theirs.bert.embeddings.token_type_embeddings.weight)  # Acorn has none
    tensors = {}
    for name, value in theirs.state_dict().items():
        if "token_type" not in name:
            for part, ours in THEIRS.items():
                name = name.replace(part, ours)
            tensors[name] = value.float()
    folder = tmp_path / "acorn-base"
    folder.mkdir()
    torch.save(tensors, folder / "pytorch_model.bin")
    settings = {"model_type": "acorn", "width": 8, "max_position_embeddings": 9, **sizes}
    (folder / "config.json").write_text(json.dumps({**settings, "architectures": ["AcornForTokenClassification"]}))

    (tmp_path / "script.py").write_text(SCRIPT, encoding="utf-8")
    arguments = [str(folder), str(tmp_path / "logits.pt"), str(tmp_path / "saved")]
    done = subprocess.run(
        [sys.executable, "script.py", *arguments], cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "newly initialised" not in done.stderr
    ids = torch.tensor([[5, 6, 7, 8, 9], [10, 11, 0, 0, 0], [12, 0, 0, 0, 0]])
    with torch.no_grad():
        expected = theirs(input_ids=ids, attention_mask=(ids > 0).long()).logits[ids > 0]
    assert (torch.load(tmp_path / "logits.pt") - expected).abs().max() <= 1e-6  # the tensors went through fp32

    saved = json.loads((tmp_path / "saved" / "config.json").read_text(encoding="utf-8"))
    assert (saved["model_type"], saved["width"]) == ("acorn", 8)
    assert saved["architectures"] == ["AcornForTokenClassification"]
    back = load_file(tmp_path / "saved" / "model.safetensors")
    assert back.keys() == tensors.keys()
    assert all(torch.equal(back[name], value) for name, value in tensors.items())
