"""The command of this task: training, or answering ``--ask``."""

from collections.abc import Sequence
from pathlib import Path

from minibert.checkpoint import open_checkpoint
from minibert.errors import InputError
from minibert.formats.companions import TASK_FILE
from minibert.shown import shown
from tasks.qa.settings import QaSettings, ask_parser, question_parser
from tasks.qa.task import QaTask
from tasks.run.command import run_task
from tasks.run.options import read_settings
from tasks.run.predictor import Predictor
from tasks.run.streams import say
from tasks.run.task_file import task_file


def ask(questions: Sequence[str], arguments: Sequence[str]) -> None:
    """Answers questions from a trained run, for people to read.

    Raises:
        InputError: no run is given, or it is a run of another task.
    """
    options = ask_parser().parse_args(arguments)
    if options.weights is None:
        raise InputError("--ask: needs --weights RUN, the folder of a trained run to answer from.")
    file = task_file(Path(options.weights))
    if file is None:
        raise InputError(f"{Path(options.weights) / TASK_FILE}: no such file. Every run folder has one.")
    settings = read_settings(file, QaSettings, QaTask.name)
    settings.pop("metric", None)  # of a settings.toml: it chose the best epoch, and may name the run's own top-k
    settings |= {name: value for name in ("top_k", "unknown") if (value := getattr(options, name)) is not None}
    task = QaTask(QaSettings(**settings))
    predictor = Predictor.load(task, open_checkpoint(options.weights), device=options.device)
    items = [task.parse_input({"text": question}, f"--ask {question}") for question in questions]
    for answer in predictor.answer(items):
        say(f"{shown(answer['question'])}\n  -> {shown(answer['label'])}")
        for best in answer["answers"]:
            say(f"     {best['probability']:6.1%}  {shown(best['label'])}")


def main(argv: Sequence[str] | None = None) -> Path | None:
    """Trains and returns the run folder, or answers ``--ask``."""
    given, rest = question_parser().parse_known_args(argv)
    if given.ask:
        ask(given.ask, rest)
        return None
    return run_task(QaTask, rest)
