"""Hugging Face checkpoints: the names of their tensors, and the files that hold them."""

import re
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from minibert.config import EncoderConfig
from minibert.errors import InputError
from minibert.families import FAMILIES, WORD_EMBEDDINGS, Family, Rows
from minibert.files import read_json_object
from minibert.formats.names import (
    OTHER_HEAD,
    NameTable,
    Readers,
    Slot,
    check_number,
    encoder_prefix,
    expand,
    with_prefix,
)
from minibert.formats.other_tools import Weights, no_weights, refuse_other_layouts, unwrap, without_prefix
from minibert.formats.torch_file import plain_tensors, read_torch_file
from minibert.shown import shown

WEIGHTS = ("model.safetensors", "pytorch_model.bin")


def name_table(config: EncoderConfig, head: str) -> NameTable:
    """The names of a Hugging Face checkpoint; those of an encoder alone have no prefix.

    Raises:
        InputError: the family has no such head.
    """
    family = config.family
    if head != "Model" and head not in family.heads:
        raise InputError(f"{family.title} has no head {head}; it has {', '.join(family.heads)}.")
    prefix = "" if head == "Model" else family.prefix
    slots: dict[str, Slot] = {}
    ignored: dict[str, str] = {}
    for name, slot in expand(family.body, config).items():
        if slot is None:
            ignored[prefix + name] = "a constant buffer"
        elif _is_built(slot.name, config):
            slots[prefix + name] = with_prefix(encoder_prefix(head), slot)
    of_head = expand(family.heads.get(head, {}), config)
    slots |= {name: slot for name, slot in of_head.items() if slot and _is_built(slot.name, config)}
    others = {name for rows in family.heads.values() for name in expand(rows, config)} - slots.keys()

    def canonical(name: str) -> str:
        name = re.sub(r"(LayerNorm|layer_norm)\.gamma$", r"\1.weight", name)
        name = re.sub(r"(LayerNorm|layer_norm)\.beta$", r"\1.bias", name)
        body = prefix + name.removeprefix(family.prefix)
        return body if body in slots or body in ignored else name

    return NameTable(
        config=config,
        head=head,
        slots=slots,
        ignored={**ignored, **dict.fromkeys(sorted(others), OTHER_HEAD)},
        tied={name: prefix + to if to == WORD_EMBEDDINGS else to for name, to in family.tied.items()},
        settings="config.json",
        canonical=canonical,
    )


def _is_built(name: str, config: EncoderConfig) -> bool:
    """Whether a model of this config has a parameter that is optional in its family."""
    if name.startswith("ngrams."):
        return config.ngram_buckets > 0
    if name.startswith("embeddings.projection."):
        return config.has_projection
    return config.use_task_id or not name.startswith("embeddings.task_type_embeddings.")


def family_of(names: Iterable[str], named: object = None) -> Family | None:
    """The family that tensor names indicate; of several, the one in ``config.json``, else the first.

    Args:
        names: of a file's tensors.
        named: the field ``model_type`` of ``config.json``, if there is one.

    Returns:
        None if the names fit several families equally, or ``config.json`` names a kind that is not supported: BERT's
        names are common among its relatives.
    """
    if named is not None and not (isinstance(named, str) and named in FAMILIES):
        return None
    candidates = list(FAMILIES.values())
    found = False
    for name in names:
        matching = [family for family in FAMILIES.values() if re.search(family.pattern, name)]
        if matching:
            found = True
            candidates = [family for family in candidates if family in matching] or matching
    if not found:
        return None
    return next((family for family in candidates if family.name == named), candidates[0])


