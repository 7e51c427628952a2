"""The options that all tasks have, and how they are read: from the command line, a settings file, and defaults."""

import argparse
import dataclasses
import difflib
import json
import math
import os
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from minibert.config import ARCHITECTURES
from minibert.errors import InputError
from minibert.files import write_whole
from minibert.training.settings import FREE, TrainingSettings

SETTINGS_FILE = "settings.toml"
RANDOM = "random"
"""The ``--weights`` of a small model without any."""


@dataclass(frozen=True, kw_only=True)
class RunSettings(TrainingSettings):
    """The options that all tasks have, by the same names."""

    about: ClassVar[str]
    """One line for ``--help``."""
    if_small: ClassVar[Mapping[str, Any]] = {"epochs": 10, "lr": 5e-4}
    """Defaults for a start from a small model."""

    arch: str | None = field(
        default=None, metadata={"help": "bert, albert or roberta (default: that of --weights, else bert)"}
    )
    weights: str | None = field(
        default=None,
        metadata={
            "help": "checkpoint folder or hub name to start from; random for a small model without any training "
            "(default: the small pre-trained one of --arch)"
        },
    )
    train: str | None = field(default=None, metadata=FREE | {"help": "training file (default: the bundled sample)"})
    dev: str | None = field(
        default=None,
        metadata=FREE | {"help": "file that chooses the best epoch (default: a part of --train, held out)"},
    )
    test: str | None = field(
        default=None, metadata=FREE | {"help": "file for the final report (default: the dev file's)"}
    )
    dev_share: float | None = field(
        default=None, metadata={"help": "part of --train to hold out where there is no --dev (default: 0.1)"}
    )
    test_share: float | None = field(
        default=None, metadata={"help": "part of --train to hold out for the final report where there is no --test"}
    )
    metric: str | None = field(
        default=None, metadata={"help": "dev figure that chooses the best epoch (default: the task's own)"}
    )
    max_length: int | None = field(
        default=None, metadata={"help": "most tokens the model sees at a time (default: what its positions allow)"}
    )
    device: str = field(default="auto", metadata=FREE | {"help": "auto, cpu, cuda or cuda:N"})
    seeds: int = field(
        default=1,
        metadata=FREE | {"help": "runs with this many seeds, from --seed on; reports mean, deviation and worst"},
    )
    tensorboard: bool = field(
        default=False, metadata=FREE | {"help": "also write the records for TensorBoard, into the run folder"}
    )
    out: str | None = field(
        default=None, metadata=FREE | {"help": "run folder, new or empty (default: runs/TASK-ARCH-N)"}
    )

    @property
    def on_sample(self) -> bool:
        """Whether no training data are named, so that the bundled sample serves."""
        return self.train is None

    @property
    def from_random(self) -> bool:
        """Whether to start from random weights."""
        return self.weights == RANDOM

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("weights", "train", "dev", "test", "out"):
            if getattr(self, name) == "":
                raise InputError(
                    f"{option_name(name)}: is empty, as a shell variable is that is not set; name something, or leave "
                    "the option out."
                )
        if self.arch is not None and self.arch not in ARCHITECTURES:
            raise InputError(f"--arch {self.arch}: use one of {', '.join(ARCHITECTURES)}.")
        if self.on_sample:
            given = [name for name in ("dev", "test", "dev_share", "test_share") if getattr(self, name) is not None]
            if given:
                raise InputError(
                    f"{', '.join(map(option_name, given))}: of no use without --train; the sample is used whole."
                )
        if self.seeds < 1:
            raise InputError(f"--seeds {self.seeds}: must be 1 or more.")
        if self.seed + self.seeds > 2**32:
            raise InputError(f"--seeds {self.seeds}: the last one, from --seed {self.seed} on, is above 4294967295.")
        for part in ("dev", "test"):
            share = getattr(self, f"{part}_share")
            if share is not None and getattr(self, part) is not None:
                raise InputError(f"--{part}-share is of no use beside --{part}; leave one of them out.")
            if share is not None and not 0 < share < 1:
                raise InputError(f"--{part}-share {share:g}: must lie between 0 and 1.")

    def binding(self) -> dict[str, Any]:
        """As for all training, but the weights first: other defaults depend on them, and are not what was changed."""
        values = super().binding()
        return {"--weights": values["--weights"], **values}


class Command(NamedTuple):
    """What a command line asks for."""

    settings: Any
    dry_run: bool
    resume: bool


def option_name(field_name: str) -> str:
    """``batch_size`` -> ``--batch-size``."""
    return f"--{field_name.replace('_', '-')}"


def parse(settings_class: type[RunSettings], argv: Sequence[str] | None, *, task: str) -> Command:
    """Reads settings from a command line that is derived from their dataclass, and from ``--config FILE.toml``.

    The command line goes before the file, the file before the defaults.

    Args:
        settings_class: whose fields become options.
        argv: the arguments; those of the process where absent.
        task: the task's name, which a settings file may hold as ``task``.

    Raises:
        InputError: the settings file cannot be read, or holds something that is no setting.
    """
    given: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in vars(_parser(settings_class, task).parse_args(argv)).items()
    }
    config, dry_run, resume = given.pop("config"), given.pop("dry_run"), given.pop("resume")
    if config is not None:
        given = {**read_settings(Path(config), settings_class, task), **given}
    if given.get("weights") in (None, RANDOM):
        small = dict(settings_class.if_small)
        if "batch_tokens" in given:  # stands in place of the other
            small.pop("batch_size", None)
        given = {**small, **given}
    settings = settings_class(**given)
    if resume and settings.out is None:
        raise InputError("--resume: needs --out, the folder of the run to go on with.")
    return Command(settings, dry_run, resume)


