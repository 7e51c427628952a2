"""From a name or path to a local folder: this disk first, then the hub's cache, then the hub.

huggingface-hub does the fetching; here are the choice of files, the test whether a cached checkpoint is whole, and the
words for what went wrong.
"""

import errno
import glob
import hashlib
import logging
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from minibert.errors import InputError
from minibert.files import read_json_object

_CONFIG = r"config\.json|(al)?bert_config\.json"  # Hugging Face's, and Google's
_TOKENIZER = (
    r"tokenizer\.json|vocab\.txt|vocab\.json|merges\.txt|spiece\.model|30k-clean\.model|encoder\.json|vocab\.bpe"
)
_TOKENIZER_SETTINGS = r"tokenizer_config\.json|special_tokens_map\.json|added_tokens\.json"
_WEIGHTS = (  # the forms of the weights, the best first; one form is fetched
    r"model\.safetensors",
    r"model\.safetensors\.index\.json|model-\d+-of-\d+\.safetensors",
    r"pytorch_model\.bin",
    r"pytorch_model\.bin\.index\.json|pytorch_model-\d+-of-\d+\.bin",
    r"[^/]+\.ckpt[^/]*\.(index|data-\d+-of-\d+)",  # Google's, for the converter
    r"model\.pt|dict\.txt",  # fairseq's, for the converter
)
_USUAL_FILES = (
    "config.json, model.safetensors (or pytorch_model.bin), the tokenizer's files (tokenizer.json, or vocab.txt, or "
    "vocab.json with merges.txt, or spiece.model) and tokenizer_config.json where there is one"
)
_MANIFEST = Path(__file__).with_name("manifest.json")


def resolve(path_or_name: str | os.PathLike[str], *, revision: str | None = None) -> Path:
    """Gives the local folder of a checkpoint, fetching it from the hub where it is not on this disk.

    ``HF_HOME``, ``HF_ENDPOINT``, ``HF_HUB_OFFLINE`` and ``HF_TOKEN`` act as in huggingface-hub. A local folder needs no
    network, and a whole checkpoint in the hub's cache is taken without asking whether there is a newer one. Files whose
    sha256 is known (:func:`known_sha256`) are verified, unless a revision is given.

    Args:
        path_or_name: a local folder, or a name on the hub.
        revision: a branch, tag or commit on the hub; its main branch where absent.

    Raises:
        InputError: there is no such folder, and the hub does not give it either (the message says why, and lists the
            files to fetch by hand), or a file is not the one that is known under this name.
    """
    path = Path(path_or_name)
    name = os.fspath(path_or_name)
    if name and path.is_dir():
        if revision is not None:
            raise InputError(f"{name}: is a folder on this disk, which has no revision {revision!r}; leave it out.")
        return path
    if path.exists():
        raise InputError(f"{name}: is a file; pass the folder that holds config.json and the weights.")
    if not re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", name):
        raise InputError(f"{name}: no such folder.")
    folder = _from_hub(name, revision)
    if revision is None:
        _verify(folder, known_sha256(name), name)
    return folder


def known_sha256(name: str) -> dict[str, str]:
    """The sha256 of a known checkpoint's files, by file name; empty where nothing is known of ``name``."""
    hashes = _known(name).get("sha256", {})
    return {file: sha256.lower() for file, sha256 in hashes.items()}


def _known(name: str) -> dict[str, Any]:
    """The facts of a known checkpoint."""
    facts: dict[str, Any] = read_json_object(_MANIFEST).get(name, {}) if _MANIFEST.is_file() else {}
    return facts


def _verify(folder: Path, hashes: Mapping[str, str], name: str) -> None:
    for file, expected in hashes.items():
        if (folder / file).is_file():
            path = (folder / file).resolve()  # where the bytes lie; the cache's folders hold links
            if (found := _sha256(path, path.stat().st_mtime_ns)) != expected:
                raise InputError(
                    f"{path}: is {name}'s {file}, but its sha256 is {found} instead of the known {expected}, so it is "
                    f"damaged or has changed on the hub. Remove it to have it fetched again, or pass the folder "
                    f"{folder} to use it as it is."
                )


@lru_cache
def _sha256(path: Path, changed: int) -> str:
    """The hash of a file; ``changed`` is its time of change, so that each state of a file is read once."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _from_hub(name: str, revision: str | None) -> Path:
    cached = _cached(name, revision)
    lacking = _lacking(cached) if cached else []
    usable = cached if not lacking else None
    if usable and any(re.fullmatch(_TOKENIZER, path.name) for path in usable.iterdir()):
        return usable

    files: list[str] = []
    try:
        with _without_retry_lines():
            files = _list_files(name, revision)
            return _download(name, revision, files)
    except Exception as error:  # huggingface-hub passes on what its HTTP library raises, and has changed that library
        if usable:  # a tokenizer alone was looked for, and the repository may have none
            return usable
        raise _not_fetched(name, revision, error, lacking, files) from error


def _cached(name: str, revision: str | None) -> Path | None:
    """The folder that the hub's cache has for a checkpoint, whole or not."""
    # Imported here, as in the functions below, for a quick start with a local folder: it loads a network stack.
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:  # no patterns: newer versions would else refuse a folder that has not every file of the repository
        return Path(snapshot_download(name, revision=revision, local_files_only=True, allow_patterns=[]))
    except (LocalEntryNotFoundError, ValueError):  # ValueError: not a name; the hub's answer will say so
        return None


