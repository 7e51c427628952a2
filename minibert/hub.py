"""Resolves a path or hub name to a local folder: the path itself, then the hub's cache, then a download.

huggingface-hub downloads; this module chooses the files, checks whether a cached checkpoint is complete, and explains
failures.
"""

import errno
import glob
import hashlib
import json
import logging
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from minibert.errors import InputError
from minibert.files import read_json_object, sha256_of
from minibert.formats import companions
from minibert.formats.sentence_transformers import MODULES

_CONFIG = r"config\.json|(al)?bert_config\.json"  # Hugging Face's, and Google's
_TOKENIZER = (
    r"tokenizer\.json|vocab\.txt|vocab\.json|merges\.txt|spiece\.model|30k-clean\.model|encoder\.json|vocab\.bpe"
)
_TOKENIZER_SETTINGS = r"tokenizer_config\.json|special_tokens_map\.json|added_tokens\.json"
# What answers depend on besides. Of sentence-transformers' modules only the pooling has settings that are read.
_COMPANIONS = "|".join([*map(re.escape, companions.NAMES), r"1_Pooling/config\.json"])
_LEADING_COMPANIONS = (companions.TASK_FILE, MODULES)  # the others are read only where modules.json is
_WEIGHT_FORMS = (  # the first form that a repository has is downloaded
    r"model\.safetensors",
    r"model\.safetensors\.index\.json|model-\d+-of-\d+\.safetensors",
    r"pytorch_model\.bin",
    r"pytorch_model\.bin\.index\.json|pytorch_model-\d+-of-\d+\.bin",
    r"[^/]+\.ckpt[^/]*\.(index|data-\d+-of-\d+)",  # Google's, for the converter
    r"model\.pt|dict\.txt",  # fairseq's, for the converter
)
_USUAL_FILES = (
    "config.json, model.safetensors (or pytorch_model.bin), the tokenizer's files (tokenizer.json, or vocab.txt, or "
    "vocab.json with merges.txt, or spiece.model) and tokenizer_config.json if there is one"
)
_MANIFEST = Path(__file__).with_name("manifest.json")


def resolve(path_or_name: str | os.PathLike[str], *, revision: str | None = None) -> Path:
    """Returns the local folder of a checkpoint, downloading it from the hub if necessary.

    ``HF_HOME``, ``HF_ENDPOINT``, ``HF_HUB_OFFLINE`` and ``HF_TOKEN`` work as in huggingface-hub. A local folder needs
    no network, and a complete checkpoint in the hub's cache is used without checking for a newer one.
    Files whose sha256 is known (:func:`known_sha256`) are verified, unless a revision is given.

    Args:
        path_or_name: a local folder, or a name on the hub.
        revision: a branch, tag or commit on the hub; the main branch by default.

    Raises:
        InputError: there is no such folder and it cannot be downloaded (the message says why and lists the files to
            download by hand), or a file differs from the one known under this name.
    """
    path = Path(path_or_name)
    name = os.fspath(path_or_name)
    if name and path.is_dir():
        if revision is not None:
            raise InputError(f"{name}: is a local folder, which has no revision {revision!r}; leave the revision out.")
        return path
    if path.exists():
        raise InputError(f"{name}: is a file; pass the folder with config.json and the weights.")
    if not re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", name):
        raise InputError(f"{name}: no such folder.")
    folder = _resolve_on_hub(name, revision)
    if revision is None:
        _verify(folder, known_sha256(name), name)
    return folder


def known_sha256(name: str) -> dict[str, str]:
    """The sha256 of a known checkpoint's files, by file name; empty if there are none for ``name``."""
    hashes = _manifest_entry(name).get("sha256", {})
    return {file: sha256.lower() for file, sha256 in hashes.items()}


def sha256_by_file(folder: Path) -> dict[str, str]:
    """The sha256 of a checkpoint's config, its tokenizer's files, and the form of its weights that is read, by name."""
    names = sorted(path.name for path in folder.iterdir() if path.is_file())
    paths = {name: (folder / name).resolve() for name in (*_config_and_tokenizer_files(names), *_weight_files(names))}
    return {name: _sha256(path, path.stat().st_mtime_ns) for name, path in sorted(paths.items())}


def sha256_of_model(folder: Path) -> str:
    """One sha256 of those of :func:`sha256_by_file`."""
    return hashlib.sha256(json.dumps(sha256_by_file(folder), sort_keys=True).encode()).hexdigest()


def _manifest_entry(name: str) -> dict[str, Any]:
    """The manifest's entry of a checkpoint; empty if there is none."""
    facts: dict[str, Any] = read_json_object(_MANIFEST).get(name, {}) if _MANIFEST.is_file() else {}
    return facts


