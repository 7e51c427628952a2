"""What a run came from: the version of this program, and the files of the weights it started from."""

import contextlib
import os
import re
import subprocess
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import minibert
from minibert.hub import sha256_by_file

FILES_OF_WEIGHTS = "the files of --weights"
"""Their sha256 by this name: runs that are compared must have started from the same."""
_ROOT = Path(minibert.__file__).parents[1]
_GIT_SECONDS = 10


def code_version(root: Path = _ROOT) -> dict[str, Any]:
    """The version of minibert and, if it runs from a git checkout, the commit and whether tracked files differ from it;
    None where unknown."""
    return {
        "version": _version(root),
        "commit": _git(root, "rev-parse", "HEAD"),
        "modified": None if (changes := _git(root, "status", "--porcelain", "-uno")) is None else bool(changes),
    }


def _version(root: Path) -> str | None:
    """That of the checkout, or of the installed package."""
    with contextlib.suppress(OSError, tomllib.TOMLDecodeError, KeyError):
        project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        if project["name"] == "minibert":
            return str(project["version"])
    with contextlib.suppress(metadata.PackageNotFoundError):
        return metadata.version("minibert")
    return None


def _git(root: Path, *arguments: str) -> str | None:
    """What git says about a checkout; None if it is none, or git is not installed or refuses."""
    if not (root / ".git").exists():  # an installed package may lie in a checkout of something else
        return None
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(
            ["git", "-C", str(root), *arguments],
            capture_output=True, text=True, encoding="utf-8", errors="replace", check=True, timeout=_GIT_SECONDS,
            env=environment,
        )  # fmt: skip
        return done.stdout.strip()
    return None


def weights_record(folder: Path, revision: str | None) -> dict[str, Any]:
    """The folder of a checkpoint, the sha256 of each of its files, the revision that was asked for, and the commit that
    the hub's cache names; None where there is none."""
    in_cache = folder.parent.name == "snapshots" and re.fullmatch(r"[0-9a-f]{40}", folder.name)
    return {
        "folder": str(folder),
        "revision": revision,
        "commit": folder.name if in_cache else None,
        "sha256": sha256_by_file(folder),
    }