def _list_files(name: str, revision: str | None) -> list[str]:
    """The repository's files. A busy server is asked again; a missing connection is known at once."""
    # Imported here for a quick start, as above.
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
    # Imported here for a quick start, as above.
    from huggingface_hub import snapshot_download

    weights = _weights(files)
    if not weights:
        raise InputError("the repository has no weights of a form that can be read")
    # The weights last: where the cache has them whole, it has the rest, whenever a download was broken off.
    for part in (_small(files), weights):
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=[glob.escape(file) for file in part]))
    # Where the hub is gone by now, older versions give the folder as it is.
    if lacking := [file for file in (*_small(files), *weights) if not (folder / file).exists()] or _lacking(folder):
        raise InputError(f"the repository gives no whole checkpoint, it lacks {', '.join(lacking)}")
    return folder


def _small(files: Iterable[str]) -> list[str]:
    """The config and the tokenizer among ``files``."""
    return [file for file in files if re.fullmatch(f"{_CONFIG}|{_TOKENIZER}|{_TOKENIZER_SETTINGS}", file)]


def _weights(files: Iterable[str]) -> list[str]:
    """The files of the best form of the weights among ``files``."""
    return next((found for form in _WEIGHTS if (found := [file for file in files if re.fullmatch(form, file)])), [])


def _lacking(folder: Path) -> list[str]:
    """What a folder lacks to be a checkpoint, tokenizer aside."""
    files = {path.name for path in folder.iterdir() if path.exists()}  # in the cache, a link may lead nowhere
    weights = _weights(sorted(files))
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
            needed |= {f"{bundle[1]}index", f"{bundle[1]}data-00000-of-00001"}  # BERT's and ALBERT's have one part
    return sorted(needed - files)


@contextmanager
def _without_retry_lines() -> Iterator[None]:
    """Keeps huggingface-hub from logging each retry, unless it was asked to log more or less than usual."""
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.ERROR if level == logging.WARNING else level)
    try:
        yield
    finally:
        logger.setLevel(level)


_LOG_IN = "log in (hf auth login, or HF_TOKEN)"
_REASONS = {  # by the name of an exception or one of its bases, or by HTTP status; the first that fits
    "OfflineModeIsEnabled": "HF_HUB_OFFLINE is set",
    "GatedRepoError": f"the repository is gated; ask for access on its page, then {_LOG_IN}",
    "RevisionNotFoundError": "the repository has no such revision",
    "401": f"there is no repository of this name, or it is private; check the spelling, or {_LOG_IN}",
    "403": f"access is forbidden; {_LOG_IN} with an account that may read it",
    "404 while downloading": "a file that the repository lists is not there",
    "404": "there is no repository of this name; check the spelling",
    "429": "too many requests; wait some minutes",
    "gaierror": "no network, or no DNS (the host's name is not known here); HF_ENDPOINT may name a mirror",
}
_NO_CONNECTION = {"TransportError", "ConnectionError", "TimeoutError", "Timeout", "ChunkedEncodingError"}


def _why(error: BaseException, *, downloading: bool) -> str:
    """What a failed fetch failed of, from the exceptions of huggingface-hub and of whatever lies under it.

    They are known by name: the HTTP library below, whose exceptions come through, is another one in each of
    huggingface-hub's major versions.
    """
    if isinstance(error, InputError):
        return str(error)
    chain = [error]
    while cause := chain[-1].__cause__ or chain[-1].__context__:
        chain.append(cause)
    detail = str(chain[-1]).strip().split("\n")[0]
    for link in chain:
        if isinstance(link, OSError) and link.errno == errno.ENOSPC:
            return "the disk is full; make room, or set HF_HOME to a folder on another one"
        if "Consistency check failed" in str(link):
            return "a file did not come with the size that was announced; try again"
    responses = [getattr(link, "response", None) for link in chain]
    status = next((response.status_code for response in responses if response is not None), None)
    kinds = {base.__name__ for link in chain for base in type(link).__mro__}
    kinds |= {f"{status} while downloading", str(status)} if downloading else {str(status)}
    for kind, reason in _REASONS.items():
        if kind in kinds:
            return reason
    if status is not None:
        return f"the server answers with HTTP status {status}; try again later"
    if kinds & _NO_CONNECTION:
        return (
            f"the connection broke off ({detail}); try again"
            if downloading
            else f"no connection ({detail}); HF_ENDPOINT may name a mirror"
        )
    return f"{type(error).__name__}: {detail}"


def _not_fetched(name: str, revision: str | None, error: Exception, lacking: list[str], files: list[str]) -> InputError:
    # Imported here for a quick start, as above.
    from huggingface_hub import constants

    why = _why(error, downloading=bool(files))
    part = f"; the cache has a part, without {', '.join(lacking)}" if lacking else ""
    wanted = ", ".join([*_small(files), *_weights(files)] or _known(name).get("files", [])) or _USUAL_FILES
    return InputError(
        f"{name}{f', revision {revision}' if revision else ''}: not here, and not fetched from {constants.ENDPOINT}: "
        f"{why}{part}. By hand: put {wanted} from {constants.ENDPOINT}/{name}/tree/{revision or 'main'} into "
        f"{Path(name).absolute()} and pass that folder."
    )
