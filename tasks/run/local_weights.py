"""What a checkpoint on this machine says of itself without being opened, and so without torch."""

from pathlib import Path

from minibert.config import EncoderConfig
from minibert.errors import InputError
from minibert.families import BERT, FAMILIES
from minibert.files import read_json_object
from tasks.settings import RunSettings

# Where tools/make_bundled_weights.py puts the small pre-trained models: next to the packages.
_BUNDLED = Path(__file__).parents[2] / "weights"


def bundled(arch: str) -> Path:
    """The folder of the small pre-trained model of a family.

    Raises:
        InputError: the family has none, or it is not there.
    """
    family = FAMILIES[arch]
    if not family.bundled:
        raise InputError(
            f"--arch {arch}: no small {family.title} comes with minibert; give --weights, such as {family.examples}, "
            "or random."
        )
    folder = _BUNDLED / f"{arch}-tiny"
    if not folder.is_dir():
        raise InputError(
            f"{folder}: the small pre-trained model is not there; fetch minibert whole, or give --weights, such as "
            f"{family.examples}, or random."
        )
    return folder


def check_length_of_weights(settings: RunSettings) -> None:
    """Raises InputError for a ``--max-length`` above what the positions of local weights allow; those on the hub are
    checked when they are there."""
    if settings.max_length is None or settings.from_random:
        return
    folder = Path(settings.weights) if settings.weights else bundled(settings.arch or BERT.name)
    if not (folder / "config.json").is_file():
        return
    try:
        config = EncoderConfig.from_dict(read_json_object(folder / "config.json"))
    except InputError:
        return  # said in full where the checkpoint is opened
    check_longest(settings.max_length, config)


def check_longest(max_length: int | None, config: EncoderConfig) -> None:
    """Raises InputError for a ``max_length`` above what the positions allow."""
    if max_length is not None and max_length > config.max_length:
        raise InputError(
            f"--max-length {max_length}: this model has positions for {config.max_length} tokens, special tokens "
            f"included; give {config.max_length} or less."
        )
