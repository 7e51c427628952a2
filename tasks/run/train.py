"""One training run of any task, from files to a folder with a model, its metrics and a report.

:func:`train` names the steps: prepare, fit, score, record, report.
"""

import contextlib
import shlex
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from minibert import Tokenizer
from minibert.checkpoint import open_checkpoint
from minibert.errors import InputError, WriteError
from minibert.training import Interrupted, choose_device, choose_precision, distributed
from minibert.training.precision import determinism
from minibert.training.state import require_same_fingerprint
from tasks.data import Details
from tasks.report.page import write_run_report
from tasks.report.parts import REPORT_FILE
from tasks.run import folder as run_folder
from tasks.run.console import program
from tasks.run.fit import fit, save_inputs
from tasks.run.interrupts import stopped_by
from tasks.run.linear import beside_linear, linear_model
from tasks.run.lines import figure_lines, metrics_line
from tasks.run.lock import locked
from tasks.run.options import read_settings
from tasks.run.predictions import prediction_records, predictions_file, write_predictions, write_splits
from tasks.run.prepare import AnyTask, Run, data_lines, prepare, settings_line
from tasks.run.processors import use_threads
from tasks.run.provenance import FILES_OF_WEIGHTS, weights_record
from tasks.run.record import metrics_record
from tasks.run.score import Score, evaluate_labelled, score
from tasks.run.start_model import StartingModel
from tasks.run.streams import say
from tasks.run.task_file import save_model, write_task_file
from tasks.settings import SETTINGS_FILE, RunSettings


def train(
    task: AnyTask,
    *,
    command: str,
    folder: Path | None = None,
    like: Path | None = None,
    resume: bool = False,
    stop_after: int | None = None,
) -> Path:
    """Trains, scores and saves; returns the run folder.

    Under ``torchrun`` all processes train and evaluate together; process 0 alone writes and prints.

    Args:
        task: with its settings.
        command: what to type to repeat the run.
        folder: where to write, instead of where the settings say; new and empty unless ``resume`` is set.
        like: the folder of a complete run on the same data, whose linear model need not be fitted again.
        resume: continue the run in the folder, to the same end as without the interruption; start it if there is none.
        stop_after: stop after this epoch, if it is not the last one; ``resume`` goes on from there.

    Raises:
        InputError: something that was given cannot be used.
        Interrupted: a signal stopped the training; a checkpoint was saved.
        Paused: epoch ``stop_after`` is done; a checkpoint was saved.
    """
    with contextlib.ExitStack() as held:  # the folder's lock
        return _train(task, command, folder, like, resume, stop_after, held)


def _train(
    task: AnyTask,
    command: str,
    folder: Path | None,
    like: Path | None,
    resume: bool,
    stop_after: int | None,
    held: contextlib.ExitStack,
) -> Path:
    use_threads(task.settings.threads)
    with distributed.process_group(choose_device(task.settings.device)) as device:
        run = _prepare(task, command, device, folder, resume, stop_after, held)
        if run.resume:
            if distributed.broadcast_from_rank0(lambda: _is_complete(run)):
                _say(f"{run.folder}: the run is already complete")
                return run.folder
            distributed.broadcast_from_rank0(lambda: _require_unfinished(run))
            distributed.broadcast_from_rank0(lambda: _require_same_settings(run))
            distributed.broadcast_from_rank0(lambda: _require_same_tokenizer(run))
        history = _fit(run)
        with _explain_interruption(run.folder):
            _load_best(run)
            _complete(run)
            scores = score(run)
            if distributed.is_rank0():
                write_task_file(run.folder, run.task)
        if not distributed.is_rank0():
            return run.folder
    with _explain_interruption(run.folder):
        details = {
            name: task.details(each.split, each.evaluation.outputs, each.evaluation.losses)
            for name, each in scores.items()
        }
        records = {name: prediction_records(task, each) for name, each in scores.items()}
        if (baseline := linear_model(task, run.prepared.splits, like)) is not None:
            records = {name: beside_linear(lines, baseline.answers[name]) for name, lines in records.items()}
        metrics = metrics_record(run, history, scores, details, records, baseline)
        _report(run, scores, details, records, metrics)
        if not task.settings.saves_regularly:
            shutil.rmtree(run.folder / run_folder.CHECKPOINTS, ignore_errors=True)  # saved to get as far as here
    return run.folder


