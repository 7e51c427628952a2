"""Takes down one wall at a time, and checks that a test notices: a list of mutations.

    python tests/mutations/walls.py              # all: each is two runs of pytest, some twenty seconds
    python tests/mutations/walls.py lock scan    # some of them

Works on a copy of the repository. Exits with status 1 if a wall can be taken down unnoticed. ``test_walls.py`` keeps
the list in step with the code.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
_LEFT_OUT = shutil.ignore_patterns(".git", ".venv", "__pycache__", ".*_cache", "*.egg-info", "runs")


class Wall(NamedTuple):
    """A line of code that protects, what to put in its place, and the test that must fail then."""

    file: str
    line: str
    without: str
    test: str


_HOSTILE = "tests/minibert/formats/fairseq/test_hostile_fairseq.py"
_ARCHIVES = "tests/minibert/formats/test_torch_file.py"
_SIZES = "tests/minibert/test_sizes.py"
_OUTPUT = "tests/tasks/predict/test_output.py"
_FOLDER = "tests/tasks/run/test_folder.py"
_SCHEMA = "tests/minibert/training/test_schema.py"
_TOKENIZERS = "tests/minibert/tokenizer/test_allowed.py"

WALLS = {
    "weights_only": Wall(
        "minibert/formats/torch_file.py", "weights_only=True, mmap", "weights_only=False, mmap",
        f"{_HOSTILE}::test_each_wall_stands_without_the_other",
    ),
    "scan": Wall(
        "minibert/formats/torch_file.py", "calls |= _calls_of_pickle(io.BytesIO(pickle))", "pass",
        f"{_HOSTILE}::test_each_wall_stands_without_the_other",
    ),
    "scan of older files": Wall(
        "minibert/formats/torch_file.py", "calls |= _calls_of_pickle(file)", "list(pickletools.genops(file))",
        f"{_HOSTILE}::test_each_wall_stands_without_the_other",
    ),
    "layout of archives": Wall(
        "minibert/formats/torch_file.py", "    check_layout(file)\n", "\n",
        f"{_ARCHIVES}::test_an_archive_is_refused_by_its_layout",
    ),
    "two readers": Wall(
        "minibert/formats/torch_file.py", "if pickle != _as_torch_reads(path, entry.filename):", "if False:",
        f"{_ARCHIVES}::test_the_pickle_that_torch_finds_is_the_scanned_one",
    ),
    "depth of pickles": Wall(
        "minibert/formats/torch_file.py", "if containers > _MOST_CONTAINERS:", "if False:",
        f"{_ARCHIVES}::test_an_archive_is_refused_by_its_layout",
    ),
    "bounds": Wall(
        "minibert/config.py", "if type(value) is int and value > largest:", "if False:",
        f"{_SIZES}::test_layers_that_share_their_weights_have_a_bound",
    ),
    "layers": Wall(
        "minibert/formats/names.py", "if layers > num_tensors:", "if False:",
        f"{_SIZES}::test_layers_are_compared_with_the_tensors_first",
    ),
    "sizes before memory": Wall(
        "minibert/loading.py", "        _check_sizes(model, table, found, source, reset_head_reason)\n", "\n",
        f"{_SIZES}::test_sizes_are_refused_before_memory_is_taken",
    ),
    "number of tensors": Wall(
        "minibert/formats/names.py", "if count > MOST_TENSORS:", "if False:",
        f"{_SIZES}::test_too_many_names_are_refused_at_once",
    ),
    "regular files": Wall(
        "minibert/files.py", "    if is_special(path):\n", "    if False:\n",
        f"{_OUTPUT}::test_nothing_but_a_regular_file_is_ever_replaced",
    ),
    "links": Wall(
        "minibert/files.py", "target = Path(os.path.realpath(path))", "target = path",
        f"{_OUTPUT}::test_a_link_stays_and_the_file_that_it_names_is_replaced",
    ),
    "links to answers": Wall(
        "tasks/predict/resume.py", "self._target = Path(os.path.realpath(out))", "self._target = out",
        f"{_OUTPUT}::test_a_link_stays_and_the_file_that_it_names_is_replaced",
    ),
    "links at partial names": Wall(
        "tasks/predict/resume.py", ' | getattr(os, "O_NOFOLLOW", 0)', "",
        "tests/tasks/predict/test_resume.py::test_a_partial_name_that_someone_has_linked_is_not_followed",
    ),
    "answers of an earlier run": Wall(
        "tasks/predict/resume.py", "        if not resume:\n", "        if False:\n",
        "tests/tasks/predict/test_resume.py::test_without_resume_nothing_that_was_answered_is_lost",
    ),
    "answers before a bad line": Wall(
        "tasks/predict/chunks.py", "    except InputError as error:\n        unreadable = error\n",
        "    except ZeroDivisionError as error:\n        unreadable = error\n",
        f"{_OUTPUT}::test_a_bad_line_costs_no_answer_before_it",
    ),
    "closed streams": Wall(
        "tasks/run/streams.py", "if sys.stderr is None:", "if False:", f"{_OUTPUT}::test_closed_streams",
    ),
    "lock": Wall(
        "tasks/run/lock.py", "if not lock_file(handle, path):", "if False:",
        f"{_FOLDER}::test_a_second_run_is_refused_by_name_and_changes_nothing",
    ),
    "settings without a checkpoint": Wall(
        "tasks/run/train.py", "require_same_fingerprint(_before(run), run.task.settings.fingerprint())", "pass",
        f"{_FOLDER}::test_settings_are_compared_where_there_is_no_checkpoint_yet",
    ),
    "own files only": Wall(
        "tasks/run/folder.py", "for path in [path for pattern in _FIRST_FILES for path in folder.glob(pattern)]:",
        'for path in [path for path in folder.rglob("*") if path.is_file()]:',
        f"{_FOLDER}::test_a_failed_run_takes_nothing_away_but_its_own_files",
    ),
    "manifest hash": Wall(
        "minibert/training/checkpoints.py", "if written != _manifest(folder):", "if False:",
        "tests/minibert/training/test_checkpoints.py::"
        "test_damage_to_any_file_is_detected_and_the_previous_checkpoint_is_used",
    ),
    "schema": Wall(
        "minibert/training/checkpoints.py", "damage = self._find_damage(snapshot)", "damage = None", _SCHEMA,
    ),
    "tokenizer.json": Wall(
        "minibert/tokenizer/files.py", 'check_description(read_json_object(folder / "tokenizer.json"))',
        'read_json_object(folder / "tokenizer.json")',
        f"{_TOKENIZERS}::test_what_no_family_has_never_reaches_the_library",
    ),
    "panics": Wall(
        "minibert/tokenizer/allowed.py", 'if type(error).__name__ != "PanicException":', "if True:",
        f"{_TOKENIZERS}::test_a_panic_is_a_refusal",
    ),
    "escape": Wall(
        "minibert/shown.py", "return _ANY_UNSAFE.sub(_escape, whole)", "return whole", "tests/minibert/test_shown.py",
    ),
    "escape of streams": Wall(
        "tasks/run/streams.py", "self._stream.write(shown_lines(text))", "self._stream.write(text)",
        "tests/tasks/run/test_streams.py::test_warnings_and_tables_are_escaped",
    ),
    "hang-up": Wall(
        "minibert/training/signals.py", '("SIGTERM", "SIGINT", "SIGHUP")', '("SIGTERM", "SIGINT")',
        "tests/minibert/training/test_saving.py::test_a_signal_stops_the_run_after_the_step_and_a_save",
    ),
}  # fmt: skip


def is_noticed(wall: Wall) -> bool:
    """Whether the wall's test fails without it.

    Raises:
        RuntimeError: it fails with the wall as well, so that it says nothing, or cannot be run.
    """
    with tempfile.TemporaryDirectory() as temporary:
        copy = Path(temporary) / "copy"
        shutil.copytree(ROOT, copy, ignore=_LEFT_OUT)
        if _status(wall.test, copy):
            raise RuntimeError(f"pytest {wall.test} fails with the wall, too.")
        path = copy / wall.file
        text = path.read_text(encoding="utf-8")
        assert text.count(wall.line) == 1, f"{wall.file}: {wall.line!r} is there {text.count(wall.line)} times"
        path.write_text(text.replace(wall.line, wall.without), encoding="utf-8")
        return _status(wall.test, copy) != 0


def _status(test: str, copy: Path) -> int:
    """The exit status of a test in a copy of the repository: 0 if it passes, 1 if it fails, or a signal below 0."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", test],
        cwd=copy, env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(copy)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode > 1:
        raise RuntimeError(f"pytest {test} ended with status {done.returncode}:\n{done.stdout[-2000:]}")
    return done.returncode


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[[], *WALLS], default=[])
    unnoticed = 0
    for name in parser.parse_args().names or WALLS:
        noticed = is_noticed(WALLS[name])
        unnoticed += not noticed
        print(f"{name:30} {'caught by' if noticed else 'NOT caught by'} {WALLS[name].test}", flush=True)
    return int(unnoticed > 0)


if __name__ == "__main__":
    sys.exit(main())
