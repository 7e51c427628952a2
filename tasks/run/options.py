"""Settings from the command line, a settings file and defaults; and their copy in the run folder."""

import argparse
import dataclasses
import difflib
import json
import math
import os
import reprlib
import tomllib
import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from minibert.errors import InputError
from minibert.files import read_json_object, write_atomically
from minibert.formats.companions import TASK_FILE
from minibert.shown import shown
from minibert.training.settings import option_name
from tasks.run.arguments import ArgumentParser
from tasks.run.console import program
from tasks.run.local_weights import check_length_of_weights
from tasks.settings import CALIBRATION, RANDOM, SETTINGS_FILE, RunSettings

# The sections of --help, after that of the task's own settings.
SECTIONS = {
    "data": ("train", "dev", "test", "dev_share", "test_share", "encoding", "columns", "skip_invalid"),
    "model": ("arch", "weights", "revision", "max_length"),
    "training": (
        "epochs", "batch_size", "lr", "head_lr", "early_stopping", "metric", "r_drop", "precision", "seed",
        "activation_checkpointing", "deterministic",
    ),
    "run": ("out", "device", "threads", "seeds", "save_steps", "save_minutes", "tensorboard"),
}  # fmt: skip

# These belong to a run's files and machine, not to its model.
_NOT_TAKEN_OVER = ("text_column", "pair_column", "precision")


class Command(NamedTuple):
    """A parsed command line.

    Attributes:
        settings: of the run.
        dry_run, resume: whether these options were given.
        given: the names of the settings on the command line and in ``--config``; the others are defaults.
    """

    settings: Any
    dry_run: bool
    resume: bool
    given: frozenset[str]


def parse(settings_class: type[RunSettings], argv: Sequence[str] | None, *, task: str) -> Command:
    """Reads settings from the command line and from ``--config FILE``.

    The command line overrides the file, the file overrides what is taken over from the run that ``weights`` names
    (:func:`taken_over`), and this overrides the defaults.

    Args:
        settings_class: its fields become options.
        argv: the arguments; None for those of the process.
        task: the task's name, which a settings file may give as ``task``.

    Raises:
        InputError: the settings file cannot be read or has an unknown setting, or a value is out of range.
    """
    given: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in vars(_parser(settings_class, task).parse_args(argv)).items()
    }
    config, dry_run, resume = given.pop("config"), given.pop("dry_run"), given.pop("resume")
    if config is not None:
        of_file = read_settings(Path(config), settings_class, task)
        if "batch_size" in given:
            of_file.pop("batch_tokens", None)  # which it replaces
        given = {**of_file, **given}
    named = frozenset(given)
    if given.get("weights") in (None, RANDOM):
        small = dict(settings_class.if_small)
        if "batch_tokens" in given:  # replaces it
            small.pop("batch_size", None)
        given = {**small, **given}
    else:
        taken = taken_over(Path(given["weights"]), settings_class, task)
        for name, other in settings_class.belongs_to.items():
            if given.get(other, taken.get(other)) != taken.get(other):
                taken.pop(name, None)
        given = {**taken, **given}
    settings = settings_class(**given)
    settings.check_files()
    check_length_of_weights(settings)
    if resume and settings.out is None:
        raise InputError("--resume: needs --out, the folder of the run to continue.")
    return Command(settings, dry_run, resume, named)


def taken_over(folder: Path, settings_class: type[RunSettings], task: str) -> dict[str, Any]:
    """The settings in which a run continues the one in ``folder``, by field name: those that the answers of a run of
    the same task depend on.

    Raises:
        InputError: the folder's ``task.json`` cannot be used.
    """
    file = folder / TASK_FILE
    if not file.is_file() or saved_task(file) != task:
        return {}
    of_answers = {field.name for field in dataclasses.fields(settings_class) if field.metadata.get("answers")}
    of_run = read_settings(file, settings_class, task)
    return {name: of_run[name] for name in of_run if name in of_answers - {*_NOT_TAKEN_OVER}}


