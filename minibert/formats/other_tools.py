"""Checkpoints as other tools leave them: inside a dictionary, under a prefix, with parts that minibert does not know,
or in a layout of their own, for which a message says what to do next."""

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from minibert.errors import InputError
from minibert.families import FAMILIES, Family

FOREIGN = "no head of minibert has it"

_WRAPPERS = ("state_dict", "model_state_dict", "model")
_PREFIXES = ("_orig_mod.", "module.", "model.")  # of torch.compile, DataParallel, and modules that hold the model
_UER = re.compile(r"embedding\.(word_embedding|word\.embedding)\.weight|encoder\.transformer\.\d+\.self_attn\.linear_")
_NORM_ENDS = re.compile(r"(LayerNorm|layer_norm)\.(gamma|beta)$")


class Weights(NamedTuple):
    """Opened tensors, and what was done to get at them.

    Attributes:
        tensors: name -> a function that reads the tensor.
        notes: what was taken off or left unread, in words.
    """

    tensors: Mapping[str, Callable[[], Tensor]]
    notes: tuple[str, ...] = ()


def unwrap(state: Any, file: str) -> tuple[Any, tuple[str, ...]]:
    """The dictionary of tensors inside another one, as training loops save it beside their own state."""
    for key in _WRAPPERS if isinstance(state, dict) else ():
        inner = state.get(key)
        if isinstance(inner, dict) and inner and all(isinstance(value, Tensor) for value in inner.values()):
            others = ", ".join(str(name)[:40] for name in state if name != key)
            return inner, (f"the tensors of {file} are those under {key!r}" + (f", not read: {others}" * bool(others)),)
    return state, ()


def without_prefix(weights: Weights) -> Weights:
    """The tensors without a prefix that all have, but those of parts that no family has."""
    tensors, notes = weights
    while prefix := next((prefix for prefix in _PREFIXES if _is_common(prefix, tensors)), None):
        tensors = {name.removeprefix(prefix): read for name, read in tensors.items()}
        notes = (*notes, f"the prefix {prefix!r} of the names is taken off")
    return Weights(tensors, notes)


def _is_common(prefix: str, names: Iterable[str]) -> bool:
    with_prefix = {name.removeprefix(prefix) for name in names if name.startswith(prefix)}
    others = {name for name in names if not name.startswith(prefix)}
    return bool(with_prefix) and not (
        others & with_prefix or any(_is_of_encoder(name, family) for name in others for family in FAMILIES.values())
    )


def _is_of_encoder(name: str, family: Family) -> bool:
    roots = {row.partition(".")[0] for row in family.body}
    return name.startswith(family.prefix) or name.partition(".")[0] in roots


def foreign_names(names: Iterable[str], family: Family) -> tuple[str, ...]:
    """The names outside the encoder that no head of the family has.

    Where a head of the family has other tensors besides, all of it is foreign: another tool's CRF may share the name of
    one tensor with ours.
    """
    known = {row.replace("{p}", end) for rows in family.heads.values() for row in rows for end in ("weight", "bias")}
    known |= family.tied.keys()
    outside = [name for name in names if not _is_of_encoder(name, family)]
    ends = {"gamma": "weight", "beta": "bias"}
    roots = {
        name.partition(".")[0]
        for name in outside
        if _NORM_ENDS.sub(lambda end: f"{end[1]}.{ends[end[2]]}", name) not in known
    }
    return tuple(name for name in outside if name.partition(".")[0] in roots)


def refuse_other_layouts(names: Iterable[str], folder: Path) -> None:
    """Raises InputError for the weights of a tool that names all tensors in its own way, with the next step."""
    if any(_UER.match(name) for name in names):
        raise InputError(
            f"{folder}: has the tensor names of UER-py or TencentPretrain. Convert it with that tool's "
            "scripts/convert_bert_from_uer_to_huggingface.py (or ..._from_tencentpretrain_...) --input_model_path FILE "
            "--output_model_path pytorch_model.bin --layers_num LAYERS, and put a config.json and its vocab.txt beside."
        )


def no_weights(folder: Path, expected: str) -> InputError:
    """The error for a folder without weights under their usual names: what the folder seems to be, and what to do."""
    if (folder / "adapter_config.json").is_file():
        return InputError(
            f"{folder}: is a PEFT adapter, which holds only changes to another model. Merge them where peft is "
            "installed: PeftModel.from_pretrained(MODEL, FOLDER).merge_and_unload().save_pretrained(NEW), and give NEW."
        )
    if (folder / "packed.onnx").is_file():
        return InputError(f"{folder}: is an exported model, without weights; answer with predict --engine onnx.")
    modules = sorted(path.parent for path in folder.glob("0_*/config.json"))
    if modules:
        return InputError(f"{folder}: is a sentence-transformers folder of old; give the model in it, {modules[0]}.")
    files = [path.name for path in folder.iterdir() if path.suffix in (".ckpt", ".bin", ".pt", ".pth")]
    if files:
        lightning = " (PyTorch Lightning's?)" if files[0].endswith(".ckpt") else ""
        return InputError(
            f"{folder}: no weights found under their usual names. If {min(files)}{lightning} has them, copy it to "
            "pytorch_model.bin, beside config.json; a state_dict inside is found."
        )
    return InputError(f"{folder}: no weights found; {expected}")
