"""What a folder of sentence-transformers says beside the encoder's own files: how a text's vector is made."""

import json
from pathlib import Path

from minibert.errors import InputError
from minibert.files import read_json_object

MODULES = "modules.json"


def mean_pooling(folder: Path) -> bool:
    """Whether ``modules.json`` names a pooling that takes the mean of all tokens, and nothing else.

    Raises:
        InputError: the file, or the settings of its pooling, cannot be read.
    """
    path = folder / MODULES
    if not path.is_file():
        return False
    try:
        modules = json.loads(path.read_text(encoding="utf-8"))
        poolings = [str(module["path"]) for module in modules if str(module["type"]).endswith(".Pooling")]
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(
            f"{path}: does not list the modules of sentence-transformers; remove the file to have the encoder alone."
        ) from None
    if len(poolings) != 1 or Path(poolings[0]).name != poolings[0]:
        return False
    settings = read_json_object(folder / poolings[0] / "config.json")
    modes = [name for name, value in settings.items() if name.startswith("pooling_mode_") and value is True]
    return modes == ["pooling_mode_mean_tokens"] or settings.get("pooling_mode") == "mean"