def check(settings_class: type[RunSettings], argv: Sequence[str] | None, *, task: str) -> None:
    """Shows the help or raises, like :func:`parse`, but leaves a settings file unread: it may be a pipe."""
    if _parser(settings_class, task).parse_args(argv).config is None:
        parse(settings_class, argv, task=task)


def _parser(settings_class: type[RunSettings], task: str) -> ArgumentParser:
    fields = {field.name: field for field in dataclasses.fields(settings_class)}
    advanced = [name for name, field in fields.items() if field.metadata.get("advanced")]
    parser = ArgumentParser(
        prog=program(f"tasks.{task}"),
        usage="%(prog)s [OPTIONS]",
        description=settings_class.about,
        epilog=f"In a settings file only: {', '.join(advanced)}. Each run has one, {SETTINGS_FILE}.",
        formatter_class=_help_formatter,
        allow_abbrev=False,
    )
    kinds = setting_kinds(settings_class)
    shared = {name for names in SECTIONS.values() for name in names}
    for title, names in {task: [name for name in fields if name not in shared], **SECTIONS}.items():
        visible = [name for name in names if name in fields and name not in advanced]
        if not visible:
            continue
        section = parser.add_argument_group(title)
        if title == "run":
            section.add_argument("--config", metavar="FILE", help="settings file; options given here override it")
            section.add_argument("--dry-run", action="store_true", help="show the data and one encoded example")
            section.add_argument("--resume", action="store_true", help="continue the run in --out, or start it")
        for name in visible:
            add_option(section, fields[name], kinds[name], small=settings_class.if_small.get(name))
    for name in advanced:
        hidden: dict[str, Any] = {"default": argparse.SUPPRESS, "help": argparse.SUPPRESS}
        parser.add_argument(option_name(name), action=_ForTheFile, nargs="?", **hidden)
    return parser


def _help_formatter(prog: str) -> argparse.HelpFormatter:
    return argparse.HelpFormatter(prog, max_help_position=28)


class _ForTheFile(argparse.Action):
    """Refuses an option that belongs in the settings file."""

    def __call__(self, parser: Any, namespace: Any, value: Any, option: str | None = None) -> None:
        name = str(option).removeprefix("--").replace("-", "_")
        raise InputError(f"{option}: set it in a settings file, {name} = {value or '...'}, and pass --config FILE.")


def add_option(
    section: "argparse._ActionsContainer", field: "dataclasses.Field[Any]", kind: type, *, small: Any = None
) -> None:
    """Adds the option for a field: a flag with its ``--no-`` form, a list (several values, or the option again), or a
    value.

    Args:
        section: of the help text.
        field: its metadata has the help text; without one the option is hidden.
        kind: its plain type.
        small: the default for a small model, if it differs.
    """
    options: dict[str, Any] = {"default": argparse.SUPPRESS, "help": _help(field, small)}
    name = option_name(field.name)
    if kind is bool and field.default is not False:
        section.add_argument(name, action=argparse.BooleanOptionalAction, **options)
    elif kind is bool:
        section.add_argument(name, action="store_true", **options)
        section.add_argument(
            f"--no-{name[2:]}", dest=field.name, action="store_false", default=argparse.SUPPRESS, help=argparse.SUPPRESS
        )
    elif kind is tuple:
        section.add_argument(name, action="extend", nargs="+", metavar="TEXT", **options)
    else:
        section.add_argument(name, type=kind, metavar={int: "N", float: "X"}.get(kind, "VALUE"), **options)


def _help(field: "dataclasses.Field[Any]", small: Any) -> str:
    text: str = field.metadata["help"]
    if not text:
        return argparse.SUPPRESS
    notes = [] if small is None else [f"{small} without --weights"]
    if field.default is not None and field.default != () and not isinstance(field.default, bool):
        notes.insert(0, f"default: {field.default}")
    elif text.endswith(")"):  # states its default in words
        text, in_words = text[:-1].rsplit(" (", 1)
        notes.insert(0, in_words)
    if notes:
        text += f" ({'; '.join(notes)})"
    return text.replace("%", "%%")


