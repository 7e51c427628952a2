"""The files in a model's folder on which its answers depend beside its weights, config and tokenizer."""

import shutil
from pathlib import Path

from minibert.formats.sentence_transformers import MODEL_SETTINGS, MODULES, TEXT_SETTINGS, module_folders

TASK_FILE = "task.json"
"""Beside a trained model: the task, and the settings that its answers and its figures depend on."""
NAMES = (TASK_FILE, MODULES, TEXT_SETTINGS, MODEL_SETTINGS)


def find(folder: Path) -> list[str]:
    """The files, and the folders of sentence-transformers' modules, that a folder has.

    Raises:
        InputError: its ``modules.json`` cannot be read.
    """
    return [name for name in NAMES if (folder / name).is_file()] + module_folders(folder)


def copy(source: Path, destination: Path) -> None:
    """Copies what :func:`find` finds to another folder.

    Raises:
        InputError: ``modules.json`` cannot be read.
        OSError: a file cannot be copied.
    """
    for name in find(source):
        if (source / name).is_dir():
            shutil.copytree(source / name, destination / name)
        else:
            shutil.copyfile(source / name, destination / name)