def check(settings_class: type[RunSettings], argv: Sequence[str] | None, *, task: str) -> None:
    """Shows the help, or refuses, as :func:`parse` would; but leaves a settings file unread, which may be a pipe."""
    if _parser(settings_class, task).parse_args(argv).config is None:
        parse(settings_class, argv, task=task)


def _parser(settings_class: type[RunSettings], task: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"python -m tasks.{task}", description=settings_class.about, allow_abbrev=False
    )
    parser.add_argument("--config", metavar="FILE.toml", help="settings file; options on the command line go before it")
    parser.add_argument(
        "--dry-run", action="store_true", help="read the data, show its sizes and an encoded example, and stop"
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on with the run in --out where it stopped; start it where it has not"
    )
    kinds = _kinds(settings_class)
    shared = {f.name for f in dataclasses.fields(TrainingSettings)}
    for option in sorted(dataclasses.fields(settings_class), key=lambda f: f.name in shared):
        text = option.metadata["help"]
        small = settings_class.if_small.get(option.name)
        notes = [] if small is None else [f"{small} without --weights"]
        if option.default is not None and option.default != () and not isinstance(option.default, bool):
            notes.insert(0, f"default: {option.default}")
        elif text.endswith(")"):  # has its default in words
            text, in_words = text[:-1].rsplit(" (", 1)
            notes.insert(0, in_words)
        if notes:
            text += f" ({'; '.join(notes)})"
        add_option(parser, option.name, kinds[option.name], text)
    return parser


def add_option(parser: argparse.ArgumentParser, name: str, kind: type, text: str) -> None:
    """Adds the option for a field: a flag with its ``--no-`` form, a list (several values, or the option again), or a
    value."""
    options: dict[str, Any] = {"default": argparse.SUPPRESS, "help": text.replace("%", "%%")}
    if kind is bool:
        parser.add_argument(option_name(name), action=argparse.BooleanOptionalAction, **options)
    elif kind is tuple:
        parser.add_argument(option_name(name), action="extend", nargs="+", **options)
    else:
        parser.add_argument(option_name(name), type=kind, **options)


def _kinds(settings_class: type[RunSettings]) -> dict[str, type]:
    """The plain type of each field: of ``int | None`` int, of ``tuple[str, ...]`` tuple."""
    hints = typing.get_type_hints(settings_class)
    return {option.name: _kind(hints[option.name]) for option in dataclasses.fields(settings_class)}


def _kind(hint: Any) -> type:
    if isinstance(hint, types.UnionType):
        hint = next(choice for choice in typing.get_args(hint) if choice is not type(None))
    return typing.get_origin(hint) or hint


def read_settings(path: Path, settings_class: type[RunSettings], task: str) -> dict[str, Any]:
    """The settings in a TOML file, by field name; hyphens may stand for underscores.

    Raises:
        InputError: no such file, not TOML, an unknown name, or a value of another type.
    """
    kinds = _kinds(settings_class)
    settings = {}
    for given, value in _read_toml(path).items():
        name = given.replace("-", "_")
        if name == "task":
            if value != task:
                raise InputError(f"{path}: holds settings of the task {value!r}; run python -m tasks.{value}.")
            continue
        if name not in kinds:
            near = difflib.get_close_matches(name, kinds, n=1)
            advice = f"did you mean {near[0]}?" if near else f"python -m tasks.{task} --help lists the settings."
            raise InputError(f"{path}: {given} is no setting of this task; {advice}")
        settings[name] = _value(path, given, value, kinds[name])
    return settings


def saved_task(path: Path) -> str:
    """The task that a settings file is of; InputError where it names none."""
    task = _read_toml(path).get("task")
    if not isinstance(task, str):
        raise InputError(f'{path}: names no task; add a line such as task = "ner".')
    return task


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file.") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}).") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not TOML ({error}).") from None


_IN_WORDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false", tuple: "a list of texts"}


def _value(path: Path, name: str, value: Any, kind: type) -> Any:
    if kind is tuple and isinstance(value, list) and all(isinstance(part, str) for part in value):
        return tuple(value)
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise InputError(f"{path}: {name} must be {_IN_WORDS[kind]}, not {value!r}.")
    return value


def write_settings(path: Path, settings: RunSettings, task: str) -> None:
    """Writes settings as a file that ``--config`` reads; those that are not set stand as comments."""
    lines = [f"task = {_toml(task)}"]
    for name, value in dataclasses.asdict(settings).items():
        lines.append(f"# {name} is not set" if value is None else f"{name} = {_toml(value)}")
    text = "\n".join(lines) + "\n"
    write_whole(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def _toml(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, float):
        return "inf" if math.isinf(value) else repr(value)
    # JSON's strings, numbers and booleans are TOML's, but for one control character that only TOML wants escaped.
    return json.dumps(os.fspath(value) if isinstance(value, os.PathLike) else value, ensure_ascii=False).replace(
        "\x7f", "\\u007f"
    )