def setting_kinds(settings_class: type[RunSettings]) -> dict[str, type]:
    """The plain type of each field: int for ``int | None``, tuple for ``tuple[str, ...]``."""
    hints = typing.get_type_hints(settings_class)
    return {option.name: _kind(hints[option.name]) for option in dataclasses.fields(settings_class)}


def _kind(hint: Any) -> type:
    if isinstance(hint, types.UnionType):
        hint = next(choice for choice in typing.get_args(hint) if choice is not type(None))
    return typing.get_origin(hint) or hint


def read_settings(path: Path, settings_class: type[RunSettings], task: str) -> dict[str, Any]:
    """The settings in a file, by field name; hyphens may replace underscores.

    Args:
        path: TOML, or JSON if its name ends so.
        settings_class: has the fields.
        task: the task's name, which the file may give as ``task``.

    Raises:
        InputError: the file is missing or cannot be parsed, or has an unknown name or a value of the wrong type.
    """
    kinds = setting_kinds(settings_class)
    settings = {}
    for given, value in _read(path).items():
        name = given.replace("-", "_")
        if name == CALIBRATION and path.name == TASK_FILE:
            continue
        if name == "task":
            if value != task:
                named = shown(reprlib.repr(value), 80)
                run = (
                    f"run {program(f'tasks.{value}')}"
                    if isinstance(value, str) and value.isidentifier()
                    else "correct it"
                )
                raise InputError(f"{path}: has the settings of the task {named}; {run}.")
            continue
        if name not in kinds:
            near = difflib.get_close_matches(name[:80], kinds, n=1)
            advice = f"did you mean {near[0]}?" if near else f"{program(f'tasks.{task}')} --help lists the settings."
            raise InputError(f"{path}: {shown(given)} is not a setting of this task; {advice}")
        if name in settings:
            raise InputError(f"{path}: {name} is there twice, with a hyphen and with an underscore; remove one.")
        settings[name] = _value(path, given, value, kinds[name])
    return settings


def saved_task(path: Path) -> str:
    """The task that a settings file names; InputError if it names none."""
    task = _read(path).get("task")
    if not isinstance(task, str):
        raise InputError(f'{path}: names no task; add a line such as task = "ner".')
    return task


def _read(path: Path) -> dict[str, Any]:
    if path.suffix == ".json":
        return read_json_object(path)
    try:
        with open(path, "rb") as file:  # which may be a pipe
            content = file.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise InputError(f"{path}: has more than {_MOST_BYTES:,} bytes, too many for a settings file.")
        return tomllib.loads(content.decode("utf-8-sig").replace("\r\n", "\n"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file.") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}).") from None
    except InputError:
        raise
    except (ValueError, RecursionError) as error:  # also numbers of thousands of digits, and days that do not exist
        raise InputError(f"{path}: not TOML ({error}).") from None


_MOST_BYTES = 1 << 20  # of a settings file
_MOST_NUMBER = 2**63
_IN_WORDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false", tuple: "a list of texts"}


def _value(path: Path, name: str, value: Any, kind: type) -> Any:
    if kind is tuple and isinstance(value, list) and all(isinstance(part, str) for part in value):
        return tuple(value)
    if type(value) is int and abs(value) >= _MOST_NUMBER:
        raise InputError(
            f"{path}: {name} is a number of {len(hex(value)) - 2} hexadecimal digits, which is out of range."
        )
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise InputError(f"{path}: {name} must be {_IN_WORDS[kind]}, not {shown(reprlib.repr(value))}.")
    return value


def write_settings(path: Path, settings: RunSettings, task: str) -> None:
    """Writes settings as a file for ``--config``; those that are None become comments."""
    lines = [f"task = {_toml(task)}"]
    for name, value in dataclasses.asdict(settings).items():
        lines.append(f"# {name} is not set" if value is None else f"{name} = {_toml(value)}")
    text = "\n".join(lines) + "\n"
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def _toml(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, float):
        return "inf" if math.isinf(value) else repr(value)
    # JSON's strings, numbers and booleans are valid TOML, except for one control character that TOML wants escaped.
    return json.dumps(os.fspath(value) if isinstance(value, os.PathLike) else value, ensure_ascii=False).replace(
        "\x7f", "\\u007f"
    )