def _prepare(
    task: AnyTask,
    command: str,
    device: torch.device,
    folder: Path | None,
    resume: bool,
    stop_after: int | None,
    held: contextlib.ExitStack,
) -> Run:
    """Reads everything, then chooses the run folder, which is this run's until ``held`` closes."""
    started = run_folder.now()
    if task.settings.out is None and folder is None and distributed.world_size() > 1:
        raise InputError("--out: needed under torchrun, so that a restarted process finds its run again.")
    precision = choose_precision(task.settings.precision, device)
    run_folder.reset_peak_memory(device)
    prepared = prepare(task)
    resume = resume or distributed.was_restarted()
    out, arch = task.settings.out, prepared.start.model.config.model_type

    def take_folder() -> Path:
        if folder is None:
            return run_folder.new_run_folder(out, task.name, arch, held=held, resume=resume)
        held.enter_context(locked(folder))
        return folder

    chosen = distributed.broadcast_from_rank0(take_folder)
    distributed.mark_started()
    processes = f", {distributed.world_size()} processes" if distributed.world_size() > 1 else ""
    return Run(
        task=task,
        prepared=prepared,
        folder=chosen,
        device=device,
        device_name=run_folder.device_name(device) + processes,
        precision=precision,
        command=command,
        started=started,
        resume=resume,
        stop_after=stop_after,
        weights=_weights(prepared.start, task.settings) if distributed.is_rank0() else None,
    )


def _weights(start: StartingModel, settings: RunSettings) -> dict[str, Any] | None:
    if start.folder is None:
        return None
    return {**weights_record(start.folder, settings.revision), "loading": start.loading}


def _fit(run: Run) -> list[dict[str, Any]]:
    """Trains; a run that fails before it saved anything leaves no files."""
    _say("\n".join(data_lines(run.task, run.prepared)))
    _say(f"model {run.prepared.start.line}")
    _say(f"with  {settings_line(run.task.settings)}")
    _say(f"run   {run.folder}: {run.precision} on {run.device_name}")
    with run_folder.no_files_without_model(run.folder) if distributed.is_rank0() else contextlib.nullcontext():
        if distributed.is_rank0() and not run.resume:
            save_inputs(run)
        return fit(run)


def _load_best(run: Run) -> None:
    """Loads the saved weights, so that what is scored is what was saved, by whichever host's process."""

    def saved() -> dict[str, Tensor]:
        return dict(open_checkpoint(run.folder).load(run.task.model_class)[0].named_parameters())

    weights = distributed.broadcast_from_rank0(saved)
    with torch.no_grad():
        for name, parameter in run.model.named_parameters():
            parameter.copy_(weights[name])


def _complete(run: Run) -> None:
    """Adds to the model, and to the saved one, what its task fits once the best epoch is known."""
    if not (added := run.task.take_out(run.model)):
        return
    items, encoded = run.prepared.splits["dev"].items, run.prepared.encoded
    with determinism(run.task.settings.deterministic):
        outputs = evaluate_labelled(run.task, run.model, items, encoded["dev"], "the dev loss").outputs

    def complete() -> None:
        run.task.complete(run.model, encoded, outputs)
        save_model(run.folder, run.task, run.model)

    distributed.broadcast_from_rank0(complete)
    _load_best(run)
    _say(f"{added} added; the figures of the epochs are without")


def _report(
    run: Run,
    scores: Mapping[str, Score],
    details: Mapping[str, Details],
    records: Mapping[str, Sequence[Mapping[str, Any]]],
    metrics: dict[str, Any],
) -> None:
    """Prints the figures, then writes ``metrics.json``, the predictions and the page: a full disk does not lose the
    figures."""
    name, final = list(scores.items())[-1]
    say(f"\n{name}: {final.split.source}, best epoch, {details[name].title}\n\n{details[name].table}")
    final_figures = metrics["final"][name]
    for line in figure_lines(run.task, final.metrics, final_figures["intervals"]):
        say(line)
    if (baseline := metrics["baseline"]) is not None:
        test = final_figures.get("against_linear")
        differs = f" (difference {test['difference']:+.4f}, p = {test['p_value']:.4f})" if test else ""
        say(f"for comparison, {baseline['name']}: {metrics_line(baseline[name], run.task.metric_names)}{differs}")
    for warning in metrics["warnings"]:
        say(f"note: {warning}")
    say(f"saved to {run.folder}")
    run_folder.write_metrics(run.folder, metrics)
    write_splits(run.folder, run.prepared.splits)
    for split_name, of_split in records.items():
        write_predictions(run.folder, split_name, of_split)
    say(f"report {write_run_report(run.folder, metrics, details)}")