def _verify(folder: Path, hashes: Mapping[str, str], name: str) -> None:
    for file, expected in hashes.items():
        if (folder / file).is_file():
            path = (folder / file).resolve()  # the file itself: the cache's folders contain links
            if (found := _sha256(path, path.stat().st_mtime_ns)) != expected:
                raise InputError(
                    f"{path}: {name}'s {file} has sha256 {found}, not the known {expected}; it is damaged or has "
                    f"changed on the hub. Delete it to download it again, or pass the folder {folder} to use it as it "
                    "is."
                )


@lru_cache
def _sha256(path: Path, changed: int) -> str:
    """The hash of a file. ``changed``, its modification time, is part of the cache's key."""
    return sha256_of(path)


def _resolve_on_hub(name: str, revision: str | None) -> Path:
    cached = _cached_folder(name, revision)
    missing = _missing_files(cached) if cached else []
    usable = cached if not missing else None
    if usable and any(re.fullmatch(_TOKENIZER, path.name) for path in usable.iterdir()):
        if _knows_companions(name, usable.name):
            return usable
        revision = usable.name  # another program has cached it: what that left out is fetched, but nothing newer

    files: list[str] = []
    try:
        with _quiet_retries():
            files = _list_files(name, revision)
            return _download(name, revision, files)
    except Exception as error:  # the exceptions of the HTTP library, which differs between huggingface-hub's versions
        if usable:  # the repository may have no tokenizer, or no companions
            return usable
        raise _download_error(name, revision, error, missing, files) from error


def _cached_folder(name: str, revision: str | None) -> Path | None:
    """A checkpoint's folder in the hub's cache, complete or not; None if there is none."""
    # Imported here and in the functions below for start-up speed: a local folder needs no network stack.
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:  # no patterns: newer versions refuse a folder that lacks a file of the repository
        return Path(snapshot_download(name, revision=revision, local_files_only=True, allow_patterns=[]))
    except (LocalEntryNotFoundError, ValueError):  # ValueError: not a valid name, which the hub will say
        return None


def _knows_companions(name: str, commit: str) -> bool:
    """Whether the hub's cache knows of each leading companion that the commit has it, or that it has not."""
    # Imported here for start-up speed, as above.
    from huggingface_hub import try_to_load_from_cache

    return all(try_to_load_from_cache(name, file, revision=commit) is not None for file in _LEADING_COMPANIONS)


def _list_files(name: str, revision: str | None) -> list[str]:
    """The repository's files. Retries if the server is busy, but not if there is no connection."""
    # Imported here for start-up speed, as above.
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import HfHubHTTPError

    for wait in (1, 3, 0):
        try:
            info = HfApi().model_info(name, revision=revision, timeout=constants.HF_HUB_ETAG_TIMEOUT)
            break
        except HfHubHTTPError as error:
            if not wait or error.response.status_code not in (429, 500, 502, 503, 504):
                raise
            time.sleep(wait)
    return [file.rfilename for file in info.siblings or []]


def _download(name: str, revision: str | None, files: list[str]) -> Path:
    # Imported here for start-up speed, as above.
    from huggingface_hub import hf_hub_download, snapshot_download

    weights = _weight_files(files)
    if not weights:
        raise InputError("the repository has no weights in a supported format")
    # The weights last: if they are complete, so is the rest, even after an interrupted download.
    for part in (_config_and_tokenizer_files(files), weights):
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=[glob.escape(file) for file in part]))
    # If the connection is lost meanwhile, older versions return the incomplete folder.
    if missing := [
        file for file in (*_config_and_tokenizer_files(files), *weights) if not (folder / file).exists()
    ] or _missing_files(folder):
        raise InputError(f"the checkpoint is incomplete without {', '.join(missing)}")
    for file in set(_LEADING_COMPANIONS) - set(files):
        with suppress(Exception):  # the file is absent, which the cache notes; else the next start asks again
            hf_hub_download(name, file, revision=folder.name)
    return folder


def _config_and_tokenizer_files(files: Iterable[str]) -> list[str]:
    """The config, its companions and the tokenizer among ``files``."""
    pattern = f"{_CONFIG}|{_COMPANIONS}|{_TOKENIZER}|{_TOKENIZER_SETTINGS}"
    return [file for file in files if re.fullmatch(pattern, file)]


def _weight_files(files: Iterable[str]) -> list[str]:
    """The files of the best form of the weights among ``files``."""
    return next(
        (found for form in _WEIGHT_FORMS if (found := [file for file in files if re.fullmatch(form, file)])), []
    )


