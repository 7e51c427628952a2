"""``python -m benchmarks.gpu.stage MODULE --report FILE``: one stage, in a process of its own."""

import argparse
import importlib
import importlib.util
from pathlib import Path
from typing import Any

from benchmarks.gpu.plan import UNCUT, Plan
from benchmarks.gpu.report import Report, Skipped
from minibert.training import choose_device


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.stage", description=__doc__)
    parser.add_argument("module")
    parser.add_argument("--report", type=Path, required=True)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--lengths", default=UNCUT)
    parser.add_argument("--needs-transformers", action="store_true")
    options = parser.parse_args()

    def run(report: Report) -> None:
        if options.needs_transformers and importlib.util.find_spec("transformers") is None:
            raise Skipped("transformers is not installed")
        stage: Any = importlib.import_module(options.module)  # here, so that an error in it is reported
        stage.run(report, Plan(device=choose_device(options.device), lengths=options.lengths))

    Report(options.report, options.module.rpartition(".")[2]).run(run)


if __name__ == "__main__":
    main()
