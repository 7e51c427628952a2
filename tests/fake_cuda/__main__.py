"""``python -m fake_cuda NAME ...``: traces cases, and prints a JSON object with what each returned or raised."""

import json
import sys
import traceback
from typing import Any

from fake_cuda.guard import Unavailable, load_guard


def main(names: list[str]) -> dict[str, Any]:
    try:
        load_guard()
        from fake_cuda.cases import run  # imports torch, which finds the guard

        return {name: _result(run, name) for name in names}
    except Unavailable as reason:
        return {"unavailable": str(reason)}


def _result(run: Any, name: str) -> dict[str, Any]:
    try:
        facts: dict[str, Any] = run(name)
        return facts
    except Unavailable:
        raise
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        ours = [f"{frame.filename}:{frame.lineno}" for frame in frames if "site-packages" not in frame.filename]
        return {"raised": type(error).__name__, "message": f"{error} ({' < '.join(ours[::-1][:4])})"}


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1:])))