def _missing_files(folder: Path) -> list[str]:
    """The files that a folder lacks to be a complete checkpoint, except for the tokenizer."""
    files = {path.name for path in folder.iterdir() if path.exists()}  # the cache may contain broken links
    weights = _weight_files(sorted(files))
    needed = {"model.safetensors"} if not weights else set()
    if "model.pt" in weights or "dict.txt" in weights:
        needed |= {"model.pt", "dict.txt"}
    elif not any(re.fullmatch(_CONFIG, file) for file in files):
        needed.add("config.json")
    for file in weights:
        if shard := re.fullmatch(r"(model|pytorch_model)-\d+-of-\d+\.(\w+)", file):
            needed.add(f"{shard[1]}.{shard[2]}.index.json")
        elif file.endswith(".index.json"):
            shards = read_json_object(folder / file).get("weight_map")
            needed |= {str(shard) for shard in shards.values()} if isinstance(shards, dict) else set()
        elif bundle := re.fullmatch(r"(.+\.)(index|data-\d+-of-\d+)", file):
            needed |= {f"{bundle[1]}index", f"{bundle[1]}data-00000-of-00001"}  # BERT's and ALBERT's have one shard
    return sorted(needed - files)


@contextmanager
def _quiet_retries() -> Iterator[None]:
    """Suppresses huggingface-hub's log of each retry, unless the user has changed its log level."""
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.ERROR if level == logging.WARNING else level)
    try:
        yield
    finally:
        logger.setLevel(level)


_LOG_IN = "log in (hf auth login, or HF_TOKEN)"
_REASONS = {  # name of an exception or one of its bases, or HTTP status -> reason; the first match is used
    "OfflineModeIsEnabled": "HF_HUB_OFFLINE is set",
    "GatedRepoError": f"the repository is gated; ask for access on its page, then {_LOG_IN}",
    "RevisionNotFoundError": "the repository has no such revision",
    "401": f"there is no such repository, or it is private; check the spelling, or {_LOG_IN}",
    "403": f"access is forbidden; {_LOG_IN} with an account that has access",
    "404 while downloading": "a file that the repository lists does not exist",
    "404": "there is no such repository; check the spelling",
    "429": "too many requests; wait a few minutes",
    "gaierror": "no network or no DNS (the host name cannot be resolved); HF_ENDPOINT can select a mirror",
}
_NO_CONNECTION = {"TransportError", "ConnectionError", "TimeoutError", "Timeout", "ChunkedEncodingError"}


def _failure_reason(error: BaseException, *, downloading: bool) -> str:
    """Explains why a download failed, from the exceptions of huggingface-hub and of its HTTP library.

    They are matched by name, because each major version of huggingface-hub uses another HTTP library.
    """
    if isinstance(error, InputError):
        return str(error)
    chain = [error]
    while cause := chain[-1].__cause__ or chain[-1].__context__:
        chain.append(cause)
    detail = str(chain[-1]).strip().split("\n")[0]
    for link in chain:
        if isinstance(link, OSError) and link.errno == errno.ENOSPC:
            return "the disk is full; make room, or set HF_HOME to a folder on another disk"
        if "Consistency check failed" in str(link):
            return "a file has another size than announced; try again"
    responses = [getattr(link, "response", None) for link in chain]
    status = next((response.status_code for response in responses if response is not None), None)
    kinds = {base.__name__ for link in chain for base in type(link).__mro__}
    kinds |= {f"{status} while downloading", str(status)} if downloading else {str(status)}
    for kind, reason in _REASONS.items():
        if kind in kinds:
            return reason
    if status is not None:
        return f"the server returned HTTP status {status}; try again later"
    if kinds & _NO_CONNECTION:
        return (
            f"the connection was lost ({detail}); try again"
            if downloading
            else f"no connection ({detail}); HF_ENDPOINT can select a mirror"
        )
    return f"{type(error).__name__}: {detail}"


def _download_error(
    name: str, revision: str | None, error: Exception, missing: list[str], files: list[str]
) -> InputError:
    # Imported here for start-up speed, as above.
    from huggingface_hub import constants

    why = _failure_reason(error, downloading=bool(files))
    part = f"; the cache is incomplete, without {', '.join(missing)}" if missing else ""
    wanted = (
        ", ".join(
            [*_config_and_tokenizer_files(files), *_weight_files(files)] or _manifest_entry(name).get("files", [])
        )
        or _USUAL_FILES
    )
    return InputError(
        f"{name}{f', revision {revision}' if revision else ''}: no such folder, and the download from "
        f"{constants.ENDPOINT} failed: {why}{part}. To download by hand, "
        f"put {wanted} from {constants.ENDPOINT}/{name}/tree/{revision or 'main'} into "
        f"{Path(name).absolute()} and pass that folder."
    )
