"""A page drawn again: ``python -m tasks.report FOLDER``, for instance after matplotlib or a font was installed."""

from collections.abc import Sequence
from pathlib import Path

from minibert.errors import InputError
from minibert.files import read_json_object
from tasks.data import Details
from tasks.report.arguments import parser
from tasks.report.comparison import write_comparison_report
from tasks.report.export import write_tables
from tasks.report.page import write_run_report
from tasks.report.search import SEARCH_FILE, write_search_report
from tasks.report.shots import write_shots_report
from tasks.run.streams import say

_RUN, _COMPARISON = "metrics.json", "comparison.json"


def main(argv: Sequence[str] | None = None) -> Path:
    """Writes ``report.html`` and the plots; returns the page's path.

    Raises:
        InputError: the folder has no figures, or cannot be written.
    """
    folder = Path(parser().parse_args(argv).folder)
    try:
        if (folder / _COMPARISON).is_file():
            page = _comparison(folder)
        elif (folder / SEARCH_FILE).is_file():
            page = _search(folder)
        elif (folder / _RUN).is_file():
            page = _run(folder)
        else:
            raise InputError(
                f"{folder}: has none of {_RUN}, {_COMPARISON} and {SEARCH_FILE}; name the folder of a run, a "
                "comparison or a search."
            )
    except InputError:
        raise
    except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError) as error:  # a record may hold anything
        raise InputError(
            f"{folder}: its figures have another form than this version writes ({type(error).__name__}: {error}); draw "
            "it with the version that made it, or repeat the run."
        ) from None
    say(f"report {page}")
    return page


def _run(folder: Path) -> Path:
    metrics = read_json_object(folder / _RUN)
    if "arch" not in metrics:
        raise InputError(f"{folder}: was not trained, so it has no page.")
    details = {name: Details.from_json(shown) for name, shown in metrics.get("details", {}).items()}
    return write_run_report(folder, metrics, details)


def _search(folder: Path) -> Path:
    record = read_json_object(folder / SEARCH_FILE)
    if "winner" not in record:
        raise InputError(f"{folder}: the search is not over, so it has no page; its command goes on with --resume.")
    return write_search_report(folder, record)


def _comparison(folder: Path) -> Path:
    comparison = read_json_object(folder / _COMPARISON)
    if "metric" not in comparison:
        return write_shots_report(folder, comparison)
    if all("figures" in row for row in comparison["rows"]):
        write_tables(folder, comparison)
    return write_comparison_report(folder, comparison)