def _is_complete(run: Run) -> bool:
    """Whether the folder holds this run up to its report.

    Raises:
        InputError: it holds another run, which would be lost.
    """
    if not (run.folder / run_folder.METRICS_FILE).exists():
        return False
    metrics = run_folder.read_metrics(run.folder)
    now = {**run.task.settings.fingerprint(), **run.file_hashes}
    before = _before(run)
    before |= {f"the {name} file": described["sha256"] for name, described in metrics["data"].items()}
    weights = metrics.get("starting_weights")
    if isinstance(weights, dict) and run.weights:  # older versions did not record them
        before[FILES_OF_WEIGHTS], now[FILES_OF_WEIGHTS] = weights.get("sha256"), run.weights["sha256"]
    require_same_fingerprint(before, now)
    return (run.folder / REPORT_FILE).exists()


def _require_unfinished(run: Run) -> None:
    """Raises InputError if the folder holds a finished run, some of whose files are gone: training would replace its
    model."""
    last = (run_folder.METRICS_FILE, REPORT_FILE, *map(predictions_file, run.prepared.splits))
    written = [name for name in last if (run.folder / name).exists()]
    if run_folder.checkpoints(run.folder).steps() or not written:
        return
    if run_folder.METRICS_FILE in written:
        raise InputError(
            f"{run.folder}: holds a finished run without its {REPORT_FILE}; {program('tasks.report')} "
            f"{shlex.quote(str(run.folder))} makes it again."
        )
    raise InputError(
        f"{run.folder}: holds a finished run without its {run_folder.METRICS_FILE}, and no checkpoint to make it from; "
        f"{program('tasks.evaluate')} gives figures of its model. To train again, name another --out."
    )


def _require_same_settings(run: Run) -> None:
    """Raises InputError if the run in the folder was started with other settings; a checkpoint, if there is one, is
    compared when it is read."""
    if (run.folder / SETTINGS_FILE).exists() and not run_folder.checkpoints(run.folder).steps():
        require_same_fingerprint(_before(run), run.task.settings.fingerprint())


def _require_same_tokenizer(run: Run) -> None:
    """Raises InputError if the run in the folder was started with another tokenizer."""
    if not (run.folder / "tokenizer.json").exists():
        return
    both = Tokenizer.from_pretrained(run.folder), run.prepared.start.tokenizer
    before, now = (each.convert_ids_to_tokens(range(each.vocab_size)) for each in both)
    if before != now:
        raise InputError(
            f"--resume: the tokenizer of {run.task.settings.weights} changed. Give what the run was started with, or "
            "start a new run without --resume."
        )


def _before(run: Run) -> dict[str, Any]:
    """The fingerprint of the settings in the folder."""
    settings = type(run.task.settings)
    before: RunSettings = settings(**read_settings(run.folder / SETTINGS_FILE, settings, run.task.name))
    return before.fingerprint()


@contextlib.contextmanager
def _explain_interruption(folder: Path) -> Iterator[None]:
    """If a signal, or a file that cannot be written, stops the block, says what is left: a checkpoint to resume from,
    or at least the model."""
    try:
        yield
    except WriteError as error:
        newest = run_folder.checkpoints(folder).newest_path()
        goes_on = "train again" if newest is None else f"--resume goes on from {newest.name}"
        raise InputError(f"{str(error).removesuffix('.')}; make room, and {goes_on}.") from None
    except KeyboardInterrupt as stop:
        if not distributed.is_rank0():
            raise
        checkpoints = run_folder.checkpoints(folder)
        if (newest := checkpoints.newest_path()) is not None:
            raise Interrupted(stopped_by(stop), checkpoints.steps()[0], newest) from None
        say(
            f"{folder}: holds the trained model, but no figures, no report and no checkpoint; python -m tasks.predict "
            "answers with it, and --resume would train it again.",
            error=True,
        )
        raise


def _say(line: str) -> None:
    """Prints, in process 0 only."""
    if distributed.is_rank0():
        say(line)
