"""Converts a checkpoint from one format to another: reads by one table of names, writes by another, reports both.

No model is built and no value changes. Tensors are converted one at a time where the format allows it.
"""

import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import tokenizers
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from minibert.errors import InputError
from minibert.files import new_folder, write_json
from minibert.formats import companions, huggingface
from minibert.formats.fairseq import checkpoint as fairseq
from minibert.formats.fairseq import names as fairseq_names
from minibert.formats.fairseq import settings as fairseq_settings
from minibert.formats.fairseq.dictionary import Vocabulary
from minibert.formats.google import checkpoint as google
from minibert.formats.google import names as google_names
from minibert.formats.google import settings as google_settings
from minibert.formats.names import NameTable, Slot, shorten
from minibert.formats.source import ConversionSource, part_of_model
from minibert.tokenizer.tokenizer import Tokenizer

_FAIRSEQ_HEAD = "sentence_classification_head"  # the default of fairseq's sentence_prediction criterion


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a conversion did with every tensor.

    Attributes:
        source, destination: the folders.
        format, to: their formats.
        architecture: Hugging Face's class for what was in the source.
        num_parameters: the number of values written.
        read: name in the source -> the names that it was written to.
        ignored: name in the source -> why it was not read.
        synthesised: name written without a tensor of the source -> what it was set to.
        absent: part of the architecture that the source lacks -> why that is fine.
        tokenizer: the tokenizer files that were written.
        notes: remarks for the user.
    """

    source: str
    destination: str
    format: str
    to: str
    architecture: str
    num_parameters: int
    read: Mapping[str, list[str]]
    ignored: Mapping[str, str]
    synthesised: Mapping[str, str]
    absent: Mapping[str, str]
    tokenizer: list[str]
    notes: list[str]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        lines = [f"{self.source} ({self.format}, {self.architecture}) -> {self.destination} ({self.to})"]
        lines += [f"  {name} -> {', '.join(names)}" for name, names in self.read.items()]
        lines += [f"  {why} -> {name}" for name, why in self.synthesised.items()]
        for why in dict.fromkeys(self.ignored.values()):
            names = [name for name, reason in self.ignored.items() if reason == why]
            lines.append(f"not read, {why}: {f'{len(names)} names' if len(names) > 8 else ', '.join(names)}")
        lines += [f"absent: {part} ({why})" for part, why in self.absent.items()]
        lines += [f"note: {note}" for note in self.notes]
        lines.append(f"tokenizer: {', '.join(self.tokenizer) or 'none'}")
        lines.append(f"{len(self.read)} tensors read, {self.num_parameters:,} parameters written")
        return "\n".join(lines)


def convert(
    source: ConversionSource, destination: str | os.PathLike[str], *, to: str = "huggingface", tokenizer: bool = True
) -> Report:
    """Writes a checkpoint to a new folder in another format; the folder appears complete or not at all.

    Args:
        source: the open checkpoint; its files are not changed.
        destination: the folder to create; it may exist if it is empty.
        to: one of :data:`FORMATS`.
        tokenizer: whether to convert the tokenizer, too.

    Raises:
        InputError: the destination is not empty, a tensor is damaged or has a wrong shape, the format cannot store
            this model, or the tokenizer does not fit it.
        OSError: the folder cannot be written.
    """
    destination = Path(destination).absolute()
    try:
        with new_folder(destination) as staging:
            table = _table(source, to)
            report = _report(source, destination, table, to)
            _write(source, staging, table, to)
            if to == "huggingface":
                companions.copy(source.folder, staging)
            written = _write_tokenizer(source, staging, to) if tokenizer else []
    except SafetensorError as error:
        raise InputError(f"{destination}: cannot be written ({error}).") from None
    notes = report.notes if tokenizer else [*report.notes, "the tokenizer was left out, as asked; add its files"]
    return replace(report, tokenizer=written, notes=notes)


def _table(source: ConversionSource, to: str) -> NameTable:
    head = source.table.head
    if to == "huggingface":
        return huggingface.name_table(source.config, head)
    if source.config.ngram_buckets:
        raise InputError(
            f"{source.folder}: has scores of n-grams, for which {to}'s format has no place; train it with --no-ngrams."
        )
    if to == "google":
        google_settings.check_writable(source.config, head)
        return google_names.name_table(source.config, head)
    fairseq_settings.check_writable(source.config)
    return fairseq_names.name_table(
        source.config, head, classification_head=_FAIRSEQ_HEAD if head == "ForSequenceClassification" else None
    )


def _write(source: ConversionSource, folder: Path, table: NameTable, to: str) -> None:
    if to == "google":
        google.write_checkpoint(folder, table, source.get_tensor)
    elif to == "fairseq":
        fairseq.write_checkpoint(folder / "model.pt", table, source.get_tensor)
    else:
        tensors: dict[str, Tensor] = {}
        for name, slot in table.slots.items():  # one by one, as a transposed tensor is a copy
            tensor = source.get_tensor(slot)
            if tensor is not None:
                tensors[name] = tensor.contiguous()
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        dtypes = {str(tensor.dtype).removeprefix("torch.") for tensor in tensors.values()}
        write_json(folder / "config.json", _huggingface_settings(source, min(dtypes) if len(dtypes) == 1 else None))


def _huggingface_settings(source: ConversionSource, dtype: str | None) -> dict[str, Any]:
    """The fields of ``config.json``: those of the source, unknown ones included, and what it lacks."""
    own = {name: value for name, value in source.settings.items() if name not in ("torch_dtype", "dtype")}
    values = {**source.config.to_dict(), **own, "architectures": [source.architecture]}
    return {**values, "dtype": dtype} if dtype else values


def _report(source: ConversionSource, destination: Path, table: NameTable, to: str) -> Report:
    targets = list(table.slots.items())
    read = {name: _filled_from(slot, targets) for name, slot in source.read.items()}
    dropped = {name: source.read[name].name for name, names in read.items() if not names}
    if lost := sorted({part_of_model(ours) for ours in dropped.values()} - {"pooler", "encoder"}):
        raise InputError(f"{source.folder}: the {to} format cannot store its {' and '.join(lost)}.")
    unstorable = {
        name: "added to the position embeddings" if ours in table.zeros else f"the {to} format cannot store it"
        for name, ours in dropped.items()
    }
    synthesised = {name: why for ours, why in source.synthesised.items() for name in _filled_from(Slot(ours), targets)}
    written = {slot.name for _, slot in targets if part_of_model(slot.name) not in source.absent}
    return Report(
        source=str(source.folder),
        destination=str(destination),
        format=source.format,
        to=to,
        architecture=source.architecture,
        num_parameters=sum(source.parameters[name].numel() for name in written),
        read={name: names for name, names in read.items() if names},
        ignored={**source.ignored, **unstorable},
        synthesised=synthesised,
        absent={part: _why_absent(part, source) for part in source.absent},
        tokenizer=[],
        notes=[*source.notes, *_notes_on_losses(source, to)],
    )


def _filled_from(slot: Slot, targets: Iterable[tuple[str, Slot]]) -> list[str]:
    """The names whose slots overlap with ``slot``."""
    return [
        name
        for name, target in targets
        if target.name == slot.name
        and (1 in (slot.parts, target.parts) or (slot.part, slot.parts) == (target.part, target.parts))
    ]


def _why_absent(part: str, source: ConversionSource) -> str:
    if part == "pooler" and source.table.head == "Model":
        return "optional; a task that needs it initialises it"
    return f"{source.architecture} has none"


def _notes_on_losses(source: ConversionSource, to: str) -> list[str]:
    """What another format than Hugging Face's has no place for, beside tensors."""
    if to == "huggingface":
        return []
    config, notes = source.config, []
    if to == "google" and config.hidden_act != google_settings.hidden_act_read_back(config):
        notes.append(f"hidden_act {config.hidden_act} is written as gelu, its only name in Google's programs")
    if dict(config.id2label) != {index: f"LABEL_{index}" for index in config.id2label}:
        labels = shorten(list(config.id2label.values()))
        notes.append(f"the names of the labels ({labels}) are left out; keep config.json")
    if config.problem_type not in (None, "single_label_classification"):
        notes.append(f"problem_type {config.problem_type} is left out; keep config.json")
    if found := companions.find(source.folder):
        notes.append(f"{', '.join(found)}, on which answers depend, left out; keep the folder {source.folder}")
    return notes