def head_of(names: Iterable[str], family: Family, architectures: object, foreign: Iterable[str] = ()) -> str:
    """The head in a file; if the names fit several, the one in ``config.json``.

    Args:
        names: the names of the file's tensors.
        family: the model's family.
        architectures: the field of this name in ``config.json``.
        foreign: names of the file's other tensors; a CRF among them shows a token classifier.
    """
    names = set(names)
    if any(name.startswith("crf.") for name in names):
        return "CrfForTokenClassification"
    present = [head for head, rows in family.heads.items() if names & _weights_of(rows)]
    classes = architectures if isinstance(architectures, list) else []
    for head in present:
        endings = (family.class_endings.get(head, head), *(_LANGUAGE_HEADS if head == "ForPreTraining" else ()))
        if any(str(name).endswith(endings) for name in classes):
            return head
    for_tokens = any("crf" in name.partition(".")[0].lower() for name in foreign)
    if "ForTokenClassification" in present and any("pooler." in name for name in names) and not for_tokens:
        return "ForSequenceClassification"
    return present[0] if present else "Model"


_LANGUAGE_HEADS = ("ForMaskedLM", "LMHeadModel")  # classes whose head is part of our ForPreTraining


def _weights_of(rows: Rows) -> set[str]:
    return {row.replace("{p}", end) for row in rows for end in ("weight", "bias")}


def open_weights(folder: Path) -> Weights:
    """Opens the weights in a folder, without a prefix that all names have.

    Raises:
        InputError: there are no weights, a shard is missing, a file is damaged, or another tool named the tensors.
    """
    weights = open_raw_weights(folder)
    refuse_other_layouts(weights.tensors, folder)
    return without_prefix(weights)


def open_raw_weights(folder: Path) -> Weights:
    """Opens the weights in a folder under the names in the file.

    ``model.safetensors`` is preferred to ``pytorch_model.bin``, a single file to shards.

    Raises:
        InputError: there are no weights, a shard is missing, or a file is damaged.
    """
    for whole in WEIGHTS:
        if (folder / whole).is_file():
            return _open_file(folder / whole)
        index = folder / f"{whole}.index.json"
        if index.is_file():
            return Weights(_open_shards(index))
    raise no_weights(
        folder,
        "a checkpoint folder has model.safetensors or pytorch_model.bin (or shards with an index) and config.json. "
        "Convert Google's and fairseq's files first, with tools/convert_weights.py.",
    )


def _open_shards(index: Path) -> dict[str, Callable[[], Tensor]]:
    weight_map = read_json_object(index).get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(shard, str) for shard in weight_map.values()):
        raise InputError(f"{index}: has no weight_map from tensor names to files.")
    check_number(len(weight_map), index)
    shards: dict[str, Readers] = {}
    for shard in sorted(set(weight_map.values())):
        if Path(shard).name != shard:
            raise InputError(f"{index}: the shard {shown(shard)!r} is not a plain file name.")
        if not (index.parent / shard).is_file():
            raise InputError(f"{index.parent / shard}: missing, though {index.name} lists it; download this file too.")
        shards[shard] = _open_file(index.parent / shard).tensors
    tensors = {}
    for name, shard in weight_map.items():
        if name not in shards[shard]:
            raise InputError(f"{index.parent / shard}: has no tensor {shown(name)!r}, though {index.name} lists it.")
        tensors[name] = shards[shard][name]
    return tensors


def _open_file(path: Path) -> Weights:
    if path.suffix == ".safetensors":
        try:
            _check_header(path)
            file = safe_open(path, framework="pt")
            names = file.keys()
            check_number(len(names), path)
            return Weights({name: partial(file.get_tensor, name) for name in names})
        except (SafetensorError, OSError) as error:
            raise InputError(f"{path}: not a readable safetensors file ({error}); download it again.") from None
    state, notes = unwrap(read_torch_file(path), path.name)
    state = plain_tensors(state, path)
    return Weights({name: partial(state.__getitem__, name) for name in state}, notes)


_MOST_HEADER_BYTES = 8 << 20  # of 20,000 tensors with long names; the library would take 100 MB


def _check_header(path: Path) -> None:
    """Raises InputError if a safetensors file says that its header is larger than one of a model is."""
    with open(path, "rb") as file:
        size = int.from_bytes(file.read(8), "little")
    if size > _MOST_HEADER_BYTES:
        raise InputError(f"{path}: not a readable safetensors file (a header of {size:,} bytes); download it again.")
