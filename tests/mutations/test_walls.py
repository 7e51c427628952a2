"""The list of walls is in step with the code: each line is there once, and each test exists."""

import importlib.util
from pathlib import Path

import pytest
from conftest import ROOT

_SPEC = importlib.util.spec_from_file_location("walls", Path(__file__).with_name("walls.py"))
assert _SPEC
assert _SPEC.loader
walls = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(walls)


@pytest.mark.parametrize("name", walls.WALLS)
def test_a_wall_and_its_test_are_there(name: str) -> None:
    wall = walls.WALLS[name]
    assert (ROOT / wall.file).read_text(encoding="utf-8").count(wall.line) == 1
    file, _, test = wall.test.partition("::")
    assert f"def {test}" in (ROOT / file).read_text(encoding="utf-8")


def test_the_walls_that_matter_most_are_in_the_list() -> None:
    assert {"weights_only", "scan", "bounds", "lock", "manifest hash", "escape"} <= walls.WALLS.keys()