# -- tokenizers --------------------------------------------------------------------------------------------------------

_VOCABULARIES = ("tokenizer.json", "vocab.txt", "vocab.json", "merges.txt", "spiece.model")
_OTHER_TOKENIZER_FILES = (
    "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "sentencepiece.bpe.model",
)  # fmt: skip
_GOOGLE_SENTENCEPIECE = "30k-clean.model"  # Google's name for what Hugging Face calls spiece.model


def _write_tokenizer(source: ConversionSource, folder: Path, to: str) -> list[str]:
    """Writes the tokenizer in a format's own files; returns their names."""
    before = set(folder.iterdir())
    if to == "huggingface":
        _write_huggingface_tokenizer(source, folder)
    else:
        with tempfile.TemporaryDirectory() as temporary:
            if _write_huggingface_tokenizer(source, Path(temporary)):
                _convert_tokenizer(Path(temporary), folder, to, source.folder)
    return sorted(path.name for path in set(folder.iterdir()) - before)


def _write_huggingface_tokenizer(source: ConversionSource, folder: Path) -> bool:
    """Writes a checkpoint's tokenizer to a folder in Hugging Face's form; False if it has none.

    Raises:
        InputError: it cannot be read, or does not fit the embedding.
    """
    if source.format == "fairseq":
        if not (source.folder / "dict.txt").is_file():
            return False
        Vocabulary.from_fairseq(source.folder, source.config.vocab_size).save_huggingface(folder)
    else:
        for name in (*_VOCABULARIES, *_OTHER_TOKENIZER_FILES):
            if (source.folder / name).is_file():
                shutil.copyfile(source.folder / name, folder / name)
        if (source.folder / _GOOGLE_SENTENCEPIECE).is_file():
            shutil.copyfile(source.folder / _GOOGLE_SENTENCEPIECE, folder / "spiece.model")
    if not any((folder / name).is_file() for name in _VOCABULARIES):
        return False
    tokenizer = Tokenizer.from_pretrained(folder)
    tokenizer.check_fits(source.config, source.folder)
    if not (folder / "tokenizer.json").is_file():
        tokenizer.save_pretrained(folder, config=source.config, shipped=folder)
    return True


