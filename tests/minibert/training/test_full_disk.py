"""A disk that is really full: a limit on the size of files refuses writes as it does."""

from pathlib import Path

import pytest
from full_disk import largest_file
from training_runs import Run, assert_same_end, saved_steps

from minibert.errors import InputError
from minibert.files import write_atomically


def test_a_run_goes_on_without_checkpoints(
    tmp_path: Path, uninterrupted: Run, caplog: pytest.LogCaptureFixture
) -> None:
    run = Run(tmp_path)
    with largest_file(2000):
        run.start()
    assert "cannot be written" in caplog.text
    assert saved_steps(tmp_path) == []
    assert list(tmp_path.iterdir()) == []  # nothing half-written is left
    assert_same_end(run, uninterrupted)


def test_a_model_that_does_not_fit_leaves_the_old_one(tmp_path: Path) -> None:
    model = Run(tmp_path).model
    model.save_pretrained(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with largest_file(2000), pytest.raises(InputError, match=r"model\.safetensors: cannot be written"):
        model.save_pretrained(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_report_that_does_not_fit_is_one_sentence(tmp_path: Path) -> None:
    with largest_file(10), pytest.raises(InputError, match=r"report\.html: cannot be written .*File too large"):
        write_atomically(tmp_path / "report.html", lambda path: path.write_text("a page" * 1000, encoding="utf-8"))
    assert list(tmp_path.iterdir()) == []
