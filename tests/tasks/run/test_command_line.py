"""What to type to go on with a run."""

import pytest

from tasks.run.interrupts import command_line


def test_to_go_on_names_the_launcher_and_its_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    argv = ["--out", "a b", "--resume"]
    assert command_line("tasks.ner", argv) == "python -m tasks.ner --out 'a b'"
    for name, value in {"TORCHELASTIC_RUN_ID": "x", "GROUP_WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    assert command_line("tasks.ner", argv) == "torchrun --nproc-per-node 2 -m tasks.ner --out 'a b'"
    monkeypatch.setenv("GROUP_WORLD_SIZE", "3")
    assert command_line("tasks.ner", argv).startswith("torchrun --nnodes 3 --nproc-per-node 2 -m tasks.ner")
