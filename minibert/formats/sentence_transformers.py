"""What a folder of sentence-transformers says beside the encoder's own files: how a text's vector is made."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minibert.errors import InputError
from minibert.files import read_json, read_json_object
from minibert.shown import shown

MODULES = "modules.json"
TEXT_SETTINGS = "sentence_bert_config.json"
MODEL_SETTINGS = "config_sentence_transformers.json"
MEAN, FIRST = "mean", "first"
POOLINGS = (MEAN, FIRST)
_KNOWN = ("Transformer", "Pooling", "Normalize")
_OWN_NAMES = {"mean_tokens": MEAN, "cls_token": FIRST, "cls": FIRST}  # of sentence-transformers' poolings


@dataclass(frozen=True, kw_only=True)
class SentenceSettings:
    """How a folder makes a text's vector.

    Attributes:
        pooling: :data:`MEAN` of all tokens, :data:`FIRST` token, or what else the folder names; None where it does not
            name just one.
        normalize: whether vectors have length 1.
        max_length: tokens of a text at most, special tokens included; None for as many as the model takes.
        lower_case: whether texts are put in lower case, whatever the tokenizer does.
        prompt: what is put before each text.
        others: the modules that minibert does not have, or what else it has not.
    """

    pooling: str | None
    normalize: bool = False
    max_length: int | None = None
    lower_case: bool = False
    prompt: str = ""
    others: tuple[str, ...] = ()


def module_folders(folder: Path) -> list[str]:
    """The folders inside of a folder of sentence-transformers that have the settings and weights of its modules.

    Raises:
        InputError: its ``modules.json`` cannot be read.
    """
    places = [place for _, place in _modules(folder) or [] if place and Path(place).name == place]
    return [place for place in places if (folder / place).is_dir()]


def _modules(folder: Path) -> list[tuple[str, str]] | None:
    """The kind and the place of each module; None where there is no ``modules.json``."""
    path = folder / MODULES
    if not path.is_file():
        return None
    modules = read_json(path)
    try:
        return [(str(module["type"]).rpartition(".")[2], str(module["path"])) for module in modules]
    except (KeyError, TypeError):
        raise InputError(
            f"{path}: does not list the modules of sentence-transformers; remove the file to have the encoder alone."
        ) from None


def sentence_settings(folder: Path) -> SentenceSettings | None:
    """What a folder says; None where it has no ``modules.json``.

    Raises:
        InputError: one of its settings files cannot be read.
    """
    named = _modules(folder)
    if named is None:
        return None
    kinds = [kind for kind, _ in named]
    poolings = [place for kind, place in named if kind == "Pooling"]
    is_single = len(poolings) == 1 and Path(poolings[0]).name == poolings[0]
    pooling = read_json_object(folder / poolings[0] / "config.json") if is_single else {}
    prompt = _prompt(folder)
    others = [kind for kind in kinds if kind not in _KNOWN]
    if prompt and pooling.get("include_prompt") is False:
        others.append("a pooling without the prompt")
    return SentenceSettings(
        pooling=_pooling(pooling) if is_single else None,
        normalize="Normalize" in kinds,
        max_length=_max_length(folder),
        lower_case=_object_in(folder / TEXT_SETTINGS).get("do_lower_case") is True,
        prompt=prompt,
        others=tuple(others),
    )


def _object_in(path: Path) -> dict[str, Any]:
    return read_json_object(path) if path.is_file() else {}


def _prompt(folder: Path) -> str:
    """The text that the folder puts before each text by default.

    Raises:
        InputError: it names one that it does not have.
    """
    path = folder / MODEL_SETTINGS
    settings = _object_in(path)
    if (name := settings.get("default_prompt_name")) is None:
        return ""
    prompts = settings.get("prompts")
    prompt = prompts.get(name) if isinstance(prompts, dict) and isinstance(name, str) else None
    if not isinstance(prompt, str):
        raise InputError(f"{path}: has no prompt called {shown(repr(name), 40)}, its default_prompt_name; add it.")
    return prompt


def _pooling(settings: Mapping[str, Any]) -> str | None:
    """The only pooling that is switched on, in the form of today's versions or of older ones."""
    modes = [
        name.removeprefix("pooling_mode_") for name, value in settings.items() if value is True and "_mode_" in name
    ]
    if isinstance(mode := settings.get("pooling_mode"), str):
        modes = [mode]
    return _OWN_NAMES.get(modes[0], modes[0]) if len(modes) == 1 else None


def _max_length(folder: Path) -> int | None:
    """As older versions write it, else that of the tokenizer, as newer ones do."""
    for name, key in ((TEXT_SETTINGS, "max_seq_length"), ("tokenizer_config.json", "model_max_length")):
        path = folder / name
        length = _object_in(path).get(key)
        if type(length) is int and length < 1:
            raise InputError(f"{path}: {key} is {length}; it must be 1 or more.")
        if type(length) is int:
            return length
    return None
