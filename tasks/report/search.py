"""``report.html`` of a search: the trials, and what their settings came to, on one self-contained page."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tasks.report import plots
from tasks.report.markup import Html, element, join, named_row, number, table, verbatim
from tasks.report.parts import LONG_TABLE, Pictures, Section, headline, numbers, warnings, with_unit, words, write_page

SEARCH_FILE = "search.json"
"""In the folder of a search: what it searches, and what came of each trial."""


def write_search_report(folder: Path, record: Mapping[str, Any]) -> Path:
    """Writes ``report.html`` and, with matplotlib, ``plots/*`` (PNG, SVG, PDF) for a search that is over.

    Args:
        folder: of the search, with the trials' folders in it.
        record: the content of ``search.json``.

    Returns:
        The page's path.

    Raises:
        InputError: the folder cannot be written.
    """
    pictures, metric, winner = Pictures(folder), record["metric"], record["winner"]
    best = _best_epochs(record["trials"])
    trained, of_all = record["epochs_trained"], len(record["trials"]) * record["rounds"][-1]["epochs"]
    return write_page(
        folder,
        record,
        title=f"{record['task']}, searched",
        top=[
            headline([
                (number(best[winner["trial"]][metric]), f"{words(metric)}, dev, best epoch of {winner['trial']}"),
                (number(trained), f"epochs trained; all trials to the end would take {of_all:,}"),
            ]),
            warnings(record),
        ],
        sections=[
            Section("Winner", _winner(record)),
            Section("Trials", join([_parallel(record, best, pictures), pictures.note(), _trials(record, best)])),
        ],
        rest=Html(),
    )  # fmt: skip


def settings_in_words(settings: Mapping[str, Any]) -> str:
    """``{"batch_size": 8, "lr": 0.001}`` -> ``batch size 8, lr 0.001``."""
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in settings.items())


def _best_epochs(trials: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """The record of the best epoch of each trial that has done one, by the trial's name."""
    return {trial["name"]: epoch for trial in trials for epoch in trial["history"] if epoch["best"]}


def _winner(record: Mapping[str, Any]) -> Html:
    winner = record["winner"]
    names = list(dict.fromkeys(name for figures in winner["final"].values() for name in numbers(figures)))
    rows = [
        named_row(split, *(number(figures.get(name)) for name in names)) for split, figures in winner["final"].items()
    ]
    advice = "The dev data chose the winner, so its dev figures are optimistic; those on test data are not."
    return join([
        element("pre", element("code", verbatim(winner["command"])), tabindex="0"),
        table(["data", *map(words, names)], rows, label="The winner's figures"),
        element("p", advice, class_="note"),
    ])  # fmt: skip


def _trials(record: Mapping[str, Any], best: Mapping[str, Mapping[str, Any]]) -> Html:
    """A row for each trial, the furthest and best first."""
    metric, names = record["metric"], list(record["space"])
    sign = -1 if record["metric_higher_is_better"] else 1

    def place(trial: Mapping[str, Any]) -> tuple[int, float]:
        epochs = len(trial["history"])
        return -epochs, sign * best[trial["name"]][metric] if epochs else 0.0

    rows = []
    for trial in sorted(record["trials"], key=place):
        is_winner = trial["name"] == record["winner"]["trial"]
        page = quote(f"{trial['name']}/report.html") if trial["complete"] else None
        rows.append(
            named_row(
                element("a", trial["name"], href=page) if page else trial["name"],
                number(best[trial["name"]][metric]) if trial["history"] else "",
                "failed" if trial["failure"] is not None else str(len(trial["history"])),
                *(str(trial["settings"][name]) for name in names),
                class_="best" if is_winner else None,
            )
        )
    head = ["trial", f"{words(metric)}, dev", "epochs", *map(words, names)]
    plan = ", ".join(f"{each['trials']} up to epoch {each['epochs']}" for each in record["rounds"])
    note = f"Successive halving: {plan}; each figure is that of the trial's best epoch. Learning rates follow the "
    rest = "schedule of the whole run from the start, and a trial that goes on is resumed."
    shown = table(head, rows, label="All trials", long=len(rows) > LONG_TABLE)
    return join([element("p", note + rest, class_="note"), shown])


def _parallel(record: Mapping[str, Any], best: Mapping[str, Mapping[str, Any]], pictures: Pictures) -> Html:
    done = [trial for trial in record["trials"] if trial["history"]]
    metric = record["metric"]
    axes = {words(name): [trial["settings"][name] for trial in done] for name in record["space"]}
    axes[f"dev {with_unit(metric, record)}"] = [best[trial["name"]][metric] for trial in done]
    choices = {words(name) for name, values in record["space"].items() if isinstance(values, list)}
    # As they are drawn.
    logarithmic = {words(name) for name, ends in record["space"].items() if isinstance(ends, dict) and ends["low"] > 0}
    kinds = [
        plots.WINNER if trial["name"] == record["winner"]["trial"]
        else plots.FINISHED if trial["complete"]
        else plots.STOPPED
        for trial in done
    ]  # fmt: skip
    return pictures.figure(
        lambda name: plots.parallel_coordinates(axes, kinds, choices=choices, logarithmic=logarithmic, name=name),
        name="trials",
    )
