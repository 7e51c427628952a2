"""A search in its folder: its trials, round by round, and what it records of them.

A trial is a run like any other, in a folder of its own. The end of a round leaves it paused after an epoch, and the
next round resumes it, so that a trial which reaches the end is, to the bit, the run that its settings make.
"""

import contextlib
import dataclasses
import json
import shlex
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from minibert.errors import Diverged, InputError
from minibert.files import read_json_object, write_atomically, write_json
from minibert.training import Paused, choose_device
from minibert.training.settings import option_name
from minibert.training.state import require_same_fingerprint
from tasks.report.search import SEARCH_FILE, settings_in_words, write_search_report
from tasks.run import folder as run_folder
from tasks.run.console import program
from tasks.run.grid import Cell, train_cell
from tasks.run.interrupts import resume_hint
from tasks.run.prepare import AnyTask
from tasks.run.provenance import FILES_OF_WEIGHTS
from tasks.run.streams import say
from tasks.search.arguments import Options
from tasks.search.halving import Trial, ranked, rounds
from tasks.search.space import draw_settings
from tasks.settings import SETTINGS_FILE, RunSettings

_WEIGHTS = "model.safetensors"


class Search:
    """Trains the trials of a search.

    Args:
        task_type: the task.
        settings: those that all trials share, with defaults where they differ.
        options: the ranges and choices, and the budget.
        folder: of the search; if it holds one, that one goes on.
        command: what to type to repeat it.
        data: the facts about each split.
        weights: the sha256 of the files that the model starts from.

    Raises:
        InputError: the folder holds another search, or there are fewer settings than the budget.
    """

    def __init__(
        self,
        task_type: type[AnyTask],
        settings: RunSettings,
        options: Options,
        folder: Path,
        command: str,
        data: Mapping[str, Mapping[str, Any]],
        weights: Mapping[str, str],
    ) -> None:
        self._task_type, self._settings, self._options, self._folder = task_type, settings, options, folder
        self._metric = task_type(settings).metric
        self._rounds = rounds(options.budget, settings.epochs)
        drawn = draw_settings(options.space, options.budget, settings.seed)
        self._trials = [Trial(name=f"trial-{number:03}", settings=values) for number, values in enumerate(drawn, 1)]
        self._complete: Path | None = None  # the last trial that has its figures
        space = {name: dimension.to_json() for name, dimension in options.space.items()}
        hashes: dict[str, Any] = {f"the {name} file": described["sha256"] for name, described in data.items()}
        hashes[FILES_OF_WEIGHTS] = weights
        shared = {name: value for name, value in settings.fingerprint().items() if name not in map(option_name, space)}
        searched = {option_name(name): values for name, values in space.items()}
        self._record: dict[str, Any] = {
            "task": task_type.name,
            "command": command,
            "metric": self._metric.name,
            "metric_higher_is_better": self._metric.higher_is_better,
            "space": space,
            "rounds": [each._asdict() for each in self._rounds],
            "fingerprint": json.loads(json.dumps({"--budget": options.budget, **searched, **shared, **hashes})),
            "settings": dataclasses.asdict(settings),
            "data": data,
            "versions": run_folder.versions(),
            "device": run_folder.device_name(choose_device(settings.device)),
            "started": run_folder.now(),
        }
        if (folder / SEARCH_FILE).exists():
            self._take_over(read_json_object(folder / SEARCH_FILE))

    def _take_over(self, saved: Mapping[str, Any]) -> None:
        """Goes on from what a search of the same settings has recorded.

        Raises:
            InputError: it is another search, or no record of one.
        """
        path = self._folder / SEARCH_FILE
        try:
            before = {FILES_OF_WEIGHTS: self._record["fingerprint"][FILES_OF_WEIGHTS], **saved["fingerprint"]}
            require_same_fingerprint(before, self._record["fingerprint"])  # older versions did not save all of it
            trials = [Trial(**trial) for trial in saved["trials"]]
            for trial in trials:
                if trial.history:
                    ranked([trial], len(trial.history), self._metric)
            if [(trial.name, trial.settings) for trial in trials] != [(own.name, own.settings) for own in self._trials]:
                raise LookupError
            for trial in trials:
                if not trial.diverged:  # but for a full disk, or a file that was missing
                    trial.failure = None
        except (LookupError, TypeError, AttributeError):
            raise InputError(f"{path}: is not the record of this search; name another folder.") from None
        self._trials, self._record["started"] = trials, saved.get("started", self._record["started"])

    def run(self) -> Path:
        """Trains what is left to train; writes ``search.json`` and ``report.html``, and prints the winner.

        Raises:
            InputError: no trial could be trained.
            Interrupted: a signal stopped a trial; a checkpoint was saved.
        """
        self._write()
        trials = self._trials
        for number, (count, epochs) in enumerate(self._rounds):
            trials, others, following = trials[:count], trials[count:], self._rounds[number + 1 :]
            say(f"\nround {number + 1} of {len(self._rounds)}, up to epoch {epochs}; trials: {len(trials)}")
            for trial in trials:
                if trial.failure is None and not trial.has_done(epochs):
                    self._train(trial, epochs)
                # At once, so that the disk never holds the weights of all.
                for out in ranked(trials, epochs, self._metric)[following[0].trials if following else count :]:
                    self._remove_weights(out)
            tried, trials = trials, ranked(trials, epochs, self._metric)
            while not trials and others and all(trial.diverged for trial in tried):
                if not others[0].has_done(epochs):
                    self._train(others[0], epochs)  # from its start, as its weights are gone
                tried, others = others[:1], others[1:]
                trials = ranked(tried, epochs, self._metric)
            if not trials:
                raise Diverged(f"no trial could be trained; {self._failures()[-1]}")
        return self._finish(trials)

    def _train(self, trial: Trial, epochs: int) -> None:
        """Trains a trial up to an epoch; what goes wrong in it costs the others nothing."""
        say(f"\n== {trial.name}: {settings_in_words(trial.settings)} ==")
        target = self._folder / trial.name
        try:
            settings = dataclasses.replace(self._settings, **trial.settings, out=None)
            cell = Cell(name=trial.name, row=trial.name, data=None, task=self._task_type(settings))
            train_cell(cell, target, like=self._complete, resume=target.exists(), stop_after=epochs)
            trial.history, trial.complete, self._complete = run_folder.read_metrics(target)["epochs"], True, target
        except Paused as pause:
            trial.history = list(pause.history)
        except InputError as error:
            say(f"failed: {error}")
            trial.failure, trial.diverged = str(error), isinstance(error, Diverged)
            if trial.diverged:
                self._remove_weights(trial)
            with contextlib.suppress(OSError):  # it has files in it
                target.rmdir()
        except KeyboardInterrupt:
            say(resume_hint(self._record["command"], self._folder), error=True)
            raise
        self._write()

    def _remove_weights(self, trial: Trial) -> None:
        """Frees the disk of a trial that does not go on; its settings and its log stay, and a model that is trained."""
        target = self._folder / trial.name
        shutil.rmtree(target / run_folder.CHECKPOINTS, ignore_errors=True)
        if not trial.complete:
            (target / _WEIGHTS).unlink(missing_ok=True)

    def _failures(self) -> list[str]:
        return [f"{trial.name} failed: {trial.failure}" for trial in self._trials if trial.failure is not None]

    def _finish(self, finalists: Sequence[Trial]) -> Path:
        """Records the winner, and prints it with the trials that were trained to the end."""
        epochs, winner = self._settings.epochs, finalists[0]
        for trial in finalists:
            shutil.rmtree(self._folder / trial.name / run_folder.CHECKPOINTS, ignore_errors=True)
        final = run_folder.read_metrics(self._folder / winner.name)["final"]
        self._record["winner"] = {"trial": winner.name, "command": self._command(winner), "final": final}
        self._record["finished"] = run_folder.now()
        self._write()
        report = write_search_report(self._folder, self._record)
        say(f"\nbest dev {self._metric.name.replace('_', ' ')}, of the trials that were trained to the end:")
        for trial in finalists:
            say(f"{trial.name}  {trial.best(epochs)[self._metric.name]:.4f}  {settings_in_words(trial.settings)}")
        trained, all_epochs = self._record["epochs_trained"], len(self._trials) * epochs
        say(f"trained {trained} epochs; all trials to the end would have taken {all_epochs}")
        for failure in self._failures():
            say(f"note: {failure}")
        say(f"to train the winner again: {self._record['winner']['command']}")
        say(f"saved to {self._folder}")
        say(f"report {report}")
        return self._folder

    def _command(self, trial: Trial) -> str:
        """What to type to train a trial again by itself: with its settings file if an option is for such files only."""
        fields = {field.name: field for field in dataclasses.fields(self._settings)}
        words = [*program(f"tasks.{self._task_type.name}").split(), *self._options.fixed]
        for name, value in trial.settings.items():
            if not fields[name].metadata["advanced"]:
                words += [option_name(name), str(value)]
        if any(fields[name].metadata["advanced"] for name in trial.settings):
            words += ["--config", str(self._folder / trial.name / SETTINGS_FILE)]
        return shlex.join(words)

    def _write(self) -> None:
        """Writes ``search.json``."""
        self._record["trials"] = [dataclasses.asdict(trial) for trial in self._trials]
        self._record["epochs_trained"] = sum(len(trial.history) for trial in self._trials)
        self._record["warnings"] = self._failures()
        write_atomically(self._folder / SEARCH_FILE, lambda path: write_json(path, self._record))
