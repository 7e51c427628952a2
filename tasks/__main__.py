"""``minibert NAME ...``: every command under one name; ``python -m tasks NAME ...`` is the same.

``minibert ner`` is ``python -m tasks.ner``. The console script starts with its own folder first in the search path, not
the working directory, so a folder called ``tasks`` there does no harm.
"""

import difflib
import importlib
import sys
from typing import NamedTuple, NoReturn

from minibert.errors import InputError
from tasks.registry import COMMANDS, TASKS, settings_class
from tasks.registry import main as run_command
from tasks.run.console import run_main


class Tool(NamedTuple):
    """A command line of ``tools``: its module, whose ``main`` returns the exit status, and one line of help."""

    module: str
    about: str


TOOLS = {
    "convert": Tool("tools.convert_weights", "Convert a checkpoint between Hugging Face, Google and fairseq formats."),
    "export": Tool("tools.export", "Export a run as ONNX or torch.export graphs for other run times."),
    "inspect": Tool("tools.inspect_weights", "List the tensors of a checkpoint, or compare two checkpoints."),
    "trim_vocabulary": Tool("tools.trim_vocabulary", "Cut a model's vocabulary to what a corpus needs."),
    "train_tokenizer": Tool("tools.train_tokenizer", "Train a tokenizer on plain text, for pre-training."),
}


def descriptions() -> dict[str, str]:
    """Each command with one line of help, in the order of the list."""
    found = {}
    for name in [*TASKS, *(command for command in COMMANDS if command not in TASKS)]:
        about = COMMANDS[name].about if name in COMMANDS else None
        found[name] = about or settings_class(name).about.partition(". ")[0].removesuffix(".") + "."
    return found | {name: tool.about for name, tool in TOOLS.items()}


def main() -> NoReturn:
    """Runs the command that the first argument names, or lists all commands, and ends the process."""
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        asked = len(sys.argv) > 1
        run_main(lambda: print(_help(), file=sys.stdout if asked else sys.stderr, flush=True))
        sys.exit(0 if asked else 2)
    name = sys.argv.pop(1).replace("-", "_")
    if name in TASKS or name in COMMANDS:
        run_command(name)
    run_main(lambda: _run_tool(name))
    sys.exit()


def _run_tool(name: str) -> None:
    if name not in TOOLS:
        near = difflib.get_close_matches(name, descriptions(), n=1)
        advice = f"did you mean {_typed(near[0])}?" if near else "minibert --help lists the commands."
        raise InputError(f"{name}: no such command; {advice}")
    sys.exit(importlib.import_module(TOOLS[name].module).main(program=f"minibert {_typed(name)}"))


def _typed(name: str) -> str:
    """``span_qa`` -> ``span-qa``; both forms are accepted."""
    return name.replace("_", "-")


def _help() -> str:
    lines = {_typed(name): about for name, about in descriptions().items()}
    width = max(map(len, lines))
    listed = "\n".join(f"  {name:{width}}  {about}" for name, about in lines.items())
    return f"usage: minibert COMMAND ...\n\n{listed}\n\nminibert COMMAND --help shows the options of a command."


if __name__ == "__main__":
    main()