def _convert_tokenizer(huggingface_folder: Path, folder: Path, to: str, source: Path) -> None:
    """Writes the vocabulary of a tokenizer in another format; ``source`` is for messages.

    Raises:
        InputError: the format cannot hold it.
    """
    backend = tokenizers.Tokenizer.from_file(str(huggingface_folder / "tokenizer.json"))
    added = backend.get_vocab(with_added_tokens=True).keys() - backend.get_vocab(with_added_tokens=False).keys()
    if lost := sorted(added - ({"<mask>"} if to == "fairseq" else set())):  # which fairseq's programs add themselves
        raise InputError(
            f"{source}: its tokenizer has tokens beside its vocabulary ({shorten(lost)}), for which {to}'s format "
            "has no place; give --no-tokenizer for the weights alone."
        )
    if not any((huggingface_folder / name).is_file() for name in _VOCABULARIES[1:]):
        backend.model.save(str(huggingface_folder))
    if to == "fairseq":
        Vocabulary.from_huggingface(huggingface_folder).save_fairseq(folder)
        return
    for name, theirs in (("vocab.txt", "vocab.txt"), ("spiece.model", _GOOGLE_SENTENCEPIECE)):
        if (huggingface_folder / name).is_file():
            shutil.copyfile(huggingface_folder / name, folder / theirs)
