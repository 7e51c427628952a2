"""Hostile settings: config.json, TOML, task.json, and the states of runs."""

import json
import random
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from benchmarks.attack.damage import mutate
from benchmarks.attack.values import change, odd_value
from minibert import CrfTokenClassifier, EncoderConfig, SequenceClassifier, TokenClassifier, pack
from minibert.checkpoint import open_checkpoint
from minibert.formats.source import open_source
from minibert.training import Examples, LabelledBatch, Metric, Trainer, TrainingSettings
from minibert.training.checkpoints import _manifest
from tasks.registry import TASKS, settings_class
from tasks.run.folder import read_metrics
from tasks.run.options import read_settings, write_settings

_CPU = torch.device("cpu")
NEEDED: dict[str, dict[str, Any]] = {"cloze": {"template": "{text} [MASK]", "words": ("positive=good", "negative=bad")}}
"""What a task cannot do without."""


def tiny_config(**changes: Any) -> EncoderConfig:
    sizes: dict[str, Any] = {
        "model_type": "bert", "vocab_size": 40, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
        "intermediate_size": 12, "max_position_embeddings": 16, **changes,
    }  # fmt: skip
    return EncoderConfig(**sizes)


def dumped(value: Any, chance: random.Random) -> bytes:
    """A structure as JSON, at times damaged, with a mark in front, or in another encoding."""
    try:
        text = json.dumps(value, ensure_ascii=chance.random() < 0.5).encode("utf-8", "surrogatepass")
    except RecursionError:
        text = b'{"a":' * 50_000
    if chance.random() < 0.15:
        text = mutate(text, chance)
    return chance.choice((b"",) * 8 + (b"\xef\xbb\xbf", b"\xff\xfe")) + text


@cache
def _model(folder: str) -> Path:
    path = Path(folder) / "good-model"
    torch.manual_seed(0)
    TokenClassifier(tiny_config()).save_pretrained(path)
    return path


def configs(folder: Path, chance: random.Random) -> Callable[[], object]:
    """A config.json with hostile values beside good weights, loaded and opened for conversion."""
    good = _model(str(folder.parent))
    shutil.copyfile(good / "model.safetensors", folder / "model.safetensors")
    config = json.loads((good / "config.json").read_text(encoding="utf-8"))
    for _ in range(chance.randrange(3)):
        config[chance.choice(list(config))] = odd_value(chance)
    if chance.random() < 0.5:
        config = change(config, chance)
    if isinstance(config, dict) and chance.random() < 0.2:
        config["num_labels"] = odd_value(chance)
        config.pop("id2label", None)
    (folder / "config.json").write_bytes(dumped(config, chance))
    head = chance.choice((TokenClassifier, SequenceClassifier, CrfTokenClassifier))

    def read() -> None:
        if chance.random() < 0.5:
            open_checkpoint(folder).load(head)
            return
        for reader in open_source(folder).readers.values():
            reader()

    return read


@cache
def _settings(folder: str, task: str) -> str:
    path = Path(folder) / f"good-{task}.toml"
    write_settings(path, settings_class(task)(train="train.txt", **NEEDED.get(task, {})), task)
    return path.read_text(encoding="utf-8")


def toml(folder: Path, chance: random.Random) -> Callable[[], object]:
    """settings.toml and task.json with hostile values and damage."""
    task = chance.choice([name for name in TASKS if name != "pretraining"])
    lines = _settings(str(folder.parent), task).splitlines()
    path = folder / "settings.toml"
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(lines))
        name = lines[at].removeprefix("# ").split(" ")[0]
        lines[at] = f"{name} = {_toml_value(chance)}"
    text = "\n".join(lines).encode("utf-8", "surrogatepass")
    if chance.random() < 0.3:
        text = mutate(text, chance)
    if chance.random() < 0.1:
        text += b"\nx = " + chance.choice((b"[", b"{a=", b"a.")) * chance.choice((100, 20_000))
    if chance.random() < 0.2:
        path = folder / "task.json"
        value = change({"task": task, "max_length": 5, "clean": ["html"], "head": "crf"}, chance)
        text = dumped(value, chance)
    path.write_bytes(text)
    kind = settings_class(task)
    return lambda: kind(**read_settings(path, kind, task)).fingerprint()


