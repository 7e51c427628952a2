"""What a stage has found so far, in a JSON file that is complete after every finding: a stage may be stopped."""

import json
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from minibert.errors import InputError


class Skipped(Exception):
    """A stage cannot run here; the message says why."""


class Report:
    """The findings of one stage.

    Args:
        path: of the JSON file.
        name: of the stage.
    """

    def __init__(self, path: Path, name: str) -> None:
        self._path = path
        self.findings: dict[str, Any] = {"stage": name, "outcome": "stopped", "checks": {}, "figures": {}}
        self._write()

    def figure(self, name: str, value: Any) -> None:
        """Keeps a number, a text, or a list or dictionary of them."""
        self.findings["figures"][name] = value
        self._write()
        print(f"{name}: {json.dumps(value)}", flush=True)

    def check(self, name: str, holds: bool, detail: str = "") -> None:
        """Keeps whether a claim holds, and what was seen."""
        self.findings["checks"][name] = {"holds": bool(holds), "detail": detail}
        self._write()
        print(f"{'holds' if holds else 'FAILS'}: {name} {detail}", flush=True)

    @contextmanager
    def checked(self, name: str) -> Iterator[None]:
        """Checks that the block raises nothing."""
        try:
            yield
        except Skipped:
            raise
        except Exception as error:
            traceback.print_exc()
            self.check(name, False, f"{type(error).__name__}: {error}"[:500])
        else:
            self.check(name, True)

    def run(self, stage: Callable[["Report"], None]) -> None:
        """Runs a stage to its end, and keeps how it went."""
        try:
            stage(self)
        except Skipped as reason:
            self.findings.update(outcome="skipped", detail=str(reason))
        except (Exception, SystemExit) as error:
            traceback.print_exc()
            message = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
            self.findings.update(outcome="failed", detail=message[:500])
        else:
            holds = all(check["holds"] for check in self.findings["checks"].values())
            self.findings["outcome"] = "passed" if holds else "failed"
        self._write()

    def _write(self) -> None:
        unfinished = self._path.with_suffix(".part")
        unfinished.write_text(json.dumps(self.findings, indent=1), encoding="utf-8")
        unfinished.replace(self._path)
