"""From a name or path to a local folder: this disk first, then the hub's cache, then the hub."""

import os
import re
from pathlib import Path

from minibert.errors import InputError

_TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "vocab.txt", "vocab.json", "merges.txt", "spiece.model",
)  # fmt: skip
_WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")


def resolve(path_or_name: str | os.PathLike[str]) -> Path:
    """Gives the local folder of a checkpoint, fetching it from the hub where it is not on this disk.

    ``HF_HOME``, ``HF_ENDPOINT`` and ``HF_HUB_OFFLINE`` act as in huggingface-hub. A local folder needs no network.

    Raises:
        InputError: there is no such folder, and the hub does not give it either; the message lists the files to fetch.
    """
    path = Path(path_or_name)
    name = os.fspath(path_or_name)
    if name and path.is_dir():
        return path
    if path.exists():
        raise InputError(f"{name}: is a file; pass the folder that holds config.json and the weights.")
    if not re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", name):
        raise InputError(f"{name}: no such folder.")
    return _from_hub(name)


def _from_hub(name: str) -> Path:
    # Imported here so that a local folder is read without loading a network stack.
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        cached = Path(snapshot_download(name, local_files_only=True))
        if any((cached / file).exists() or (cached / f"{file}.index.json").exists() for file in _WEIGHT_FILES):
            return cached
    except LocalEntryNotFoundError:
        pass
    try:
        return Path(snapshot_download(name, allow_patterns=_needed(HfApi().list_repo_files(name))))
    # huggingface-hub's own errors, and whatever its HTTP library raises without a connection (all OSErrors or named so)
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise _not_fetched(name, error) from None
    except Exception as error:
        if "connect" in type(error).__name__.lower() or "timeout" in type(error).__name__.lower():
            raise _not_fetched(name, error) from None
        raise


def _needed(files: list[str]) -> list[str]:
    """The config, the tokenizer, and one form of the weights: safetensors before bin, never both."""
    wanted = [file for file in files if file in ("config.json", *_TOKENIZER_FILES)]
    for whole in _WEIGHT_FILES:
        stem, ending = whole.rsplit(".", 1)
        shards = re.compile(rf"{re.escape(stem)}(-\d+-of-\d+)?\.{ending}(\.index\.json)?")
        if weights := [file for file in files if shards.fullmatch(file)]:
            return wanted + weights
    return wanted


def _not_fetched(name: str, error: Exception) -> InputError:
    reason = str(error).strip().split("\n")[0]
    return InputError(
        f"{name}: no folder of this name here, and the hub did not give it ({type(error).__name__}: {reason}). "
        f"To fetch it by hand, put config.json, model.safetensors (or pytorch_model.bin) and the tokenizer's files "
        f"(tokenizer.json, or vocab.txt, or vocab.json with merges.txt, or spiece.model; tokenizer_config.json where "
        f"there is one) into a folder and pass that folder."
    )