def _toml_value(chance: random.Random) -> str:
    value = odd_value(chance)
    if chance.random() < 0.3:
        return chance.choice(
            ("inf", "-inf", "nan", "1e999", "9" * 5000, "0x" + "f" * 400, "1979-13-45", "00:99", "1_0")
        )
    if value is None or isinstance(value, dict):
        return "{a = 1}"
    try:
        return json.dumps(value, ensure_ascii=False)
    except RecursionError:
        return "[" * 3000


# -- states of runs ---------------------------------------------------------------------------------------------------


def _collate(items: Any) -> LabelledBatch:
    targets = torch.tensor([0 for ids in items for _ in ids])
    return LabelledBatch(inputs=pack(list(items)), targets=targets, num_targets=len(targets))


def _loss(model: nn.Module, batch: LabelledBatch) -> torch.Tensor:
    return nn.functional.cross_entropy(model(batch.inputs).float(), batch.targets, reduction="sum")


def _trainer(folder: Path, *, resume: bool) -> Trainer:
    torch.manual_seed(0)
    items = [[5, 6, 7], [8, 9]]
    return Trainer(
        model=TokenClassifier(tiny_config()), data=Examples(items, _collate, lengths=[3, 2]), loss=_loss,
        evaluate=lambda: {"figure": 0.0}, metric=Metric("figure"), device=_CPU, checkpoints=folder, resume=resume,
        settings=TrainingSettings(epochs=2, batch_size=1, lr=1e-3, precision="fp32", save_steps=1, ema=0.9),
    )  # fmt: skip


@cache
def _checkpoint(folder: str) -> Path:
    path = Path(folder) / "good-run"
    _trainer(path, resume=False).fit()
    return max(path.iterdir())


@cache
def _resuming() -> Trainer:
    """One for all, since only the state is put back."""
    return _trainer(Path("none"), resume=True)


def states(folder: Path, chance: random.Random) -> Callable[[], object]:
    """A checkpoint of a run with a manifest that is right for its hostile content; or a hostile metrics.json."""
    if chance.random() < 0.2:
        record: Any = {"task": "ner", "arch": "bert", "origin": "x", "seed": 1, "settings": {}, "data": {"dev": {}}}
        record |= {"epochs": [], "final": {"dev": {}}, "resources": {}, "collapsed": False, "warnings": []}
        (folder / "metrics.json").write_bytes(dumped(change(record, chance), chance))
        return lambda: read_metrics(folder)
    path = folder / "checkpoints" / _checkpoint(str(folder.parent)).name
    shutil.copytree(_checkpoint(str(folder.parent)), path)
    if chance.random() < 0.6:
        state = json.loads((path / "state.json").read_text(encoding="utf-8"))
        part = chance.choice((state, state["progress"], state["scaler"], state["fingerprint"]))
        part = change(part, chance)
        (path / "state.json").write_bytes(dumped(state, chance))
    else:
        file = path / f"{chance.choice(('model', 'optimizer', 'random', 'ema'))}.safetensors"
        _change_tensors(file, chance)
    if chance.random() < 0.9:
        (path / "manifest.json").write_bytes(_manifest(path))
    saver = _resuming()._saver
    assert saver._checkpoints is not None
    saver._checkpoints.folder = folder / "checkpoints"

    def read() -> None:
        saver.restore_newest()
        saver.best_weights()

    return read


def _change_tensors(file: Path, chance: random.Random) -> None:
    if chance.random() < 0.3:
        file.write_bytes(mutate(file.read_bytes(), chance))
        return
    tensors = load_file(file)
    for _ in range(chance.randint(1, 3)):
        if not tensors:
            break
        name = chance.choice(list(tensors))
        how = chance.choice(("remove", "shape", "type", "values", "rename"))
        if how == "remove":
            del tensors[name]
        elif how == "shape":
            tensors[name] = torch.zeros(chance.choice(((), (1,), (3, 2), (0,))), dtype=tensors[name].dtype)
        elif how == "type":
            tensors[name] = tensors[name].to(chance.choice((torch.int8, torch.float64, torch.bool, torch.float16)))
        elif how == "values":
            tensors[name] = torch.full_like(tensors[name], chance.choice((0, 1, 200)))
        else:
            tensors[chance.choice(("0/x", "", "x/step", "9/torch", name + "/"))] = tensors.pop(name)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, file)
